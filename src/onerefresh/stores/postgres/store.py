"""The PostgreSQL store: one table for all processes of all machines.

Each operation is one statement, and one round trip. Correctness depends on its compare-and-swap alone; LISTEN and the
server's clock are hints.
"""

from __future__ import annotations

import inspect
import logging
import secrets
import struct
import time
from collections.abc import Callable, Iterator, Sequence

from onerefresh.chance import CHANCE
from onerefresh.errors import ConfigurationError, StoreUnavailable
from onerefresh.limited_log import Topic, log_limited
from onerefresh.pause import Wakeup, after
from onerefresh.real_time import monotonic
from onerefresh.secret import Secret
from onerefresh.store import (
    HEAD_START,
    Conflict,
    StoreOfOurs,
    StoreOutcomeUnknown,
    StoreTime,
    Versioned,
    no_text,
    text_of,
)
from onerefresh.stores.change_notifier import ChangeNotifier, Subscription
from onerefresh.stores.flock import shared_seconds
from onerefresh.stores.postgres.connections import PATIENCE, Source, ask
from onerefresh.stores.postgres.errors import (
    EXISTS_ALREADY,
    LOCKED,
    REPEATABLE,
    UNDEFINED_TABLE,
    cannot_create,
    cannot_remove,
    locked_by,
    refused,
)
from onerefresh.stores.postgres.exchange import Answer, Lost, Refused
from onerefresh.stores.postgres.notifier import CannotListen, PostgresSubscription
from onerefresh.stores.postgres.own_connections import OwnConnections
from onerefresh.stores.postgres.pooled_connections import PooledConnections
from onerefresh.stores.postgres.sql import DEFAULT_TABLE, Statements

__all__ = ["PostgresStore"]

TRIES = 5
LOCKED_SLEEPS = (0.1, 0.3)
"""Seconds between two tries to write a record that another transaction has locked; meanwhile no connection is held."""
WOKEN, POLLED = 2.0, 0.5
"""Seconds after which a waiting process reads the record: where the server announces changes, and where it does not."""
DEAF = 10.0
"""Seconds until listening is tried again: a server with no connection to spare must not be asked all the time."""


class PostgresStore(StoreOfOurs):
    """Records in one table of a PostgreSQL server, which is created where it is missing.

    * `place`: a URL (``postgresql://…``, as libpq reads it), or a `psycopg_pool.ConnectionPool`, which stays open.
    * `table`: with or without its schema.
    * `may_go_back`: a failover may lose writes that were acknowledged. None takes it from the server's answers, which
      show whether a standby follows it asynchronously.

    Raises `ConfigurationError` for arguments that cannot work. No connection is opened until one is needed.
    """

    durable = True
    look_every = WOKEN
    head_start = HEAD_START

    def __init__(self, place: object, *, table: str = DEFAULT_TABLE, may_go_back: bool | None = None) -> None:
        self._statements = Statements(table)
        way = Secret(place) if isinstance(place, str) else place
        del place  # it may hold a password, and would show in a traceback with locals
        self._source = _source(way)
        self.name = f"{self._source.place}#{table}"
        self.may_go_back = may_go_back is not False  # True until the server's answers show otherwise
        self._is_told, self._saw_standby = may_go_back is not None, False
        self._clock = _ServerClock()
        self._notifier = ChangeNotifier(self._subscription)
        self._deaf_until = 0.0

    def load(self, key: str) -> Versioned | None:
        answer = self._ask(self._statements.load, [key.encode()])
        if isinstance(answer, Lost) and answer.again:
            answer = self._ask(self._statements.load, [key.encode()])
        if isinstance(answer, Refused) and answer.sqlstate == UNDEFINED_TABLE:
            answer = self._ask(self._statements.nothing)
        if not isinstance(answer, list):
            raise self._unavailable(answer)
        ((_, _, follows, _, version, body),) = answer
        if follows == b"true":
            raise StoreUnavailable(
                f"{self.name}: the server is a standby and may lag behind: connect to the primary server"
            )
        if version is None or body is None:
            return None
        text = text_of(body)
        if text is None:
            del answer, body  # they may hold tokens, and would show in a traceback with locals
            raise no_text(key, version.decode())
        return Versioned(version.decode(), text)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        version = secrets.token_hex(8)
        channel = self._statements.channel(key)
        values = [key.encode(), version.encode(), body.encode(), struct.pack("!q", channel.lock), channel.name.encode()]
        try:
            answer = self._write(values, expected)
        finally:
            del body, values  # they hold tokens, and would show in a traceback with locals
        match answer:
            case Refused():
                raise self._unavailable(answer)
            case Lost(words):
                raise StoreOutcomeUnknown(f"{self.name}: {words}")
            case []:
                raise Conflict(key)
        return version

    def remove(self, key: str, expected: str) -> None:
        channel = self._statements.channel(key)
        values = [key.encode(), expected.encode(), struct.pack("!q", channel.lock), channel.name.encode()]
        answer = self._ask_until_unlocked(self._statements.delete, values)
        match answer:
            case Refused(words, sqlstate) if sqlstate == UNDEFINED_TABLE:
                raise Conflict(key)
            case Refused(words, sqlstate):
                raise self._unavailable(
                    answer if words else Refused(cannot_remove(sqlstate, self._statements.table), sqlstate)
                )
            case Lost(words):
                raise StoreOutcomeUnknown(f"{self.name}: {words}")
            case []:
                raise Conflict(key)

    def subscribe(self, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup:
        if monotonic() < self._deaf_until:
            return after(POLLED)
        return self._notifier.subscribe(key, version, since, wake)

    def moment(self) -> StoreTime | None:
        return self._clock.moment()

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        after = b""
        while page := self._page(after):
            for key, version, body in page:
                name, mark, text = key.decode(), version.decode(), text_of(body)
                yield name, no_text(name, mark) if text is None else Versioned(mark, text)
            after = page[-1][0]

    def make_table(self) -> None:
        """Create the table where it is missing. Raises `StoreUnavailable`."""
        problem = self._make_table()
        if problem is not None:
            raise self._unavailable(problem)

    def close(self) -> None:
        self._source.close()

    # --- Statements ---

    def _ask(self, statement: str, values: Sequence[bytes] = ()) -> Answer:
        """Execute a statement, again after a conflict of transactions; learn what each answer states in addition."""
        try:
            for _ in range(TRIES):
                begun = shared_seconds()
                answer = ask(self._source, statement, values)
                if not isinstance(answer, Refused) or answer.sqlstate not in REPEATABLE:
                    break
        finally:
            del values  # they hold tokens, as in `cas`
        if isinstance(answer, list) and answer and len(answer[0]) > 4:
            now, started, _, followed = answer[0][:4]
            self._clock.observe(float(now or 0), (started or b"").decode(), begun)
            if not self._is_told:
                self._saw_standby = self._saw_standby or followed == b"true"  # one that is cut off may take over
                self.may_go_back = self._saw_standby
        return answer

    def _ask_until_unlocked(self, statement: str, values: Sequence[bytes]) -> Answer:
        """Execute a write, again where another transaction has locked the record, for at most `PATIENCE` seconds.

        Between two tries no connection is held, so that the records of others can be written meanwhile.
        """
        deadline = monotonic() + PATIENCE
        try:
            while True:
                answer = self._ask(statement, values)
                if not isinstance(answer, Refused) or answer.sqlstate != LOCKED:
                    return answer
                if monotonic() >= deadline:
                    return self._locked(values[0])
                time.sleep(CHANCE.uniform(*LOCKED_SLEEPS))
        finally:
            del values  # they hold tokens, as in `cas`

    def _locked(self, key: bytes) -> Refused:
        """The refusal of a write to a locked record, with what the server tells about the other transaction."""
        found = self._ask(self._statements.locked_by, [key])
        if isinstance(found, list) and found and None not in found[0]:
            pid, seconds = (value.decode() for value in found[0] if value is not None)
            return Refused(locked_by(pid, seconds))
        return Refused("", LOCKED)

    def _write(self, values: list[bytes], expected: str | None) -> Answer:
        """One row where the record was written, none where another version is there."""
        statement = self._statements.insert
        if expected is not None:
            statement = self._statements.update
            values = [*values, expected.encode()]
        try:
            answer = self._ask_until_unlocked(statement, values)
            if isinstance(answer, Refused) and answer.sqlstate == UNDEFINED_TABLE:
                if expected is not None:
                    return []
                answer = self._make_table() or self._ask(statement, values)
            if not isinstance(answer, Lost) or not answer.again:
                return answer
            # The same statement again: whichever comes first, the other one finds its version and does nothing.
            again = self._ask(statement, values)
            if isinstance(again, list) and (again or self._has(values[0], values[1])):
                return again or [()]
            return answer
        finally:
            del values  # they hold tokens, as in `cas`

    def _has(self, key: bytes, version: bytes) -> bool:
        found = self._ask(self._statements.load, [key])
        return isinstance(found, list) and found[0][4] == version

    def _make_table(self) -> Refused | Lost | None:
        made = self._ask(self._statements.create)
        if isinstance(made, list) or (isinstance(made, Refused) and made.sqlstate in EXISTS_ALREADY):
            return None
        if isinstance(made, Refused):
            return Refused(made.words or cannot_create(made.sqlstate, self._statements.table))
        return Refused(made.words)  # at most a table was created, and no record written

    def _page(self, after: bytes) -> list[tuple[bytes, bytes, bytes]]:
        answer = self._ask(self._statements.page, [after])
        if isinstance(answer, Lost) and answer.again:
            answer = self._ask(self._statements.page, [after])
        if isinstance(answer, Refused) and answer.sqlstate == UNDEFINED_TABLE:
            return []
        if not isinstance(answer, list):
            raise self._unavailable(answer)
        return answer  # type: ignore[return-value]  # no column is null

    def _unavailable(self, problem: Refused | Lost) -> StoreUnavailable:
        message = problem.words
        if isinstance(problem, Refused) and not message:
            message = refused(problem.sqlstate, self._statements.table)
        return StoreUnavailable(f"{self.name}: {message}; nothing was changed")

    # --- Notifications ---

    def _subscription(self) -> Subscription:
        try:
            line = PostgresSubscription(self._source, self._statements)
        except CannotListen as error:
            if error.for_good and self._deaf_until == 0.0:
                text = (
                    f"{self.name}: {error}, so waiting callers poll every {POLLED} s; with a URL of the server itself "
                    "they wake at once"
                )
                log_limited(Topic(logging.WARNING, "waiting callers poll", self.name), text)
                self.look_every = POLLED
            self._deaf_until = float("inf") if error.for_good else monotonic() + DEAF
            raise
        return line


class _ServerClock:
    """The server's clock, as its last answer stated it and counted on since then.

    Its epoch is one start of one server: after a failover, another server has a clock of its own.
    """

    TRUSTED = 60.0
    """Seconds for which this machine counts on by itself."""
    JUMP = 2.0
    """Seconds by which a clock that was not set may differ from what was counted."""

    def __init__(self) -> None:
        self._last = ("", 0.0, 0.0)  # epoch, seconds that it is ahead of this machine's clock, when that was stated

    def observe(self, server: float, started: str, begun: float) -> None:
        """Take in that the server's clock showed `server` between `begun` and now, on this machine's clock."""
        now = shared_seconds()
        ahead = server - (begun + now) / 2.0
        clock_epoch, was_ahead, _ = self._last
        if clock_epoch.partition("/")[0] != started:
            clock_epoch = started
        elif abs(ahead - was_ahead) > self.JUMP + (now - begun):
            clock_epoch = f"{started}/{secrets.token_hex(8)}"  # the clock was set: older readings do not compare
        self._last = (clock_epoch, ahead, now)

    def moment(self) -> StoreTime | None:
        now = shared_seconds()
        clock_epoch, ahead, told_at = self._last
        if not clock_epoch or now - told_at > self.TRUSTED:
            return None
        return StoreTime(clock_epoch, now + ahead)


def _source(place: object) -> Source:
    if isinstance(place, Secret):
        return OwnConnections(place)
    kind = type(place)
    module = kind.__module__.partition(".")[0]
    if "Async" in kind.__name__ or inspect.iscoroutinefunction(getattr(kind, "getconn", None)):
        raise ConfigurationError(f"an {kind.__name__} cannot be a store: pass a psycopg_pool.ConnectionPool, or a URL")
    if hasattr(kind, "connection") and hasattr(kind, "getconn"):
        return PooledConnections(place)
    hint = ": it serves one thread at a time" if module == "psycopg" else ""
    raise ConfigurationError(
        f"a {kind.__name__} cannot be a store{hint}; pass a psycopg_pool.ConnectionPool, or a postgresql:// URL"
    )
