"""A connection on which a PostgreSQL server tells of changes: LISTEN, for as long as somebody waits."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from onerefresh.stores.postgres_connections import PATIENCE, Source
from onerefresh.stores.postgres_errors import UNDEFINED_TABLE
from onerefresh.stores.postgres_exchange import Answer, Connection, Refused, Rows, exchange, hear
from onerefresh.stores.postgres_sql import LISTEN_FOR, LISTEN_NO_MORE, LISTEN_TO_NOTHING, Channel, Statements

__all__ = ["CannotListen", "PostgresLine"]


class CannotListen(Exception):
    """`for_good`: not with this connection string, whenever it is tried."""

    def __init__(self, words: str, *, for_good: bool = False) -> None:
        super().__init__(words)
        self.for_good = for_good


class PostgresLine:
    """A connection that listens to the channels of many keys. Raises `CannotListen` where none can be had.

    It was used for statements before, and is again afterwards, where the source does that: a server needs about ten
    milliseconds for a new one, and in a storm each process waits.
    """

    def __init__(self, source: Source, statements: Statements) -> None:
        self._source, self._statements = source, statements
        self.reusable = source.reuses
        self._keys: dict[str, str] = {}
        self._heard: set[str] = set()
        taken = source.apart()
        if isinstance(taken, Refused):
            raise CannotListen(taken.words)
        self._connection: Connection = taken
        try:
            self._refuse_a_pooler()
        except BaseException:
            taken.close()
            raise
        taken.add_notify_handler(self._note)

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

    def heard(self, seconds: float) -> Collection[str]:
        if not self._heard:
            self._heard.update(hear(self._connection, seconds))
        heard, self._heard = self._heard, set()
        return [self._keys[name] for name in heard if name in self._keys]

    def close(self) -> None:
        self._connection.remove_notify_handler(self._note)
        try:
            self._ask(LISTEN_TO_NOTHING)
        except BaseException:
            self._connection.close()
            raise
        self._source.back(self._connection)

    def _channel(self, key: str) -> Channel:
        return self._statements.channel(key)

    def _note(self, told: Any) -> None:
        self._heard.add(told.channel)

    def _versions(self, keys: Sequence[str]) -> dict[str, str]:
        answer = self._answer(self._statements.versions(len(keys)), [key.encode() for key in keys])
        if isinstance(answer, Refused) and answer.sqlstate == UNDEFINED_TABLE:
            answer = []
        found = {(key or b"").decode(): (version or b"").decode() for key, version in _rows(answer)}
        return {key: found.get(key, "") for key in keys}

    def _refuse_a_pooler(self) -> None:
        """A pooler gives each client a process id that it made up; behind one LISTEN may hear nothing."""
        [(found,)] = self._ask("SELECT pg_backend_pid()")
        if found != str(self._connection.pgconn.backend_pid).encode():
            raise CannotListen("there is a connection pooler in between", for_good=True)

    def _ask(self, statement: str) -> Rows:
        return _rows(self._answer(statement))

    def _answer(self, statement: str, values: Sequence[bytes] = ()) -> Answer:
        return exchange(self._connection, statement, values, time.monotonic() + PATIENCE)


def _rows(answer: Answer) -> Rows:
    if not isinstance(answer, list):
        raise CannotListen(answer.words)
    return answer


def _filled(command: str, channel: Channel) -> str:
    return command.format(name=channel.name, lock=channel.lock)
