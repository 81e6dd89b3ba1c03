"""Records that another program has locked: they wait by themselves, and no other record waits with them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import psycopg
import pytest
from tests.core.calls import PATIENCE
from tests.servers.postgres import PostgresServer

from onerefresh import StoreUnavailable
from onerefresh.store import Conflict
from onerefresh.stores.postgres import PostgresStore
from onerefresh.stores.postgres.own_connections import MOST

pytestmark = pytest.mark.slow

LOCKED = [f"locked-{number}" for number in range(MOST + 2)]
"""More than the store has connections."""


@contextmanager
def locked(server: PostgresServer, table: str, keys: list[str]) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A transaction of another program that has locked these rows, and does nothing else."""
    with psycopg.connect(server.url) as other:
        other.execute(f"SELECT FROM {table} WHERE key = ANY(%s) FOR UPDATE".encode(), [keys])
        yield other
        other.rollback()


def test_locked_records_keep_no_other_record_waiting(store: PostgresStore, server: PostgresServer, table: str) -> None:
    versions = {key: store.cas(key, None, "before") for key in LOCKED}
    with ThreadPoolExecutor(len(LOCKED)) as pool:
        with locked(server, table, LOCKED):
            writing = [pool.submit(store.cas, key, versions[key], "after") for key in LOCKED]
            healthy = [store.cas(f"healthy-{number}", None, "body") for number in range(30)]
            assert len(set(healthy)) == 30
            assert not any(one.done() for one in writing), "they have failed, or were never locked"
        assert all(one.result(PATIENCE) for one in writing), "they are written once the other program is done"
    assert [store.load(key) for key in LOCKED] == [(one.result(), "after") for one in writing]


def test_who_holds_the_record_is_named(
    store: PostgresStore, server: PostgresServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onerefresh.stores.postgres.store.PATIENCE", 0.2)
    version = store.cas("acme", None, "before")
    with locked(server, table, ["acme"]) as other:
        with pytest.raises(StoreUnavailable) as caught:
            store.cas("acme", version, "after")
        assert f"process {other.info.backend_pid}, " in caught.value.message
        assert "nothing was changed" in caught.value.message
    assert store.load("acme") == (version, "before")


def test_a_user_who_may_not_see_that_is_told_where_to_look(
    store: PostgresStore, server: PostgresServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onerefresh.stores.postgres.store.PATIENCE", 0.2)
    store.make_table()
    server.ask(f"CREATE ROLE r{table} LOGIN PASSWORD 'p'")
    server.ask(f"GRANT SELECT, INSERT, UPDATE ON {table} TO r{table}")
    plain = PostgresStore(f"postgresql://r{table}:p@127.0.0.1:{server.port}/postgres", table=table)
    try:
        version = plain.cas("acme", None, "before")
        with locked(server, table, ["acme"]), pytest.raises(StoreUnavailable, match="look in pg_stat_activity"):
            plain.cas("acme", version, "after")
    finally:
        plain.close()
        server.ask(f"REVOKE ALL ON {table} FROM r{table}")
        server.ask(f"DROP ROLE r{table}")


def test_a_record_that_another_program_is_about_to_insert(
    store: PostgresStore, server: PostgresServer, table: str
) -> None:
    store.make_table()
    with psycopg.connect(server.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute(
            f"INSERT INTO {table} (key, version, body, updated_at) VALUES ('acme', 'v', 'theirs', now())".encode()
        )
        ours: Future[str] = pool.submit(store.cas, "acme", None, "ours")
        assert store.cas("globex", None, "body")
        assert not wait([ours], 0.2).done
        other.commit()
        with pytest.raises(Conflict):
            ours.result(PATIENCE)
    found = store.load("acme")
    assert found == ("v", "theirs")
