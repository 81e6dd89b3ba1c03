"""A process that calls an API through the shared credential, and stands still or dies where it is told to.

What it is told and what it tells are tuples, a kind and what belongs to it. It is forked from a server that has
everything imported, so that one costs hundredths of a second.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from tests.chaos.network import enter
from tests.core.calls import post, status_of

import onerefresh
from onerefresh import Credential, OnerefreshError, Token, events, policy, profile, threads

CLAIMED, ANSWERED = "claimed", "answered"
UNREACHED = "unreached"
SOURCE = str(Path(onerefresh.__file__).parent)


@dataclass(frozen=True, slots=True)
class Settings:
    """`http_timeout`, `time_to_live` and `store_timeout` in seconds. `network`: the file of a network namespace."""

    store: str
    state: str
    refresh_url: str
    api_url: str
    profile: str
    http_timeout: float
    time_to_live: float
    store_timeout: float
    network: str | None = None


class Worker:
    def __init__(self, settings: Settings, pipe: Connection) -> None:
        self._pipe = pipe
        self._telling = threading.Lock()
        self._armed: str | None = None
        self._gate = threading.Event()
        self._doom: tuple[Any, ...] | None = None
        self._settings = settings
        self.timeout = settings.http_timeout
        logging.getLogger("onerefresh").addHandler(logging.NullHandler())  # what it says is told as events
        events.subscribe(self.heard)
        self.credential = Credential("acme", self, store=settings.store, profile=settings.profile)

    def tell(self, kind: str, *what: object) -> None:
        with self._telling:
            self._pipe.send((kind, *what))

    def heard(self, event: events.Event) -> None:
        self.tell("event", event.kind.value, event.attempt, event.detail)
        if event.kind in (events.Kind.CLAIMED, events.Kind.TAKEN_OVER):
            self.reach(CLAIMED)

    def reach(self, point: str) -> None:
        """Stand still here until the gate is opened, if that was asked for."""
        if self._armed == point:
            self._armed = None
            self.tell("at", point)
            self._gate.wait()

    def __call__(self, token: Token) -> dict[str, object]:
        """The refresher."""
        answer = post(self._settings.refresh_url, seconds=self.timeout, refresh_token=token.reveal_refresh_token())
        self.reach(ANSWERED)
        if self._doom is not None:
            kind, *how = self._doom
            DOOMS[kind](*how)
        return answer

    def call(self) -> None:
        """One call of the API, as a client integration makes it."""
        began = time.monotonic()
        try:
            token = self.credential.current() or self.credential.token()
            status = status_of(self._settings.api_url, token)
            if status == 401:
                token = self.credential.token(refused=token)
                status = status_of(self._settings.api_url, token)
                self.credential.replayed(token, accepted=status != 401)
            self.tell("called", status, token.generation, time.monotonic() - began)
        except OnerefreshError as error:
            self.tell("failed", type(error).__name__, error.message)
        except OSError as error:  # the API itself cannot be reached
            self.tell("failed", UNREACHED, repr(error))

    def obey(self) -> None:
        """Do what it is told until the other end of the pipe is gone."""
        while True:
            try:
                command, *what = self._pipe.recv()
            except EOFError:
                return
            if command == "call":
                threading.Thread(target=self.call).start()
            elif command == "arm":
                self._gate.clear()
                (self._armed,) = what
                self.tell("ready")
            elif command == "settle":
                for job in list(threads._jobs):
                    if not job.daemon and "background" not in job.name:  # which looks at what was saved for long
                        job.over.wait()
                self.tell("ready")
            else:
                self._doom = tuple(what) or None
                self._gate.set()


def work(settings: Settings, pipe: Connection, not_ours: Connection) -> None:
    """What the process does from its beginning to its end."""
    not_ours.close()
    if settings.network is not None:
        enter(settings.network)
    os.environ["ONEREFRESH_STATE"] = settings.state
    if settings.store.startswith("postgresql:"):  # a Redis URL says it itself
        for part in ("connections", "notifier"):
            vars(importlib.import_module(f"onerefresh.stores.postgres.{part}")).update(PATIENCE=settings.store_timeout)
    profile.SHORTEST_LEASE = profile.LONGEST_LEASE = settings.time_to_live
    # Sessions follow one another within a second here: no refusal, end or early refresh is remembered for so long.
    policy.FIRST_PAUSE, policy.EARLY_REFRESHES = 0.0, sys.maxsize
    for module in ("acceptance", "memory"):
        vars(importlib.import_module(f"onerefresh.credential.{module}")).update(LOOK_AGAIN=0.0)
    Worker(settings, pipe).obey()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_a_statement(when: str, beginning: str) -> None:
    """Die before or after the next such SQL statement."""

    class Doomed(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            is_it = sql.strip().startswith(beginning)
            if is_it and when == "before":
                die()
            cursor = super().execute(sql, *parameters)
            if is_it:
                die()
            return cursor

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Doomed)  # type: ignore[assignment]


def die_at_a_moment(seconds: float) -> None:
    """Die so many seconds from now, wherever that is."""
    threading.Timer(seconds, die).start()


def die_in_the_commit(seconds: float) -> None:
    """Die so many seconds after the next commit began: somewhere between two of its writes."""

    class Doomed(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql.startswith("COMMIT"):
                threading.Timer(seconds, die).start()
            return super().execute(sql, *parameters)

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Doomed)  # type: ignore[assignment]


def die_at_a_line(count: int) -> None:
    """Die before the `count`-th line of the library that this thread comes to."""
    left = count

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if event == "line" and frame.f_code.co_filename.startswith(SOURCE):
            left -= 1
            if left == 0:
                die()
        return trace

    above: FrameType | None = sys._getframe()
    while above is not None:
        above.f_trace = trace
        above = above.f_back
    sys.settrace(trace)


DOOMS: dict[str, Callable[..., None]] = {
    "statement": die_at_a_statement,
    "moment": die_at_a_moment,
    "commit": die_in_the_commit,
    "line": die_at_a_line,
}
