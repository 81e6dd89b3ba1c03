"""How evenly the event loop of a worker turns, through onerefresh and with constant headers.

The worker calls an API for 200 customers, 400 times a second, and a task measures the gaps between the turns of its
loop. Tokens live ten seconds, so that there are nearly 40 renewals a second. All is measured while the providers are
healthy, while three of four are not, and while the store, a Redis, hangs and comes back; from the moment on at which
the first tokens have expired. Each figure comes from a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, cycle
from pathlib import Path

import httpx2
from tests.servers.valkey import Valkey

from onerefresh import Credential, Credentials, OnerefreshError, RefreshUnavailable, Token
from onerefresh.clients.httpx import BearerAuth

CUSTOMERS, AT_ONCE = 200, 4
PAUSE, TICK = 0.01, 0.005
STARTS, LASTS, HANGS = 10.0, 20.0, 3.0
"""Seconds until the measurement begins, until it ends from then on, and of a hang in its middle."""
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


def first(customer: int) -> Token:
    """As a worker finds them that has run for a while: each token has another age."""
    now = time.time()
    age = LIVES * customer / CUSTOMERS
    return Token("first", f"refresh-{customer}", issued_at=now - age, expires_at=now - age + LIVES)


def figures(state: str) -> dict[str, float]:
    """`gap`: seconds, longer than 999 of 1,000 gaps of the ticker; `worst`: the longest one.

    `answered`: the share of the calls for customers of a healthy provider that had a token.
    """
    hosts = [Refresher(host) for host in STATES[state]]
    with _store(state) as (url, server):
        credentials = Credentials(None, refresher_for=lambda key: hosts[int(key) % len(hosts)], store=url, max_wait=2.0)
        held = [credentials[str(number)] for number in range(CUSTOMERS)] if state != "constant" else []
        for number, one in enumerate(held):
            one.login(first(number))
        worker = Worker(held, [hosts[number % len(hosts)].host == GOOD for number in range(CUSTOMERS)])
        gc.collect()
        gc.freeze()  # as servers do that have loaded all they need: else a collection of all of it is a gap of its own
        asyncio.run(worker.work(server))
    gaps = sorted(worker.gaps)
    return {
        "gap": gaps[int(len(gaps) * 0.999)],
        "worst": gaps[-1],
        "answered": worker.answered / worker.asked,
    }


@contextmanager
def _store(state: str) -> Iterator[tuple[str, Valkey | None]]:
    if state != "store":
        yield "memory", None
        return
    with tempfile.TemporaryDirectory(prefix="onerefresh-bench-") as folder, Valkey(Path(folder)) as server:
        yield server.url, server


class Worker:
    """The calls for these customers, of which some have a healthy provider; with constant headers where there are none.

    `asked`, `answered`: calls for those with a healthy provider. All is counted from `STARTS` on.
    """

    def __init__(self, held: list[Credential], is_good: list[bool]) -> None:
        self._auths = [BearerAuth(one, API) for one in held]
        self._is_good = is_good
        self._is_over = False
        self.gaps: list[float] = []
        self.asked = self.answered = 0

    async def work(self, server: Valkey | None) -> None:
        headers = {} if self._auths else {"Authorization": "Bearer constant"}
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json={"ok": True}))
        async with httpx2.AsyncClient(transport=transport, headers=headers) as client, asyncio.TaskGroup() as all_:
            all_.create_task(self._tick())
            if server is not None:
                all_.create_task(_hang(server))
            await self._call(client)
            self._is_over = True

    async def _call(self, client: httpx2.AsyncClient) -> None:
        customers, begun = cycle(range(CUSTOMERS)), time.monotonic()

        async def call(customer: int) -> None:
            counts = self._is_good[customer] and time.monotonic() >= begun + STARTS
            self.asked += counts
            try:
                await client.get(API, auth=self._auths[customer] if self._auths else None)
            except OnerefreshError:
                return
            self.answered += counts

        async with asyncio.TaskGroup() as calls:
            for turn in range(int((STARTS + LASTS) / PAUSE)):
                for _ in range(AT_ONCE):
                    calls.create_task(call(next(customers)))
                await asyncio.sleep(max(begun + (turn + 1) * PAUSE - time.monotonic(), 0.0))

    async def _tick(self) -> None:
        begun = last = time.perf_counter()
        while not self._is_over:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            if now >= begun + STARTS:
                self.gaps.append(now - last - TICK)
            last = now


async def _hang(server: Valkey) -> None:
    await asyncio.sleep(STARTS + LASTS / 3)
    server.pause()
    await asyncio.sleep(HANGS)
    server.resume()


if __name__ == "__main__":
    import logging

    logging.disable(logging.WARNING)
    print(json.dumps(figures(sys.argv[1])), flush=True)
    os._exit(0)  # what hangs is not waited for
