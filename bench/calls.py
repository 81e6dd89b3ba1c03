"""A call with a fresh token through each client, against the same client with a constant header."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import ModuleType
from typing import Any, TypeAlias

import aiohttp
import httpx
import httpx2
import requests

from bench.canned_server import canned_server
from bench.fast_path import never
from bench.report import Row, ratio
from bench.timing import against
from onerefresh import Credential
from onerefresh.clients.aiohttp import BearerAuth as AiohttpAuth
from onerefresh.clients.httpx import BearerAuth as HttpxAuth
from onerefresh.clients.requests import BearerAuth as RequestsAuth

CONSTANT = {"Authorization": "Bearer a"}
CALLS = 20
"""Calls in a turn, one after another."""

Turns: TypeAlias = AbstractContextManager[tuple[Callable[[], None], Callable[[], None]]]
"""A turn of calls through onerefresh, and one with the constant header."""


class Bench:
    """What all cases share: a credential that is fresh, a server, and an event loop."""

    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self.url = url
        self._runner = runner
        seed = {"access_token": "a", "refresh_token": "r", "expires_in": 3600}
        self.credential = Credential("bench", never, token=seed)

    def turn(self, get: Callable[[str], Any]) -> Callable[[], None]:
        def calls() -> None:
            for _ in range(CALLS):
                assert get(self.url).status_code == 200

        return calls

    def async_turn(self, get: Callable[[str], Awaitable[int]]) -> Callable[[], None]:
        """`get` returns the status, once the body is read."""

        async def calls() -> None:
            for _ in range(CALLS):
                assert await get(self.url) == 200

        return lambda: self._runner.run(calls())

    @contextmanager
    def httpx(self, package: ModuleType, *, in_memory: bool) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
        auth = HttpxAuth(self.credential, self.url)
        transport = _mock(package) if in_memory else None
        with (
            package.Client(auth=auth, transport=transport) as ours,
            package.Client(headers=CONSTANT, transport=transport) as bare,
        ):
            yield self.turn(ours.get), self.turn(bare.get)

    @contextmanager
    def httpx_async(
        self, package: ModuleType, *, in_memory: bool
    ) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
        auth = HttpxAuth(self.credential, self.url)
        transport = _mock(package) if in_memory else None
        ours = package.AsyncClient(auth=auth, transport=transport)
        bare = package.AsyncClient(headers=CONSTANT, transport=transport)

        def through(client: Any) -> Callable[[], None]:
            async def get(url: str) -> int:
                status: int = (await client.get(url)).status_code
                return status

            return self.async_turn(get)

        try:
            yield through(ours), through(bare)
        finally:
            self._runner.run(ours.aclose())
            self._runner.run(bare.aclose())

    @contextmanager
    def requests(self) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
        with requests.Session() as ours, requests.Session() as bare:
            ours.auth = RequestsAuth(self.credential, self.url)
            bare.headers.update(CONSTANT)
            yield self.turn(ours.get), self.turn(bare.get)

    @contextmanager
    def aiohttp(self) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
        auth = AiohttpAuth(self.credential, self.url)

        async def opened() -> tuple[aiohttp.ClientSession, aiohttp.ClientSession]:
            return aiohttp.ClientSession(middlewares=(auth,)), aiohttp.ClientSession(headers=CONSTANT)

        def through(session: aiohttp.ClientSession) -> Callable[[], None]:
            async def get(url: str) -> int:
                async with session.get(url) as response:
                    await response.read()
                    return response.status

            return self.async_turn(get)

        ours, bare = self._runner.run(opened())
        try:
            yield through(ours), through(bare)
        finally:
            self._runner.run(ours.close())
            self._runner.run(bare.close())


def _mock(package: ModuleType) -> Any:
    return package.MockTransport(lambda _: package.Response(200, json={"ok": True}))


def measure(turns: int) -> list[Row]:
    with ExitStack() as stack:
        bench = Bench(stack.enter_context(canned_server()), stack.enter_context(asyncio.Runner()))
        cases: list[tuple[str, str, Turns]] = []
        for where, in_memory, aim in (("MockTransport", True, "≤ 1.06"), ("loopback", False, "≤ 1.02")):
            for package in (httpx2, httpx):
                name = package.__name__
                cases.append((f"`{name}.Client`, {where}", aim, bench.httpx(package, in_memory=in_memory)))
                cases.append((f"`{name}.AsyncClient`, {where}", aim, bench.httpx_async(package, in_memory=in_memory)))
        cases.append(("`requests.Session`, loopback", "≤ 1.02", bench.requests()))
        cases.append(("`aiohttp.ClientSession`, loopback", "≤ 1.02", bench.aiohttp()))
        rows = []
        for what, aim, opened in cases:
            with opened as (ours, bare):
                rows.append(Row(what, ratio(against(ours, bare, turns=turns).ratio), aim))
        return rows
