"""A connection on which a PostgreSQL server tells of changes: LISTEN, for as long as somebody waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from onerefresh.stores.postgres_connections import PATIENCE, Source
from onerefresh.stores.postgres_exchange import Connection, Refused, exchange, hear
from onerefresh.stores.postgres_sql import LISTEN_FOR, LISTEN_NO_MORE, Channel

__all__ = ["CannotListen", "PostgresLine"]


class CannotListen(Exception):
    """`for_good`: not with this connection string, whenever it is tried."""

    def __init__(self, words: str, *, for_good: bool = False) -> None:
        super().__init__(words)
        self.for_good = for_good


class PostgresLine:
    """One connection that listens to the channels of many keys. Raises `CannotListen` where it cannot be opened."""

    def __init__(self, source: Source, channel: Callable[[str], Channel]) -> None:
        self._channel = channel
        self._keys: dict[str, str] = {}
        self._heard: set[str] = set()
        opened = source.connect()
        if isinstance(opened, Refused):
            raise CannotListen(opened.words)
        self._connection: Connection = opened
        try:
            self._refuse_a_pooler()
        except BaseException:
            opened.close()
            raise
        opened.add_notify_handler(lambda told: self._heard.add(told.channel))

    def listen(self, keys: frozenset[str]) -> None:
        wanted = {self._channel(key).name: key for key in keys}
        commands = [
            *(_filled(LISTEN_NO_MORE, self._channel(key)) for name, key in self._keys.items() if name not in wanted),
            *(_filled(LISTEN_FOR, self._channel(key)) for name, key in wanted.items() if name not in self._keys),
        ]
        self._ask("; ".join(commands))
        self._keys = wanted

    def heard(self, seconds: float) -> Collection[str]:
        if not self._heard:
            self._heard.update(hear(self._connection, seconds))
        heard, self._heard = self._heard, set()
        return [self._keys[name] for name in heard if name in self._keys]

    def close(self) -> None:
        self._connection.close()

    def _refuse_a_pooler(self) -> None:
        """A pooler gives each client a process id that it made up; behind one LISTEN may hear nothing."""
        [(found,)] = self._ask("SELECT pg_backend_pid()")
        if found != str(self._connection.pgconn.backend_pid).encode():
            raise CannotListen("there is a connection pooler in between", for_good=True)

    def _ask(self, statement: str) -> list[tuple[bytes | None, ...]]:
        answer = exchange(self._connection, statement, (), time.monotonic() + PATIENCE)
        if not isinstance(answer, list):
            raise CannotListen(answer.words)
        return answer


def _filled(command: str, channel: Channel) -> str:
    return command.format(name=channel.name, lock=channel.lock)
