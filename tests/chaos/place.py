"""Where a crew keeps its record, with a note of every write; and a file as such a place."""

from __future__ import annotations

import abc
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from tests.servers.relay import Relay

from onerefresh.errors import StoreUnavailable
from onerefresh.record_text import decode
from onerefresh.stores import open_store

__all__ = ["KEY", "Place", "SQLitePlace", "Save", "ServerPlace"]

KEY = "acme"
PATIENCE = 60.0


class Save(NamedTuple):
    """One write of the record. `attempt`: the one that committed it."""

    generation: int
    state: str
    attempt: str | None


class Place(abc.ABC):
    """A store, and what is needed to see all that happens in it.

    `http_timeout`, `time_to_live`: seconds, of attempts here. `store_timeout`: seconds after which its clients give up
    waiting for its answer. `proves_death`: nobody waits for an attempt whose process was killed.
    """

    name: str
    url: str
    proves_death = False
    is_a_server = False
    http_timeout, time_to_live, store_timeout = 1.0, 2.5, 1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def watch(self) -> None:
        """Note each write from now on. There is a record already."""

    @abc.abstractmethod
    def saves(self) -> list[Save]:
        """Each write since `watch`, in order, without having asked those who wrote."""

    def is_sound(self) -> bool:
        """Whether nothing is damaged."""
        store = open_store(self.url)
        try:
            found = store.load(KEY)
            if found is not None:
                decode(found.body, KEY)
        except StoreUnavailable:
            return False
        return True

    @abc.abstractmethod
    def close(self) -> None:
        """End what belongs to it."""


class SQLitePlace(Place):
    """A file. Triggers note each write in its own transaction."""

    name = "SQLite"
    proves_death = True
    http_timeout, time_to_live = 1.6, 4.0  # it had these first: the figures on the page compare with older ones

    def __init__(self, folder: Path) -> None:
        self._database = folder / "tokens.db"
        self.url = f"sqlite:///{self._database}"

    def watch(self) -> None:
        note = "INSERT INTO saves VALUES (new.body ->> 'generation', new.body ->> 'state', new.body ->> 'by');"
        this = f"new.key = '{KEY}'"  # not the note of losses
        with closing(sqlite3.connect(self._database)) as database:
            database.executescript(
                "CREATE TABLE saves (generation INTEGER, state TEXT, attempt TEXT);"
                f"CREATE TRIGGER note_insert AFTER INSERT ON records WHEN {this} BEGIN {note} END;"
                f"CREATE TRIGGER note_update AFTER UPDATE ON records WHEN {this} BEGIN {note} END;"
            )

    def saves(self) -> list[Save]:
        with closing(sqlite3.connect(self._database, timeout=PATIENCE)) as database:
            rows = database.execute("SELECT generation, state, attempt FROM saves ORDER BY rowid")
            return [Save(*row) for row in rows]

    def is_sound(self) -> bool:
        with closing(sqlite3.connect(self._database, timeout=PATIENCE)) as database:
            return list(database.execute("PRAGMA integrity_check")) == [("ok",)]

    def close(self) -> None:
        """A file needs nothing."""


class ServerPlace(Place):
    """A server behind a relay, and what can happen to both.

    `forgets`: a crash may cost what it has acknowledged.
    """

    is_a_server = True
    forgets = False
    relay: Relay

    @contextmanager
    def crashed(self) -> Iterator[None]:
        """It is killed now, and serves again at the end, on the same port."""
        with self.relay.down():
            self._kill()
            yield
            self._start()

    @abc.abstractmethod
    def frozen(self) -> AbstractContextManager[None]:
        """It neither answers nor accepts until the end: each of its processes is stopped."""

    @abc.abstractmethod
    def prepare_successor(self) -> None:
        """Let another server follow it from now on. This takes seconds."""

    @contextmanager
    def failing_over(self) -> Iterator[None]:
        """What is written from now on is lost, and nothing else: at the end the other server takes over."""
        self._leave_successor_behind()
        yield
        with self.relay.down():
            self._kill()
            self._succeed()

    def cut_at(self, state: str, *, answered: bool) -> None:
        """Break all connections once, at the next write of a record in `state`: before the server gets it, or when it
        is about to answer."""
        mark = f'"state":"{state}"'.encode()
        self.relay.lose("answer" if answered else "request", of=mark, then=self.relay.cut)

    @abc.abstractmethod
    def _kill(self) -> None: ...

    @abc.abstractmethod
    def _start(self) -> None: ...

    @abc.abstractmethod
    def _leave_successor_behind(self) -> None: ...

    @abc.abstractmethod
    def _succeed(self) -> None: ...
