import itertools
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import stack as stack_module
from cli import Cli
from nemo_platform import NeMoPlatform
from stack import DEADLINE_S

CURRENT = version("nemo-platform") == "0.3.0"
_numbers = itertools.count(1)


def pytest_collection_modifyitems(config, items):
    """Leaves out what the installed version of the package has no methods for."""
    if not CURRENT:
        left_out = [item for item in items if item.get_closest_marker("current")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def stack():
    with stack_module.running() as running:
        yield running


@pytest.fixture(scope="session")
def sdk(stack):
    with NeMoPlatform(base_url=stack.url, workspace="default", timeout=DEADLINE_S) as sdk:
        yield sdk


@pytest.fixture(scope="session")
def http(stack):
    with httpx.Client(base_url=stack.url, timeout=DEADLINE_S) as http:
        yield http


@pytest.fixture
def name():
    """One that nothing else has."""
    return f"thing-{next(_numbers)}"


@pytest.fixture(scope="module")
def workspace(sdk):
    """One for the tests of a file."""
    return sdk.workspaces.create(name=f"workspace-{next(_numbers)}").name


@pytest.fixture(scope="session")
def nmp(stack, tmp_path_factory):
    """The stock command, configured as its user would have done."""
    home = tmp_path_factory.mktemp("home")
    command = Cli(home)
    assert command("config", "set", "--base-url", stack.url, "--workspace", "default").code == 0
    return command
