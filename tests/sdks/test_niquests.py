"""niquests, the real package: ordinary sessions work, and the others say at once why they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
import urllib3
from tests.sdks import page
from tests.sdks.storm import CALLS, Ended, Storm

from onerefresh import ConfigurationError, Credential, LoginRequired
from onerefresh.clients.requests import BearerAdapter, BearerAuth
from onerefresh.testing import AuthServer

niquests: Any = pytest.importorskip("niquests", reason="NOT TESTED: niquests is not installed")

POOL = 10
"""How many connections niquests keeps for a host."""


@pytest.fixture
def session(acme: Credential, server: AuthServer) -> Iterator[Any]:
    with page.run("niquests", acme, server.url)["session"] as session:
        yield session


def test_urllib3_is_still_itself_in_this_environment() -> None:
    assert int(vars(urllib3)["__version__"].split(".")[-1]) < 900


def test_sync(session: Any, server: AuthServer, storm: Storm, ended: Callable[[], Ended]) -> None:
    def ask() -> int:
        return int(session.get(server.api_url + "/items").json()["generation"])

    assert storm.threads(ask, at_once=POOL) == [2] * CALLS
    assert isinstance(ended().call(ask), LoginRequired)


@pytest.mark.parametrize("body", [b"bytes", "text", {"a": "form"}])
def test_sync_a_body_is_sent_again(session: Any, server: AuthServer, body: Any) -> None:
    before = session.post(server.api_url + "/items", data=body).json()
    server.revoke_access()
    after = session.post(server.api_url + "/items", data=body).json()
    assert (after["body_sha256"], after["generation"]) == (before["body_sha256"], 2)
    assert after["body_length"] > 0


def test_sync_a_stream(session: Any, server: AuthServer) -> None:
    server.revoke_access()
    with session.get(server.api_url + "/stream?count=3", stream=True) as answer:
        assert b"".join(answer.iter_content(7)) == b"chunk 1\nchunk 2\nchunk 3\n"


def test_sync_a_body_that_is_used_up_is_not_sent_again(session: Any, server: AuthServer) -> None:
    server.revoke_access()
    assert session.post(server.api_url + "/items", data=iter([b"a", b"b"])).status_code == 401
    assert server.counters.api[401] == 1
    assert session.get(server.api_url + "/items").json()["generation"] == 2


def test_sync_the_token_goes_to_no_other_origin(session: Any, server: AuthServer) -> None:
    server.revoke_access()
    assert session.get(f"{server.api_url}/redirect?to=/api/items").json()["generation"] == 2
    away = f"{server.api_url}/redirect?to={quote(server.foreign.url + '/there', safe='')}"
    assert session.get(away).status_code == 200
    refused = f"{server.api_url}/redirect?to={quote(server.foreign.url + '/refused', safe='')}"
    assert session.get(refused).status_code == 401
    assert server.foreign.authorizations == []
    assert server.counters.token_requests == 1


def test_an_async_session_says_why_not_before_anything_is_sent(acme: Credential, server: AuthServer) -> None:
    async def main() -> None:
        async with niquests.AsyncSession() as session:
            session.auth = BearerAuth(acme, server.url)
            await session.get(server.api_url + "/items")

    with pytest.raises(ConfigurationError, match="this is an AsyncSession"):
        asyncio.run(main())
    assert server.counters.api == {}


def test_a_multiplexed_session_says_why_not_before_anything_is_sent(acme: Credential, server: AuthServer) -> None:
    with niquests.Session(multiplexed=True) as session:
        session.auth = BearerAuth(acme, server.url)
        with pytest.raises(ConfigurationError, match="multiplexed=True"):
            session.get(server.api_url + "/items")
    assert server.counters.api == {}


def test_rules_say_why_not_before_anything_is_sent(acme: Credential, server: AuthServer) -> None:
    with niquests.Session() as session:
        session.auth = BearerAuth(acme, server.url, refused="slack")
        with pytest.raises(ConfigurationError, match="refused= cannot look"):
            session.get(server.api_url + "/items")
    assert server.counters.api == {}


def test_retries_that_would_hide_a_refusal_say_so(acme: Credential, server: AuthServer) -> None:
    retries = niquests.packages.urllib3.util.Retry(2, status_forcelist=[401], backoff_factor=0)
    with niquests.Session(retries=retries) as session:
        session.auth = BearerAuth(acme, server.url)
        with pytest.raises(ConfigurationError, match="status_forcelist"):
            session.get(server.api_url + "/items")


def test_an_adapter_of_requests_is_refused_by_niquests(acme: Credential, server: AuthServer) -> None:
    with niquests.Session() as session:
        session.mount(server.url + "/", BearerAdapter(acme, server.url))
        with pytest.raises(TypeError, match="niquests"):
            session.get(server.api_url + "/items")


def test_a_function_serves_an_async_session_and_does_not_learn_of_a_refusal(
    acme: Credential, server: AuthServer
) -> None:
    names = page.run("niquests", acme, server.url)
    names["session"].close()

    async def main() -> list[int]:
        found = []
        async with niquests.AsyncSession(auth=names["with_token"]) as session:
            for _ in range(2):
                found.append((await session.get(server.api_url + "/items")).status_code)
                server.revoke_access()
        return found

    assert asyncio.run(main()) == [200, 401]
