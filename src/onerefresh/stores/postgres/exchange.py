"""One statement on one connection to a PostgreSQL server, in bounded time.

Problems of the server are returned, not raised: the frames of an exception would show the tokens in a statement.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from onerefresh.errors import ConfigurationError
from onerefresh.real_time import monotonic
from onerefresh.stores.postgres.errors import is_outcome_unknown

try:
    import psycopg
    from psycopg import conninfo, generators, pq  # noqa: F401 - other files import them from here
except ImportError:  # either the package or the library libpq is missing
    raise ConfigurationError("a PostgreSQL store needs psycopg: run pip install 'onerefresh[postgres]'") from None

__all__ = ["Answer", "Connection", "Lost", "Refused", "Rows", "exchange", "notifications", "pq", "psycopg"]

LOOK = 0.1
"""Seconds between two checks of whether the time is over."""

CANCELLING = 1.0
"""Seconds that it may take to ask the server to cancel a statement."""

Connection: TypeAlias = "psycopg.Connection[Any]"
Rows: TypeAlias = "list[tuple[bytes | None, ...]]"


@dataclass(frozen=True, slots=True)
class Refused:
    """Surely nothing was changed. `words`: why; empty where `sqlstate`, the server's code, says it."""

    words: str = ""
    sqlstate: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """The statement was sent, and no answer came. `again`: another connection may get one."""

    words: str
    again: bool


Answer: TypeAlias = "Rows | Refused | Lost"


def exchange(connection: Connection, statement: str, values: Sequence[bytes], deadline: float) -> Answer:
    """Execute a statement on this connection, which is closed where its state is unknown afterwards."""
    link = connection.pgconn
    try:
        if values:
            link.send_query_params(
                statement.encode(),
                values,
                param_formats=[pq.Format.BINARY] * len(values),
                result_format=pq.Format.BINARY,
            )
        else:
            link.send_query(statement.encode())
        results = connection.wait(_within(generators.execute(link), deadline), interval=LOOK)
    except _Overdue:
        _cancel(connection)
        link.finish()
        return Lost("the server did not answer in time", again=False)
    except psycopg.Error:
        link.finish()
        return Lost("the connection was lost", again=True)
    except BaseException:  # Ctrl-C: the next user of the connection would get this answer
        link.finish()
        raise
    finally:
        del values  # tokens, which would show in a traceback with locals
    return _read(results)


def _cancel(connection: Connection) -> None:
    """Ask the server to cancel the statement: while it waits for a lock, it does not notice that the client is gone.

    It would keep its end of each such connection until it has none left.
    """
    if psycopg.capabilities.has_cancel_safe():  # libpq before 17 would wait for a server that hangs
        with contextlib.suppress(Exception):  # then the statement ends by itself
            connection.cancel_safe(timeout=CANCELLING)


def notifications(connection: Connection, seconds: float) -> list[str]:
    """The channels of notifications, as soon as there are any; none after so many seconds. Raises `psycopg.Error`."""
    arriving = _within(generators.notifies(connection.pgconn), monotonic() + seconds)
    try:
        return [found.relname.decode() for found in connection.wait(arriving, interval=seconds)]
    except _Overdue:
        return []


class _Overdue(Exception):
    """The time is over."""


def _within(steps: Generator[Any, Any, Any], deadline: float) -> Generator[Any, Any, Any]:
    """The same steps, until the time is over."""
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            wanted = steps.send(ready)
            if monotonic() >= deadline:
                raise _Overdue
    except StopIteration as done:
        return done.value


def _read(results: Sequence[Any]) -> Answer:
    rows: Rows = []
    for result in results:
        if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            sqlstate = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
            if not sqlstate or is_outcome_unknown(sqlstate):
                return Lost("the server ended the connection", again=True)
            return Refused(sqlstate=sqlstate)
        rows = [
            tuple(result.get_value(row, column) for column in range(result.nfields)) for row in range(result.ntuples)
        ]
    return rows
