"""A million records in each store: what they take, whether it is slower for them, and how long it takes to see all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.servers.postgres import PostgresServer
from tests.servers.valkey import Valkey

from bench.scale.places import Place
from bench.scale.records import DUE_EVERY, LIVES, OWNER, body_of, fill, key_of
from bench.timing import percentile
from onerefresh import Credentials, Store, Token
from onerefresh.stores import open_store
from onerefresh.stores.postgres.sql import DEFAULT_TABLE

__all__ = ["Million", "line", "measure"]

OPERATIONS = 2_000


class Refresher:
    """Answers at once."""

    identity = OWNER

    def __call__(self, token: Token) -> dict[str, object]:
        return {"access_token": "a" * 800, "refresh_token": "r" * 64, "expires_in": LIVES}


@dataclass(frozen=True, slots=True)
class Million:
    """Seconds, but for `bytes_each`. `empty` and `full`: of each load, of each cas."""

    name: str
    bytes_each: float
    empty: tuple[list[float], list[float]]
    full: tuple[list[float], list[float]]
    scan: float
    due: float
    refreshed: int


def measure(place: Place, count: int, operations: int = OPERATIONS) -> Million:
    now = time.time()
    store = open_store(place.url)
    for number in range(operations):  # of other keys
        store.cas(f"early-{number}", None, body_of(1, now))
    empty = _operations(store, lambda: f"early-{random.randrange(operations)}", operations)
    before = _bytes(place)
    fill(place, count, now)
    each = (_bytes(place) - before) / count
    full = _operations(store, lambda: key_of(random.randrange(1, count)), operations)

    began = time.perf_counter()
    found = sum(1 for _ in store.scan())
    scan = time.perf_counter() - began
    assert found >= count + operations, f"{found} records seen"

    expected = len(range(0, count, DUE_EVERY))
    with Credentials(Refresher(), store=store) as credentials:
        began = time.perf_counter()
        summary = credentials.refresh_due(within=3600.0, rate=None)
        due = time.perf_counter() - began
    assert summary.refreshed == expected, f"{summary} instead of {expected}"
    store.close()
    return Million(place.name, each, empty, full, scan, due, expected)


def _operations(store: Store, key: Callable[[], str], count: int) -> tuple[list[float], list[float]]:
    """Seconds of each load, and of each cas that follows it."""
    loads, writes = [], []
    for _ in range(count):
        name = key()
        began = time.perf_counter()
        found = store.load(name)
        loads.append(time.perf_counter() - began)
        assert found is not None
        began = time.perf_counter()
        store.cas(name, found.version, found.body)
        writes.append(time.perf_counter() - began)
    return loads, writes


def _bytes(place: Place) -> int:
    """What the records take: on disk, or in Redis's memory."""
    match place.server:
        case Valkey() as server:
            return int(server.do("INFO", "memory")["used_memory"])
        case PostgresServer() as server:
            [(size,)] = server.ask(f"SELECT pg_total_relation_size('{DEFAULT_TABLE}')")
            return int(size)
        case None:
            return sum(file.stat().st_size for file in place.folder.glob("db*"))


def line(found: Million) -> list[str]:
    return [
        found.name,
        f"{found.bytes_each:,.0f} bytes",
        f"{_both(found.empty[0])} → {_both(found.full[0])}",
        f"{_both(found.empty[1])} → {_both(found.full[1])}",
        f"{found.scan:.1f} s",
        f"{found.due:.1f} s",
    ]


def _both(seconds: list[float]) -> str:
    return f"{percentile(seconds, 0.5) * 1e3:.2f} / {percentile(seconds, 0.99) * 1e3:.2f}"
