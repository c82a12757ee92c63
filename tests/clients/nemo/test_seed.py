"""The lines of the platform's own introduction, as they stand there."""

import os

import pytest
from deployments import body
from stack import NAME, SERVED

SNIPPET = """
import os
from nemo_platform import NeMoPlatform
sdk = NeMoPlatform(
    base_url=os.environ.get("NMP_BASE_URL", "http://localhost:8080"),
    workspace="default",
)
# Get pre-configured OpenAI client
model_name = "my-model"
provider_name = "my-provider"
deployment_name = "my-deployment"
workspace = "default"
openai_client = sdk.models.get_openai_client()
# Get base URLs for different routing patterns
sdk.models.get_openai_route_base_url()
entity = sdk.models.retrieve(model_name, workspace=workspace)
entity_url = sdk.models.get_model_entity_route_openai_url(entity)
print(entity_url)
provider = sdk.inference.providers.retrieve(provider_name, workspace=workspace)
provider_url = sdk.models.get_provider_route_openai_url(provider)
print(provider_url)
deployment = sdk.inference.deployments.retrieve(deployment_name, workspace=workspace)
deployment_url = sdk.models.get_provider_route_openai_url_for_deployment(deployment)
print(deployment_url)
"""


@pytest.fixture
def named(sdk, stack):
    """What the snippet talks about."""
    sdk.models.create(name="my-model", exist_ok=True)
    sdk.inference.providers.create(name="my-provider", host_url=stack.sim.url, api_key_secret_name="sim-key", exist_ok=True)
    sdk.inference.deployment_configs.create(name="my-config", exist_ok=True, **body())
    sdk.inference.deployments.create(name="my-deployment", config="my-config", exist_ok=True)
    sdk.inference.deployments.update_status("my-deployment", status="PENDING")
    sdk.inference.deployments.update_status("my-deployment", status="READY", model_provider_id="default/my-provider")


def test_the_snippet_runs_as_printed(stack, named, capsys, monkeypatch):
    monkeypatch.setitem(os.environ, "NMP_BASE_URL", stack.url)
    exec(SNIPPET, {})
    routes = f"{stack.url}/apis/inference-gateway/v2/workspaces/default"
    provider = f"{routes}/provider/my-provider/-/v1"
    assert capsys.readouterr().out.split() == [f"{routes}/model/my-model/-/v1", provider, provider]


@pytest.mark.current
def test_the_config_line_runs_as_printed(nmp, stack):
    assert "Configuration updated" in nmp("config", "set", "--base-url", stack.url, "--workspace", "default").out


@pytest.mark.parametrize(
    "path, model",
    [(f"model/{NAME}", "any"), ("provider/sim", SERVED), ("openai", f"default/{NAME}")],
    ids=["model", "provider", "openai"],
)
def test_the_paths_lead_where_they_say(http, path, model):
    ask = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    reply = http.post(f"/v2/workspaces/default/inference/gateway/{path}/-/v1/chat/completions", json=ask)
    assert reply.json()["choices"][0]["message"]["content"] == "You said: Hello"
