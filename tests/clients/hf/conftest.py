import json
import os
import urllib.request

import pytest
import stack as stack_module

FILES = {"config.json": b"{}", "sub folder/\u00fc.txt": "caf\u00e9".encode(), "weights.bin": os.urandom(3_000_000)}


def call(method: str, url: str, body: bytes, kind: str) -> None:
    request = urllib.request.Request(url, body, {"content-type": kind}, method=method)
    with urllib.request.urlopen(request, timeout=stack_module.DEADLINE_S) as answer:
        assert answer.status == 200


@pytest.fixture(scope="session")
def files():
    return FILES


@pytest.fixture(scope="session")
def endpoint():
    """A gateway with the fileset `default/weights`; gives what a puller sets as HF_ENDPOINT."""
    with stack_module.running() as stack:
        filesets = f"{stack.url}/apis/files/v2/workspaces/default/filesets"
        call("POST", filesets, json.dumps({"name": "weights"}).encode(), "application/json")
        for path, data in FILES.items():
            url = f"{filesets}/weights/-/{urllib.request.quote(path, safe='')}"
            call("PUT", url, data, "application/octet-stream")
        yield f"{stack.url}/apis/files/v2/hf"
