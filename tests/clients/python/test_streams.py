"""A cut stream raises; a client that leaves frees the upstream."""

import openai
import pytest
from conftest import said
from stack import eventually


def cut_stream(client, route, fault: str) -> list:
    """The chunks that came before the exception; there must be one."""
    chunks = []
    with pytest.raises(Exception) as caught:
        stream = client.chat.completions.create(
            model=route.model, messages=said(f"[[sim: tokens=100,{fault}]] hi"), stream=True
        )
        chunks.extend(stream)
    assert all(choice.finish_reason is None for chunk in chunks for choice in chunk.choices)
    return [*chunks, caught.value]


@pytest.mark.parametrize("how", ["cut-after", "reset-after"])
def test_a_stream_cut_between_frames_is_an_error_of_the_sdk(client, route, stack, how):
    frames = stack.sim.stream("[[sim: tokens=100]] hi").split(b"\n\n")
    border = len(b"\n\n".join(frames[:5])) + 2
    *chunks, error = cut_stream(client, route, f"{how}={border}")
    assert isinstance(error, openai.APIError), repr(error)
    # A reset may overtake bytes that were sent before it.
    assert len(chunks) == 5 or how == "reset-after"


@pytest.mark.parametrize("fault", ["cut-after=0", "reset-after=0"])
def test_a_stream_cut_before_its_first_frame_is_an_error_of_the_sdk(client, route, fault):
    error = cut_stream(client, route, fault)[-1]
    assert isinstance(error, openai.APIError), repr(error)


@pytest.mark.parametrize("fault", ["cut-after=600", "reset-after=600", "cut-utf8"])
def test_a_stream_cut_inside_a_frame_raises_and_never_looks_finished(client, route, fault):
    cut_stream(client, route, fault)


def test_an_answer_cut_in_its_middle_raises(client, route):
    with pytest.raises(openai.APIError):
        client.chat.completions.create(model=route.model, messages=said("[[sim: cut-after=60]] hi"))


@pytest.mark.parametrize("form", ["crlf,comments", "split=3", "split=7,drip-ms=1"])
def test_frames_of_any_form_are_understood(client, route, form):
    stream = client.chat.completions.create(model=route.model, messages=said(f"[[sim: {form}]] grüezi"), stream=True)
    text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert text.strip() == "You said: grüezi"


def test_a_stream_without_its_end_mark_passes_as_it_is(client, route):
    stream = client.chat.completions.create(model=route.model, messages=said("[[sim: no-done]] hi"), stream=True)
    assert len(list(stream)) > 1


def test_leaving_a_stream_frees_the_upstream(client, route, stack, token):
    prompt = f"[[sim: tokens=100000,token-ms=20]] {token}"
    stream = client.chat.completions.create(model=route.model, messages=said(prompt), stream=True)
    next(iter(stream))
    assert stack.sim.outcome(token) == "open"
    stream.close()
    eventually("the upstream sees it", lambda: stack.sim.outcome(token) == "client_left")


def test_giving_up_on_an_answer_frees_the_upstream(client, route, stack, token):
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model=route.model, messages=said(f"[[sim: hang]] {token}"), timeout=0.3)
    eventually("the upstream sees it", lambda: stack.sim.outcome(token) == "client_left")
