"""The stock Codex command line: runs a shell command and applies a patch, as a back end that speaks Chat Completions
alone tells it to."""

import os
import subprocess
from pathlib import Path

import pytest
import stack as stack_module
from backend import called, chunk, streamed, texts
from conftest import ROUTES

CODEX = Path(__file__).parent / "codex" / "node_modules" / ".bin" / "codex"
PATCH = "*** Begin Patch\n*** Add File: hello.txt\n+from the patch\n*** End Patch\n"


class Codex:
    def __init__(self, url: str, folder: Path):
        self.home, self.work = folder / "home", folder / "work"
        self.home.mkdir()
        self.work.mkdir()
        # A name that Codex knows, so that it offers its tool for patches. The provider has a pinned model.
        (self.home / "config.toml").write_text(f"""
model = "gpt-5.5"
model_provider = "nimgate"
[model_providers.nimgate]
name = "nimgate"
base_url = "{url}"
wire_api = "responses"
env_key = "NIMGATE_KEY"
request_max_retries = 0
stream_max_retries = 0
""")

    def run(self, prompt: str) -> subprocess.CompletedProcess:
        env = {"HOME": str(self.home), "CODEX_HOME": str(self.home), "NIMGATE_KEY": "client-key", "PATH": os.environ["PATH"]}
        flags = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        return subprocess.run(
            [str(CODEX), "exec", *flags, prompt], env=env, cwd=self.work, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=4 * stack_module.DEADLINE_S,
        )  # fmt: skip


@pytest.fixture
def codex(stack, tmp_path):
    assert CODEX.exists(), f"npm ci in {CODEX.parents[2]} puts it there; tests/run does it for you"
    return Codex(stack.url + ROUTES["provider"][0], tmp_path)


def test_it_answers(codex, backend):
    backend.say(texts("Hello from", " the back end."))
    done = codex.run("say hello")
    assert done.returncode == 0, done.stderr
    assert "Hello from the back end." in done.stdout


def test_it_runs_a_command_and_tells_the_model_what_came_out(codex, backend):
    command = {"cmd": "echo made by the shell > shell.txt && cat shell.txt"}
    backend.say(streamed(*called("exec_command", command), finish="tool_calls"), texts("Done."))
    done = codex.run("make a file")
    assert done.returncode == 0, done.stderr
    assert (codex.work / "shell.txt").read_text() == "made by the shell\n"
    told = backend.asked()[1]["messages"][-1]
    assert (told["role"], told["tool_call_id"]) == ("tool", "call_1")
    assert "made by the shell" in told["content"]


def test_it_applies_a_patch(codex, backend):
    backend.say(streamed(*called("apply_patch", {"input": PATCH}), finish="tool_calls"), texts("Done."))
    done = codex.run("make a file")
    assert done.returncode == 0, done.stderr
    assert (codex.work / "hello.txt").read_text() == "from the patch\n"
    replayed = backend.asked()[1]["messages"][-2]
    assert replayed["tool_calls"][0]["function"]["name"] == "apply_patch"


def test_an_image_that_it_looks_at_comes_after_the_tools_outputs(codex, backend):
    pixel = bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d49444154789c6360000000000400010d0a2db40000000049454e44ae426082"
    )
    (codex.work / "pixel.png").write_bytes(pixel)
    view = {"path": str(codex.work / "pixel.png")}
    backend.say(streamed(*called("view_image", view), finish="tool_calls"), texts("A pixel."))
    done = codex.run("look at pixel.png")
    assert done.returncode == 0, done.stderr
    roles = [message["role"] for message in backend.asked()[1]["messages"]]
    assert roles[-2:] in (["tool", "user"], ["assistant", "tool"]), roles


def test_a_call_of_a_cut_answer_is_not_run(codex, backend):
    command = {"cmd": "touch must-not-be-there"}
    deltas = [chunk(delta) for delta in called("exec_command", command)]
    backend.say({"events": [*deltas, "cut"]})
    done = codex.run("make a file")
    assert done.returncode != 0
    assert not (codex.work / "must-not-be-there").exists()
