"""What one bad host or crowd of tenants costs the others. Each figure comes from a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
from tests.servers.postgres import PostgresServer

from bench.report import Row
from bench.worker import STATES
from onerefresh import Credentials, OnerefreshError, Token

HEALTHY, HANGING = 60, 40
COLD, FEW = 2_000, 20
LOCKED, FREE = 6, 30
HANGS = 4.0
"""Seconds after which a call that hangs returns: longer than all others of its scene take."""
TICK = 0.005
HOST = "login.example:443"


class Refresher:
    """Answers after 5 ms; for a customer whose name begins with ``bad``, after `HANGS` seconds."""

    host = HOST
    profile = "static"
    identity = "bench"

    def __call__(self, token: Token) -> dict[str, object]:
        time.sleep(HANGS if token.reveal().startswith("bad") else 0.005)
        return {"access_token": "next", "refresh_token": "next", "expires_in": 3600}


def first(key: str) -> Token:
    """Expired, for every customer."""
    return Token(key, f"refresh {key}", expires_at=1.0)


def measure(turns: int) -> list[Row]:
    cold, few, bare = (_figures(turns, *words) for words in (("cold", COLD), ("cold", FEW), ("bare", COLD)))
    gap = cold["gap"] - bare["gap"]
    alone, beside = _figures(turns, "crowd", 0), _figures(turns, "crowd", HANGING)
    due_alone, due_beside = _figures(turns, "due", 0), _figures(turns, "due", HEALTHY)
    refused = _figures(1, "refused", 0)
    unlocked, beside_locked = _figures(turns, "locked", 0), _figures(turns, "locked", LOCKED)
    constant, *ours = (_figures(turns, state, of="worker") for state in STATES)
    return [
        Row(f"{COLD:,} cold tenants at once: worst gap of a ticker, above the same without us", _ms(gap), "≤ 50 ms"),
        Row("threads meanwhile", f"{cold['threads']:.0f}", "≤ 40"),
        Row(f"memory, above that of {FEW} tenants", f"{cold['memory'] - few['memory']:.1f} MiB", "≤ 20 MiB"),
        Row(f"{HEALTHY} tenants of a host, the last one answered", _ms(alone["last"]), ""),
        Row(
            f"the same beside {HANGING} that hang there",
            f"{_ms(beside['last'])}, {beside['last'] / alone['last']:.1f} of it; {beside['answered']:.0f} answered",
            "≤ 3 of it; all answered",
        ),
        Row(f"`refresh_due`, {HEALTHY} tenants, the median", _ms(due_alone["median"]), ""),
        Row(
            f"the same beside {HEALTHY} that hang at another host",
            f"{_ms(due_beside['median'])}, {due_beside['median'] / due_alone['median']:.1f} of it",
            "≤ 1.5 of it",
        ),
        Row(
            "requests to a provider that answers 429 with `Retry-After: 30`, 30 tenants asking 5 times each",
            f"{refused['requests']:.0f}",
            "a few",
        ),
        Row(
            f"{FREE} tenants of a PostgreSQL, and {LOCKED} others: the median of the {FREE}",
            _ms(unlocked["median"]),
            "",
        ),
        Row(
            f"the same while another program has locked the records of the {LOCKED} others",
            f"{_ms(beside_locked['median'])}, {beside_locked['answered']:.0f} answered",
            "none waits for the lock",
        ),
        Row(
            "a worker with constant headers: the gaps of a ticker, 999 of 1,000 (p99.9), and the worst",
            f"{_ms(constant['gap'])}, {_ms(constant['worst'])}",
            "",
        ),
        *(
            Row(
                f"the same through onerefresh, {state}",
                f"{_ms(found['gap'])}, {_ms(found['worst'])}: {_ms(found['gap'] - constant['gap'])} more (p99.9); "
                f"{found['answered']:.1%} of the healthy answered",
                "≤ 10 ms more",
            )
            for state, found in zip(
                ("all healthy", "three of four providers hang, are dead or answer 429", "a Redis hangs for 3 s"),
                ours,
                strict=True,
            )
        ),
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


def _figures(turns: int, *words: object, of: str = "isolation") -> dict[str, float]:
    """The medians of what several processes print, which run this module of the package with these arguments."""
    found = []
    for _ in range(turns):
        command = [sys.executable, "-m", f"bench.{of}", *map(str, words)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


# --- The scenes ---


def cold(count: int, *, ours: bool = True) -> dict[str, float]:
    """Tenants that are all asked at once, in one event loop."""
    gaps: list[float] = []
    threads = 0

    async def tick(over: asyncio.Event) -> None:
        nonlocal threads
        last = time.perf_counter()
        while not over.is_set():
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            gaps.append(now - last - TICK)
            last, threads = now, max(threads, threading.active_count())

    async def main() -> float:
        over = asyncio.Event()
        credentials = Credentials(Refresher(), store="memory", token_for=first, max_wait=60.0, keep=COLD)
        await credentials["warm"].atoken()

        async def one(number: int) -> None:
            if ours:
                await credentials[f"tenant-{number}"].atoken()
            else:
                await asyncio.sleep(0.1)

        before, ticking = _memory(), asyncio.ensure_future(tick(over))
        await asyncio.sleep(0.1)
        gaps.clear()
        await asyncio.gather(*(one(number) for number in range(count)))
        grown = _memory() - before
        over.set()
        await ticking
        return grown

    grown = asyncio.run(main())
    return {"gap": max(gaps), "threads": threads, "memory": grown}


def _memory() -> float:
    """MiB that this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def crowd(hanging: int) -> dict[str, float]:
    """Healthy tenants of a host beside some that hang there; they ask in a mixed order."""
    keys = [f"good-{number}" for number in range(HEALTHY)]
    for number in range(hanging):
        keys.insert(2 * number, f"bad-{number}")
    took: list[float] = []
    with Credentials(Refresher(), store="memory", token_for=first, max_wait=20.0) as credentials:
        credentials["good-warm"].token()
        begun = time.perf_counter()

        def ask(key: str) -> None:
            try:
                credentials[key].token()
            except OnerefreshError:
                return
            if key.startswith("good"):
                took.append(time.perf_counter() - begun)

        with ThreadPoolExecutor(len(keys)) as pool:
            list(pool.map(ask, keys))
    return {"last": max(took), "answered": len(took)}


def due(hanging: int) -> dict[str, float]:
    """A run of `refresh_due` over healthy tenants and those of a host where all hang."""

    class Elsewhere(Refresher):
        host = "hangs.example:443"

    elsewhere, here, took = Elsewhere(), Refresher(), list[float]()
    keys = [key for number in range(HEALTHY) for key in (f"good-{number}", f"bad-{number}")[: 2 if hanging else 1]]
    refresher_for: Callable[[str], Refresher | None] = lambda key: elsewhere if key.startswith("bad") else None  # noqa: E731
    with Credentials(here, refresher_for=refresher_for, store="memory", max_wait=20.0) as credentials:
        now = time.time()
        for key in keys:
            credentials[key].login(Token(key, f"refresh {key}", issued_at=now - 3000.0, expires_at=now + 100.0))
        begun = time.perf_counter()

        def progress(result: object, _: object) -> None:
            if str(getattr(result, "key", "")).startswith("good"):
                took.append(time.perf_counter() - begun)

        credentials.refresh_due(within=600.0, rate=None, keys=keys, progress=progress)
    return {"median": statistics.median(took)}


def refused(_: int) -> dict[str, float]:
    """A provider that answers 429: how many requests reach it."""
    requests = 0

    def count(_: Token) -> dict[str, object]:
        nonlocal requests
        requests += 1
        raise Busy

    class Busy(Exception):
        """As an HTTP client raises it."""

        class response:  # noqa: N801 - the attribute of an exception
            status_code = 429
            headers = {"Retry-After": "30"}  # noqa: RUF012 - read only

    count.host = HOST  # type: ignore[attr-defined]  # a refresher may say where it asks
    keys = [f"tenant-{number}" for number in range(30)]
    with Credentials(count, store="memory", token_for=first, max_wait=5.0) as credentials:
        for _ in range(5):
            for key in keys:
                try:
                    credentials[key].token()
                except OnerefreshError:
                    continue
    return {"requests": requests}


def locked(rows: int) -> dict[str, float]:
    """Tenants whose records are in PostgreSQL, where another program has locked so many records of other tenants."""
    keys, others = [f"tenant-{number}" for number in range(FREE)], [f"locked-{number}" for number in range(LOCKED)]
    took: list[float] = []
    with (
        PostgresServer.start() as server,
        psycopg.connect(server.url) as program,
        Credentials(Refresher(), store=server.url, max_wait=20.0) as credentials,
    ):
        for key in (*keys, *others):
            credentials[key].login(first(key))
        program.execute("SELECT FROM onerefresh_records WHERE key = ANY(%s) FOR UPDATE", [others[:rows]])
        with ThreadPoolExecutor(len(keys) + len(others)) as pool:
            waiting = [pool.submit(credentials[key].token) for key in others]
            begun = time.perf_counter()

            def ask(key: str) -> None:
                credentials[key].token()
                took.append(time.perf_counter() - begun)

            list(pool.map(ask, keys))
            unaffected = sum(one.done() for one in waiting)
            program.rollback()
    return {"median": statistics.median(took), "last": max(took), "answered": len(took), "others": unaffected}


SCENES: dict[str, Callable[[int], dict[str, float]]] = {
    "cold": cold,
    "bare": lambda count: cold(count, ours=False),
    "crowd": crowd,
    "due": due,
    "refused": refused,
    "locked": locked,
}


def main(arguments: Iterator[str]) -> None:
    import logging

    logging.disable(logging.WARNING)
    scene, count = next(arguments), int(next(arguments))
    print(json.dumps(SCENES[scene](count)), flush=True)
    os._exit(0)  # what hangs is not waited for


if __name__ == "__main__":
    main(iter(sys.argv[1:]))
