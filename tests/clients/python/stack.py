"""A real gateway in front of a simulated model server, both as processes, for the tests of one session.

Nothing here knows the SDK: what it sets up is set up with nimgate's own commands.
"""

import base64
import json
import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BINARIES = Path(os.environ.get("NIMGATE_BIN_DIR", ROOT / "target" / "debug"))
DEADLINE_S = 30
SIM_KEY = "sim-key-for-the-upstream"
# The upstream's id, and what the gateway makes of it.
SERVED = "sim/echo-8b"
NAME = "sim-echo-8b"
PUBLIC = f"default/{NAME}"


def binary(name: str) -> str:
    path = BINARIES / name
    if not path.is_file():
        raise SystemExit(f"{path} is not built; run: cargo build -p {name} (tests/run does it for you)")
    return str(path)


def eventually(what: str, probe):
    """Polls until probe gives something true; gives that."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.01)


class Process:
    """A child process whose output is kept."""

    def __init__(self, args: list[str], env: dict[str, str], cwd: str):
        self.child = subprocess.Popen(
            args, env=env, cwd=cwd, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.printed = ""
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self):
        for line in self.child.stdout:
            self.printed += line

    def find(self, pattern: str) -> str:
        """Waits until a line matches; gives the first group."""

        def probe():
            found = re.search(pattern, self.printed, re.MULTILINE)
            assert found or self.child.poll() is None, f"it ended:\n{self.printed}"
            return found

        return eventually(f"{pattern!r} in the output", probe).group(1)

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Sim:
    """The simulated model server's control side."""

    def __init__(self, url: str):
        self.url = url

    def stream(self, prompt: str) -> bytes:
        """A streamed chat as the server sends it, byte for byte."""
        body = {"model": SERVED, "messages": [{"role": "user", "content": prompt}], "stream": True}
        headers = {"content-type": "application/json", "authorization": f"Bearer {SIM_KEY}"}
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as reply:
            return reply.read()

    def forget(self):
        """Forgets what it received, so that looking is quick."""
        request = urllib.request.Request(f"{self.url}/__sim/requests", method="DELETE")
        urllib.request.urlopen(request, timeout=DEADLINE_S).close()

    def received(self, words: str) -> list[dict]:
        """The requests whose body holds these words, oldest first."""
        with urllib.request.urlopen(f"{self.url}/__sim/requests", timeout=DEADLINE_S) as reply:
            return [one for one in json.load(reply) if words.encode() in base64.b64decode(one["body"])]

    def outcome(self, words: str) -> str | None:
        """How the only request with these words ended: open, answered, cut or client_left."""
        outcomes = [one["outcome"] for one in self.received(words)]
        assert len(outcomes) <= 1, outcomes
        return outcomes[0] if outcomes else None


class Stack:
    """The processes, and the addresses to talk to."""

    def __init__(self, folder: str, runtime: str):
        self.folder = folder
        self.env = {"HOME": folder, "PATH": os.environ.get("PATH", ""), "NIMGATE_RUNTIME": runtime}
        self.processes: list[Process] = []
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        sim = self.start(binary("nim-sim"), "--listen", "127.0.0.1:0", "--model", SERVED, "--api-key", SIM_KEY)
        self.sim = Sim(sim.find(r"(http://\S+)$"))
        self.nimgate("keygen", "--file", "master.key")
        gateway = self.start(
            binary("nimgate"), "up", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
            "--data-dir", "data", "--master-key-file", "master.key",
        )  # fmt: skip
        self.url = gateway.find(r"^ +API +(http://[0-9.:]+) ")
        self.nimgate("secret", "create", "sim-key", "--url", self.url, input=SIM_KEY)
        self.add_provider("sim", "--secret", "sim-key")

    def start(self, *args: str) -> Process:
        process = Process(list(args), self.env, self.folder)
        self.processes.append(process)
        return process

    def nimgate(self, *args: str, input: str = "") -> str:
        """Runs one of nimgate's commands to its end."""
        done = self._run(*args, input=input)
        assert done.returncode == 0, f"{args}: {done.stdout}{done.stderr}"
        return done.stdout

    def _run(self, *args: str, input: str = "") -> subprocess.CompletedProcess:
        return subprocess.run(
            [binary("nimgate"), *args], env=self.env, cwd=self.folder, input=input,
            text=True, capture_output=True, timeout=DEADLINE_S,
        )  # fmt: skip

    def add_provider(self, name: str, *flags: str):
        self.nimgate("provider", "create", name, "--url", self.sim.url, "--gateway-url", self.url, *flags)

    def add_unusable_provider(self, name: str, url: str, *flags: str):
        """One whose models can't be learned: the command says so, and its route is there all the same."""
        done = self._run("provider", "create", name, "--url", url, "--gateway-url", self.url, "--wait-s", "0", *flags)
        assert "created" in done.stdout + done.stderr, done

    def stop(self):
        for process in reversed(self.processes):
            process.stop()


@contextmanager
def running(runtime: str = "none"):
    """A stack for as long as the block lasts, with what its deployments run on."""
    # A short name: a Unix socket goes into the folder.
    with tempfile.TemporaryDirectory(prefix="nimgate-py-") as folder:
        stack = Stack(folder, runtime)
        try:
            yield stack
        finally:
            stack.stop()
