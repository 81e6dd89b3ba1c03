"""While nothing fails, one token request for each new token, for all callers in all processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import aiohttp
import httpx2
import pytest
import requests
import trio
from tests.promises.helpers import PATIENCE, Kept, at_once, began, generations

from onerefresh import Credential, Credentials
from onerefresh.clients import aiohttp as for_aiohttp
from onerefresh.clients import httpx as for_httpx
from onerefresh.clients import requests as for_requests
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer

if TYPE_CHECKING:
    from tests.promises.helpers import Program

CALLS = 25
Caller = Callable[[Credential, str], list[int]]


def threads_with_requests(acme: Credential, origin: str) -> list[int]:
    with requests.Session() as session:
        session.auth = for_requests.BearerAuth(acme, origin)
        told = at_once([lambda: session.get(f"{origin}/api/items").status_code] * CALLS)
    return [one for one in told if isinstance(one, int)]


def tasks_with_httpx(acme: Credential, origin: str) -> list[int]:
    async def main() -> list[int]:
        async with httpx2.AsyncClient(auth=for_httpx.BearerAuth(acme, origin)) as client:
            answers = await asyncio.gather(*(client.get(f"{origin}/api/items") for _ in range(CALLS)))
        return [answer.status_code for answer in answers]

    return asyncio.run(main())


def tasks_with_aiohttp(acme: Credential, origin: str) -> list[int]:
    async def status(session: aiohttp.ClientSession) -> int:
        async with session.get(f"{origin}/api/items") as answer:
            return answer.status

    async def main() -> list[int]:
        async with aiohttp.ClientSession(middlewares=[for_aiohttp.BearerAuth(acme, origin)]) as session:
            return await asyncio.gather(*(status(session) for _ in range(CALLS)))

    return asyncio.run(main())


def tasks_of_trio(acme: Credential, origin: str) -> list[int]:
    statuses: list[int] = []

    async def main() -> None:
        async with (
            httpx2.AsyncClient(auth=for_httpx.BearerAuth(acme, origin)) as client,
            trio.open_nursery() as nursery,
        ):

            async def call() -> None:
                statuses.append((await client.get(f"{origin}/api/items")).status_code)

            for _ in range(CALLS):
                nursery.start_soon(call)

    trio.run(main)
    return statuses


CALLERS: list[Caller] = [threads_with_requests, tasks_with_httpx, tasks_with_aiohttp, tasks_of_trio]


@pytest.mark.seconds
@pytest.mark.parametrize("calls", CALLERS, ids=lambda calls: calls.__name__)
def test_many_calls_of_one_client(auth_server: AuthServer, login: TokenEndpoint, calls: Caller) -> None:
    with Credential("acme", login, token=auth_server.issue()) as acme:
        for refreshes in (1, 2):
            auth_server.revoke_access()
            assert calls(acme, auth_server.url) == [200] * CALLS
            assert auth_server.counters.token_requests == refreshes


def test_many_calls_of_all_clients_at_once(auth_server: AuthServer, login: TokenEndpoint) -> None:
    with Credential("acme", login, token=auth_server.issue()) as acme:
        auth_server.revoke_access()
        told = at_once([lambda calls=calls: calls(acme, auth_server.url) for calls in CALLERS])  # type: ignore[misc]  # bound now
    assert told == [[200] * CALLS] * len(CALLERS)
    assert auth_server.counters.token_requests == 1


def test_objects_of_one_name_on_one_store(auth_server: AuthServer, login: TokenEndpoint, url: str) -> None:
    with Credentials(login, store=url) as many, Credential("acme", login, store=url) as one:
        first = one.login(auth_server.issue())
        askers = [one, many["acme"]] * 10
        told = at_once([lambda acme=acme: acme.token(refused=first) for acme in askers])  # type: ignore[misc]  # bound now
    assert generations(told) == {2}
    assert auth_server.counters.token_requests == 1


def test_users_of_one_store_who_know_nothing_of_each_other(auth_server: AuthServer, login: TokenEndpoint) -> None:
    stores = [Kept()]
    stores += [Kept(stores[0]) for _ in range(3)]
    holder, *others = (Credential("acme", login, store=store) for store in stores)
    first = holder.login(auth_server.issue())
    assert [acme.token().identity for acme in others] == [first.identity] * 3
    auth_server.hold("token")
    with ThreadPoolExecutor(4) as pool:
        told = [pool.submit(holder.token, refused=first)]
        auth_server.wait_for("token")
        told += [pool.submit(acme.token, refused=first) for acme in others]
        assert all(store.waited.wait(PATIENCE) for store in stores[1:])
        auth_server.release("token")
        assert {one.result(PATIENCE).generation for one in told} == {2}
    assert auth_server.counters.token_requests == 1


@pytest.mark.slow
def test_several_processes(
    auth_server: AuthServer, login: TokenEndpoint, url: str, start: Callable[[str], Program]
) -> None:
    programs = [start("calls") for _ in range(3)]
    with Credential("acme", login, store=url) as acme:
        acme.login(auth_server.issue())
    auth_server.revoke_access()
    assert [program.told() for program in began(programs)] == [[200] * 10] * 3
    assert auth_server.counters.token_requests == 1
    for program in programs:
        program.end()
