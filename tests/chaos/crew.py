"""Processes that share one credential on one SQLite file, beside a server of their own; and a look into the file."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any, Self

from tests.chaos.worker import Settings, work

from onerefresh import Credential
from onerefresh.testing import RemoteServer

__all__ = ["Crew", "Member"]

PATIENCE = 60.0
"""Seconds after which something that was to happen is given up."""
SIZE = 8
HTTP_TIMEOUT, TIME_TO_LIVE = 1.6, 4.0
GRACE = 600.0

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.chaos.worker", "onerefresh.stores.sqlite"])

SAVES = """
CREATE TABLE saves (generation INTEGER, state TEXT, attempt TEXT);
CREATE TRIGGER note_insert AFTER INSERT ON records BEGIN
    INSERT INTO saves VALUES (new.body ->> 'generation', new.body ->> 'state', new.body ->> 'by');
END;
CREATE TRIGGER note_update AFTER UPDATE ON records BEGIN
    INSERT INTO saves VALUES (new.body ->> 'generation', new.body ->> 'state', new.body ->> 'by');
END;
"""
"""Every write of a record leaves a line, in the same transaction: what was saved is known without asking anybody."""


@dataclass
class Member:
    """One process, and what it has told since the round began."""

    pipe: connection.Connection
    process: Any
    at: str | None = None
    is_ready: bool = False
    has_ended: bool = False
    calls: int = 0
    called: list[tuple[int, int, float]] = field(default_factory=list)  # status, generation, seconds
    failed: list[tuple[str, str]] = field(default_factory=list)  # the error and what it says
    events: list[tuple[str, str | None, str]] = field(default_factory=list)  # kind, attempt, detail

    @property
    def is_done(self) -> bool:
        return self.has_ended or len(self.called) + len(self.failed) == self.calls

    def begin(self) -> None:
        self.at, self.calls = None, 0
        self.called, self.failed, self.events = [], [], []

    def tell(self, *what: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died: the other direction of the pipe says so
            self.pipe.send(what)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.events]

    def take(self, message: tuple[Any, ...]) -> None:
        kind, *what = message
        if kind == "at":
            (self.at,) = what
        elif kind == "ready":
            self.is_ready = True
        else:
            told: dict[str, list[Any]] = {"event": self.events, "called": self.called, "failed": self.failed}
            told[kind].append(tuple(what))


class Crew:
    """`SIZE` processes and the server that they refresh at; `has_grace` says of which kind that is."""

    def __init__(self, folder: Path, *, has_grace: bool) -> None:
        folder.mkdir()
        self.has_grace = has_grace
        self.database = folder / "tokens.db"
        if has_grace:
            self.server = RemoteServer.start(mode="grace", grace=GRACE)
        else:
            self.server = RemoteServer.start(mode="revoke_family")
            self.server.expect_reuse()
        self._settings = Settings(
            store=f"sqlite:///{self.database}",
            state=str(folder / "state"),
            refresh_url=self.server.json_refresh_url,
            api_url=f"{self.server.api_url}/thing",
            profile=f"grace:{GRACE:.0f}" if has_grace else "strict",
            http_timeout=HTTP_TIMEOUT,
            time_to_live=TIME_TO_LIVE,
        )
        self.members: list[Member] = []
        try:
            self.log_in()
            with closing(sqlite3.connect(self.database)) as database:
                database.executescript(SAVES)
            self.complete()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for member in self.members:
            if not member.has_ended:
                member.process.kill()
            self._bury(member)
        self.server.stop()

    def log_in(self) -> None:
        """What a person does when the session is lost."""
        with Credential("acme", lambda token: token, store=self._settings.store) as credential:
            credential.login(self.server.issue())

    def complete(self) -> None:
        """New processes for those that are gone."""
        for member in [member for member in self.members if member.has_ended]:
            self.members.remove(member)
            self._bury(member)
        while len(self.members) < SIZE:
            ours, theirs = _forks.Pipe()
            process = _forks.Process(target=work, args=(self._settings, theirs, ours))
            process.start()
            theirs.close()
            self.members.append(Member(ours, process))

    def _bury(self, member: Member) -> None:
        member.process.join(PATIENCE)
        member.process.close()
        member.pipe.close()

    def call(self, count: int) -> None:
        """Each of them makes `count` calls at once."""
        for _ in range(count):
            for member in self.members:
                member.calls += 1
                member.tell("call")

    def arm(self, members: list[Member], point: str | None) -> None:
        """From when this returns, they stand still at this point and at no other; None: nowhere."""
        self._ask(members, "arm", point)

    def settle(self) -> None:
        """From when this returns, nobody has anything left to do: a process that is stopped then is in nobody's way."""
        self._ask(self.members, "settle")

    def _ask(self, members: list[Member], *what: object) -> None:
        for member in members:
            member.is_ready = False
            member.tell(*what)
        self.until(lambda: all(member.is_ready or member.has_ended for member in members), "ready")

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Hear what they tell until `is_so`."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            living = {member.pipe: member for member in self.members if not member.has_ended}
            ready = connection.wait(living, max(deadline - time.monotonic(), 0.0))
            if not ready:
                raise AssertionError(f"not {what}: {self.members}")
            for pipe in ready:
                member = living[pipe]  # type: ignore[index]  # `wait` returns what it was given
                try:
                    member.take(member.pipe.recv())
                except (EOFError, ConnectionResetError):
                    member.has_ended = True

    # --- The file ---

    def is_sound(self) -> bool:
        with closing(sqlite3.connect(self.database, timeout=PATIENCE)) as database:
            return list(database.execute("PRAGMA integrity_check")) == [("ok",)]

    def saves(self) -> list[tuple[int, str, str | None]]:
        """Every record ever written, in order: its generation, its state, and the attempt that committed it."""
        with closing(sqlite3.connect(self.database, timeout=PATIENCE)) as database:
            return list(database.execute("SELECT generation, state, attempt FROM saves ORDER BY rowid"))
