"""What a server was asked, by its own account: Redis by MONITOR, PostgreSQL by its log of statements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tests.servers.postgres import PostgresServer
from tests.servers.valkey import Valkey

from bench.scale.places import Place

__all__ = ["LOGGING", "Count", "count_of", "said"]

LOGGING = {"log_statement": "all", "log_parameter_max_length": "0", "log_line_prefix": ""}
"""Settings of a PostgreSQL server that can be counted."""
MARK = "onerefresh-bench"
TOLD = ("LOG:  statement: ", "LOG:  execute <unnamed>: ")


class Count(Protocol):
    """Counts the commands of one server."""

    def taken(self) -> Counter[str]:
        """Each command and how often it was asked, since this was called last."""


def count_of(place: Place) -> Count:
    match place.server:
        case Valkey() as server:
            return _Redis(server)
        case PostgresServer() as server:
            return _Postgres(server.home / "log")
    raise ValueError(f"{place.name} has no server to ask")


class _Redis:
    def __init__(self, server: Valkey) -> None:
        self._client = server.client()
        self._monitor = server.client().monitor()  # type: ignore[no-untyped-call]  # has no types
        self._monitor.__enter__()

    def taken(self) -> Counter[str]:
        self._client.echo(MARK)
        found: Counter[str] = Counter()
        while (told := self._monitor.next_command())["command"] != f"ECHO {MARK}":
            found.update(redis_name(told))
        return found


def redis_name(told: Mapping[str, Any]) -> list[str]:
    """What one line of MONITOR tells of: nothing, where a script asks rather than a client."""
    if told["client_type"] == "lua":
        return []
    words = str(told["command"]).split()
    match words[0].upper():
        case "EVALSHA":
            return ["read" if len(words) == 4 else "write"]  # its digest, the number of keys, the key
        case "CLIENT":
            return [f"CLIENT {words[1].upper()}"]
        case name:
            return [name]


class _Postgres:
    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = log.stat().st_size

    def taken(self) -> Counter[str]:
        with self._log.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        self._read += len(text)
        return Counter(postgres_name(line) for line in text.decode().splitlines() if line.startswith(TOLD))


def postgres_name(line: str) -> str:
    """What one line of the log tells of."""
    statement = line.partition("LOG:  ")[2].partition(": ")[2]
    match statement.split()[0]:
        case "UPDATE" | "INSERT":
            return "write"
        case "SELECT" if statement.startswith("SELECT extract("):
            return "read"
        case "SELECT" if statement.startswith("SELECT key, version FROM"):
            return "read of the version"
        case "LISTEN" | "UNLISTEN" as name:
            return name
        case _:
            return statement.split("(")[0].removeprefix("SELECT ")


def said(found: Mapping[str, int]) -> str:
    """``"2 read, 2 write"``; the most frequent first."""
    parts = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} {name}" for name, number in parts) or "0"
