"""The whole life of a deployment with real containers: the package and the command as their users run them."""

import json
import os
import subprocess

import nemo_platform
import pytest
import stack as stack_module
from cli import Cli
from conftest import CURRENT
from nemo_platform import NeMoPlatform
from stack import DEADLINE_S, eventually

IMAGE, TAG = "nimgate/nim-sim", "test"
# The config names the model, and so do the server and the gateway.
MODEL = "contained"
ENVIRONMENT = {"MARK": "from the config"}
if CURRENT:
    BODY = {
        "engine": "nim",
        "model_spec": {"model_name": MODEL},
        "executor_config": {"gpu": 0, "image_name": IMAGE, "image_tag": TAG, "additional_envs": ENVIRONMENT},
    }
else:
    BODY = {"nim_deployment": {
        "model_name": MODEL, "gpu": 0, "image_name": IMAGE, "image_tag": TAG, "additional_envs": ENVIRONMENT,
    }}  # fmt: skip


def docker(*args: str) -> str:
    return subprocess.run(["docker", *args], check=True, capture_output=True, text=True, timeout=DEADLINE_S).stdout


@pytest.fixture(scope="module")
def stack():
    try:
        docker("image", "inspect", f"{IMAGE}:{TAG}")
    except (OSError, subprocess.CalledProcessError):
        why = f"no container engine, or no image {IMAGE}:{TAG}; run tests/nim-sim/image"
        assert os.environ.get("CI") != "true", why
        pytest.skip(why)
    with stack_module.running("docker") as running:
        yield running


@pytest.fixture(scope="module")
def sdk(stack):
    with NeMoPlatform(base_url=stack.url, workspace="default", timeout=DEADLINE_S) as sdk:
        yield sdk


@pytest.fixture
def name():
    """One that no container of another run has."""
    return f"c-{os.urandom(4).hex()}"


def containers(name: str) -> list[str]:
    return docker("ps", "--all", "--quiet", "--filter", f"label=nimgate.deployment={name}").split()


def ready(sdk, name: str):
    def look():
        found = sdk.inference.deployments.retrieve(name)
        assert found.status not in ("ERROR", "LOST"), found.status_message
        return found.status == "READY" and found

    return eventually("a deployment that is READY", look)


def is_gone(sdk, name: str) -> bool:
    try:
        return sdk.inference.deployments.retrieve(name).status == "DELETED"
    except nemo_platform.NotFoundError:
        return True


def test_from_a_config_to_answers_and_back(sdk, stack, name):
    sdk.inference.deployment_configs.create(name=name, **BODY)
    assert sdk.inference.deployments.create(name=name, config=name).status in ("CREATED", "PENDING")
    deployment = ready(sdk, name)
    assert [step.status for step in deployment.status_history][:2] == ["CREATED", "PENDING"]
    assert deployment.model_provider_id == f"default/{name}"
    (container,) = containers(name)
    assert "MARK=from the config" in docker("inspect", "--format", "{{.Config.Env}}", container)

    provider = sdk.inference.providers.retrieve(name)
    assert provider.status == "READY"
    assert [model.served_model_name for model in provider.served_models] == [MODEL]
    body = {"messages": [{"role": "user", "content": "hi"}]}
    paths = {f"provider/{name}": MODEL, f"model/{MODEL}": "any", "openai": f"default/{MODEL}"}
    for path, model in paths.items():
        url = f"/apis/inference-gateway/v2/workspaces/default/{path}/-/v1/chat/completions"
        answer = sdk.post(url, body={**body, "model": model}, cast_to=object)
        assert answer["choices"][0]["message"]["content"] == "You said: hi"

    sdk.inference.deployments.delete(name)
    eventually("its end", lambda: is_gone(sdk, name))
    assert containers(name) == []
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.inference.providers.retrieve(name)


@pytest.mark.current
def test_the_command_deploys_waits_chats_and_deletes(stack, name, tmp_path):
    nmp = Cli(tmp_path)
    assert nmp("config", "set", "--base-url", stack.url, "--workspace", "default").code == 0
    patience = ("--poll-interval", "1", "--timeout", str(DEADLINE_S))
    assert nmp("inference", "deployment-configs", "create", name, "--input-data", json.dumps(BODY)).code == 0
    made = nmp("inference", "deployments", "create", name, "--config", name, "--wait", *patience)
    assert made.code == 0, made
    waited = nmp("wait", "inference", "deployment", name, "--status", "READY", *patience)
    assert waited.code == 0 and "Gateway is ready!" in waited.out
    assert nmp("chat", MODEL, "Hello container", "--provider", name).out == "You said: Hello container\n"
    assert nmp("inference", "deployments", "delete", name).code == 0
    gone = nmp("wait", "inference", "deployment", name, "--status", "DELETED", *patience)
    assert gone.code == 0 and "DELETED" in gone.out
    assert containers(name) == []


def test_a_container_that_ends_says_why(sdk, name):
    broken = json.loads(json.dumps(BODY))
    part = broken["executor_config"] if CURRENT else broken["nim_deployment"]
    part["image_tag"] = "no-such-tag"
    sdk.inference.deployment_configs.create(name=name, **broken)
    sdk.inference.deployments.create(name=name, config=name)
    eventually("the reason", lambda: "no-such-tag" in (sdk.inference.deployments.retrieve(name).status_message or ""))
    sdk.inference.deployments.delete(name)
    eventually("its end", lambda: is_gone(sdk, name))
