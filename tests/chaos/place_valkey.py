"""A Valkey server as the place of a record: every write is read from its MONITOR."""

from __future__ import annotations

import itertools
import re
import secrets
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import redis
from tests.chaos.place import PATIENCE, Save, ServerPlace
from tests.servers.relay import Relay
from tests.servers.valkey import Valkey, until

from onerefresh.record_text import decode

__all__ = ["ValkeyPlace"]

ON_DISK = ("appendonly yes", "appendfsync always")
REPLICATION = ("repl-diskless-sync-delay 0", "repl-diskless-load on-empty-db")
"""At once, and without a file: a server in memory would start again from it, with what was true long ago."""
WORDS = re.compile(r'"((?:[^"\\]|\\.)*)"')


def unescaped(word: str) -> str:
    """A word as the server's MONITOR writes it, where every byte that is no printable ASCII is escaped."""
    return word.encode().decode("unicode_escape").encode("latin-1").decode()


class ValkeyPlace(ServerPlace):
    """`durable`: with an append-only file that is on disk before anything is acknowledged, or else in memory alone."""

    def __init__(self, folder: Path, *, durable: bool, host: str = "127.0.0.1") -> None:
        self.name = "Valkey, durable" if durable else "Valkey, in memory"
        self.forgets = not durable
        self._folder, self._config = folder, (*REPLICATION, *(ON_DISK if durable else ()))
        self._numbers = itertools.count(1)
        self._server = Valkey(folder / "server-0", *self._config)
        self._successor: Valkey | None = None
        self.relay = Relay(self._server.port, host=host)
        wish = f"socket_timeout={self.store_timeout}" + ("&durable=yes" if durable else "")
        self.url = f"redis://{self.relay.address}/0?{wish}"
        self._notes: _Notes | None = None
        self._noted: list[Save] = []

    def watch(self) -> None:
        self._notes = _Notes(self._server, self._noted)

    def saves(self) -> list[Save]:
        assert self._notes is not None
        self._notes.catch_up()
        return list(self._noted)

    def frozen(self) -> AbstractContextManager[None]:
        return self._server.paused()

    def close(self) -> None:
        self.relay.close()
        self._server.kill()
        if self._successor is not None:
            self._successor.kill()

    def _kill(self) -> None:
        self._server.kill()

    def _start(self) -> None:
        self._server.start()
        self.watch()

    def prepare_successor(self) -> None:
        self._successor = Valkey(self._folder / f"server-{next(self._numbers)}", *self._config)
        self._successor.replicates(self._server)

    def _leave_successor_behind(self) -> None:
        assert self._successor is not None
        successor, written = self._successor, self._server.do("INFO", "replication")["master_repl_offset"]
        until(lambda: successor.do("INFO", "replication")["slave_repl_offset"] >= written)
        successor.do("REPLICAOF", "NO", "ONE")

    def _succeed(self) -> None:
        assert self._successor is not None
        self._server, self._successor = self._successor, None
        self.relay.lead_to(self._server.port)
        self.watch()


class _Notes:
    """Reads what a server carries out, in order, and adds each write of a record to `noted`."""

    def __init__(self, server: Valkey, noted: list[Save]) -> None:
        self._server, self._noted = server, noted
        self._seen = threading.Condition()
        self._mark = ""
        self._connection: Any = server.client(socket_timeout=None).connection_pool.get_connection()
        self._connection.send_command("MONITOR")  # type: ignore[no-untyped-call]  # has no types
        self._connection.read_response()
        threading.Thread(target=self._read, daemon=True).start()

    def catch_up(self) -> None:
        """Return once all is read that the server has done up to now."""
        mark = secrets.token_hex(8)
        self._server.do("ECHO", mark)
        with self._seen:
            assert self._seen.wait_for(lambda: self._mark == mark, PATIENCE), "the server does not tell what it does"

    def _read(self) -> None:
        try:
            while True:
                self._note(self._connection.read_response())
        except (redis.RedisError, OSError):
            self._connection.disconnect()  # the server was killed

    def _note(self, line: str) -> None:
        command, *words = [unescaped(word) for word in WORDS.findall(line)]
        if command == "HSET" and "losses" not in words[0]:  # the note of them is no record
            record = decode(words[-1], "")
            self._noted.append(Save(record.generation, record.state.value, record.committed_by))
        elif command == "ECHO":
            with self._seen:
                self._mark = words[0]
                self._seen.notify_all()
