"""How what came back is compared with what was sent."""


def only_sent(sent, got):
    """Of what came back, what was sent: an object comes back with its other fields too, as null or their default."""
    if isinstance(sent, dict) and isinstance(got, dict):
        return {field: only_sent(value, got.get(field)) for field, value in sent.items()}
    if isinstance(sent, list) and isinstance(got, list) and len(sent) == len(got):
        return [only_sent(one, other) for one, other in zip(sent, got)]
    return got


def same_fields(sent: dict, answer) -> dict:
    """Of an answer of the SDK, what was sent."""
    return only_sent(sent, answer.to_dict())
