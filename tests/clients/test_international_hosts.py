"""The token goes to a host only where the client connects to that very host, whatever people read in its name.

The clients go through a proxy on loopback, which is asked for the names of their hosts and sees what they are sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import httpx
import httpx2
import pytest
import requests
from tests.clients.recorder import Recorder

from onerefresh import Credential
from onerefresh.clients import aiohttp as for_aiohttp
from onerefresh.clients import httpx as for_httpx
from onerefresh.clients import requests as for_requests

CHEROKEE = "http://xn--ab-tgm.example/a"
"""IDNA 2008 reads ``aᏰb``; IDNA 2003 spells that ``xn--ab-ihm``, which is another host."""
Call = Callable[[Credential, str, str, str], None]


def with_httpx2(acme: Credential, origin: str, proxy: str, url: str) -> None:
    with httpx2.Client(auth=for_httpx.BearerAuth(acme, origin), proxy=proxy) as client:
        client.get(url)


def with_httpx(acme: Credential, origin: str, proxy: str, url: str) -> None:
    with httpx.Client(auth=for_httpx.BearerAuth(acme, origin), proxy=proxy) as client:
        client.get(url)


def with_a_transport(acme: Credential, origin: str, proxy: str, url: str) -> None:
    transport = for_httpx.BearerTransport(acme, origin, httpx2.HTTPTransport(proxy=proxy))
    with httpx2.Client(transport=transport) as client:
        client.get(url)


def with_requests(acme: Credential, origin: str, proxy: str, url: str) -> None:
    with requests.Session() as session:
        session.auth = for_requests.BearerAuth(acme, origin)
        session.get(url, proxies={"http": proxy}, timeout=30)


def with_an_adapter(acme: Credential, origin: str, proxy: str, url: str) -> None:
    with requests.Session() as session:
        session.mount("http://", for_requests.BearerAdapter(acme, origin))
        session.get(url, proxies={"http": proxy}, timeout=30)


def with_aiohttp(acme: Credential, origin: str, proxy: str, url: str) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession(middlewares=[for_aiohttp.BearerAuth(acme, origin)]) as session:
            async with session.get(url, proxy=proxy) as answer:
                await answer.read()

    asyncio.run(main())


CALLS = pytest.mark.parametrize(
    "call",
    [with_httpx2, with_httpx, with_a_transport, with_requests, with_an_adapter, with_aiohttp],
    ids=lambda call: call.__name__,
)


@CALLS
def test_a_name_that_reads_alike_gets_no_token(call: Call, credential: Credential, recorder: Recorder) -> None:
    call(credential, "http://xn--ab-ihm.example", recorder.url, CHEROKEE)
    assert recorder.values("host") == ["xn--ab-tgm.example"]
    assert recorder.values("authorization") == [None]


@CALLS
@pytest.mark.parametrize("url", ["http://BÜCHER.example/a", "http://xn--bcher-kva.example/a"])
@pytest.mark.parametrize("origin", ["http://bücher.example", "http://xn--bcher-kva.example"])
def test_a_host_gets_its_token_however_its_name_is_written(
    call: Call, credential: Credential, recorder: Recorder, url: str, origin: str
) -> None:
    call(credential, origin, recorder.url, url)
    assert recorder.values("host") == ["xn--bcher-kva.example"]
    assert recorder.shows("Bearer ")
