"""Real stores that lose what they hold, or go back to what they held before."""

from __future__ import annotations

import shutil
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.valkey import Sentinels, Valkey

from onerefresh.errors import StoreUnavailable
from onerefresh.record_text import decode
from onerefresh.stores import open_store

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer
TABLE = "onerefresh_records"
PATIENCE = 20.0
"""Seconds after which the newest token should have come back: a process looks every ten seconds."""


class Place(ABC):
    """A store as a test has it in its hands. `may_lose`: it says itself that it may lose writes."""

    url: str
    may_lose: bool

    def generation(self, key: str = "acme") -> int:
        """Of the record that is there; 0: none."""
        deadline = time.monotonic() + PATIENCE
        with closing(open_store(self.url)) as store:
            while True:
                try:
                    found = store.load(key)
                except StoreUnavailable:  # a failover may take its time
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                    continue
                return decode(found.body, key).generation if found else 0

    def until_generation(self, generation: int, key: str = "acme") -> None:
        """Wait until its record has this generation."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.generation(key)) != generation:
            assert time.monotonic() < deadline, f"the record stays at generation {found}"
            time.sleep(0.05)

    def down(self) -> AbstractContextManager[None]:
        """It cannot be reached meanwhile, and holds nothing afterwards."""
        raise NotImplementedError

    @abstractmethod
    def forget(self, keep: str | None = None) -> None:
        """Lose all records, or all but one."""

    @abstractmethod
    def remember(self) -> None:
        """Take a backup."""

    @abstractmethod
    def restore(self) -> None:
        """Hold what the backup holds."""


class SQLitePlace(Place):
    """`how`: ``deleted`` or ``removed``, the file itself."""

    may_lose = False

    def __init__(self, folder: Path, how: str) -> None:
        self._file, self._backup, self._how = folder / "tokens.db", folder / "backup.db", how
        self.url = f"sqlite:///{self._file}"

    def forget(self, keep: str | None = None) -> None:
        if self._how == "removed" and keep is None:
            self._file.unlink()
            return
        with closing(sqlite3.connect(self._file)) as connection, connection:
            connection.execute("DELETE FROM records WHERE key IS NOT ?", (keep,))

    def remember(self) -> None:
        shutil.copy2(self._file, self._backup)

    def restore(self) -> None:
        shutil.copy2(self._backup, self._file)


class PostgresPlace(Place):
    """`how`: ``deleted`` or ``truncated``."""

    may_lose = False

    def __init__(self, server: PostgresServer, url: str, how: str) -> None:
        self._server, self.url, self._how = server, url, how
        self._rows: list[tuple[object, ...]] = []

    def _do(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def forget(self, keep: str | None = None) -> None:
        if self._how == "truncated" and keep is None:
            self._do(f"TRUNCATE {TABLE}")
        else:
            self._do(f"DELETE FROM {TABLE} WHERE key IS DISTINCT FROM %s", keep)

    def remember(self) -> None:
        self._rows = self._do(f"SELECT key, version, body, updated_at FROM {TABLE}")

    def restore(self) -> None:
        self._do(f"TRUNCATE {TABLE}")
        for row in self._rows:
            self._do(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s)", *row)


class ValkeyPlace(Place):
    """`how`: ``flushed``, ``durable`` (and flushed), or ``restarted``, with nothing on its disk."""

    may_lose = True

    def __init__(self, server: Valkey, how: str) -> None:
        self._server, self._how = server, how
        self.url = server.url + ("?durable=yes" if how == "durable" else "")

    def forget(self, keep: str | None = None) -> None:
        if keep is not None:
            kept = f"onerefresh:{{{keep}}}"
            for name in self._server.do("KEYS", "onerefresh:*"):
                if name != kept:
                    self._server.do("DEL", name)
        elif self._how == "restarted":
            self._server.restart()
        else:
            self._server.do("FLUSHALL")

    @contextmanager
    def down(self) -> Iterator[None]:
        self._server.kill()
        yield
        self._server.start()

    def remember(self) -> None:
        self._server.do("SAVE")

    def restore(self) -> None:
        """Start again from the old file."""
        self._server.restart()


class SentinelsPlace(Place):
    """A primary that dies, and a replica that takes its place with nothing in it."""

    may_lose = True

    def __init__(self, sentinels: Sentinels) -> None:
        self._sentinels, self.url = sentinels, sentinels.url

    def forget(self, keep: str | None = None) -> None:
        assert keep is None
        replica = self._sentinels.replica
        replica.do("CONFIG", "SET", "replica-read-only", "no")
        replica.do("FLUSHALL")
        self._sentinels.primary.kill()
        self._sentinels.fail_over()
        self.generation()  # once the sentinels agree, and it can be reached

    def remember(self) -> None:
        raise NotImplementedError

    def restore(self) -> None:
        raise NotImplementedError


def made(kind: str, folder: Path, resources: ExitStack, postgres: Callable[[], tuple[PostgresServer, str]]) -> Place:
    """The place of this kind, with servers that end with `resources`. `postgres`: a server and an empty database."""
    name, _, how = kind.partition(" ")
    if name == "sqlite":
        return SQLitePlace(folder, how)
    if name == "postgres":
        return PostgresPlace(*postgres(), how)
    if how == "failed over":
        return SentinelsPlace(resources.enter_context(Sentinels(folder / "sentinels")))
    config = ("appendonly yes",) if how == "durable" else ()
    return ValkeyPlace(resources.enter_context(Valkey(folder / "valkey", *config)), how)
