"""The `nmp` command as people use it: settings, chat, addresses, formats, errors."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cli import Cli
from stack import DEADLINE_S, NAME, PUBLIC, SERVED, SIM_KEY

pytestmark = pytest.mark.current


def test_settings_are_kept_in_the_file_that_was_named(stack, tmp_path):
    nmp = Cli(tmp_path)
    assert "Configuration updated for context 'default'" in nmp("config", "set", "--base-url", stack.url, "--workspace", "w1").out
    other = nmp("config", "set", "--context", "other", "--base-url", stack.url, "--workspace", "w2")
    assert "Configuration updated for context 'other'" in other.out
    assert nmp("config", "current-context").out.strip() == "other"
    assert nmp("config", "use-context", "default").code == 0
    assert nmp("config", "current-context").out.strip() == "default"
    assert nmp("config", "view").json["contexts"][0]["workspace"] == "w1"
    every = nmp("config", "view", "--all-contexts").json
    assert [one["workspace"] for one in every["contexts"]] == ["w1", "w2"]
    assert yaml.safe_load((tmp_path / "nmp.yaml").read_text())["clusters"][0]["base_url"].rstrip("/") == stack.url


def test_the_environment_and_flags_come_before_the_file(stack, tmp_path):
    nmp = Cli(tmp_path)
    nmp("config", "set", "--base-url", "http://127.0.0.1:1", "--workspace", "default")
    assert nmp("workspaces", "get", "default", env={"NMP_BASE_URL": stack.url}).json["name"] == "default"
    assert nmp("--base-url", stack.url, "workspaces", "get", "default").json["name"] == "default"
    url = nmp("inference", "get-url", env={"NMP_BASE_URL": stack.url, "NMP_WORKSPACE": "w9"}).out
    assert url.strip() == f"{stack.url}/apis/inference-gateway/v2/workspaces/w9/openai/-/v1"
    shown = nmp("workspaces", "get", "default", env={"NMP_BASE_URL": stack.url, "NMP_OUTPUT_FORMAT": "yaml"})
    assert yaml.safe_load(shown.out)["name"] == "default"


def test_both_installed_commands_start(nmp):
    """As from a shell; all other tests save the time it takes to start."""
    for command in ("nmp", "nemo"):
        args = [str(Path(sys.executable).with_name(command)), "workspaces", "get", "default"]
        done = subprocess.run(args, env=nmp.env, text=True, capture_output=True, timeout=DEADLINE_S)
        assert done.returncode == 0 and json.loads(done.stdout)["name"] == "default", done


def test_setup_finds_the_platform_and_registers_a_provider(stack, tmp_path, name):
    nmp = Cli(tmp_path)
    nmp("config", "set", "--base-url", stack.url)
    nmp("workspaces", "create", name)
    # It makes the provider's name out of the host's, which has to begin with a letter.
    url = stack.sim.url.replace("127.0.0.1", "localhost")
    found = {"NEMO_DEFAULT_INFERENCE_KEY": SIM_KEY, "NEMO_DEFAULT_INFERENCE_BASE_URL": url, "NEMO_DEFAULT_MODEL": SERVED}
    flags = ("--no-start-services", "--no-install-skills", "--no-deploy-agent")
    done = nmp("setup", "--auto", "--workspace", name, *flags, env=found)
    assert done.code == 0 and "✓ Platform reachable" in done.err and "✓ Setup complete!" in done.err, done
    assert f"✓ Default model: {SERVED}" in done.err
    assert nmp("inference", "providers", "get", "localhost", "--workspace", name).json["status"] == "READY"
    assert nmp("chat", NAME, "Hello there", "--workspace", name).out == "You said: Hello there\n"


def test_a_token_changes_nothing_without_authentication(nmp):
    assert nmp("workspaces", "get", "default", env={"NMP_ACCESS_TOKEN": "any"}).json["name"] == "default"


@pytest.mark.parametrize("model", [NAME, PUBLIC])
def test_chat_prints_the_reply(nmp, model):
    assert nmp("chat", model, "Hello there").out == "You said: Hello there\n"


def test_chat_through_a_provider_takes_the_upstreams_name(nmp):
    assert nmp("chat", SERVED, "Hello there", "--provider", "sim").out == "You said: Hello there\n"


def test_chat_takes_a_prompt_from_a_pipe(nmp):
    assert nmp("chat", PUBLIC, input="Hello pipe").out == "You said: Hello pipe\n"


def test_chat_gives_json(nmp, stack, name):
    settings = ("--temperature", "0.5", "--max-tokens", "50", "--system-message", "Be kind.")
    said = nmp("chat", PUBLIC, name, "-f", "json", *settings).json
    assert said["content"] == f"You said: {name}" and said["model"] == PUBLIC
    assert said.keys() == {"content", "thinking", "model", "usage"}
    (received,) = stack.sim.received(name)
    body = json.loads(base64.b64decode(received["body"]))
    assert (body["model"], body["temperature"], body["max_tokens"]) == (SERVED, 0.5, 50)
    assert body["messages"][0] == {"role": "system", "content": "Be kind."}


def test_chat_with_nobody_says_what_is_wrong(nmp):
    said = nmp("chat", "nobody", "Hello")
    assert said.code == 1 and said.err.startswith("Not found: (404)") and "nobody" in said.err


def test_addresses_are_printed(nmp, stack):
    routes = f"{stack.url}/apis/inference-gateway/v2/workspaces/default"
    assert nmp("inference", "get-url").out.strip() == f"{routes}/openai/-/v1"
    assert nmp("inference", "get-url", "--provider", "sim").out.strip() == f"{routes}/provider/sim/-"
    assert nmp("inference", "get-url", "--virtual-model", NAME).out.strip() == f"{routes}/model/{NAME}/-"


def test_the_gateways_models_are_listed(nmp):
    for listed in (nmp("inference", "models", "list"), nmp("inference", "gateway", "openai", "v1", "models", "list")):
        assert PUBLIC in [one["id"] for one in listed.json["data"]]
    assert nmp("inference", "models", "get", NAME).json["id"] == PUBLIC
    assert nmp("inference", "gateway", "openai", "v1", "models", "get", PUBLIC).json["id"] == PUBLIC


ASK = json.dumps({"model": SERVED, "messages": [{"role": "user", "content": "Hello"}]})


def test_requests_go_to_a_model(nmp):
    reply = nmp("inference", "gateway", "model", "post", "v1/chat/completions", NAME, "--body", ASK).json
    assert reply["choices"][0]["message"]["content"] == "You said: Hello"
    assert nmp("inference", "gateway", "model", "get", "echo/a", "--name", NAME).json["target"] == "/echo/a"
    for changed in (
        nmp("inference", "gateway", "model", "put", "echo/a", NAME, "--body", "{}"),
        nmp("inference", "gateway", "model", "patch", "echo/a", "--name", NAME, "--body", "{}"),
        nmp("inference", "gateway", "model", "delete", "echo/a", "--name", NAME),
    ):
        assert changed.code == 0, changed


def test_requests_go_to_a_provider(nmp):
    reply = nmp("inference", "gateway", "provider", "post", "v1/chat/completions", "sim", "--body", ASK).json
    assert reply["choices"][0]["message"]["content"] == "You said: Hello"
    assert nmp("inference", "gateway", "provider", "get", "echo/a", "--name", "sim").json["target"] == "/echo/a"
    for changed in (
        nmp("inference", "gateway", "provider", "put", "echo/a", "sim", "--body", "{}"),
        nmp("inference", "gateway", "provider", "patch", "echo/a", "--name", "sim", "--body", "{}"),
        nmp("inference", "gateway", "provider", "delete", "echo/a", "--name", "sim"),
    ):
        assert changed.code == 0, changed


def test_readiness_is_told_and_waited_for(nmp):
    assert nmp("inference", "gateway", "provider", "ready", "sim").json["ready"] is True
    waited = nmp("wait", "inference", "provider", "sim", "--timeout", "20", "--poll-interval", "1")
    assert waited.code == 0 and "Gateway is ready!" in waited.out
    missing = nmp("wait", "inference", "provider", "nobody", "--timeout", "1")
    assert missing.code == 1 and "Gateway timeout" in missing.out


@pytest.mark.parametrize("format", ["json", "yaml", "table", "markdown", "csv"])
def test_lists_are_printed_in_each_format(nmp, format):
    shown = nmp("-f", format, "inference", "providers", "list", "--filter.name", "sim")
    assert shown.code == 0 and "sim" in shown.out, shown


def test_all_pages_are_fetched_on_request(nmp, name):
    nmp("workspaces", "create", name)
    for number in range(3):
        nmp("secrets", "create", f"s-{number}", "--value", "x", "--workspace", name)
    one = nmp("secrets", "list", "--page-size", "2", "--workspace", name, "-f", "json")
    assert len(one.json["data"]) == 2
    every = nmp("secrets", "list", "--page-size", "2", "--all-pages", "--workspace", name, "-f", "json")
    assert sorted(item["name"] for item in every.json["data"]) == ["s-0", "s-1", "s-2"]


@pytest.mark.parametrize("filter", ['{"name": "sim"}', '{"name": {"$like": "im"}}', 'name:"sim"', 'name~"si" AND name<"sin"'])
def test_filters_are_taken_in_each_spelling(nmp, filter):
    listed = nmp("inference", "providers", "list", "--filter", filter)
    assert "sim" in [one["name"] for one in listed.json["data"]], listed


def test_errors_show_status_detail_and_what_to_do(nmp, name):
    missing = nmp("inference", "providers", "get", "nope")
    assert missing.code == 1
    assert missing.err.startswith("Not found: (404) Model provider not found: default/nope") and "Hint:" in missing.err
    nmp("secrets", "create", name, "--value", "x")
    twice = nmp("secrets", "create", name, "--value", "x")
    assert twice.code == 1 and twice.err.startswith("Conflict: (409)") and "already exists" in twice.err
    bad = nmp("inference", "providers", "create", name, "--host-url", "http://127.0.0.1:1", "--api-key-secret-name", "nope")
    assert bad.code == 1 and bad.err.startswith("Bad request: (400)") and "nope" in bad.err
    invalid = nmp("secrets", "create", "x y", "--value", "x")
    assert invalid.code == 1 and invalid.err.startswith("API error: (422)") and "name" in invalid.err
    usage = nmp("inference", "providers", "create", name)
    assert usage.code == 2 and "--host-url" in usage.err
