"""Providers: configured, discovered, waited for."""

import nemo_platform
import pytest
from answers import same_fields
from stack import NAME, SERVED, SIM_KEY, eventually

SETTINGS = {
    "description": "first",
    "project": "p1",
    "api_key_secret_name": "sim-key",
    "auth_header_format": "Authorization: Bearer {{ auth_secret }}",
    "enabled_models": [SERVED],
    "default_extra_body": {"temperature": 0.5},
    "default_extra_headers": {"X-Default": "d"},
    "required_extra_body": {"seed": 7},
    "required_extra_headers": {"X-Required": "r"},
}


@pytest.fixture
def provider(sdk, stack, name):
    """One that works."""
    sdk.inference.providers.create(name=name, host_url=stack.sim.url, api_key_secret_name="sim-key")
    assert sdk.models.wait_for_provider(name)
    return name


def test_a_provider_comes_back_as_sent(sdk, stack, name):
    made = sdk.inference.providers.create(name=name, host_url=stack.sim.url, **SETTINGS)
    assert made.id.startswith("model-provider-")
    assert (made.name, made.workspace, made.host_url) == (name, "default", stack.sim.url)
    assert same_fields(SETTINGS, made) == SETTINGS
    assert same_fields(SETTINGS, sdk.inference.providers.retrieve(name)) == SETTINGS
    assert sdk.inference.providers.create(name=name, host_url="http://127.0.0.1:1", exist_ok=True).id == made.id


def test_a_provider_learns_its_models(sdk, provider, capsys):
    assert sdk.models.wait_for_provider(provider)
    found = sdk.inference.providers.retrieve(provider)
    assert found.status == "READY"
    assert [one.served_model_name for one in found.served_models] == [SERVED]
    assert "Gateway is ready!" in capsys.readouterr().out


def test_an_update_replaces_everything(sdk, stack, name):
    sdk.inference.providers.create(name=name, host_url=stack.sim.url, **SETTINGS)
    replaced = sdk.inference.providers.update(name, host_url=stack.sim.url, api_key_secret_name="sim-key")
    assert replaced.description is None and not replaced.enabled_models and not replaced.required_extra_body
    made = sdk.inference.providers.update(f"{name}-new", host_url=stack.sim.url)
    assert sdk.inference.providers.retrieve(f"{name}-new").id == made.id


def test_the_status_is_set_by_a_controller(sdk, name):
    sdk.inference.providers.create(name=name, host_url="http://127.0.0.1:1", status="PENDING")
    served = [{"model_entity_id": "default/m1", "served_model_name": "org/m1"}]
    changed = sdk.inference.providers.update_status(
        name, status="READY", status_message="by hand", served_models=served, model_deployment_id="default/d1"
    )
    assert (changed.status, changed.status_message, changed.model_deployment_id) == ("READY", "by hand", "default/d1")
    assert [one.to_dict() for one in changed.served_models] == served


def test_one_that_answers_nothing_is_an_error(sdk, name):
    sdk.inference.providers.create(name=name, host_url="http://127.0.0.1:1")
    found = eventually(
        "ERROR", lambda: (one := sdk.inference.providers.retrieve(name)).status == "ERROR" and one
    )
    assert "connection refused" in found.status_message
    assert not sdk.models.wait_for_provider(name, timeout=5)


def test_a_provider_is_removed_with_its_routes(sdk, provider):
    assert sdk.inference.gateway.provider.ready(provider)["ready"] is True
    sdk.inference.providers.delete(provider)
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.inference.gateway.provider.ready(provider)
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.inference.providers.retrieve(provider)


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key_secret_name": "nobody"},
        {"required_extra_headers": {"Authorization": "x"}},
        {"default_extra_headers": {"cookie": "x"}},
    ],
    ids=["secret", "authorization", "cookie"],
)
def test_what_cannot_be_sent_is_refused(sdk, name, settings):
    with pytest.raises(nemo_platform.BadRequestError):
        sdk.inference.providers.create(name=name, host_url="http://127.0.0.1:1", **settings)


def test_a_secret_that_is_replaced_or_removed_is_not_sent_any_more(sdk, stack, workspace, name):
    ask = {"model": SERVED, "messages": [{"role": "user", "content": name}]}

    def chat():
        return sdk.inference.gateway.provider.post("v1/chat/completions", name=name, body=ask, workspace=workspace)

    sdk.secrets.create(name=name, value=SIM_KEY, workspace=workspace)
    sdk.inference.providers.create(
        name=name, host_url=stack.sim.url, api_key_secret_name=name, workspace=workspace
    )
    assert name in chat()["choices"][0]["message"]["content"]
    sdk.secrets.update(name, value="wrong", workspace=workspace)
    with pytest.raises(nemo_platform.AuthenticationError):
        chat()
    sdk.secrets.delete(name, workspace=workspace)
    stack.sim.forget()
    with pytest.raises(nemo_platform.APIStatusError) as refused:
        chat()
    assert refused.value.status_code == 424
    assert stack.sim.received(name) == []


def test_a_served_model_is_in_the_gateways_list(sdk):
    assert f"default/{NAME}" in {one.id for one in sdk.inference.models.list().data}
    assert sdk.inference.models.get(NAME).id == f"default/{NAME}"
