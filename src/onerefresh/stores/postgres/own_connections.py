"""The store's own connections: opened when they are needed, and lent in turn."""

from __future__ import annotations

import contextlib
import os
import time
import weakref

from onerefresh.errors import ConfigurationError
from onerefresh.latches import Latch
from onerefresh.locks import Lock
from onerefresh.real_time import monotonic
from onerefresh.secret import Secret
from onerefresh.store import reset_in_child
from onerefresh.stores.postgres.address import checked, parsed, place_of
from onerefresh.stores.postgres.connections import PATIENCE, Loan, connected, is_gone, unusable
from onerefresh.stores.postgres.exchange import Connection, Refused, pq, psycopg
from onerefresh.threads import Job, start

__all__ = ["OwnConnections"]

MOST = 4
"""Connections that a store uses at the same time, beside the one on which it listens."""
SLICE = 0.1
"""Seconds between two checks of whether it is a waiting thread's turn."""
KEPT = 3.0
"""Seconds for which an unused connection is kept: a renewal uses it three times."""
DEFAULTS = {
    "client_encoding": "UTF8",
    "fallback_application_name": "onerefresh",
    "target_session_attrs": "read-write",  # the primary of several hosts: a standby may lag behind
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


_of_the_parent: list[Connection] = []
"""Kept so that nothing is ever done with them."""


class OwnConnections:
    """Connections that the store opens itself: at most `MOST` in use, each kept for a few seconds after its use.

    A thread closes them, and ends with the last one. `_lock` guards the idle connections and the choice of that thread;
    the queue of turns needs no lock. Raises `ConfigurationError` for a URL that cannot be one.
    """

    reuses = True

    def __init__(self, url: Secret) -> None:
        if url.reveal().startswith(("postgresql+", "postgres+")):
            raise ConfigurationError(
                "a PostgreSQL URL must begin with postgresql://: leave out the + and what follows it"
            )
        parameters = parsed(url)
        self.place = checked(place_of(parameters), "URL")
        hosts = str(parameters.held.get("host") or parameters.held.get("hostaddr") or "").count(",") + 1
        timeout = {"connect_timeout": str(max(2, int(PATIENCE) // hosts))}
        self._conninfo = Secret(psycopg.conninfo.make_conninfo(**{**DEFAULTS, **timeout, **parameters.held}))
        self._lock = Lock()
        self._turns: dict[Latch, str] = {}  # what each is for; the first ones have a connection, the others wait
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._idle: list[tuple[float, Connection]] = []
        self._closer: Job | None = None
        reset_in_child(self)

    def dedicated(self) -> Connection | Refused:
        return self._idle_one() or self._connect()

    def give_back(self, connection: Connection) -> None:
        with self._lock:
            surplus = self._keep(connection)
        _close(surplus)

    def borrow(self, deadline: float, purpose: str) -> Loan:
        return _Lent(self, deadline, purpose)

    def begin(self, turn: Latch, deadline: float, purpose: str) -> bool:
        """Wait for this turn until `deadline`; whether it has come.

        Each step is atomic, since an interrupt may come anywhere.
        """
        self._turns[turn] = purpose
        while True:
            self._call()
            if turn.wait(min(max(deadline - monotonic(), 0.0), SLICE)):
                return True
            if monotonic() >= deadline:
                return False

    def uses(self) -> list[str]:
        """What the connections are used for that are lent now."""
        return list(self._turns.values())[:MOST]

    def end(self, turn: Latch, connection: Connection | None) -> None:
        """End the turn, and take back its connection."""
        surplus = None
        try:
            if connection is not None:
                with self._lock:
                    surplus = self._keep(connection)
        finally:
            try:
                self._turns.pop(turn, None)
            finally:
                self._call()
        _close(surplus)

    def _call(self) -> None:
        """Wake the threads whose turn it is."""
        for turn in list(self._turns)[:MOST]:
            turn.set()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def after_fork(self) -> None:
        """Release the child's copies of the descriptors without a word to the server: the parent goes on with them."""
        self._lock, self._turns = Lock(), {}
        opened, self._open = list(self._open), weakref.WeakSet()
        self._idle, self._closer = [], None
        for connection in opened:
            if connection.pgconn.status == pq.ConnStatus.OK:
                _lead_nowhere(connection.pgconn.socket)
                _of_the_parent.append(connection)

    def _connect(self) -> Connection | Refused:
        opened = connected(
            lambda: psycopg.Connection.connect(self._conninfo.reveal(), autocommit=True, prepare_threshold=None)
        )
        if not isinstance(opened, Refused):
            self._open.add(opened)
            _forget_closed(self._open)
        return opened

    def _idle_one(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                _, connection = self._idle.pop()  # the one used last, so that the others can be closed
            if not is_gone(connection):
                return connection
            connection.close()

    def _keep(self, connection: Connection) -> Connection | None:
        """Keep a connection for its next use; return it where it has to be closed. The caller holds the lock."""
        if connection not in self._open or connection.pgconn.status != pq.ConnStatus.OK or unusable(connection):
            self._open.discard(connection)
            return connection
        if self._closer is None:
            try:
                self._closer = start(self._close_stale, "onerefresh closer", daemon=True)
            except RuntimeError:  # no thread can start any more: the interpreter ends, or the system is full
                return connection
        self._idle.append((monotonic(), connection))
        return None

    def _close_stale(self) -> None:
        """Close connections that were not used for `KEPT` seconds, until none is idle."""
        with self._lock:
            closer = self._closer
        while True:
            with self._lock:
                if closer is None or self._closer is not closer:
                    return
                past = monotonic() - KEPT
                stale = [connection for since, connection in self._idle if since <= past]
                self._idle = [(since, connection) for since, connection in self._idle if since > past]
                self._open.difference_update(stale)
                wait = self._idle[0][0] - past if self._idle else None
                if wait is None:
                    self._closer = None
            for connection in stale:
                connection.close()
            if wait is None:
                return
            time.sleep(wait)


class _Lent(Loan):
    """One of the store's own connections, once it is the borrower's turn."""

    __slots__ = ("_connection", "_deadline", "_purpose", "_source", "_turn")

    def __init__(self, source: OwnConnections, deadline: float, purpose: str) -> None:
        self._source, self._deadline, self._purpose, self._turn = source, deadline, purpose, Latch()
        self._connection: Connection | None = None

    def __enter__(self) -> Connection | Refused:
        if not self._source.begin(self._turn, self._deadline, self._purpose):
            return Refused(f"all {MOST} connections of this process were busy with {', '.join(self._source.uses())}")
        found = self._source.dedicated()
        if not isinstance(found, Refused):
            self._connection = found
        return found

    def end(self) -> None:
        connection = self._connection
        self._connection = None  # before giving it back: one that is given back twice would be lent to two threads
        self._source.end(self._turn, connection)


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()


def _lead_nowhere(descriptor: int) -> None:
    """Close the descriptor but keep its number in use, by a greenlet that goes on in a forked child.

    Such a greenlet must not write to the file that has the number next. gevent's `os.close` closes later, after such a
    greenlet has written to it.
    """
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)
    except OSError:  # the process has no descriptor to spare
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _forget_closed(opened: weakref.WeakSet[Connection]) -> None:
    opened.difference_update([connection for connection in list(opened) if connection.closed])
