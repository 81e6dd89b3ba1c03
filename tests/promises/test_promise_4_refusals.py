"""A 401 for an old token causes no refresh. A 401 for a token that was just refreshed causes none either, with two
exceptions: once if the server may have repeated an older answer, and if the same URL had accepted this very token.
An API that refuses each token costs at most six early refreshes a minute, in all processes together. A call is
replayed at most once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import httpx2
import pytest
import requests
from tests.promises.helpers import PATIENCE, Kept, at_once

from onerefresh import Credential, policy
from onerefresh.clients import aiohttp as for_aiohttp
from onerefresh.clients import httpx as for_httpx
from onerefresh.clients import requests as for_requests
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer

CALLS = 20
Caller = Callable[[Credential, str, str], list[int]]


@pytest.fixture(autouse=True)
def pause_that_outlasts_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its pause a refused token may be refreshed again: on a busy machine in the middle of a test."""
    monkeypatch.setattr(policy, "FIRST_PAUSE", policy.LONGEST_PAUSE)


def named() -> list[dict[str, str]]:
    """A name for each call: the server's log has it."""
    return [{"X-Call": f"call {number}"} for number in range(CALLS)]


def with_requests(acme: Credential, origin: str, path: str) -> list[int]:
    with requests.Session() as session:
        session.auth = for_requests.BearerAuth(acme, origin)
        told = at_once([lambda name=name: session.get(origin + path, headers=name).status_code for name in named()])  # type: ignore[misc]  # bound now
    return [one for one in told if isinstance(one, int)]


def with_httpx(acme: Credential, origin: str, path: str) -> list[int]:
    async def main() -> list[int]:
        async with httpx2.AsyncClient(auth=for_httpx.BearerAuth(acme, origin)) as client:
            answers = await asyncio.gather(*(client.get(origin + path, headers=name) for name in named()))
        return [answer.status_code for answer in answers]

    return asyncio.run(main())


def with_aiohttp(acme: Credential, origin: str, path: str) -> list[int]:
    async def status(session: aiohttp.ClientSession, name: dict[str, str]) -> int:
        async with session.get(origin + path, headers=name) as answer:
            return answer.status

    async def main() -> list[int]:
        async with aiohttp.ClientSession(middlewares=[for_aiohttp.BearerAuth(acme, origin)]) as session:
            return await asyncio.gather(*(status(session, name) for name in named()))

    return asyncio.run(main())


each_client = pytest.mark.parametrize(
    "calls", [with_requests, with_httpx, with_aiohttp], ids=lambda calls: calls.__name__
)


def times_that_a_call_came(server: AuthServer) -> set[int]:
    return set(Counter(entry.call for entry in server.log if entry.kind == "api").values())


@each_client
def test_refusals_that_come_after_the_refresh(auth_server: AuthServer, login: TokenEndpoint, calls: Caller) -> None:
    auth_server.late_refusals(every=2)  # until a call with the new token was accepted
    with Credential("acme", login, token=auth_server.issue()) as acme:
        auth_server.revoke_access()
        assert calls(acme, auth_server.url, "/api/items") == [200] * CALLS
    assert auth_server.counters.token_requests == 1
    assert max(times_that_a_call_came(auth_server)) == 2


@pytest.mark.auth_server(old_access_dies=True)
def test_a_call_that_went_out_before_the_refresh(auth_server: AuthServer, login: TokenEndpoint) -> None:
    with Credential("acme", login, token=auth_server.issue()) as acme, ThreadPoolExecutor(1) as pool:
        with httpx2.Client(auth=for_httpx.BearerAuth(acme, auth_server.url)) as client:
            auth_server.hold("api")
            call = pool.submit(client.get, f"{auth_server.url}/api/items")
            auth_server.wait_for("api")
            assert acme.token(refused=acme.token()).generation == 2
            auth_server.release("api")
            assert call.result(PATIENCE).json()["generation"] == 2
    assert auth_server.counters.token_requests == 1


def test_an_old_token_is_traded_for_the_present_one(auth_server: AuthServer, login: TokenEndpoint) -> None:
    with Credential("acme", login, token=auth_server.issue()) as acme:
        first = acme.token()
        second = acme.token(refused=first)
        told = at_once([lambda: acme.token(refused=first)] * CALLS)
    assert told == [second] * CALLS
    assert auth_server.counters.token_requests == 1


def test_a_token_that_another_process_just_refreshed(auth_server: AuthServer, login: TokenEndpoint) -> None:
    store = Kept()
    with Credential("acme", login, store=store) as one, Credential("acme", login, store=Kept(store)) as other:
        first = one.login(auth_server.issue())
        second = one.token(refused=first)
        assert other.token(refused=first).identity == second.identity
        told = at_once([lambda acme=acme: acme.token(refused=acme.token()) for acme in (one, other) * 10])  # type: ignore[misc]  # bound now
    assert {token.identity for token in told if not isinstance(token, Exception)} == {second.identity}
    assert auth_server.counters.token_requests == 1


@each_client
def test_an_api_that_refuses_every_token(auth_server: AuthServer, login: TokenEndpoint, calls: Caller) -> None:
    with Credential("acme", login, token=auth_server.issue()) as acme:
        for _ in range(2):
            assert calls(acme, auth_server.url, "/api/refused") == [401] * CALLS
        assert acme.token().generation == 2
    assert auth_server.counters.token_requests == 1
    # Each name stands for two calls, one of each round; of the second round none is replayed.
    assert max(times_that_a_call_came(auth_server)) <= 3


@pytest.mark.seconds
@each_client
def test_an_endpoint_that_refuses_every_token_beside_a_good_one(
    auth_server: AuthServer, login: TokenEndpoint, calls: Caller
) -> None:
    """The good one had accepted the present token: once that has ended, it is refreshed at once."""
    with Credential("acme", login, token=auth_server.issue()) as acme:
        for _ in range(2):
            assert calls(acme, auth_server.url, "/api/refused") == [401] * CALLS
            assert calls(acme, auth_server.url, "/api/items?page=1") == [200] * CALLS
        assert auth_server.counters.token_requests == 1
        auth_server.revoke_access()
        assert calls(acme, auth_server.url, "/api/items?page=2") == [200] * CALLS
        assert calls(acme, auth_server.url, "/api/refused") == [401] * CALLS
    assert auth_server.counters.token_requests == 2


def test_an_api_that_takes_each_token_once(auth_server: AuthServer, login: TokenEndpoint) -> None:
    store = Kept()
    with Credential("acme", login, store=store) as one, Credential("acme", login, store=Kept(store)) as other:
        one.login(auth_server.issue())
        given_back = 0
        for acme in (one, other) * 30:
            refused = acme.token()
            newer = acme.token(refused=refused)
            if newer.identity == refused.identity:
                given_back += 1
            else:
                acme.replayed(newer, accepted=True)  # and the next call is refused
    assert auth_server.counters.token_requests <= 7, "the first refresh comes after nothing"
    assert given_back > 20
