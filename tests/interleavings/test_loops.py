"""Loops within loops."""

from __future__ import annotations

import asyncio

import trio
from tests.core.calls import Refresher, expired, in_threads

from onerefresh import Credential, Token


def test_a_blocking_refresher_may_run_a_loop_of_its_own_while_loops_wait_for_it() -> None:
    refresher = Refresher()

    def refresh(token: Token) -> dict[str, object]:
        return asyncio.run(refresher.on_a_loop(token))

    credential = Credential("acme", refresh, token=expired())

    async def many() -> list[Token]:
        return list(await asyncio.gather(*(credential.atoken() for _ in range(20))))

    tokens = in_threads([lambda: asyncio.run(many())] * 3)
    assert {token.generation for found in tokens for token in found} == {2}
    assert refresher.calls == 1


def test_a_task_may_run_another_loop_in_a_thread_and_wait_for_the_same_refresh() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())

    async def outer() -> list[Token]:
        inner = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(credential.atoken())))
        within_trio = asyncio.create_task(asyncio.to_thread(lambda: trio.run(credential.atoken)))
        own = asyncio.create_task(credential.atoken())
        await asyncio.to_thread(refresher.wait_until_entered)
        refresher.leave.set()
        return [await own, await inner, await within_trio]

    assert [token.generation for token in asyncio.run(outer())] == [2, 2, 2]
    assert refresher.calls == 1


def test_trio_may_be_run_within_a_task_of_asyncio() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=expired())

    async def outer() -> Token:
        within: Token = trio.run(credential.atoken)
        assert (await credential.atoken()).identity == within.identity
        return within

    assert asyncio.run(outer()).generation == 2
    assert refresher.calls == 1


def test_asyncio_may_be_run_within_a_task_of_trio() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=expired())

    async def outer() -> Token:
        within = asyncio.run(credential.atoken())
        assert (await credential.atoken()).identity == within.identity
        return within

    assert trio.run(outer).generation == 2
    assert refresher.calls == 1
