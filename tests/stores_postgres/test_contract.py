"""The contract of a store, kept by the PostgreSQL one: by URL, by a pool, behind a line that breaks, and encrypted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg_pool
import pytest
from tests.servers.postgres import PostgresServer
from tests.servers.relay import Relay

from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import KeyFile
from onerefresh.stores.postgres import PostgresStore
from onerefresh.testing import FailingStoreContract, SharedStoreContract, StoreContract
from onerefresh.testing.stores.recording import Opener, Outage

pytestmark = pytest.mark.slow


class TestPostgresStore(SharedStoreContract, FailingStoreContract):
    """Behind the relay, which is the outage."""

    rounds = 10
    examples = 15

    @pytest.fixture
    def opener(self, relay: Relay, table: str) -> Opener:
        return partial(PostgresStore, f"postgresql://postgres@127.0.0.1:{relay.port}/postgres", table=table)

    @pytest.fixture
    def outage(self, relay: Relay) -> Outage:
        return relay.down


class TestPooledPostgresStore(StoreContract):
    rounds = 5
    examples = 5

    @pytest.fixture
    def opener(self, server: PostgresServer, table: str) -> Iterator[Opener]:
        with psycopg_pool.ConnectionPool(server.url, min_size=1, max_size=3, open=True) as pool:
            yield partial(PostgresStore, pool, table=table)


class TestEncryptedPostgresStore(StoreContract):
    rounds = 5
    examples = 5

    @pytest.fixture
    def opener(self, server: PostgresServer, table: str, tmp_path: Path) -> Opener:
        return partial(_encrypted, server.url, table, tmp_path / "acme.key")


def _encrypted(url: str, table: str, key: Path) -> EncryptedStore:
    return EncryptedStore(PostgresStore(url, table=table), KeyFile(key))
