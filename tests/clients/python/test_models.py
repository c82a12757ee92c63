"""The model list comes from the gateway's table on OpenAI routes, and from the provider on its own."""

import openai
import pytest
from conftest import CURRENT, SEED, sdk
from stack import NAME, PUBLIC, SERVED

OPENAI_ROUTES = ["/v1", f"{CURRENT}/openai/-/v1", f"{SEED}/openai/-/v1"]


@pytest.mark.parametrize("path", OPENAI_ROUTES)
def test_what_is_served_is_listed(stack, path):
    models = {model.id: model for model in sdk(stack, path).models.list()}
    assert models[PUBLIC].object == "model" and models[PUBLIC].owned_by == "default"


@pytest.mark.parametrize("path", OPENAI_ROUTES)
@pytest.mark.parametrize("name", [PUBLIC, NAME])
def test_one_model_is_shown(stack, path, name):
    # The SDK sends the slash of an id encoded.
    assert sdk(stack, path).models.retrieve(name).id == PUBLIC


@pytest.mark.parametrize("path", OPENAI_ROUTES)
def test_a_model_that_is_not_there_is_not_found(stack, path):
    with pytest.raises(openai.NotFoundError) as caught:
        sdk(stack, path).models.retrieve("default/nobody")
    assert "default/nobody" in caught.value.message


@pytest.mark.parametrize("family", [CURRENT, SEED])
def test_a_provider_lists_its_own(stack, family):
    models = sdk(stack, f"{family}/provider/sim/-/v1").models
    assert [model.id for model in models.list()] == [SERVED]
    assert models.retrieve(SERVED).id == SERVED
