import uuid
from dataclasses import dataclass

import pytest
import stack as stack_module
from openai import AsyncOpenAI, OpenAI
from stack import NAME, PUBLIC, SERVED

CURRENT = "/apis/inference-gateway/v2/workspaces/default"
SEED = "/v2/workspaces/default/inference/gateway"


@dataclass(frozen=True)
class Route:
    """A base path, the model to ask for on it, and the id that comes back."""

    kind: str
    path: str
    model: str
    told: str


ROUTES = [Route("alias", "/v1", NAME, PUBLIC)]
for _family in (CURRENT, SEED):
    ROUTES += [
        Route("openai", f"{_family}/openai/-/v1", PUBLIC, PUBLIC),
        # The URL names the model; what the body says does not matter.
        Route("model", f"{_family}/model/{NAME}/-/v1", "whatever", PUBLIC),
        # Nothing is changed here, the upstream's own names are used.
        Route("provider", f"{_family}/provider/sim/-/v1", SERVED, SERVED),
    ]


@pytest.fixture(scope="session")
def stack():
    with stack_module.running() as running:
        yield running


@pytest.fixture(params=ROUTES, ids=lambda route: f"{route.kind}:{route.path.split('/')[1]}")
def route(request):
    return request.param


@pytest.fixture
def client(stack, route):
    return sdk(stack, route.path)


@pytest.fixture
def openai_client(stack):
    return sdk(stack, "/v1")


@pytest.fixture
def token(stack):
    """A word that is in no other request."""
    stack.sim.forget()
    return uuid.uuid4().hex


@pytest.fixture
def anyio_backend():
    return "asyncio"


def sdk(stack, path: str, **options) -> OpenAI:
    return OpenAI(base_url=stack.url + path, **_options(options))


def async_sdk(stack, path: str, **options) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=stack.url + path, **_options(options))


def _options(options: dict) -> dict:
    # No retries: a test is to see the first answer.
    return {"api_key": "client-key", "max_retries": 0, "timeout": stack_module.DEADLINE_S, **options}


def said(prompt: str) -> list[dict]:
    return [{"role": "user", "content": prompt}]
