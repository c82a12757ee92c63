"""How what came back is compared with what was sent."""


def without_nulls(value):
    """A single object comes back with every field; those nobody set are null, at any depth."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [without_nulls(one) for one in value]
    return value


def same_fields(sent: dict, answer) -> dict:
    """Of an answer of the SDK, the fields that were sent."""
    got = without_nulls(answer.to_dict())
    return {field: got.get(field) for field in sent}
