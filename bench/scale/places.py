"""The stores that are measured, each on a real server of its own on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tests.servers.postgres import PostgresServer
from tests.servers.valkey import Valkey

__all__ = ["AS_INSTALLED", "Place", "Server", "places", "postgres", "redis", "sqlite"]

Server: TypeAlias = "PostgresServer | Valkey | None"

AS_INSTALLED = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB", "max_wal_size": "1GB"}
"""PostgreSQL's own defaults, where the server of the tests has others."""


@dataclass(frozen=True, slots=True)
class Place:
    """A store by its URL. `server`: None for a file, which is in `folder`."""

    name: str
    url: str
    server: Server
    folder: Path


@contextmanager
def sqlite() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="onerefresh-bench-") as folder:
        yield Place("SQLite", f"sqlite:///{folder}/db", None, Path(folder))


@contextmanager
def redis() -> Iterator[Place]:
    with (
        tempfile.TemporaryDirectory(prefix="onerefresh-bench-") as folder,
        Valkey(Path(folder), "maxclients 20000") as server,
    ):
        yield Place("Redis (Valkey)", server.url, server, Path(folder))


@contextmanager
def postgres(**settings: str) -> Iterator[Place]:
    with PostgresServer.start(**{**AS_INSTALLED, **settings}) as server:
        name = "PostgreSQL" if server.settings["fsync"] == "on" else "PostgreSQL that does not sync"
        yield Place(name, server.url, server, server.data)


places = (sqlite, redis, postgres)
