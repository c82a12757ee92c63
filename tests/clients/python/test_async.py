"""The asynchronous client: many calls at once, and tasks that are cancelled."""

import asyncio

import pytest
from conftest import async_sdk, said
from stack import eventually

pytestmark = pytest.mark.anyio


async def test_many_chats_at_once_do_not_mix(stack, route):
    async with async_sdk(stack, route.path) as client:

        async def ask(n: int) -> str:
            stream = await client.chat.completions.create(
                model=route.model, messages=said(f"number {n}"), stream=n % 2 == 0
            )
            if n % 2:
                return stream.choices[0].message.content
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

        answers = await asyncio.gather(*(ask(n) for n in range(50)))
    assert answers == [f"You said: number {n}" for n in range(50)]


@pytest.mark.parametrize("fault", ["hang", "tokens=100000,token-ms=20", "silent-ms=60000"])
async def test_a_cancelled_task_frees_the_upstream(stack, route, fault, token):
    def outcome_is(wanted: str):
        return asyncio.to_thread(eventually, wanted, lambda: stack.sim.outcome(token) == wanted)

    async with async_sdk(stack, route.path) as client:

        async def ask():
            stream = await client.chat.completions.create(
                model=route.model, messages=said(f"[[sim: {fault}]] {token}"), stream=True
            )
            async for _ in stream:
                pass

        task = asyncio.create_task(ask())
        await outcome_is("open")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await outcome_is("client_left")
