"""Many records, as the library writes them, brought into a store quickly."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from itertools import islice

import psycopg
from tests.servers.postgres import PostgresServer
from tests.servers.valkey import Valkey

from bench.scale.places import Place
from onerefresh import Token
from onerefresh import transitions as records
from onerefresh.record_text import encode
from onerefresh.stores import open_store
from onerefresh.stores.postgres.sql import DEFAULT_TABLE
from onerefresh.stores.redis.address import PREFIX

__all__ = ["ACCESS", "DUE_EVERY", "LIVES", "OWNER", "REFRESH", "body_of", "fill", "key_of"]

ACCESS, REFRESH = 800, 64
"""Characters of an access token, as a JWT has them, and of a refresh token."""
LIVES = 7 * 86_400.0
"""Seconds that an access token lives: long enough that none ends while this is measured."""
DUE_EVERY = 10_000
"""One record of so many has a token that ends soon."""
OWNER = "bench"
PIPE = 1_000


def key_of(number: int) -> str:
    return f"tenant-{number:07d}"


def body_of(number: int, now: float) -> str:
    lives = 600.0 if number % DUE_EVERY == 0 else LIVES
    token = Token(
        secrets.token_hex(ACCESS // 2),
        secrets.token_hex(REFRESH // 2),
        expires_at=now + lives,
        issued_at=now - LIVES,
        scope="read write",
    )
    return encode(records.new_session(None, token, now=now, owner=OWNER, what="login"))


def fill(place: Place, count: int, now: float) -> None:
    """Bring the records 0 to `count` into an empty store, beside the store's own way of writing."""
    store = open_store(place.url)
    store.cas(key_of(0), None, body_of(0, now))  # it makes its table
    store.close()
    rest = ((key_of(number), secrets.token_hex(8), body_of(number, now)) for number in range(1, count))
    match place.server:
        case Valkey() as server:
            _fill_redis(server, rest)
        case PostgresServer() as server:
            _fill_postgres(server, rest)
        case None:
            _fill_sqlite(place, rest)


Rows = Iterator[tuple[str, str, str]]


def _fill_redis(server: Valkey, rows: Rows) -> None:
    with server.client() as client:
        while some := list(islice(rows, PIPE)):
            pipe = client.pipeline(transaction=False)
            for key, version, body in some:
                pipe.hset(f"{PREFIX}{{{key}}}", mapping={"version": version, "body": body})
            pipe.execute()


def _fill_postgres(server: PostgresServer, rows: Rows) -> None:
    with psycopg.connect(server.url) as connection:
        into = f"COPY {DEFAULT_TABLE} (key, version, body, updated_at) FROM STDIN"
        with connection.cursor().copy(into.encode()) as copy:
            for key, version, body in rows:
                copy.write_row((key, version, body.encode(), "now"))
    server.ask(f"VACUUM ANALYZE {DEFAULT_TABLE}")
    server.ask("CHECKPOINT")


def _fill_sqlite(place: Place, rows: Rows) -> None:
    with sqlite3.connect(place.url.removeprefix("sqlite:///")) as database:
        database.executemany("INSERT INTO records (key, version, body) VALUES (?, ?, ?)", rows)
    database.close()
