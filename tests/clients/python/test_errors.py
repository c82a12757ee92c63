"""Errors are the SDK's own typed exceptions, an upstream's as it gave them and the gateway's with what to do."""

import json
import urllib.error
import urllib.request

import openai
import pytest
from conftest import SEED, said, sdk
from stack import DEADLINE_S, NAME, SIM_KEY

CLASSES = [
    (400, openai.BadRequestError),
    (401, openai.AuthenticationError),
    (403, openai.PermissionDeniedError),
    (404, openai.NotFoundError),
    (409, openai.ConflictError),
    (422, openai.UnprocessableEntityError),
    (429, openai.RateLimitError),
    (500, openai.InternalServerError),
    (503, openai.InternalServerError),
]


def chat(client, model: str, fault: str = "", **options):
    return client.chat.completions.create(model=model, messages=said(f"[[sim: {fault}]] hi"), **options)


@pytest.mark.parametrize(("status", "expected"), CLASSES)
def test_an_upstreams_error_is_its_class_and_keeps_its_body(client, route, status, expected):
    with pytest.raises(expected) as caught:
        chat(client, route.model, f"status={status}")
    assert caught.value.status_code == status
    assert caught.value.body["message"] == f"simulated fault: status {status}"


@pytest.mark.parametrize("stream", [False, True])
def test_a_rate_limit_says_when_to_come_back(client, route, stream):
    with pytest.raises(openai.RateLimitError) as caught:
        chat(client, route.model, "status=429,retry-after=7", stream=stream)
    assert caught.value.response.headers["retry-after"] == "7"


def test_a_key_that_an_upstream_repeats_does_not_come_back(client, route):
    with pytest.raises(openai.AuthenticationError) as caught:
        chat(client, route.model, "echo-auth")
    assert "Incorrect API key provided" in caught.value.message
    assert SIM_KEY not in caught.value.response.text


def test_a_provider_that_refuses_its_key_is_an_authentication_error(stack):
    stack.nimgate("secret", "create", "wrong-key", "--url", stack.url, input="wrong")
    stack.add_unusable_provider("locked", stack.sim.url, "--secret", "wrong-key")
    with pytest.raises(openai.AuthenticationError):
        chat(sdk(stack, f"{SEED}/provider/locked/-/v1"), "any")


def test_an_unknown_model_is_not_found_and_named(openai_client):
    with pytest.raises(openai.NotFoundError) as caught:
        chat(openai_client, "nobody")
    assert "nobody" in caught.value.message
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id


@pytest.mark.parametrize("path", [f"{SEED}/model/nobody/-/v1", f"{SEED}/provider/nobody/-/v1"])
def test_an_unknown_route_is_not_found(stack, path):
    with pytest.raises(openai.NotFoundError) as caught:
        chat(sdk(stack, path), "any")
    assert "nobody" in caught.value.message


def test_a_body_that_names_no_model_says_so(openai_client):
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.post("/chat/completions", cast_to=object, body={"messages": said("hi")})
    assert caught.value.param == "model"
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        chat(openai_client, "")
    assert caught.value.param == "model"


def test_a_body_that_an_upstream_refuses_is_a_bad_request(client, route):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=route.model, messages="not a list")


def test_nobody_listening_upstream_is_a_server_error(stack):
    # Port 9 is the discard service: nobody listens there.
    stack.add_unusable_provider("away", "http://127.0.0.1:9")
    with pytest.raises(openai.InternalServerError) as caught:
        chat(sdk(stack, f"{SEED}/provider/away/-/v1"), "any")
    assert caught.value.status_code in (502, 503)
    assert "away" in caught.value.message


def test_the_sdk_retries_what_may_be_retried(stack):
    with pytest.raises(openai.RateLimitError):
        chat(sdk(stack, "/v1", max_retries=2), NAME, "status=429,tokens=42")
    assert len(stack.sim.received("tokens=42")) == 3


@pytest.mark.parametrize("path", ["/", "/v1", "/nothing/here", "/v2/workspaces/default/nothing"])
def test_an_unknown_path_gives_a_json_error(stack, path):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(stack.url + path, timeout=DEADLINE_S)
    assert caught.value.code == 404
    assert caught.value.headers["content-type"] == "application/json"
    body = json.load(caught.value)
    assert body["error"]["message"] and body["detail"]
