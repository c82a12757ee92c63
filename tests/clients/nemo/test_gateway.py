"""The SDK's ways through the gateway, and the addresses it makes for the stock OpenAI client."""

import openai
import pytest
from openai import OpenAI
from stack import NAME, PUBLIC, SERVED, SIM_KEY

CHAT = "v1/chat/completions"


def said(prompt, **more):
    return {"messages": [{"role": "user", "content": prompt}], **more}


def text(reply):
    return reply["choices"][0]["message"]["content"]


def test_each_route_chats(sdk):
    assert text(sdk.inference.gateway.openai.post(CHAT, body=said("One", model=PUBLIC))) == "You said: One"
    assert text(sdk.inference.gateway.model.post(CHAT, name=NAME, body=said("Two"))) == "You said: Two"
    assert text(sdk.inference.gateway.provider.post(CHAT, name="sim", body=said("Three", model=SERVED))) == "You said: Three"


def test_every_method_reaches_the_provider(sdk):
    get = sdk.inference.gateway.provider.get("echo/a", name="sim")
    put = sdk.inference.gateway.provider.put("echo/a", name="sim", body={"a": 1})
    patch = sdk.inference.gateway.provider.patch("echo/a", name="sim", body={"a": 1})
    delete = sdk.inference.gateway.provider.delete("echo/a", name="sim")
    assert [one["method"] for one in (get, put, patch, delete)] == ["GET", "PUT", "PATCH", "DELETE"]
    # The SDK sends the slash encoded.
    assert {one["target"] for one in (get, put, patch, delete)} == {"/echo/a"}
    assert put["body_len"] > 0 and ["authorization", f"Bearer {SIM_KEY}"] in put["headers"]


def test_every_method_reaches_the_models_provider(sdk):
    get = sdk.inference.gateway.model.get("echo/a", name=NAME)
    put = sdk.inference.gateway.model.put("echo/a", name=NAME, body={"a": 1})
    patch = sdk.inference.gateway.model.patch("echo/a", name=NAME, body={"a": 1})
    delete = sdk.inference.gateway.model.delete("echo/a", name=NAME)
    assert [one["method"] for one in (get, put, patch, delete)] == ["GET", "PUT", "PATCH", "DELETE"]


def test_every_method_is_routed_by_the_bodys_model(sdk):
    put = sdk.inference.gateway.openai.put("echo/a", body={"model": PUBLIC})
    patch = sdk.inference.gateway.openai.patch("echo/a", body={"model": PUBLIC})
    delete = sdk.inference.gateway.openai.delete("echo/a", extra_body={"model": PUBLIC})
    assert [one["method"] for one in (put, patch, delete)] == ["PUT", "PATCH", "DELETE"]


def test_the_list_of_models_has_many_doors(sdk):
    for listed in (
        [one.id for one in sdk.inference.models.list().data],
        [one.id for one in sdk.inference.gateway.openai.v1.models.list().data],
        [one["id"] for one in sdk.inference.gateway.openai.get("v1/models")["data"]],
    ):
        assert PUBLIC in listed
    for name in (NAME, PUBLIC):
        assert sdk.inference.models.get(name).id == PUBLIC
        assert sdk.inference.gateway.openai.v1.models.get(name).id == PUBLIC


def test_readiness_is_told(sdk, stack):
    ready = sdk.inference.gateway.provider.ready("sim")
    assert ready == {"ready": True, "provider": "default/sim", "host_url": stack.sim.url}
    assert sdk.models.wait_for_gateway("sim", timeout=5)


def test_the_openai_client_of_the_sdk_chats(sdk):
    client = sdk.models.get_openai_client()
    reply = client.chat.completions.create(model=PUBLIC, messages=said("Hello")["messages"])
    assert (reply.choices[0].message.content, reply.model) == ("You said: Hello", PUBLIC)
    chunks = client.chat.completions.create(model=NAME, messages=said("Hello")["messages"], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "You said: Hello"
    assert PUBLIC in {model.id for model in client.models.list()}
    assert "user-agent" in {header.lower() for header in sdk.models.get_client_default_headers()}


@pytest.fixture(params=["openai", "model", "provider"])
def address(request, sdk):
    """A base URL from the SDK's helpers, and the model to ask for there."""
    if request.param == "openai":
        return sdk.models.get_openai_route_base_url(), PUBLIC
    if request.param == "model":
        return sdk.models.get_model_entity_route_openai_url(sdk.models.retrieve(NAME)), "any"
    return sdk.models.get_provider_route_openai_url(sdk.inference.providers.retrieve("sim")), SERVED


def test_a_stock_client_works_with_each_address(address):
    base_url, model = address
    client = OpenAI(base_url=base_url, api_key="not-needed", max_retries=0)
    reply = client.chat.completions.create(model=model, messages=said("Hello")["messages"])
    assert reply.choices[0].message.content == "You said: Hello"


def test_a_provider_whose_url_has_the_version_gets_the_same_address(sdk, stack, name):
    made = sdk.inference.providers.create(name=name, host_url=f"{stack.sim.url}/v1", api_key_secret_name="sim-key")
    url = sdk.models.get_provider_route_openai_url(made)
    assert url.endswith(f"/provider/{name}/-")
    client = OpenAI(base_url=url, api_key="not-needed", max_retries=0)
    reply = client.chat.completions.create(model=SERVED, messages=said("Hi")["messages"])
    assert reply.choices[0].message.content == "You said: Hi"


def test_a_model_that_is_not_there_is_not_found(sdk):
    client = sdk.models.get_openai_client()
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="default/nobody", messages=said("Hello")["messages"])


@pytest.mark.anyio
async def test_the_asynchronous_sdk_works_too(stack):
    from nemo_platform import AsyncNeMoPlatform

    async with AsyncNeMoPlatform(base_url=stack.url, workspace="default") as sdk:
        assert (await sdk.models.retrieve(NAME)).name == NAME
        assert await sdk.models.wait_for_provider("sim")
        reply = await sdk.inference.gateway.openai.post(CHAT, body=said("Hello", model=PUBLIC))
        assert text(reply) == "You said: Hello"
        client = sdk.models.get_async_openai_client()
        assert (await client.chat.completions.create(model=PUBLIC, messages=said("Hi")["messages"])).model == PUBLIC
        assert [one.name async for one in sdk.inference.providers.list(filter={"name": "sim"})] == ["sim"]
