"""What each of many credentials costs in memory, beyond its token, once it has been used."""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.report import Row
from onerefresh import Credentials, Store, Token
from onerefresh import transitions as records
from onerefresh.record_text import decode, encode
from onerefresh.store import StoreTime, Versioned

LIVES = 3600.0
TEXT = 40
"""Characters of an access token, and of a refresh token."""


class Written(Store):
    """Has a record for every key, and keeps none of them: what is measured is not the store.

    It has the clock of a server, as a database has, so that what a process remembers of servers counts.
    """

    name = "written when it is read"

    def load(self, key: str) -> Versioned:
        token = Token(key.rjust(TEXT, "a"), key.rjust(TEXT, "r"), expires_in=LIVES)
        return Versioned("1", encode(records.new_session(None, token, now=token.issued_at, owner=None, what="seed")))

    def moment(self) -> StoreTime:
        return StoreTime("a server", time.monotonic())

    def cas(self, key: str, expected: str | None, body: str) -> str:
        raise AssertionError("a fresh token was refreshed")


def never(_: Token) -> Token:
    raise AssertionError("a fresh token was refreshed")


def measure(count: int) -> list[Row]:
    found = bytes_each(count)
    return [
        Row(f"a credential among {count:,}, beyond its token", f"{found.credential:.0f} bytes", "≤ 1,024 bytes"),
        Row(f"its token, with two texts of {TEXT} characters", f"{found.token:.0f} bytes", ""),
    ]


@dataclass(frozen=True, slots=True)
class Bytes:
    """What one of many takes: all of it but its token, and its token."""

    credential: float
    token: float


def bytes_each(count: int) -> Bytes:
    keys = [f"tenant-{number}" for number in range(count)]
    store = Written()
    _warm_up(store, count)
    tokens = _taken(lambda: [_token(store, key) for key in keys]) / count
    credentials = Credentials(never, store=store, keep=count)
    whole = _taken(lambda: _use(credentials, keys)) / count
    return Bytes(whole - tokens, tokens)


def _token(store: Written, key: str) -> Token:
    token = decode(store.load(key).body, key).token
    assert token is not None
    return token


def _use(credentials: Credentials, keys: Iterable[str]) -> Credentials:
    for key in keys:
        credentials[key].token()
    return credentials


def _warm_up(store: Written, count: int) -> None:
    """What is imported or remembered once is not to be counted, nor are tables of the interpreter that grow."""
    with Credentials(never, store=store, keep=count) as credentials:
        _use(credentials, [f"other-{number}" for number in range(count)])


def _taken(make: Callable[[], object]) -> int:
    """Bytes that are taken by what `make` returns, or leaves behind."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = make()
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return taken


if __name__ == "__main__":
    for row in measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000):
        print(row.what, row.figure, row.aim, sep="  ")
