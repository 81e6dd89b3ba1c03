"""Where the PostgreSQL store's connections come from: a few of its own, or the user's pool."""

from __future__ import annotations

import contextlib
import selectors
from abc import abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

from onerefresh.real_time import monotonic
from onerefresh.stores.postgres.errors import cannot_connect
from onerefresh.stores.postgres.exchange import Answer, Connection, Refused, exchange, pq, psycopg

__all__ = ["PATIENCE", "Loan", "Source", "ask", "connected", "is_gone", "unusable"]

PATIENCE = 5.0
"""Seconds that one statement may take, including the time to get a connection for it."""
LONGEST_PURPOSE = 60


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

    def borrow(self, deadline: float, purpose: str) -> Loan:
        """Lend a connection for one statement. `purpose`: says to others, in words, what holds the connection."""

    def dedicated(self) -> Connection | Refused:
        """A connection for one user alone, for longer than a statement."""

    def give_back(self, connection: Connection) -> None:
        """Take a dedicated connection back, on which nothing is left."""

    def close(self) -> None:
        """Close the connections that this opened and that are not in use."""


def ask(source: Source, statement: str, values: Sequence[bytes] = ()) -> Answer:
    """The rows of the statement, which is a transaction of its own. `values`: its parameters, in binary form."""
    deadline = monotonic() + PATIENCE
    loan = source.borrow(deadline, _purpose(statement, values))
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


def _purpose(statement: str, values: Sequence[bytes]) -> str:
    verb = "reading" if statement.startswith("SELECT") else "writing"
    key = values[0].decode(errors="replace") if values else ""
    return f"{verb} {key if key.isprintable() else ''}".strip()[:LONGEST_PURPOSE]


def unusable(connection: Connection) -> str:
    """Why no statement may be sent on the connection; empty where one may."""
    link = connection.pgconn
    if link.transaction_status != pq.TransactionStatus.IDLE:
        return "the pool lends connections that are in a transaction"
    if link.parameter_status(b"client_encoding") != b"UTF8":
        return "its connections do not use UTF-8: set client_encoding=UTF8 for the pool"
    return ""


def is_gone(connection: Connection) -> bool:
    """Whether the server has closed the connection: nothing else can be readable on an idle one."""
    link = connection.pgconn
    if link.status != pq.ConnStatus.OK:
        return True
    with selectors.DefaultSelector() as selector:
        selector.register(link.socket, selectors.EVENT_READ)
        return bool(selector.select(0))


def connected(connect: Callable[[], Connection]) -> Connection | Refused:
    try:
        return connect()
    except psycopg.Error as error:
        return Refused(cannot_connect(str(error)))
    except Exception as error:  # noqa: BLE001 - a user's pool may raise anything, with a password in it
        return Refused(f"connecting raised {type(error).__name__}")
