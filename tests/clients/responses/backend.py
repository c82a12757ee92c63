"""The back end's side of a test: what it is to say next, word for word, and what it was asked.

The back end is nim-sim, a simulation: no model is behind it.
"""

import base64
import json
import urllib.request

from stack import DEADLINE_S


class Backend:
    def __init__(self, url: str):
        self.url = url

    def _control(self, method: str, path: str, body=None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/__sim/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.read()

    def say(self, *replies: dict):
        """Lines up replies; each is used once."""
        self._control("PUT", "script", list(replies))

    def unsaid(self) -> int:
        return json.loads(self._control("GET", "script"))["waiting"]

    def forget(self):
        self._control("DELETE", "requests")
        self._control("DELETE", "script")

    def received(self) -> list[dict]:
        """The chat requests, oldest first."""
        requests = json.loads(self._control("GET", "requests"))
        return [one for one in requests if one["target"].endswith("/chat/completions")]

    def asked(self) -> list[dict]:
        """Their bodies."""
        return [json.loads(base64.b64decode(one["body"])) for one in self.received()]

    def outcome(self) -> str | None:
        """How the last request ended: open, answered, cut or client_left."""
        received = self.received()
        return received[-1]["outcome"] if received else None


USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def whole(message: dict, finish: str = "stop", **members) -> dict:
    """A plain answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    return {"body": {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "upstream/name",
                     "choices": [choice], "usage": USAGE, **members}}  # fmt: skip


def chunk(delta: dict, finish: str | None = None, **members) -> dict:
    """One event of a streamed answer."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"data": {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream/name",
                     "choices": [choice], **members}}  # fmt: skip


def streamed(*deltas: dict, finish: str = "stop") -> dict:
    """A streamed answer that ends well."""
    usage = {"data": {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream/name",
                      "choices": [], "usage": USAGE}}  # fmt: skip
    opening = chunk({"role": "assistant", "content": ""})
    return {"events": [opening, *(chunk(delta) for delta in deltas), chunk({}, finish), usage, "done"]}


def texts(*pieces: str) -> dict:
    """A streamed answer of text alone."""
    return streamed(*({"content": piece} for piece in pieces))


def call(name: str, arguments, call_id: str = "call_1") -> dict:
    """A message that calls one function."""
    function = {"name": name, "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)}
    return {"tool_calls": [{"id": call_id, "type": "function", "function": function}]}


def called(name: str, arguments, call_id: str = "call_1", index: int = 0) -> list[dict]:
    """The deltas of one call: its name first, then its arguments in pieces."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    opening = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
    return [{"tool_calls": [opening]}] + [
        {"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces
    ]
