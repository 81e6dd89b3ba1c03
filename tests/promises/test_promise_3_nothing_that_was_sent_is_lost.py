"""Cancelling a call, a time limit, Ctrl-C or the end of an event loop loses no refresh that has been sent. (Your own
async function ends with its loop; its callers get an error.)"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.promises.helpers import PATIENCE, at_once, began, generations

from onerefresh import Credential, RefreshOutcomeUnknown, Token, WaitTimeout
from onerefresh.clients.httpx import BearerAuth
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer

if TYPE_CHECKING:
    from tests.promises.helpers import Program


async def sent(server: AuthServer) -> None:
    """The token is rotated, and the answer is on its way."""
    await asyncio.to_thread(server.wait_for, "token_sent")


def assert_not_lost(server: AuthServer, acme: Credential, first: Token) -> None:
    server.release("token_sent")
    assert generations(at_once([lambda: acme.token(refused=first)] * 5)) == {2}
    assert (server.counters.token_requests, server.session) == (1, "alive")


def test_calls_that_are_cancelled(auth_server: AuthServer, login: TokenEndpoint) -> None:
    async def main() -> None:
        async with httpx2.AsyncClient(auth=BearerAuth(acme, auth_server.url)) as client:
            calls = [asyncio.create_task(client.get(f"{auth_server.url}/api/items")) for _ in range(20)]
            await sent(auth_server)
            cancelled, others = calls[:10], calls[10:]
            for call in cancelled:
                call.cancel()
            gone = await asyncio.gather(*cancelled, return_exceptions=True)
            assert {type(one) for one in gone} == {asyncio.CancelledError}
            auth_server.release("token_sent")
            assert {answer.status_code for answer in await asyncio.gather(*others)} == {200}

    with Credential("acme", login, token=auth_server.issue()) as acme:
        first = acme.token()
        auth_server.revoke_access()
        auth_server.hold("token_sent")
        asyncio.run(main())
        assert_not_lost(auth_server, acme, first)


def test_the_only_call_that_is_cancelled(auth_server: AuthServer, login: TokenEndpoint) -> None:
    async def main() -> None:
        call = asyncio.create_task(acme.atoken(refused=first))
        await sent(auth_server)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    with Credential("acme", login, token=auth_server.issue()) as acme:
        first = acme.token()
        auth_server.hold("token_sent")
        asyncio.run(main())
        assert_not_lost(auth_server, acme, first)


def test_a_time_limit(auth_server: AuthServer, login: TokenEndpoint) -> None:
    async def main() -> None:
        with pytest.raises(WaitTimeout):
            await acme.atoken(refused=first, max_wait=0.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await acme.atoken(refused=first)

    with Credential("acme", login, token=auth_server.issue()) as acme:
        first = acme.token()
        auth_server.hold("token_sent")
        with pytest.raises(WaitTimeout):
            acme.token(refused=first, max_wait=0.0)
        auth_server.wait_for("token_sent")
        asyncio.run(main())
        assert_not_lost(auth_server, acme, first)


def test_the_end_of_an_event_loop(auth_server: AuthServer, login: TokenEndpoint) -> None:
    async def main() -> None:
        asking.append(asyncio.create_task(acme.atoken(refused=first)))
        await sent(auth_server)

    asking: list[asyncio.Task[Token]] = []
    with Credential("acme", login, token=auth_server.issue()) as acme:
        first = acme.token()
        auth_server.hold("token_sent")
        asyncio.run(main())
        assert asking[0].cancelled()
        assert_not_lost(auth_server, acme, first)


@pytest.mark.slow
def test_ctrl_c(auth_server: AuthServer, login: TokenEndpoint, url: str, start: Callable[[str], Program]) -> None:
    program = start("interrupted")
    with Credential("acme", login, store=url) as acme:
        first = acme.login(auth_server.issue())
        auth_server.hold("token_sent")
        began([program])
        auth_server.wait_for("token_sent")
        program.interrupt()
        assert program.told() == "interrupted"
        auth_server.release("token_sent")
        program.end()
        assert_not_lost(auth_server, acme, first)


def test_an_async_function_ends_with_its_loop_and_the_callers_are_told(
    auth_server: AuthServer, login: TokenEndpoint
) -> None:
    begun, joined = threading.Event(), threading.Event()

    async def refresh(_: Token) -> dict[str, object]:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def main() -> None:
        asking = asyncio.create_task(acme.atoken(refused=first))
        await asyncio.to_thread(joined.wait, PATIENCE)
        assert not asking.done()

    def ask() -> Token:
        assert begun.wait(PATIENCE)
        with pytest.raises(WaitTimeout):  # it waits for the same refresh, which has begun
            acme.token(refused=first, max_wait=0.0)
        joined.set()
        return acme.token(refused=first)

    acme = Credential("acme", refresh, token=auth_server.issue())
    first = acme.token()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(ask)
        asyncio.run(main())
        with pytest.raises(RefreshOutcomeUnknown, match="event loop"):
            other.result(PATIENCE)
