"""Connections from the pool that a program has already."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

from onerefresh.real_time import monotonic
from onerefresh.secret import Secret
from onerefresh.stores.postgres.address import Parameters, checked, parsed, place_of
from onerefresh.stores.postgres.connections import Loan, connected, is_gone, unusable
from onerefresh.stores.postgres.exchange import Connection, Refused, psycopg

__all__ = ["PooledConnections"]


class PooledConnections:
    """Connections from the user's own `psycopg_pool.ConnectionPool`, which stays open.

    They are borrowed for one statement each. A dedicated connection is opened outside of the pool.
    """

    reuses = False

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        parameters = parsed(Secret(self._conninfo()))
        self.place = checked(place_of(Parameters({**parameters.held, **self._arguments()})), "pool's conninfo")

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

        return connected(opened)

    def give_back(self, connection: Connection) -> None:
        connection.close()

    def borrow(self, deadline: float, purpose: str) -> Loan:
        return _Borrowed(self, deadline)

    def borrowed(self, stack: contextlib.ExitStack, deadline: float) -> Connection | Refused:
        """A usable connection, which `stack` gives back."""
        while True:
            found = self._borrowed(stack, deadline)
            if isinstance(found, Refused):
                return found
            if not is_gone(found):
                problem = unusable(found)
                return Refused(problem) if problem else found
            found.pgconn.finish()  # the pool replaces it
            stack.close()

    def _borrowed(self, stack: contextlib.ExitStack, deadline: float) -> Connection | Refused:
        try:
            left = max(deadline - monotonic(), 0.0)
            connection: Connection = stack.enter_context(self._pool.connection(timeout=left))
        except psycopg.OperationalError as error:
            return Refused(
                f"the pool gave no connection ({type(error).__name__}): check that it is open and large enough"
            )
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
