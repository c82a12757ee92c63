"""The `nmp` command on each kind of object: made, shown, listed, changed, removed."""

import json

import pytest
from deployments import PARTS
from stack import PUBLIC, SERVED, eventually

pytestmark = pytest.mark.current

DONE = "✓ Deleted successfully"


def names(listed) -> list[str]:
    return [one["name"] for one in listed.json["data"]]


def removed(said) -> bool:
    return said.code == 0 and DONE in said.out


def not_found(said) -> bool:
    return said.code == 1 and "Not found: (404)" in said.err


def test_workspaces(nmp, name):
    made = nmp("workspaces", "create", name, "--description", "first", "--wait-role-propagation").json
    assert (made["name"], made["description"]) == (name, "first")
    again = nmp("workspaces", "create", name, "--exist-ok").json
    assert again["id"] == made["id"]
    assert nmp("workspaces", "get", name).json == made
    assert name in names(nmp("workspaces", "list"))
    assert nmp("workspaces", "update", name, "--description", "second").json["description"] == "second"
    assert nmp("workspaces", "delete", name).code == 0
    eventually(f"{name} to go", lambda: not_found(nmp("workspaces", "get", name)))


def test_members(nmp, name):
    nmp("workspaces", "create", name)
    there = ("--workspace", name)
    assert nmp("workspaces", "members", "list", *there).json["data"] == []
    for refused in (
        nmp("workspaces", "members", "create", "--principal", "ada@example.com", "--roles", "Viewer", *there),
        nmp("workspaces", "members", "update", "ada@example.com", "--roles", "Editor", *there),
        nmp("workspaces", "members", "delete", "ada@example.com", *there),
    ):
        assert refused.code == 1 and refused.err.startswith("Permission denied: (403) Authentication is off"), refused


def test_projects(nmp, name):
    made = nmp("projects", "create", name, "--description", "first").json
    assert nmp("projects", "get", name).json == made
    assert nmp("projects", "update", name, "--description", "second").json["description"] == "second"
    assert names(nmp("projects", "list", "--filter", json.dumps({"name": name}))) == [name]
    assert nmp("projects", "delete", name).code == 0
    assert not_found(nmp("projects", "get", name))


def test_secrets(nmp, name):
    made = nmp("secrets", "create", name, "--value", "first", "--description", "a key").json
    assert (made["name"], made["description"]) == (name, "a key") and "value" not in made
    assert nmp("secrets", "get", name).json == made
    assert name in names(nmp("secrets", "list", "--all-pages", "-f", "json"))
    assert nmp("secrets", "update", name, "--value", "second").json["name"] == name
    assert nmp("secrets", "access", name).json["value"] == "second"
    assert nmp("secrets", "admin", "rotate-encryption-keys").json["success"] is True
    assert nmp("secrets", "access", name).json["value"] == "second"
    assert removed(nmp("secrets", "delete", name))
    assert not_found(nmp("secrets", "access", name))


def test_secrets_come_from_files_and_pipes(nmp, name):
    (nmp.cwd / "secret.txt").write_text("from a file")
    nmp("secrets", "create", name, "--from-file", "secret.txt")
    assert nmp("secrets", "access", name).json["value"] == "from a file"
    nmp("secrets", "create", f"{name}-2", "--from-file", "-", input="from a pipe")
    assert nmp("secrets", "access", f"{name}-2").json["value"] == "from a pipe"


def test_models(nmp, name):
    made = nmp(
        "models", "create", name, "--description", "first", "--base-model", "default/base",
        "--custom-fields", '{"team": "a"}',
    ).json  # fmt: skip
    assert (made["base_model"], made["custom_fields"]) == ("default/base", {"team": "a"})
    assert nmp("models", "get", name, "--verbose").json == made
    assert names(nmp("models", "list", "--filter.name", name, "--sort", "-name", "--page-size", "5", "--page", "1")) == [name]
    assert nmp("models", "update", name, "--description", "second").json["description"] == "second"
    assert removed(nmp("models", "delete", name))
    assert not_found(nmp("models", "get", name))


@pytest.fixture
def base(nmp, name):
    """A model, and a fileset with something in it."""
    (nmp.cwd / "adapter_config.json").write_text("{}")
    assert nmp("files", "filesets", "create", name).code == 0
    assert nmp("files", "upload", "adapter_config.json", name).code == 0
    assert nmp("models", "create", name).code == 0
    return name


def test_adapters(nmp, base):
    name, there = f"{base}-a", ("--fileset", base, "--finetuning-type", "lora")
    made = nmp("adapters", "create", name, "--model", base, "--lora-config", '{"rank": 8, "alpha": 16}', *there).json
    assert made["lora_config"]["rank"] == 8 and nmp("adapters", "get", name).json == made
    assert nmp("adapters", "patch", name, "--description", "second").json["description"] == "second"
    assert names(nmp("adapters", "list", "--filter.name", name)) == [name]
    assert removed(nmp("adapters", "delete", name))


def test_adapters_of_a_model(nmp, base):
    name = f"{base}-a"
    nmp("models", "adapters", "create", base, name, "--fileset", base, "--finetuning-type", "lora")
    changed = nmp("models", "adapters", "update", name, "--model-name", base, "--description", "second").json
    assert changed["description"] == "second"
    assert [one["name"] for one in nmp("models", "get", base).json["adapters"]] == [name]
    assert removed(nmp("models", "adapters", "delete", name, "--model-name", base))


def test_filesets(nmp, name):
    made = nmp("files", "filesets", "create", name, "--purpose", "dataset", "--description", "first").json
    assert (made["purpose"], made["description"]) == ("dataset", "first")
    assert nmp("files", "filesets", "get", name).json == made
    calling = {"model": {"tool_calling": {"tool_call_parser": "llama3_json"}}}
    changed = nmp("files", "filesets", "update", name, "--metadata", json.dumps(calling)).json
    assert changed["metadata"]["model"]["tool_calling"]["tool_call_parser"] == "llama3_json"
    assert names(nmp("files", "filesets", "list", "--filter.name", name)) == [name]
    assert nmp("files", "filesets", "delete", name).code == 0
    assert not_found(nmp("files", "filesets", "get", name))


def test_files(nmp, name):
    nmp("files", "filesets", "create", name)
    (nmp.cwd / "data").mkdir(exist_ok=True)
    for file in ("a.txt", "b.txt"):
        (nmp.cwd / "data" / file).write_text(f"content of {file}")
    up = nmp("files", "upload", "data/", name, "--remote-path", "in/")
    assert up.code == 0, up
    listed = nmp("files", "list", name, "-f", "json").json
    assert sorted(one["path"] for one in (listed["data"] if isinstance(listed, dict) else listed)) == ["in/a.txt", "in/b.txt"]
    down = nmp("files", "download", name, "--remote-path", "in/", "-o", f"back-{name}/")
    assert down.code == 0, down
    assert sorted(file.read_text() for file in (nmp.cwd / f"back-{name}").rglob("*.txt")) == ["content of a.txt", "content of b.txt"]
    assert nmp("files", "delete", name, "--remote-path", "in/a.txt").code == 0
    assert "in/a.txt" not in nmp("files", "list", name).out


def test_an_upload_without_a_fileset_makes_one(nmp):
    (nmp.cwd / "alone.txt").write_text("x")
    up = nmp("files", "upload", "alone.txt")
    assert up.code == 0, up
    assert any(name.startswith("fileset-") and name in up.out + up.err for name in names(nmp("files", "filesets", "list")))


def test_providers(nmp, stack, name):
    made = nmp(
        "inference", "providers", "create", name, "--host-url", stack.sim.url, "--api-key-secret-name", "sim-key",
        "--enabled-models", SERVED, "--enabled-models", "another/model", "--default-extra-body", '{"temperature": 0.5}',
        "--required-extra-headers", '{"X-Team": "a"}', "--description", "first",
    ).json  # fmt: skip
    assert made["enabled_models"] == [SERVED, "another/model"] and made["required_extra_headers"] == {"X-Team": "a"}
    again = nmp("inference", "providers", "create", name, "--host-url", "http://127.0.0.1:1", "--exist-ok").json
    assert again["host_url"] == stack.sim.url
    assert nmp("inference", "providers", "get", name).json["id"] == made["id"]
    assert nmp("wait", "inference", "provider", name, "--timeout", "20").code == 0
    found = nmp("inference", "providers", "list", "--filter.status", "READY", "--filter.name", name)
    assert names(found) == [name]
    replaced = nmp("inference", "providers", "update", name, "--host-url", stack.sim.url).json
    assert replaced["description"] is None and not replaced["enabled_models"]
    told = nmp("inference", "providers", "update-status", name, "--status", "PENDING", "--status-message", "by hand").json
    assert (told["status"], told["status_message"]) == ("PENDING", "by hand")
    assert removed(nmp("inference", "providers", "delete", name))
    assert not_found(nmp("inference", "providers", "get", name))


def parts(gpu):
    executor = {**PARTS["executor_config"], "gpu": gpu}
    return ("--engine", "nim", "--model-spec", json.dumps(PARTS["model_spec"]), "--executor-config", json.dumps(executor))


def test_deployment_configs(nmp, name):
    made = nmp("inference", "deployment-configs", "create", name, "--description", "first", *parts(1)).json
    assert (made["entity_version"], made["description"]) == (1, "first")
    assert nmp("inference", "deployment-configs", "get", name).json == made
    second = nmp("inference", "deployment-configs", "update", name, *parts(2)).json
    assert (second["entity_version"], second["executor_config"]["gpu"]) == (2, 2)
    assert names(nmp("inference", "deployment-configs", "list", "--filter.name", name)) == [name]
    listed = nmp("inference", "deployment-configs", "versions", "list", name).json
    assert [one["entity_version"] for one in (listed["data"] if isinstance(listed, dict) else listed)] == [2, 1]
    assert nmp("inference", "deployment-configs", "versions", "get", "1", "--config", name).json == made
    assert removed(nmp("inference", "deployment-configs", "versions", "delete", "1", "--config", name))
    assert removed(nmp("inference", "deployment-configs", "delete", name))
    assert not_found(nmp("inference", "deployment-configs", "get", name))


def test_a_deployment_config_comes_from_a_file_or_a_pipe(nmp, name):
    body = {"name": name, **PARTS}
    (nmp.cwd / "config.json").write_text(json.dumps(body))
    assert nmp("inference", "deployment-configs", "create", name, "--input-file", "config.json").json["engine"] == "nim"
    piped = nmp("inference", "deployment-configs", "create", f"{name}-2", "--input-file", "-", input=json.dumps(PARTS))
    assert piped.json["name"] == f"{name}-2"
    given = nmp("inference", "deployment-configs", "create", f"{name}-3", "--input-data", json.dumps(PARTS), "--engine", "nim")
    assert given.json["name"] == f"{name}-3"


def test_virtual_models(nmp, name):
    made = nmp("inference", "virtual-models", "create", name, "--default-model-entity", PUBLIC).json
    assert (made["default_model_entity"], made["autoprovisioned"]) == (PUBLIC, False)
    assert nmp("inference", "virtual-models", "get", name).json == made
    changed = nmp("inference", "virtual-models", "patch", name, "--models", json.dumps([{"model": PUBLIC}])).json
    assert changed["models"][0]["model"] == PUBLIC
    assert name in names(nmp("inference", "virtual-models", "list", "--exclude-autoprovisioned"))
    assert removed(nmp("inference", "virtual-models", "delete", name))
    assert not_found(nmp("inference", "virtual-models", "get", name))


def test_prompts(nmp, name):
    messages = json.dumps([{"role": "user", "content": "{{question}}"}])
    made = nmp("inference", "prompts", "create", name, "--messages", messages, "--tags", "a").json
    assert made["messages"] == [{"role": "user", "content": "{{question}}"}] and made["tags"] == ["a"]
    assert nmp("inference", "prompts", "get", name).json == made
    assert names(nmp("inference", "prompts", "list", "--filter.name", name)) == [name]
    assert nmp("inference", "prompts", "update", name, "--description", "second").json["description"] == "second"
    assert removed(nmp("inference", "prompts", "delete", name))
    assert not_found(nmp("inference", "prompts", "get", name))
