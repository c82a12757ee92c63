"""The stock `nmp` command, each call in a process of its own.

The command's imports take longer than all else it does, so they are done once, in a server process that forks for
each call: what then runs is the package's entry point, unchanged, with its own arguments, environment and streams.
"""

import json
import multiprocessing
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from stack import DEADLINE_S

_COMMANDS = "nemo_platform.cli.commands."
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    ["__main__", "nemo_platform.cli.app", "nemo_platform.quickstart", "nemo_platform.config.config"]
    + ["nemo_platform_plugin.api.filters", "nemo_platform_plugin.refs", "nemo_platform_plugin.jobs.openapi_utils"]
    + [_COMMANDS + group for group in ("api.inference", "api.models", "api.files", "api.secrets", "api.workspaces")]
    + [_COMMANDS + group for group in ("config", "use_cases.chat", "use_cases.wait")]
)


@dataclass(frozen=True)
class Said:
    """What a call left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        assert self.code == 0, self
        return json.loads(self.out)


class Cli:
    def __init__(self, home: Path):
        """Everything it keeps goes below this folder."""
        self.cwd = home
        self.env = {"HOME": str(home), "PATH": os.defpath, "NMP_CONFIG_FILE": str(home / "nmp.yaml")}

    def __call__(self, *args: str, input: str = "", env: dict[str, str] | None = None) -> Said:
        """Runs one command to its end."""
        with tempfile.TemporaryDirectory(prefix="nmp-") as folder:
            streams = [Path(folder, name) for name in ("in", "out", "err")]
            streams[0].write_text(input)
            call = _forks.Process(target=_call, args=(args, {**self.env, **(env or {})}, self.cwd, streams))
            # The server that forks starts with the first call: it is not to know the caller's home either.
            with mock.patch.dict(os.environ, self.env):
                call.start()
            call.join(DEADLINE_S * 2)
            if call.exitcode is None:
                call.kill()
                call.join()
            out, err = (stream.read_text() if stream.exists() else "" for stream in streams[1:])
            return Said(call.exitcode, out, err)


def _call(args, env, cwd, streams):
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(opened, number)
    sys.stdin = open(0)
    sys.argv = ["nmp", *args]
    from nemo_platform.cli.app import cli

    cli()
