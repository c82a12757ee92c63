"""Prompts, which are stored and given back."""

import nemo_platform
import pytest
from answers import same_fields

pytestmark = pytest.mark.current

BODY = {
    "description": "first",
    "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "{{question}}"}],
    "input_variables": ["question"],
    "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_object"},
    "inference_params": {"temperature": 0.5, "max_tokens": 10, "seed": 7},
    "tags": ["a", "b"],
}


def test_a_prompt_is_made_replaced_and_removed(sdk, name):
    made = sdk.inference.prompts.create(name=name, **BODY)
    assert same_fields(BODY, made) == BODY
    assert sdk.inference.prompts.retrieve(name) == made
    replaced = sdk.inference.prompts.update(name, messages=BODY["messages"][:1])
    assert len(replaced.messages) == 1 and not replaced.tags and replaced.description is None
    sdk.inference.prompts.delete(name)
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.inference.prompts.retrieve(name)


def test_one_that_exists_is_given_back_when_that_is_ok(sdk, name):
    made = sdk.inference.prompts.create(name=name, tags=["kept"])
    assert sdk.inference.prompts.create(name=name, exist_ok=True) == made


def test_prompts_are_listed(sdk, workspace):
    for name in ("one", "two"):
        sdk.inference.prompts.create(name=name, workspace=workspace)
    assert [one.name for one in sdk.inference.prompts.list(workspace=workspace, sort="-name")] == ["two", "one"]


@pytest.mark.parametrize(
    "params", [{"temperature": 2.1}, {"temperature": -1}, {"max_tokens": 0}, {"max_completion_tokens": 0}, {"top_p": 1.5}]
)
def test_parameters_out_of_range_are_refused(sdk, name, params):
    with pytest.raises(nemo_platform.UnprocessableEntityError) as caught:
        sdk.inference.prompts.create(name=name, inference_params=params)
    assert caught.value.body["detail"][0]["loc"][-1] == next(iter(params))
