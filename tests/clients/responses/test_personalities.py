"""Providers as they are: each preset in front of a back end that talks as that provider does, and is as picky.

The back end is nim-sim with a script; no provider is called.
"""

import pytest
from backend import call, chunk, whole
from conftest import CURRENT, client

TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}
MODEL = "vendor/model"


@pytest.fixture(scope="module")
def provider(stack):
    """Makes a provider of a preset, once; gives the stock package on its route."""
    made = set()

    def make(preset: str, *flags: str):
        name = f"as-{preset.replace('_', '-')}"
        if name not in made:
            url = ("--preset", preset, "--model", MODEL, "--uses-reasoning-parser", *flags)
            stack.add_provider(name, "--secret", "sim-key", *url)
            made.add(name)
        return client(stack, f"{CURRENT}/provider/{name}/-/v1")

    return make


def streamed(sdk, **members):
    """The last event's response, of a stream whose events are all well-formed."""
    events = list(sdk.responses.create(model="any", stream=True, **{"input": "hi", **members}))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return events[-1]


def replayed(response, *outputs: dict) -> list[dict]:
    """The next turn's input: what was said, as clients send it back, and what came out of its calls."""
    said = [item.model_dump(exclude_none=True) for item in response.output]
    return [{"role": "user", "content": "hi"}, *said, *outputs]


def output_of(response, text: str = "seen") -> dict:
    made = next(item for item in response.output if item.type == "function_call")
    return {"type": "function_call_output", "call_id": made.call_id, "output": text}


def test_gemini_gets_no_field_it_refuses_and_its_signature_back(provider, backend):
    """Tool calls without an index, a finish reason of stop, an opaque signature that the next turn must have."""
    signed = {"google": {"thought_signature": "c2lnbmVk+/=="}}
    tool_call = {"id": "fn_1", "type": "function", "function": {"name": "look", "arguments": "{}"}, "extra_content": signed}
    events = [chunk({"role": "assistant", "tool_calls": [tool_call]}, "stop"), "done"]
    backend.say({"events": events}, whole({"content": "Done."}))
    sdk = provider("gemini")
    settings = {"tools": [TOOL], "metadata": {"a": "b"}, "store": True, "parallel_tool_calls": True, "extra_body": {"top_k": 5}}
    first = streamed(sdk, **settings).response
    assert first.status == "completed" and first.output[0].arguments == "{}"
    sdk.responses.create(model="any", input=replayed(first, output_of(first)), **settings)
    for asked in backend.asked():
        assert not {"metadata", "store", "top_k"} & asked.keys(), asked.keys()
    assistant, tool = backend.asked()[1]["messages"][-2:]
    assert assistant["tool_calls"][0]["extra_content"] == signed
    assert (assistant["tool_calls"][0]["id"], tool["tool_call_id"], tool["name"]) == ("fn_1", "fn_1", "look")


def test_gemini_answers_errors_with_a_list(provider, backend):
    error = [{"error": {"code": 400, "message": "Unknown name", "status": "INVALID_ARGUMENT"}}]
    backend.say({"status": 400, "body": error})
    with pytest.raises(Exception, match="Unknown name"):
        provider("gemini").responses.create(model="any", input="hi")


def test_deepseek_gets_the_reasoning_of_a_turn_with_calls_back(provider, backend):
    backend.say(whole({"reasoning_content": "I must look.", **call("look", {})}, "tool_calls"), whole({"content": "Done."}))
    sdk = provider("deepseek")
    first = sdk.responses.create(model="any", input="hi", tools=[TOOL])
    assert [item.type for item in first.output] == ["reasoning", "function_call"]
    sdk.responses.create(model="any", input=replayed(first, output_of(first)), tools=[TOOL])
    assistant = backend.asked()[1]["messages"][-2]
    assert assistant["reasoning_content"] == "I must look."
    assert assistant["tool_calls"][0]["function"]["name"] == "look"


def test_openrouter_comments_say_nothing_and_its_late_errors_fail_the_answer(provider, backend):
    comment = {"raw": ": OPENROUTER PROCESSING\n\n"}
    failed = chunk({"content": ""}, "error", error={"code": 502, "message": "Provider disconnected"})
    backend.say(
        {"events": [comment, comment, chunk({"reasoning": "Hm."}), comment, chunk({"content": "Hello"}, "stop"), "done"]},
        {"events": [comment, chunk({"content": "Hel"}), failed]},
        {"body": {"error": {"code": 502, "message": "No endpoints found"}}},
    )
    sdk = provider("openrouter")
    whole_answer = streamed(sdk).response
    assert [item.type for item in whole_answer.output] == ["reasoning", "message"]
    assert whole_answer.output_text == "Hello"
    last = streamed(sdk)
    assert last.type == "response.failed" and "disconnected" in last.response.error.message
    with pytest.raises(Exception, match="No endpoints found"):
        sdk.responses.create(model="any", input="hi")


def test_vllm_sends_reasoning_under_two_names_and_takes_one_system_message(provider, backend):
    both = {"reasoning": "Hm.", "reasoning_content": "Hm."}
    backend.say({"events": [chunk(both), chunk({"content": "Four."}, "stop"), {"data": {"choices": [], "usage": None}}, "done"]})
    late = [{"role": "user", "content": "hi"}, {"role": "developer", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
    response = streamed(provider("vllm"), instructions="Add.", input=late).response
    assert response.output[0].summary[0].text == "Hm." and response.output_text == "Four."
    roles = [message["role"] for message in backend.asked()[0]["messages"]]
    assert roles[0] == "system" and "system" not in roles[1:] and "developer" not in roles
    assert "tool_choice" not in backend.asked()[0]


def test_together_writes_its_thoughts_into_the_text(provider, backend):
    pieces = ["<", "think>", "Hm", ".</th", "ink>", "Fo", "ur."]
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    events = [*(chunk({"content": piece}) for piece in pieces), chunk({}, "eos", usage=usage), "done"]
    backend.say({"events": events})
    response = streamed(provider("together")).response
    assert response.output[0].summary[0].text == "Hm." and response.output_text == "Four."
    assert (response.status, response.usage.total_tokens) == ("completed", 8)
