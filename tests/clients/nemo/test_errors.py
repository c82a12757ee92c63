"""Errors as the SDK's classes, with a detail to read, and no call repeated that would fail again."""

import nemo_platform
import pytest

PROVIDERS = "/apis/models/v2/workspaces/default/providers"


def test_what_is_not_there_is_not_found(sdk):
    with pytest.raises(nemo_platform.NotFoundError) as caught:
        sdk.inference.providers.retrieve("nope")
    assert caught.value.body["detail"] == "Model provider not found: default/nope"
    with pytest.raises(nemo_platform.NotFoundError) as caught:
        sdk.workspaces.retrieve("nope")
    assert caught.value.body["detail"] == "Workspace 'nope' not found"
    with pytest.raises(nemo_platform.NotFoundError) as caught:
        sdk.secrets.retrieve("nope")
    assert caught.value.body["detail"] == "Secret default/nope not found"
    with pytest.raises(nemo_platform.NotFoundError) as caught:
        sdk.models.retrieve("nope")
    assert caught.value.body["detail"] == "Model with workspace 'default' and name 'nope' not found"


def test_a_second_of_the_same_name_is_a_conflict(sdk, name):
    sdk.secrets.create(name=name, value="x")
    with pytest.raises(nemo_platform.ConflictError) as caught:
        sdk.secrets.create(name=name, value="y")
    assert "already exists" in caught.value.body["detail"] and name in caught.value.body["detail"]
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_a_conflict_is_not_sent_again(stack, name):
    """The SDK would, were it not told."""
    import httpx

    seen = []
    client = httpx.Client(event_hooks={"request": [lambda request: seen.append(request.method)]})
    with nemo_platform.NeMoPlatform(base_url=stack.url, workspace="default", http_client=client) as sdk:
        sdk.workspaces.create(name=name)
        with pytest.raises(nemo_platform.ConflictError):
            sdk.workspaces.create(name=name)
    assert seen == ["POST", "POST"]


def test_what_refers_to_nothing_is_a_bad_request(sdk, name):
    with pytest.raises(nemo_platform.BadRequestError) as caught:
        sdk.inference.providers.create(name=name, host_url="http://127.0.0.1:1", api_key_secret_name="nope")
    assert "nope" in caught.value.body["detail"]


def test_what_is_not_valid_is_unprocessable_and_says_where(sdk):
    with pytest.raises(nemo_platform.UnprocessableEntityError) as caught:
        sdk.secrets.create(name="x y", value="x")
    (one,) = caught.value.body["detail"]
    assert one["loc"] == ["body", "name"] and one["msg"] and one["type"]


def test_an_unknown_workspace_is_named(sdk):
    with pytest.raises(nemo_platform.UnprocessableEntityError) as caught:
        sdk.secrets.create(name="any", value="x", workspace="nows")
    assert caught.value.body["detail"] == "Workspace 'nows' does not exist. Please create the workspace first."
    with pytest.raises(nemo_platform.NotFoundError):
        list(sdk.inference.providers.list(workspace="nows"))


def test_unknown_fields_are_left_out(http, name):
    reply = http.post(PROVIDERS, json={"name": name, "host_url": "http://127.0.0.1:1", "colour": "red"})
    assert reply.status_code == 201 and "colour" not in reply.json()


def test_what_is_nowhere_is_not_found(http):
    nowhere = http.get("/apis/models/v2/nowhere")
    assert (nowhere.status_code, nowhere.json()["detail"]) == (404, "Not Found")
    refused = http.request("PUT", PROVIDERS)
    assert (refused.status_code, refused.json()["detail"]) == (405, "Method Not Allowed")
    assert "GET" in refused.headers["allow"] and "POST" in refused.headers["allow"]
