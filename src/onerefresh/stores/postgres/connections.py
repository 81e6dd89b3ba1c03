"""Where the PostgreSQL store's connections come from: a few of its own, or the user's pool."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from onerefresh.errors import ConfigurationError
from onerefresh.latches import Latch
from onerefresh.locks import Lock
from onerefresh.store import reset_in_child
from onerefresh.stores.postgres.errors import cannot_connect
from onerefresh.stores.postgres.exchange import Answer, Connection, Refused, exchange, pq, psycopg
from onerefresh.threads import Job, start
from onerefresh.token import Secret

__all__ = ["OwnConnections", "PooledConnections", "Source", "ask"]

PATIENCE = 5.0
"""Seconds that one statement may take, including the time to get a connection for it."""
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


class Loan(contextlib.AbstractContextManager["Connection | Refused"]):
    """A connection for the time of a block."""

    __slots__ = ()

    @abstractmethod
    def end(self) -> None:
        """Give the connection back. A second call changes nothing, unless an interrupt has cut the first one short."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()


class Source(Protocol):
    """Where connections come from.

    `place`: host, port and database, without any secret. `reuses`: a dedicated connection serves statements afterwards.
    """

    place: str
    reuses: bool

    def borrow(self, deadline: float) -> Loan:
        """Lend a connection for one statement."""

    def dedicated(self) -> Connection | Refused:
        """A connection for one user alone, for longer than a statement."""

    def give_back(self, connection: Connection) -> None:
        """Take a dedicated connection back, on which nothing is left."""

    def close(self) -> None:
        """Close the connections that this opened and that are not in use."""


def ask(source: Source, statement: str, values: Sequence[bytes] = ()) -> Answer:
    """The rows of the statement, which is a transaction of its own. `values`: its parameters, in binary form."""
    deadline = time.monotonic() + PATIENCE
    loan = source.borrow(deadline)
    try:
        try:
            try:
                with loan as connection:
                    if isinstance(connection, Refused):
                        return connection
                    return exchange(connection, statement, values, deadline)
            finally:
                loan.end()  # for an interrupt before the block, or at its end
        finally:
            loan.end()  # for an interrupt during the line above
    finally:
        del values  # tokens, which would show in a traceback with locals


def _unusable(connection: Connection) -> str:
    """Why no statement may be sent on the connection; empty where one may."""
    link = connection.pgconn
    if link.transaction_status != pq.TransactionStatus.IDLE:
        return "the pool lends connections that are in a transaction"
    if link.parameter_status(b"client_encoding") != b"UTF8":
        return "its connections do not use UTF-8: set client_encoding=UTF8 for the pool"
    return ""


def _is_gone(connection: Connection) -> bool:
    """Whether the server has closed the connection: nothing else can be readable on an idle one."""
    link = connection.pgconn
    if link.status != pq.ConnStatus.OK:
        return True
    with selectors.DefaultSelector() as selector:
        selector.register(link.socket, selectors.EVENT_READ)
        return bool(selector.select(0))


def _connected(connect: Callable[[], Connection]) -> Connection | Refused:
    try:
        return connect()
    except psycopg.Error as error:
        return Refused(cannot_connect(str(error)))
    except Exception as error:  # noqa: BLE001 - a user's pool may raise anything, with a password in it
        return Refused(f"connecting raised {type(error).__name__}")


def _place(parameters: _Parameters) -> str | None:
    """The place to which these parameters lead; None where that is no place, but may be a part of a password."""
    given = {default.keyword.decode(): (default.val or b"").decode() for default in pq.Conninfo.get_defaults()}
    given |= {name: str(value) for name, value in parameters.held.items() if value is not None}
    host = given.get("host") or given.get("hostaddr") or "localhost"
    database = given.get("dbname") or given.get("user") or ""
    ports = given.get("port") or "5432"
    if "@" in host + database + given.get("user", "") or not all(port.isdecimal() for port in ports.split(",") if port):
        return None
    # A user's or a connection's search path may lead to another table of the same name.
    user = f"{parameters.held['user']}@" if parameters.held.get("user") else ""
    path = f"#options-{Secret(given['options']).fingerprint()[:8]}" if given.get("options") else ""
    service = f"?service={given['service']}" if given.get("service") else ""
    return f"postgresql://{user}{host}:{ports}/{database}{service}{path}"


class OwnConnections:
    """Connections that the store opens itself: at most `MOST` in use, each kept for a few seconds after its use.

    A thread closes them, and ends with the last one. `_lock` guards the idle connections and the choice of that thread;
    the queue of turns needs no lock. Raises `ConfigurationError` for a URL that cannot be one.
    """

    reuses = True

    def __init__(self, url: Secret) -> None:
        if url.reveal().startswith(("postgresql+", "postgres+")):
            raise ConfigurationError("a PostgreSQL URL begins with postgresql://: leave out the + and what follows it")
        parameters = _parsed(url)
        self.place = _checked(_place(parameters), "URL")
        hosts = str(parameters.held.get("host") or parameters.held.get("hostaddr") or "").count(",") + 1
        timeout = {"connect_timeout": str(max(2, int(PATIENCE) // hosts))}
        self._conninfo = Secret(psycopg.conninfo.make_conninfo(**{**DEFAULTS, **timeout, **parameters.held}))
        self._lock = Lock()
        self._turns: dict[Latch, None] = {}  # of all threads with or for a connection; the first ones have theirs
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

    def borrow(self, deadline: float) -> Loan:
        return _Lent(self, deadline)

    def begin(self, turn: Latch, deadline: float) -> bool:
        """Wait for this turn until `deadline`; whether it has come.

        Each step is atomic, since an interrupt may come anywhere.
        """
        self._turns[turn] = None
        while True:
            self._call()
            if turn.wait(min(max(deadline - time.monotonic(), 0.0), SLICE)):
                return True
            if time.monotonic() >= deadline:
                return False

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
        opened = _connected(
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
            if not _is_gone(connection):
                return connection
            connection.close()

    def _keep(self, connection: Connection) -> Connection | None:
        """Keep a connection for its next use; return it where it has to be closed. The caller holds the lock."""
        if connection not in self._open or connection.pgconn.status != pq.ConnStatus.OK or _unusable(connection):
            self._open.discard(connection)
            return connection
        if self._closer is None:
            try:
                self._closer = start(self._close_stale, "onerefresh closer", daemon=True)
            except RuntimeError:  # no thread can start any more: the interpreter ends, or the system is full
                return connection
        self._idle.append((time.monotonic(), connection))
        return None

    def _close_stale(self) -> None:
        """Close connections that were not used for `KEPT` seconds, until none is idle."""
        with self._lock:
            closer = self._closer
        while True:
            with self._lock:
                if closer is None or self._closer is not closer:
                    return
                past = time.monotonic() - KEPT
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

    __slots__ = ("_connection", "_deadline", "_source", "_turn")

    def __init__(self, source: OwnConnections, deadline: float) -> None:
        self._source, self._deadline, self._turn = source, deadline, Latch()
        self._connection: Connection | None = None

    def __enter__(self) -> Connection | Refused:
        if not self._source.begin(self._turn, self._deadline):
            return Refused(f"all {MOST} connections of this process were busy")
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


_of_the_parent: list[Connection] = []
"""Kept so that nothing is ever done with them."""


@dataclass(frozen=True, slots=True, repr=False)
class _Parameters:
    held: dict[str, Any]


def _parsed(url: Secret) -> _Parameters:
    """The URL's parameters. Nothing is raised here, since the parser's exceptions may hold a password."""
    try:
        return _Parameters(psycopg.conninfo.conninfo_to_dict(url.reveal()))
    except (psycopg.Error, UnicodeError):  # a UnicodeError holds the whole password
        return _Parameters({"port": "unreadable"})


def _checked(place: str | None, what: str) -> str:
    if place is None:
        raise ConfigurationError(
            f"the PostgreSQL {what} cannot be read: write postgresql://USER@HOST:PORT/DATABASE, and in user and "
            "password @ as %40, / as %2F, : as %3A, ? as %3F"
        )
    return place


def _forget_closed(opened: weakref.WeakSet[Connection]) -> None:
    opened.difference_update([connection for connection in list(opened) if connection.closed])


class PooledConnections:
    """Connections from the user's own `psycopg_pool.ConnectionPool`, which stays open.

    They are borrowed for one statement each. A dedicated connection is opened outside of the pool.
    """

    reuses = False

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        parameters = _parsed(Secret(self._conninfo()))
        self.place = _checked(_place(_Parameters({**parameters.held, **self._arguments()})), "pool's conninfo")

    def _conninfo(self) -> str:
        found = getattr(self._pool, "conninfo", "")
        return str((found() if callable(found) else found) or "")

    def _arguments(self) -> dict[str, Any]:
        """What the pool passes to each connection beside its conninfo; the place may be among it."""
        arguments = getattr(self._pool, "kwargs", None)
        return dict((arguments() if callable(arguments) else arguments) or {})

    def dedicated(self) -> Connection | Refused:
        def opened() -> Connection:
            kind = getattr(self._pool, "connection_class", psycopg.Connection)
            connection: Connection = kind.connect(self._conninfo(), **self._arguments())
            return connection

        return _connected(opened)

    def give_back(self, connection: Connection) -> None:
        connection.close()

    def borrow(self, deadline: float) -> Loan:
        return _Borrowed(self, deadline)

    def borrowed(self, stack: contextlib.ExitStack, deadline: float) -> Connection | Refused:
        """A usable connection, which `stack` gives back."""
        while True:
            found = self._borrowed(stack, deadline)
            if isinstance(found, Refused):
                return found
            if not _is_gone(found):
                problem = _unusable(found)
                return Refused(problem) if problem else found
            found.pgconn.finish()  # the pool replaces it
            stack.close()

    def _borrowed(self, stack: contextlib.ExitStack, deadline: float) -> Connection | Refused:
        try:
            left = max(deadline - time.monotonic(), 0.0)
            connection: Connection = stack.enter_context(self._pool.connection(timeout=left))
        except psycopg.OperationalError as error:
            return Refused(f"the pool gave no connection ({type(error).__name__}): is it open, and large enough?")
        except Exception as error:  # noqa: BLE001 - a pool may raise anything, with a password in it
            return Refused(f"the pool gave no connection: it raised {type(error).__name__}")
        return connection

    def close(self) -> None:
        """Do nothing: the pool is the user's."""


class _Borrowed(Loan):
    """A connection of the user's pool."""

    __slots__ = ("_deadline", "_source", "_stack")

    def __init__(self, source: PooledConnections, deadline: float) -> None:
        self._source, self._deadline, self._stack = source, deadline, contextlib.ExitStack()

    def __enter__(self) -> Connection | Refused:
        return self._source.borrowed(self._stack, self._deadline)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)  # the pool looks at what went wrong

    def end(self) -> None:
        self._stack.close()
