"""The stock openai-agents package: its loop of calls and outputs on a back end that speaks Chat Completions alone."""

import json

import pytest
from agents import Agent, ModelSettings, OpenAIResponsesModel, RunConfig, Runner, function_tool, set_tracing_disabled
from backend import call, called, streamed, texts, whole
from openai import AsyncOpenAI
from pydantic import BaseModel
from stack import DEADLINE_S, NAME

pytestmark = pytest.mark.anyio
set_tracing_disabled(True)


@function_tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@pytest.fixture
def model(stack):
    sdk = AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="client-key", max_retries=0, timeout=DEADLINE_S)
    return OpenAIResponsesModel(model=NAME, openai_client=sdk)


def agent(model, **settings) -> Agent:
    return Agent(name="adder", instructions="Add.", model=model, model_settings=ModelSettings(), **settings)


async def test_a_tool_runs_and_its_output_leads_to_the_answer(model, backend):
    backend.say(whole(call("add", {"a": 2, "b": 3}), "tool_calls"), whole({"content": "It is 5."}))
    result = await Runner.run(agent(model, tools=[add]), "2+3?", run_config=RunConfig(tracing_disabled=True))
    assert result.final_output == "It is 5."
    assert backend.asked()[1]["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "5"}


async def test_the_same_with_streams(model, backend):
    backend.say(streamed(*called("add", {"a": 2, "b": 3}), finish="tool_calls"), texts("It is", " 5."))
    result = Runner.run_streamed(agent(model, tools=[add]), "2+3?")
    deltas = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert deltas == ["It is", " 5."]
    assert result.final_output == "It is 5."


class Sum(BaseModel):
    value: int


async def test_structured_output_is_parsed(model, backend):
    backend.say(whole({"content": json.dumps({"value": 5})}))
    result = await Runner.run(agent(model, output_type=Sum), "2+3?")
    assert result.final_output == Sum(value=5)


async def test_one_agent_hands_over_to_another(model, backend):
    backend.say(whole(call("transfer_to_adder", {}), "tool_calls"), whole({"content": "5."}))
    desk = Agent(name="desk", instructions="Hand over.", model=model, handoffs=[agent(model)])
    result = await Runner.run(desk, "2+3?")
    assert (result.final_output, result.last_agent.name) == ("5.", "adder")


async def test_a_failed_stream_raises(model, backend):
    backend.say({"events": [{"data": {"choices": [{"index": 0, "delta": {"content": "It"}}]}}, "cut"]})
    result = Runner.run_streamed(agent(model), "2+3?")
    with pytest.raises(Exception):
        async for _ in result.stream_events():
            pass
