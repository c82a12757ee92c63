"""Deployment configurations: versions that never change, in the shape of the package's generation."""

import nemo_platform
import pytest
from answers import only_sent
from deployments import PARTS, SEED, body, gpus, shape

CONFIGS = "/apis/models/v2/workspaces/default/deployment-configs"


def test_a_config_comes_back_as_sent(sdk, name):
    made = sdk.inference.deployment_configs.create(name=name, description="first", project="p1", **body())
    assert made.id.startswith("model-deployment-config-")
    assert (made.name, made.workspace, made.description, made.project) == (name, "default", "first", "p1")
    assert (made.entity_version, shape(made)) == (1, body())
    assert sdk.inference.deployment_configs.retrieve(name) == made
    assert sdk.inference.deployment_configs.create(name=name, exist_ok=True, **body(gpu=4)) == made


def test_an_update_makes_the_next_version(sdk, name):
    first = sdk.inference.deployment_configs.create(name=name, description="first", **body(gpu=1))
    second = sdk.inference.deployment_configs.update(name, **body(gpu=2))
    assert (second.entity_version, gpus(second)) == (2, 2)
    # Nothing is inherited.
    assert second.description is None and second.id != first.id
    assert sdk.inference.deployment_configs.retrieve(name) == second
    versions = sdk.inference.deployment_configs.versions.list(name)
    assert [one.entity_version for one in versions] == [2, 1]
    assert sdk.inference.deployment_configs.versions.retrieve("1", config=name) == first


def test_a_version_and_all_of_them_are_removed(sdk, name):
    sdk.inference.deployment_configs.create(name=name, **body())
    sdk.inference.deployment_configs.update(name, **body(gpu=2))
    sdk.inference.deployment_configs.versions.delete("1", config=name)
    assert [one.entity_version for one in sdk.inference.deployment_configs.versions.list(name)] == [2]
    sdk.inference.deployment_configs.delete(name)
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.inference.deployment_configs.retrieve(name)
    assert sdk.inference.deployment_configs.versions.list(name) == []


def test_what_a_deployment_uses_stays(sdk, name):
    sdk.inference.deployment_configs.create(name=name, **body())
    sdk.inference.deployment_configs.update(name, **body(gpu=2))
    sdk.inference.deployments.create(name=name, config=name, config_version=2)
    for remove in (
        lambda: sdk.inference.deployment_configs.delete(name),
        lambda: sdk.inference.deployment_configs.versions.delete("2", config=name),
    ):
        with pytest.raises(nemo_platform.ConflictError):
            remove()
    # The older one is used by nothing.
    sdk.inference.deployment_configs.versions.delete("1", config=name)


def test_only_latest_versions_are_listed(sdk, workspace):
    for name in ("one", "two"):
        sdk.inference.deployment_configs.create(name=name, workspace=workspace, **body())
    sdk.inference.deployment_configs.update("one", workspace=workspace, **body(gpu=8))
    listed = sdk.inference.deployment_configs.list(workspace=workspace, sort="name")
    assert [(one.name, one.entity_version) for one in listed] == [("one", 2), ("two", 1)]


def test_an_update_of_nothing_is_refused(sdk, name):
    with pytest.raises(nemo_platform.BadRequestError):
        sdk.inference.deployment_configs.update(name, **body())


def test_the_model_is_found_by_its_name(sdk, name):
    sdk.models.create(name="my-nim", exist_ok=True)
    assert sdk.inference.deployment_configs.create(name=name, **body()).model_entity_id == "default/my-nim"


@pytest.mark.current
@pytest.mark.parametrize(
    "engine, executor, code",
    [("vllm", {"additional_args": ["--max-model-len", "1024"]}, 201), ("generic", {}, 400),
     ("generic", {"image_name": "me/server", "health_check_path": "/health"}, 201)],
)  # fmt: skip
def test_each_engine_takes_what_it_needs(http, name, engine, executor, code):
    sent = {"name": name, "engine": engine, "model_spec": {"model_name": "m"}, "executor_config": {"gpu": 0, **executor}}
    assert http.post(CONFIGS, json=sent).status_code == code


def test_the_two_shapes_mean_the_same(http, name):
    """Each is given back as it was sent, whichever package sends it."""
    http.post(CONFIGS, json={"name": f"{name}-seed", "nim_deployment": SEED}).raise_for_status()
    http.post(CONFIGS, json={"name": f"{name}-parts", **PARTS}).raise_for_status()
    seed, parts = (http.get(f"{CONFIGS}/{name}-{kind}").json() for kind in ("seed", "parts"))
    assert only_sent(SEED, seed["nim_deployment"]) == SEED
    assert only_sent(PARTS, parts) == PARTS
