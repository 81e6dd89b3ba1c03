"""How evenly the event loop of a worker turns, through onerefresh and with constant headers.

The worker calls an API for 200 customers, 400 times a second, and a task measures the gaps between the turns of its
loop. Tokens live ten seconds, so that there are 20 renewals and more a second: a hundred times as many as with tokens
of an hour. All is measured while the providers are healthy, while three of four are not, and while the store, a Redis,
hangs and comes back. Each figure comes from a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx2
from tests.servers.valkey import Valkey

from onerefresh import Credential, Credentials, OnerefreshError, RefreshUnavailable, Token
from onerefresh.clients.httpx import BearerAuth

CUSTOMERS, AT_ONCE = 200, 4
PAUSE, TICK = 0.01, 0.005
LASTS, HANGS = 20.0, 3.0
LIVES = 10.0
API = "https://api.example/"
GOOD, HANGING, DEAD, BUSY = (f"{name}.example:443" for name in ("good", "hanging", "dead", "busy"))
STATES = {"constant": [GOOD], "healthy": [GOOD], "bad": [GOOD, HANGING, DEAD, BUSY], "store": [GOOD]}
"""The hosts of the providers, of which each customer has one. Of the first state, no token is used."""


class Refresher:
    """Answers after 5 ms where its host is healthy."""

    profile = "static"
    identity = "bench"

    def __init__(self, host: str) -> None:
        self.host = host
        self._numbers = count()

    def __call__(self, token: Token) -> dict[str, object]:
        if self.host == HANGING:
            time.sleep(30.0)
        if self.host == DEAD:
            raise ConnectionRefusedError
        if self.host == BUSY:
            raise RefreshUnavailable("the provider answers 429", retry_after=30.0)
        time.sleep(0.005)
        return {"access_token": f"access-{next(self._numbers)}", "expires_in": LIVES}


def first(key: str) -> Token:
    """As a worker finds them that has run for a while: each token has another age."""
    now = time.time()
    age = LIVES * int(key) / CUSTOMERS
    return Token("first", f"refresh-{key}", issued_at=now - age, expires_at=now - age + LIVES)


def figures(state: str) -> dict[str, float]:
    """`gap`: seconds, longer than 999 of 1,000 gaps of the ticker. `answered`: the calls that had a token."""
    hosts = [Refresher(host) for host in STATES[state]]
    with _store(state) as (url, server):
        credentials = Credentials(
            None,
            refresher_for=lambda key: hosts[int(key) % len(hosts)],
            store=url,
            token_for=first,
            max_wait=2.0,
        )
        held = [credentials[str(number)] for number in range(CUSTOMERS)] if state != "constant" else []
        gaps, answered = asyncio.run(_work(held, server))
    gaps.sort()
    return {"gap": gaps[int(len(gaps) * 0.999)], "answered": answered}


@contextmanager
def _store(state: str) -> Iterator[tuple[str, Valkey | None]]:
    if state != "store":
        yield "memory", None
        return
    with tempfile.TemporaryDirectory(prefix="onerefresh-bench-") as folder, Valkey(Path(folder)) as server:
        yield server.url, server


async def _work(held: list[Credential], server: Valkey | None) -> tuple[list[float], int]:
    over, gaps = asyncio.Event(), list[float]()
    ticking = asyncio.ensure_future(_tick(over, gaps))
    hanging = asyncio.ensure_future(_hang(server)) if server is not None else None
    headers = {} if held else {"Authorization": "Bearer constant"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json={"ok": True}))
    async with httpx2.AsyncClient(transport=transport, headers=headers) as client:
        answered = await _call(client, [BearerAuth(one, API) for one in held])
    over.set()
    await ticking
    if hanging is not None:
        await hanging
    return gaps, answered


async def _call(client: httpx2.AsyncClient, auths: list[BearerAuth]) -> int:
    numbers, answered, end = count(), 0, time.monotonic() + LASTS

    async def call() -> None:
        nonlocal answered
        try:
            await client.get(API, auth=auths[next(numbers) % CUSTOMERS] if auths else None)
        except OnerefreshError:
            return
        answered += 1

    async with asyncio.TaskGroup() as calls:
        while time.monotonic() < end:
            for _ in range(AT_ONCE):
                calls.create_task(call())
            await asyncio.sleep(PAUSE)
    return answered


async def _tick(over: asyncio.Event, gaps: list[float]) -> None:
    last = time.perf_counter()
    while not over.is_set():
        await asyncio.sleep(TICK)
        now = time.perf_counter()
        gaps.append(now - last - TICK)
        last = now


async def _hang(server: Valkey) -> None:
    await asyncio.sleep(LASTS / 3)
    server.pause()
    await asyncio.sleep(HANGS)
    server.resume()


if __name__ == "__main__":
    import logging

    logging.disable(logging.WARNING)
    print(json.dumps(figures(sys.argv[1])), flush=True)
    os._exit(0)  # what hangs is not waited for
