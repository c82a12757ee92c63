"""The stock openai package: Responses on a back end that speaks Chat Completions alone."""

import json

import openai
import pytest
from backend import call, called, chunk, streamed, texts, whole
from conftest import PINNED, ROUTES, client
from pydantic import BaseModel
from stack import SERVED, eventually

WEATHER = {
    "type": "function", "name": "weather", "description": "Tells the weather.", "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
                   "additionalProperties": False},
}  # fmt: skip


def ended(stream):
    """The types of all events, and the last event."""
    events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return [event.type for event in events], events[-1]


def test_every_route_answers(stack, backend, route):
    path, model, told = route
    backend.say(whole({"content": "Hello there."}))
    reply = client(stack, path).responses.create(model=model, input="hi")
    assert (reply.output_text, reply.status, reply.model) == ("Hello there.", "completed", told)
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.total_tokens) == (11, 7, 18)
    assert reply.store is False
    assert backend.asked()[0]["messages"] == [{"role": "user", "content": "hi"}]
    assert backend.asked()[0]["model"] == (PINNED if told == PINNED else SERVED)


def test_every_route_streams(stack, backend, route):
    path, model, told = route
    backend.say(texts("Hello", " there", "."))
    with client(stack, path).responses.stream(model=model, input="hi") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert deltas == ["Hello", " there", "."]
    assert (final.output_text, final.model, final.usage.total_tokens) == ("Hello there.", told, 18)
    assert backend.asked()[0]["stream_options"] == {"include_usage": True}


def test_a_delta_arrives_before_the_next_one_is_sent(sdk, backend):
    backend.say({"events": [chunk({"content": "first"}), {"pause_ms": 60_000}, "done"]})
    with sdk.responses.create(model="sim-echo-8b", input="hi", stream=True) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                break
    assert event.delta == "first"
    # And leaving is heard at the other end.
    eventually("the back end to see that the client left", lambda: backend.outcome() == "client_left")


def test_instructions_history_and_settings_reach_the_back_end(sdk, backend):
    backend.say(whole({"content": "ok"}))
    reply = sdk.responses.create(
        model="sim-echo-8b",
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": "Answer in French."},
            {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
            {"role": "assistant", "content": "Bonjour"},
            {"role": "user", "content": [{"type": "input_text", "text": "What is this?"},
                                         {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}]},
        ],
        temperature=0.5, top_p=0.9, max_output_tokens=50, metadata={"a": "b"}, user="me",
        reasoning={"effort": "low"}, extra_body={"seed": 7},
    )  # fmt: skip
    asked = backend.asked()[0]
    assert asked["messages"] == [
        {"role": "system", "content": "Be brief.\n\nAnswer in French."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Bonjour"},
        {"role": "user", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}]},
    ]  # fmt: skip
    sent = {key: asked[key] for key in ("temperature", "top_p", "max_tokens", "user", "reasoning_effort", "seed")}
    assert sent == {"temperature": 0.5, "top_p": 0.9, "max_tokens": 50, "user": "me", "reasoning_effort": "low", "seed": 7}
    assert "metadata" not in asked and "store" not in asked
    assert (reply.instructions, reply.metadata, reply.max_output_tokens) == ("Be brief.", {"a": "b"}, 50)


def test_a_tool_is_called_and_its_output_sent_back(sdk, backend):
    backend.say(whole(call("weather", {"city": "Oslo"}), "tool_calls"), whole({"content": "Rain."}))
    asked = [{"role": "user", "content": "Weather in Oslo?"}]
    first = sdk.responses.create(model="sim-echo-8b", input=asked, tools=[WEATHER])
    (made,) = first.output
    assert (made.type, made.name, json.loads(made.arguments), made.call_id) == (
        "function_call", "weather", {"city": "Oslo"}, "call_1",
    )  # fmt: skip
    asked += [item.model_dump(exclude_none=True) for item in first.output]
    asked.append({"type": "function_call_output", "call_id": made.call_id, "output": "rain"})
    assert sdk.responses.create(model="sim-echo-8b", input=asked, tools=[WEATHER]).output_text == "Rain."
    again = backend.asked()[1]
    assert again["messages"][1]["tool_calls"][0]["id"] == "call_1"
    assert again["messages"][2] == {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
    assert again["tools"][0]["function"]["parameters"] == WEATHER["parameters"]


def test_parallel_calls_stream_side_by_side(sdk, backend):
    oslo, rome = called("weather", {"city": "Oslo"}, "call_a", 0), called("weather", {"city": "Rome"}, "call_b", 1)
    mixed = [delta for pair in zip(oslo, rome) for delta in pair]
    backend.say(streamed({"content": "Let me see."}, *mixed, finish="tool_calls"))
    with sdk.responses.stream(model="sim-echo-8b", input="Both?", tools=[WEATHER]) as stream:
        types, _ = ended(stream)
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call", "function_call"]
    assert [json.loads(item.arguments)["city"] for item in final.output[1:]] == ["Oslo", "Rome"]
    assert types[-1] == "response.completed"


class Person(BaseModel):
    name: str
    age: int


def test_structured_output_is_parsed(sdk, backend):
    backend.say(whole({"content": '{"name":"Ada","age":36}'}))
    reply = sdk.responses.parse(model="sim-echo-8b", input="Who?", text_format=Person)
    assert reply.output_parsed == Person(name="Ada", age=36)
    sent = backend.asked()[0]["response_format"]
    assert (sent["type"], sent["json_schema"]["name"], sent["json_schema"]["strict"]) == ("json_schema", "Person", True)


def test_a_refusal_is_a_refusal(sdk, backend):
    backend.say(whole({"refusal": "I won't."}), streamed({"refusal": "I"}, {"refusal": " won't."}))
    plain = sdk.responses.create(model="sim-echo-8b", input="Do it")
    with sdk.responses.stream(model="sim-echo-8b", input="Do it") as stream:
        final = stream.get_final_response()
    for reply in (plain, final):
        assert reply.output[0].content[0].refusal == "I won't."


@pytest.mark.parametrize("finish, reason", [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_a_truncated_answer_says_so(sdk, backend, finish, reason):
    backend.say(whole({"content": "Once upon"}, finish), streamed({"content": "Once upon"}, finish=finish))
    plain = sdk.responses.create(model="sim-echo-8b", input="Tell")
    types, last = ended(sdk.responses.create(model="sim-echo-8b", input="Tell", stream=True))
    assert types[-1] == "response.incomplete"
    for reply in (plain, last.response):
        assert (reply.status, reply.incomplete_details.reason, reply.output_text) == ("incomplete", reason, "Once upon")


def test_a_cut_answer_is_never_finished(sdk, backend):
    backend.say({"events": [chunk({"content": "Once"}), *map(chunk, called("weather", "{}")), "cut"]})
    types, last = ended(sdk.responses.create(model="sim-echo-8b", input="Tell", tools=[WEATHER], stream=True))
    assert types[-1] == "response.failed"
    assert "response.function_call_arguments.done" not in types
    assert last.response.status == "failed" and last.response.error.code == "server_error"


def test_an_error_inside_a_stream_fails_it(sdk, backend):
    backend.say({"events": [chunk({"content": "Once"}), {"data": {"error": {"message": "overloaded", "code": 502}}}]})
    types, last = ended(sdk.responses.create(model="sim-echo-8b", input="Tell", stream=True))
    assert types[-1] == "response.failed" and "overloaded" in last.response.error.message


@pytest.mark.parametrize(
    "status, seen",
    [(400, openai.BadRequestError), (401, openai.InternalServerError), (404, openai.NotFoundError),
     (429, openai.RateLimitError), (500, openai.InternalServerError), (503, openai.InternalServerError)],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_packages_own(stack, backend, status, seen, stream):
    # A route of one provider: elsewhere, another one could be asked after some of these.
    sdk = client(stack, ROUTES["provider"][0])
    backend.say({"status": status, "body": {"error": {"message": "no luck", "code": "context_length_exceeded"}}})
    with pytest.raises(seen) as raised:
        sdk.responses.create(model="sim-echo-8b", input="hi", stream=stream)
    assert raised.value.body["message"]


@pytest.mark.parametrize(
    "members, param, code",
    [({"previous_response_id": "resp_1"}, "previous_response_id", "previous_response_not_found"),
     ({"background": True}, "background", "unsupported_parameter"),
     ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
     ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]", None)],
)  # fmt: skip
def test_what_needs_a_store_is_refused_without_a_call(sdk, backend, members, param, code):
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.responses.create(**{"model": "sim-echo-8b", "input": "hi", **members})
    assert raised.value.param == param
    assert code is None or raised.value.code == code
    assert backend.asked() == []


def test_reasoning_is_told_apart_where_the_provider_is_to(thinking, backend):
    backend.say(
        whole({"reasoning_content": "Hmm.", "content": "Four."}),
        streamed({"content": "<thi"}, {"content": "nk>Hm"}, {"content": "m.</think>Four."}),
    )
    plain = thinking.responses.create(model="any", input="2+2?")
    with thinking.responses.stream(model="any", input="2+2?") as stream:
        final = stream.get_final_response()
    for reply in (plain, final):
        assert [item.type for item in reply.output] == ["reasoning", "message"]
        assert reply.output[0].summary[0].text == "Hmm."
        assert reply.output_text == "Four."


def test_without_the_parser_the_text_stays_as_it_came(sdk, backend):
    backend.say(whole({"content": "<think>Hmm.</think>Four."}))
    assert sdk.responses.create(model="sim-echo-8b", input="2+2?").output_text == "<think>Hmm.</think>Four."


def test_custom_tools_keep_their_bare_input(sdk, backend):
    patch = "*** Begin Patch\n*** End Patch\n"
    backend.say(whole(call("apply_patch", {"input": patch}), "tool_calls"),
                streamed(*called("apply_patch", {"input": patch}), finish="tool_calls"))  # fmt: skip
    tools = [{"type": "custom", "name": "apply_patch", "description": "Edits."}, {"type": "web_search"}]
    plain = sdk.responses.create(model="sim-echo-8b", input="Edit", tools=tools)
    with sdk.responses.stream(model="sim-echo-8b", input="Edit", tools=tools) as stream:
        final = stream.get_final_response()
    for reply in (plain, final):
        (made,) = reply.output
        assert (made.type, made.name, made.input) == ("custom_tool_call", "apply_patch", patch)
    assert [tool["function"]["name"] for tool in backend.asked()[0]["tools"]] == ["apply_patch"]


def test_chat_keeps_what_it_does_not_know(stack, backend):
    logprobs = {"content": [{"token": "Hi", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}
    reply = whole({"content": "Hi"}, prompt_token_ids=[1, 2], surprise={"n": 12345678901234567890})
    reply["body"]["choices"][0] |= {"logprobs": logprobs, "token_ids": [3]}
    backend.say(reply)
    answer = client(stack, "/v1").chat.completions.create(
        model="sim-echo-8b", messages=[{"role": "user", "content": "hi"}], logprobs=True
    )
    assert answer.choices[0].logprobs.content[0].logprob == -0.1
    assert answer.choices[0].model_extra["token_ids"] == [3]
    assert answer.model_extra["prompt_token_ids"] == [1, 2]
    assert answer.model_extra["surprise"] == {"n": 12345678901234567890}
