"""SQLite files to test with, and what may be done with a store."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from onerefresh import Credential, Token
from onerefresh.stores.sqlite import SQLiteStore

FIRST = {"access_token": "test-access-1", "refresh_token": "test-refresh-1"}


class Refresher:
    """Counts its calls; the n-th gives ``test-access-(n+1)``."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, token: Token) -> dict[str, str]:
        self.calls += 1
        return {"access_token": f"test-access-{self.calls + 1}", "refresh_token": f"test-refresh-{self.calls + 1}"}


@contextlib.contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, as another program opens it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def saved(path: Path) -> None:
    """Put the first token there."""
    with Credential("acme", Refresher(), store=SQLiteStore(path)) as credential:
        credential.login(FIRST)


def uses(store: SQLiteStore) -> list[Callable[[], object]]:
    """Each way to read and to write."""
    return [lambda: store.load("acme"), lambda: store.cas("acme", None, "body"), lambda: store.cas("acme", "1", "body")]
