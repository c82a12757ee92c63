"""What applications do all day, over every kind of route in both path families and the /v1 alias."""

import json

import pytest
from conftest import said
from stack import NAME, PUBLIC, SERVED

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def test_a_chat_is_answered(client, route):
    reply = client.chat.completions.create(model=route.model, messages=said("good morning"))
    assert reply.choices[0].message.content == "You said: good morning"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == route.told
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0


def test_a_chat_is_streamed(client, route):
    stream = client.chat.completions.create(model=route.model, messages=said("grüß dich 世界"), stream=True)
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "You said: grüß dich 世界"
    assert {chunk.model for chunk in chunks} == {route.told}
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_a_stream_ends_with_its_usage_when_asked_for(client, route):
    stream = client.chat.completions.create(
        model=route.model, messages=said("hi"), stream=True, stream_options={"include_usage": True}
    )
    *_, last = stream
    assert last.choices == [] and last.usage.completion_tokens > 0
    assert last.model == route.told


def test_a_tool_is_called_and_its_result_used(client, route):
    asked = said("use the weather tool for Bern")
    reply = client.chat.completions.create(model=route.model, messages=asked, tools=[WEATHER])
    assert reply.choices[0].finish_reason == "tool_calls"
    call = reply.choices[0].message.tool_calls[0]
    assert call.function.name == "weather" and "city" in json.loads(call.function.arguments)
    told = [*asked, reply.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    reply = client.chat.completions.create(model=route.model, messages=told, tools=[WEATHER])
    assert reply.choices[0].message.content == "The tool said: sunny"


def test_a_streamed_tool_call_comes_together(client, route):
    stream = client.chat.completions.create(
        model=route.model, messages=said("use the weather tool"), tools=[WEATHER], stream=True
    )
    name, arguments = "", ""
    for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert name == "weather" and "city" in json.loads(arguments)


def test_text_is_completed(client, route):
    reply = client.completions.create(model=route.model, prompt="once upon a time")
    assert "once upon a time" in reply.choices[0].text
    assert reply.model == route.told


def test_completed_text_is_streamed(client, route):
    chunks = list(client.completions.create(model=route.model, prompt="once upon a time", stream=True))
    assert "once upon a time" in "".join(c.choices[0].text for c in chunks if c.choices)
    assert {chunk.model for chunk in chunks} == {route.told}


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_texts_are_embedded(client, route, encoding):
    # The SDK asks for base64 by itself and decodes it.
    options = {} if encoding == "base64" else {"encoding_format": "float"}
    reply = client.embeddings.create(model=route.model, input=["one", "two"], **options)
    first, second = (one.embedding for one in reply.data)
    assert len(first) == len(second) > 0 and first != second
    assert all(isinstance(number, float) for number in first)
    assert reply.model == route.told


def test_a_large_body_arrives_whole(client, route):
    words = "abcdefg " * 40_000 + "end"
    reply = client.chat.completions.create(model=route.model, messages=said(words))
    assert reply.choices[0].message.content == f"You said: {words}"


def test_extra_members_and_headers_go_on(client, route):
    reply = client.with_options(default_headers={"x-sim-fault": "tokens=3"}).chat.completions.create(
        model=route.model, messages=said("hi"), extra_body={"nvext": {"n": 12345678901234567890}}
    )
    assert reply.usage.completion_tokens == 3


@pytest.mark.parametrize("name", [NAME, PUBLIC, SERVED])
def test_a_model_has_three_names_and_answers_with_one(openai_client, name):
    reply = openai_client.chat.completions.create(model=name, messages=said("hi"))
    assert reply.model == PUBLIC


def test_an_upstreams_headers_can_be_read(openai_client):
    raw = openai_client.chat.completions.with_raw_response.create(model=NAME, messages=said("hi"))
    assert raw.headers["x-nim-sim"] == "simulation"
    assert raw.request_id
    assert raw.parse().model == PUBLIC
