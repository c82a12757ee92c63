"""Deployments, moved through their states as a controller would, and the waits for them."""

import nemo_platform
import pytest
from deployments import body
from stack import NAME, SERVED, eventually

NO_RUNTIME = "container runtime"


@pytest.fixture
def deployment(sdk, name):
    sdk.inference.deployment_configs.create(name=name, **body())
    return sdk.inference.deployments.create(name=name, config=name, project="p1").name


def settled(sdk, name):
    """After what the server does by itself."""
    return eventually(
        "an end of the start", lambda: (found := sdk.inference.deployments.retrieve(name)).status == "ERROR" and found
    )


@pytest.fixture
def ready(sdk, stack, deployment):
    """One whose container is the simulated server, a controller says."""
    settled(sdk, deployment)
    sdk.inference.providers.create(
        name=deployment, host_url=stack.sim.url, api_key_secret_name="sim-key", model_deployment_id=f"default/{deployment}"
    )
    sdk.inference.deployments.update_status(deployment, status="PENDING", status_message="pulling image")
    sdk.inference.deployments.update_status(
        deployment, status="READY", status_message="running and ready", model_provider_id=f"default/{deployment}"
    )
    return deployment


def states(deployment):
    return [one.status for one in deployment.status_history]


def test_a_deployment_starts_with_nothing_done(sdk, name):
    sdk.inference.deployment_configs.create(name=name, **body())
    made = sdk.inference.deployments.create(name=name, config=name, project="p1")
    assert made.id.startswith("model-deployment-")
    assert (made.name, made.workspace, made.project, made.config) == (name, "default", "p1", name)
    assert (made.config_version, made.entity_version) == (1, 1)
    assert made.status == "CREATED" and made.status_message and made.model_provider_id is None
    assert sdk.inference.deployments.create(name=name, config=name, exist_ok=True).id == made.id


def test_without_a_runtime_it_says_so_at_once(sdk, deployment):
    found = settled(sdk, deployment)
    assert NO_RUNTIME in found.status_message
    assert states(found)[-1] == "ERROR" and found.status_history[-1].status_message == found.status_message


def test_a_controller_moves_it_and_history_keeps_step(sdk, ready):
    found = sdk.inference.deployments.retrieve(ready)
    assert (found.status, found.model_provider_id) == ("READY", f"default/{ready}")
    assert states(found)[-2:] == ["PENDING", "READY"]
    assert found.status_history[-1].status_message == "running and ready"
    lost = sdk.inference.deployments.update_status(ready, status="LOST", status_message="container vanished")
    assert (lost.status, states(lost)[-1]) == ("LOST", "LOST")


def test_an_update_makes_the_next_version(sdk, deployment):
    sdk.inference.deployment_configs.update(deployment, **body(gpu=2))
    second = sdk.inference.deployments.update(deployment, config=deployment, config_version=2)
    assert (second.entity_version, second.config_version) == (2, 2)
    versions = sdk.inference.deployments.versions.list(deployment)
    assert [one.entity_version for one in versions] == [2, 1]
    assert sdk.inference.deployments.versions.retrieve("1", deployment=deployment).config_version == 1
    listed = sdk.inference.deployments.list(filter={"name": deployment})
    assert [one.entity_version for one in listed] == [2]
    every = sdk.inference.deployments.list(filter={"name": deployment}, all_versions=True)
    assert sorted(one.entity_version for one in every) == [1, 2]


def test_a_version_is_removed(sdk, deployment):
    sdk.inference.deployments.update(deployment, config=deployment)
    sdk.inference.deployments.versions.delete("1", deployment=deployment)

    def older():
        return [one.status for one in sdk.inference.deployments.versions.list(deployment)][1:]

    eventually("the version to be deleted", lambda: older() in ([], ["DELETED"]))


def test_one_that_is_not_there_is_not_found(sdk, name):
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.inference.deployments.retrieve(name)
    with pytest.raises(nemo_platform.BadRequestError):
        sdk.inference.deployments.create(name=name, config="nobody")
    with pytest.raises(nemo_platform.BadRequestError):
        sdk.inference.deployments.update(name, config="nobody")


def test_its_models_are_listed(sdk, ready):
    listed = sdk.inference.deployments.list_models(ready)
    assert (listed["workspace"], listed["name"]) == ("default", ready)


def test_the_wait_for_ready_ends(sdk, ready, capsys):
    assert sdk.models.wait_for_status(ready, "READY", timeout=20)
    told = capsys.readouterr().out
    assert "Status: PENDING - pulling image" in told and "Deployment reached READY" in told and "Gateway is ready" in told


def test_the_wait_for_a_status_ends_when_it_fails(sdk, deployment, capsys):
    settled(sdk, deployment)
    assert not sdk.models.wait_for_deployment_status(deployment, "READY", timeout=20)
    assert NO_RUNTIME in capsys.readouterr().out


def test_a_deployment_serves_through_its_provider(sdk, ready):
    found = sdk.inference.deployments.retrieve(ready)
    url = sdk.models.get_provider_route_openai_url_for_deployment(found)
    assert url.endswith(f"/provider/{ready}/-/v1")
    assert sdk.models.wait_for_provider(ready)
    reply = sdk.inference.gateway.provider.post(
        "v1/chat/completions", name=ready, body={"model": SERVED, "messages": [{"role": "user", "content": "Hello"}]}
    )
    assert reply["choices"][0]["message"]["content"] == "You said: Hello"
    assert NAME in sdk.inference.providers.retrieve(ready).served_models[0].model_entity_id


def test_one_without_a_provider_has_no_address(sdk, deployment):
    with pytest.raises(ValueError):
        sdk.models.get_provider_route_openai_url_for_deployment(sdk.inference.deployments.retrieve(deployment))


def test_deletion_ends_in_deleted_and_then_in_nothing(sdk, deployment):
    settled(sdk, deployment)
    sdk.inference.deployments.delete(deployment)
    found = sdk.inference.deployments.retrieve(deployment)
    assert found.status in ("DELETING", "DELETED") and states(found)[-1] == found.status
    eventually("DELETED", lambda: sdk.inference.deployments.retrieve(deployment).status == "DELETED")
    # Again: what is deleted is forgotten at once.
    sdk.inference.deployments.delete(deployment)
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.inference.deployments.retrieve(deployment)


def test_the_wait_for_deleted_ends(sdk, deployment, capsys):
    """The record of a deleted one is kept for half a minute."""
    settled(sdk, deployment)
    sdk.inference.deployments.delete(deployment)
    assert sdk.models.wait_for_status(deployment, "DELETED", timeout=60)
    assert "Deployment DELETED!" in capsys.readouterr().out


def test_no_way_leads_back_from_deleting(sdk, deployment):
    settled(sdk, deployment)
    sdk.inference.deployments.delete(deployment)
    with pytest.raises(nemo_platform.ConflictError):
        sdk.inference.deployments.update_status(deployment, status="READY")
