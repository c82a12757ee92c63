import itertools

import pytest
import stack as stack_module
from backend import Backend
from openai import OpenAI
from stack import DEADLINE_S, NAME, PUBLIC

CURRENT = "/apis/inference-gateway/v2/workspaces/default"
SEED = "/v2/workspaces/default/inference/gateway"
# What no other provider serves: requests for the simulated server's own model go to one provider alone.
PINNED, THOUGHTFUL = "vendor/pinned", "vendor/thoughtful"
# A base path, the model to ask for on it, and the id that comes back. The provider route has a pinned model: what
# the client asks for does not matter.
ROUTES = {
    "alias": ("/v1", NAME, PUBLIC),
    "openai": (f"{CURRENT}/openai/-/v1", PUBLIC, PUBLIC),
    "model": (f"{CURRENT}/model/{NAME}/-/v1", "whatever", PUBLIC),
    "provider": (f"{CURRENT}/provider/pinned/-/v1", "gpt-5.5", PINNED),
    "seed openai": (f"{SEED}/openai/-/v1", PUBLIC, PUBLIC),
    "seed model": (f"{SEED}/model/{NAME}/-/v1", "whatever", PUBLIC),
    "seed provider": (f"{SEED}/provider/pinned/-/v1", "gpt-5.5", PINNED),
}
THINKING = f"{CURRENT}/provider/thinking/-/v1"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack():
    """A gateway in front of a back end that speaks Chat Completions alone."""
    with stack_module.running() as stack:
        stack.add_provider("pinned", "--secret", "sim-key", "--model", PINNED)
        thinking = ("--model", THOUGHTFUL, "--uses-reasoning-parser")
        stack.add_provider("thinking", "--secret", "sim-key", *thinking)
        yield stack


@pytest.fixture
def backend(stack):
    """What the back end is to say; at the end of a test it has said all of it."""
    backend = Backend(stack.sim.url)
    backend.forget()
    yield backend
    assert backend.unsaid() == 0


@pytest.fixture(params=ROUTES, ids=lambda kind: kind.replace(" ", "-"))
def route(request):
    return ROUTES[request.param]


@pytest.fixture
def sdk(stack):
    """The stock package on a route that translates; without retries, so that a test sees the first answer."""
    return client(stack, ROUTES["alias"][0])


@pytest.fixture
def thinking(stack):
    """The same on a provider that tells reasoning apart."""
    return client(stack, THINKING)


@pytest.fixture
def anyio_backend():
    return "asyncio"


def client(stack, path: str, **options) -> OpenAI:
    return OpenAI(base_url=stack.url + path, api_key="client-key", max_retries=0, timeout=DEADLINE_S, **options)


@pytest.fixture
def word():
    """A word that is in no other request."""
    return f"word-{next(_numbers)}"
