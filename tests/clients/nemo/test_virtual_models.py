"""Virtual models: names that requests ask for, and the model entities behind them."""

import nemo_platform
import pytest
from answers import same_fields
from stack import NAME, PUBLIC, SIM_KEY, eventually


def ask(sdk, model):
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    return sdk.inference.gateway.openai.post("v1/chat/completions", body=body)


def test_a_virtual_model_is_made_changed_and_removed(sdk, name):
    made = sdk.inference.virtual_models.create(
        name=name, default_model_entity=PUBLIC, models=[{"model": PUBLIC, "backend_format": "OPENAI_CHAT"}],
        override_proxy="later",
    )  # fmt: skip
    assert made.id.startswith("virtual-model-") and made.entity_id == made.id
    assert (made.name, made.workspace, made.default_model_entity, made.autoprovisioned) == (name, "default", PUBLIC, False)
    assert [one.model for one in made.models] == [PUBLIC] and made.override_proxy == "later"
    assert sdk.inference.virtual_models.retrieve(name) == made
    changed = sdk.inference.virtual_models.patch(name, override_proxy="never")
    assert (changed.override_proxy, changed.default_model_entity) == ("never", PUBLIC)
    assert sdk.inference.virtual_models.create(name=name, exist_ok=True).id == made.id
    sdk.inference.virtual_models.delete(name)
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.inference.virtual_models.retrieve(name)


def test_each_served_model_has_one(sdk):
    found = sdk.inference.virtual_models.retrieve(NAME)
    assert (found.autoprovisioned, found.default_model_entity) == (True, PUBLIC)


def test_a_request_for_it_goes_to_its_entity(sdk, name):
    sdk.inference.virtual_models.create(name=name, default_model_entity=PUBLIC)
    for model in (name, f"default/{name}"):
        assert ask(sdk, model)["choices"][0]["message"]["content"] == "You said: Hello"
    body = {"messages": [{"role": "user", "content": "Hello"}]}
    reply = sdk.inference.gateway.model.post("v1/chat/completions", name=name, body=body)
    assert reply["choices"][0]["message"]["content"] == "You said: Hello"
    assert f"default/{name}" in {one.id for one in sdk.inference.models.list().data}
    sdk.inference.virtual_models.delete(name)
    with pytest.raises(nemo_platform.NotFoundError):
        ask(sdk, name)


def test_a_change_counts_for_the_next_request(sdk, name):
    sdk.inference.virtual_models.create(name=name)
    with pytest.raises(nemo_platform.NotFoundError):
        ask(sdk, name)
    sdk.inference.virtual_models.patch(name, default_model_entity=PUBLIC)
    assert ask(sdk, name)["choices"][0]["message"]["content"] == "You said: Hello"


def test_automatic_ones_come_and_go_with_what_serves_them(sdk, stack, workspace):
    sdk.secrets.create(name="key", value=SIM_KEY, workspace=workspace)
    sdk.inference.providers.create(name="sim", host_url=stack.sim.url, api_key_secret_name="key", workspace=workspace)
    assert sdk.models.wait_for_provider("sim", workspace=workspace)

    def listed():
        return [one.name for one in sdk.inference.virtual_models.list(workspace=workspace)]

    assert eventually("the automatic one", listed) == [NAME]
    sdk.inference.providers.delete("sim", workspace=workspace)
    eventually("no virtual model", lambda: listed() == [])


@pytest.mark.current
def test_lists_leave_automatic_ones_out_on_request(sdk, name):
    sdk.inference.virtual_models.create(name=name, default_model_entity="default/sought")
    by_hand = {one.name for one in sdk.inference.virtual_models.list(exclude_autoprovisioned=True)}
    assert name in by_hand and NAME not in by_hand
    found = sdk.inference.virtual_models.list(filter={"default_model_entity": "default/sought"})
    assert [one.name for one in found] == [name]


def test_middleware_is_kept_and_refused_when_a_request_needs_it(sdk, name):
    calls = [{"name": "nemo-switchyard", "config_type": "random", "config": {"targets": []}}]
    made = sdk.inference.virtual_models.create(name=name, default_model_entity=PUBLIC, request_middleware=calls)
    assert same_fields(calls[0], made.request_middleware[0]) == calls[0]
    with pytest.raises(nemo_platform.APIStatusError) as caught:
        ask(sdk.with_options(max_retries=0), name)
    assert "nemo-switchyard" in caught.value.body["detail"]
