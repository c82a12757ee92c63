"""Every method of the SDK and every command that is in scope is called by some test of this folder."""

import ast
import inspect
from pathlib import Path

import pytest
from conftest import CURRENT
from nemo_platform import NeMoPlatform

# What the platform has beside models and inference.
GROUPS = ["workspaces", "projects", "secrets", "models", "adapters", "inference", "files", "entities"]
COMMANDS = {*GROUPS, "chat", "wait", "config", "setup"} - {"entities"}
# Telemetry logs, and access to a client below: no calls of the platform's own.
OTHERS = {"files.otlp", "files.client", "files.fsspec"}


def calls():
    """All calls in the tests that run with the installed version."""
    for path in Path(__file__).parent.glob("test_*.py"):
        for statement in ast.parse(path.read_text()).body:
            if CURRENT or not any(chain(node) == "pytest.mark.current" for node in ast.walk(statement)):
                yield from (node for node in ast.walk(statement) if isinstance(node, ast.Call))


def chain(node) -> str | None:
    """`sdk.a.b` for the expression that reads so."""
    if isinstance(node, ast.Name):
        return node.id
    before = chain(node.value) if isinstance(node, ast.Attribute) else None
    return before and f"{before}.{node.attr}"


def methods(resource, path: str):
    for name in dir(type(resource)):
        found = inspect.getattr_static(resource, name)
        below = f"{path}.{name}"
        if name.startswith("_") or name.startswith("with_") or below in OTHERS:
            continue
        if inspect.isfunction(found):
            yield below
        else:
            yield from methods(getattr(resource, name), below)


def test_every_method_is_called():
    called = {chain(call.func) for call in calls()}
    with NeMoPlatform(base_url="http://127.0.0.1:1", workspace="default") as sdk:
        there = {method for group in GROUPS for method in methods(getattr(sdk, group), group)}
    assert len(there) > 80, there
    assert {method for method in there if f"sdk.{method}" not in called} == set()


def commands(group, context, path: tuple[str, ...] = ()):
    import click

    for name in group.list_commands(context):
        if not path and name not in COMMANDS:
            continue
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, click.Context(command, parent=context), (*path, name))
        else:
            yield (*path, name)


def words(call: ast.Call) -> tuple[str, ...]:
    """The fixed words a command begins with."""
    fixed = []
    for argument in call.args:
        if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
            break
        fixed.append(argument.value)
    return tuple(fixed)


@pytest.mark.current
def test_every_command_is_called():
    import click
    import typer
    from nemo_platform.cli.app import app

    group = typer.main.get_command(app)
    there = {command for command in commands(group, click.Context(group)) if command[:2] != ("files", "otlp")}
    assert len(there) > 80, there
    called = [words(call) for call in calls() if chain(call.func) == "nmp"]
    assert {command for command in there if not any(call[: len(command)] == command for call in called)} == set()
