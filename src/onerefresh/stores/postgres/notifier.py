"""A connection on which a PostgreSQL server announces changes: LISTEN, for as long as some thread waits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from onerefresh.real_time import monotonic
from onerefresh.stores.postgres.connections import PATIENCE, Source
from onerefresh.stores.postgres.errors import UNDEFINED_TABLE
from onerefresh.stores.postgres.exchange import Answer, Connection, Lost, Refused, Rows, exchange, notifications
from onerefresh.stores.postgres.sql import LISTEN_FOR, LISTEN_NO_MORE, LISTEN_TO_NOTHING, Channel, Statements

__all__ = ["CannotListen", "PostgresSubscription"]


class CannotListen(Exception):
    """There is no connection to listen on. `for_good`: this connection string will never give one."""

    def __init__(self, words: str, *, for_good: bool = False) -> None:
        super().__init__(words)
        self.for_good = for_good


class PostgresSubscription:
    """A connection that listens to the channels of many keys. Raises `CannotListen` where there is none.

    Where the source reuses connections, it was used for statements before, and is again afterwards: a server needs
    about ten milliseconds for a new one, and in a storm each process waits.
    """

    def __init__(self, source: Source, statements: Statements) -> None:
        self._source, self._statements = source, statements
        self.reusable = source.reuses
        self._keys: dict[str, str] = {}
        self._received: set[str] = set()
        self._connection = _taken(source)
        self._connection.add_notify_handler(self._note)

    def listen(self, keys: frozenset[str]) -> Mapping[str, str]:
        wanted = {self._channel(key).name: key for key in keys}
        new = [key for name, key in wanted.items() if name not in self._keys]
        commands = [
            *(_filled(LISTEN_NO_MORE, self._channel(key)) for name, key in self._keys.items() if name not in wanted),
            *(_filled(LISTEN_FOR, self._channel(key)) for key in new),
        ]
        self._ask("; ".join(commands))
        self._keys = wanted
        return self._versions(new) if new else {}

    def receive(self, seconds: float) -> Collection[str]:
        if not self._received:
            self._received.update(notifications(self._connection, seconds))
        received, self._received = self._received, set()
        return [self._keys[name] for name in received if name in self._keys]

    def close(self) -> None:
        try:
            if self.reusable:
                self._ask(LISTEN_TO_NOTHING)
            self._connection.remove_notify_handler(self._note)  # last: without a handler, psycopg keeps them
            self._source.give_back(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def _channel(self, key: str) -> Channel:
        return self._statements.channel(key)

    def _note(self, notification: Any) -> None:
        self._received.add(notification.channel)

    def _versions(self, keys: Sequence[str]) -> dict[str, str]:
        answer = self._answer(self._statements.versions(len(keys)), [key.encode() for key in keys])
        if isinstance(answer, Refused) and answer.sqlstate == UNDEFINED_TABLE:
            answer = []
        found = {(key or b"").decode(): (version or b"").decode() for key, version in _rows(answer)}
        return {key: found.get(key, "") for key in keys}

    def _ask(self, statement: str) -> Rows:
        return _rows(self._answer(statement))

    def _answer(self, statement: str, values: Sequence[bytes] = ()) -> Answer:
        return _answer(self._connection, statement, values)


def _taken(source: Source, tries: int = 2) -> Connection:
    """A connection to the server itself: behind a pooler, LISTEN may receive nothing.

    A pooler gives each client a process id of its own invention.
    """
    taken = source.dedicated()
    if isinstance(taken, Refused):
        raise CannotListen(taken.words)
    try:
        answer = _answer(taken, "SELECT pg_backend_pid()")
        if isinstance(answer, Lost) and answer.again and tries > 1:  # a kept connection that had died unnoticed
            return _taken(source, tries - 1)
        [(found,)] = _rows(answer)
        if found != str(taken.pgconn.backend_pid).encode():
            raise CannotListen("there is a connection pooler in between", for_good=True)
    except BaseException:
        taken.close()
        raise
    return taken


def _answer(connection: Connection, statement: str, values: Sequence[bytes] = ()) -> Answer:
    return exchange(connection, statement, values, monotonic() + PATIENCE)


def _rows(answer: Answer) -> Rows:
    if not isinstance(answer, list):
        raise CannotListen(answer.words)
    return answer


def _filled(command: str, channel: Channel) -> str:
    return command.format(name=channel.name, lock=channel.lock)
