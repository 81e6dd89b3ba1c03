"""The integration of one client, given to another one: an error with the first call, before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests

from onerefresh import ConfigurationError, Credential
from onerefresh.clients import aiohttp as for_aiohttp
from onerefresh.clients import httpx as for_httpx
from onerefresh.clients import requests as for_requests
from onerefresh.testing import AuthServer

Call = Callable[[Any, str], object]


def with_httpx2(auth: Any, url: str) -> None:
    with httpx2.Client(auth=auth) as client:
        client.get(url)


def with_httpx(auth: Any, url: str) -> None:
    with httpx.Client(auth=auth) as client:
        client.get(url)


def with_httpx2_async(auth: Any, url: str) -> None:
    async def main() -> None:
        async with httpx2.AsyncClient(auth=auth) as client:
            await client.get(url)

    asyncio.run(main())


def with_requests(auth: Any, url: str) -> None:
    with requests.Session() as session:
        session.auth = auth
        session.get(url)


def with_aiohttp(auth: Any, url: str) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession(middlewares=(auth,)) as session:
            await session.get(url)

    asyncio.run(main())


HTTPX: list[Call] = [with_httpx2, with_httpx, with_httpx2_async]
RIGHT: dict[Call, type] = {
    **dict.fromkeys(HTTPX, for_httpx.BearerAuth),
    with_requests: for_requests.BearerAuth,
    with_aiohttp: for_aiohttp.BearerAuth,
}
KINDS = {*RIGHT.values(), for_httpx.BearerTransport, for_requests.BearerAdapter}
MIXED_UP = [(call, kind) for call, right in RIGHT.items() for kind in sorted(KINDS - {right}, key=repr)]


@pytest.mark.parametrize(("call", "kind"), MIXED_UP)
def test_it_is_an_error_before_anything_is_sent(
    call: Call, kind: Callable[..., object], credential: Credential, server: AuthServer
) -> None:
    with pytest.raises((TypeError, ConfigurationError)):
        call(kind(credential, server.url), server.api_url + "/items")
    assert server.counters.api == {}


@pytest.mark.parametrize("call", HTTPX)
def test_the_one_of_requests_names_the_right_one(call: Call, credential: Credential, server: AuthServer) -> None:
    """httpx calls any function as an auth, and goes on with what it returns."""
    with pytest.raises(ConfigurationError, match=r"httpx2?: use the BearerAuth of onerefresh\.clients\.httpx"):
        call(for_requests.BearerAuth(credential, server.url), server.api_url + "/items")
