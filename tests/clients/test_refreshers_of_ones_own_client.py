"""A refresher that sends its request through the client that it serves is told how to do without, at the first call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests

from onerefresh import ConfigurationError, Credential, RefresherFailed, Token
from onerefresh.clients import aiohttp as for_aiohttp
from onerefresh.clients import httpx as for_httpx
from onerefresh.clients import requests as for_requests
from onerefresh.testing import AuthServer


@pytest.fixture
def server() -> Any:
    with AuthServer() as server:
        yield server


def body(token: Token) -> dict[str, str]:
    return {"refresh_token": token.reveal_refresh_token()}


AGES = {"expired": -60.0, "ageing": 60.0, "refused": 3600.0}
"""Seconds that are left of an hour."""


def first(server: AuthServer, age: str) -> Token:
    answer, ends = server.issue(), time.time() + AGES[age]
    return Token(str(answer["access_token"]), str(answer["refresh_token"]), issued_at=ends - 3600, expires_at=ends)


class Box:
    """A client and how its refresher uses it; `plainly`: as the error says."""

    def __init__(self, server: AuthServer, make: Callable[[Box], Any], age: str) -> None:
        self.server, self.plainly = server, False
        self.errors: list[ConfigurationError] = []
        self.credential = Credential("acme", self.refresh, token=first(server, age))
        self.make = make
        self.client: Any = None
        if age == "refused":
            server.revoke_access()

    def refresh(self, token: Token) -> Any:
        try:
            return self.make(self).post(self.server.json_refresh_url, body(token), plainly=self.plainly)
        except ConfigurationError as error:
            self.errors.append(error)
            raise


class Httpx:
    package: Any = httpx2

    def __init__(self, box: Box) -> None:
        auth = for_httpx.BearerAuth(box.credential, box.server.url)
        box.client = self.client = box.client or self.package.Client(auth=auth, trust_env=False)

    def get(self, url: str) -> int:
        return int(self.client.get(url).status_code)

    def post(self, url: str, sent: dict[str, str], *, plainly: bool) -> Any:
        return self.client.post(url, json=sent, **({"auth": None} if plainly else {})).raise_for_status().json()


class OldHttpx(Httpx):
    package = httpx


class HttpxTransport(Httpx):
    def __init__(self, box: Box) -> None:
        transport = for_httpx.BearerTransport(box.credential, box.server.url)
        mounts = {box.server.url: transport}
        box.client = self.client = box.client or httpx2.Client(mounts=mounts, trust_env=False)

    def post(self, url: str, sent: dict[str, str], *, plainly: bool) -> Any:
        if not plainly:
            return super().post(url, sent, plainly=False)
        return httpx2.post(url, json=sent, trust_env=False).raise_for_status().json()


class Requests:
    def __init__(self, box: Box) -> None:
        if box.client is None:
            box.client = requests.Session()
            box.client.trust_env = False
            self.fit(box)
        self.client = box.client

    def fit(self, box: Box) -> None:
        box.client.auth = for_requests.BearerAuth(box.credential, box.server.url)

    def get(self, url: str) -> int:
        return int(self.client.get(url).status_code)

    def post(self, url: str, sent: dict[str, str], *, plainly: bool) -> Any:
        answer = requests.post(url, json=sent, timeout=30) if plainly else self.client.post(url, json=sent)
        answer.raise_for_status()
        return answer.json()


class RequestsAdapter(Requests):
    def fit(self, box: Box) -> None:
        box.client.mount(f"{box.server.url}/", for_requests.BearerAdapter(box.credential, box.server.url))


SYNC = [
    (Httpx, "auth=None"),
    (OldHttpx, "client.post(url, auth=None)"),
    (HttpxTransport, "a client without this transport"),
    (Requests, "a plain session, as requests.post(url) does"),
    (RequestsAdapter, "a plain session, as requests.post(url) does"),
]


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize(("kind", "way"), SYNC)
def test_the_error_names_the_client_s_own_way(server: AuthServer, kind: type[Any], way: str, age: str) -> None:
    box = Box(server, kind, age)
    if age == "ageing":
        assert kind(box).get(f"{server.url}/api/items/1") == 200  # the present token still serves
        box.credential.close()  # waits for the refresh in the background
    else:
        with pytest.raises(RefresherFailed, match="would wait for itself") as raised:
            kind(box).get(f"{server.url}/api/items/1")
        assert way in str(raised.value)
    box.client.close()
    assert [way in str(error) for error in box.errors] == [True]
    assert server.counters.token_requests == 0


@pytest.mark.parametrize(("kind", "way"), SYNC)
def test_what_the_error_says_works(server: AuthServer, kind: type[Any], way: str) -> None:
    box = Box(server, kind, "expired")
    box.plainly = True
    assert kind(box).get(f"{server.url}/api/items/1") == 200
    box.client.close()
    assert (server.counters.token_requests, box.errors) == (1, [])


def test_requests_takes_the_session_s_auth_for_auth_none(server: AuthServer) -> None:
    """So the error does not say that it helps."""
    session = requests.Session()
    session.auth = ("name", "password")
    request = session.prepare_request(requests.Request("GET", f"{server.url}/api/items/1", auth=None))
    assert request.headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize("plainly", [False, True])
def test_aiohttp_is_told_middlewares(server: AuthServer, plainly: bool) -> None:
    async def main() -> int:
        async def refresh(token: Token) -> Any:
            given: Any = {"middlewares": ()} if plainly else {}
            async with session.post(server.json_refresh_url, json=body(token), **given) as answer:
                answer.raise_for_status()
                return await answer.json()

        credential = Credential("acme", refresh, token=first(server, "expired"))
        middleware = for_aiohttp.BearerAuth(credential, server.url)
        async with (
            aiohttp.ClientSession(middlewares=[middleware]) as session,
            session.get(f"{server.url}/api/items/1") as answer,
        ):
            return answer.status

    if plainly:
        assert asyncio.run(main()) == 200
        return
    with pytest.raises(RefresherFailed, match=r"middlewares=\(\)"):
        asyncio.run(main())
    assert server.counters.token_requests == 0


@pytest.mark.parametrize("plainly", [False, True])
def test_an_async_client_of_httpx_is_told_auth_none(server: AuthServer, plainly: bool) -> None:
    async def main() -> int:
        async def refresh(token: Token) -> Any:
            given: Any = {"auth": None} if plainly else {}
            return (await client.post(server.json_refresh_url, json=body(token), **given)).raise_for_status().json()

        credential = Credential("acme", refresh, token=first(server, "expired"))
        auth = for_httpx.BearerAuth(credential, server.url)
        async with httpx2.AsyncClient(auth=auth, trust_env=False) as client:
            return (await client.get(f"{server.url}/api/items/1")).status_code

    if plainly:
        assert asyncio.run(main()) == 200
        return
    with pytest.raises(RefresherFailed, match="auth=None"):
        asyncio.run(main())


def test_another_credential_s_refresher_may_use_the_client(server: AuthServer) -> None:
    """It needs this credential's token, and does not wait for itself."""
    outer = Credential("outer", lambda token: {}, token=server.issue())
    with httpx2.Client(auth=for_httpx.BearerAuth(outer, server.url), trust_env=False) as client:

        def refresh(token: Token) -> dict[str, object]:
            assert client.get(f"{server.url}/api/items/1").status_code == 200
            return {"access_token": "next", "expires_in": 3600}

        inner = Credential("inner", refresh, token={"access_token": "a", "refresh_token": "r", "expires_at": 1})
        assert inner.token().reveal() == "next"
