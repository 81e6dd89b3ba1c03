"""Records that another program has locked: they wait by themselves, and no other record waits with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager

import psycopg
import pytest
from tests.core.calls import PATIENCE
from tests.credentials.tenants import until
from tests.servers.postgres import PostgresServer

from onerefresh import StoreUnavailable
from onerefresh.store import Conflict
from onerefresh.stores.postgres import PostgresStore
from onerefresh.stores.postgres.connections import Source, ask
from onerefresh.stores.postgres.exchange import Answer
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


def test_a_write_that_wakes_others_waits_for_its_turn_at_the_commit(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server lets one notifying transaction commit at a time: who gave up its place there might never get one."""
    store = PostgresStore(f"{own_server.url}?options=-c%20synchronous_commit%3Dlocal")
    with closing(store), psycopg.connect(own_server.url, autocommit=True) as other, ThreadPoolExecutor(2) as pool:
        version = store.cas("acme", None, "before")
        lock = store._statements.channel("acme").lock
        other.execute("SET synchronous_commit = local")
        other.execute("SELECT pg_advisory_lock_shared(%s)", [lock])  # as a process that waits for the record
        other.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")  # what waits for it does not commit
        other.execute("SELECT pg_reload_conf()")
        asked: list[str] = []

        def counted(source: Source, statement: str, values: Sequence[bytes] = ()) -> Answer:
            asked.append(statement.split(maxsplit=1)[0])
            return ask(source, statement, values)

        monkeypatch.setattr("onerefresh.stores.postgres.store.ask", counted)
        try:
            committing = pool.submit(own_server.ask, "CREATE TABLE another AS SELECT pg_notify('another', '')::text")
            until(lambda: waiting_for(other, "SyncRep"), "the other one has committed")
            ours = pool.submit(store.cas, "acme", version, "after")
            assert not wait([ours], 0.5).done
        finally:
            other.execute("ALTER SYSTEM RESET synchronous_standby_names")
            other.execute("SELECT pg_reload_conf()")
        new = ours.result(PATIENCE)
        assert store.load("acme") == (new, "after")
        committing.result(PATIENCE)
    assert asked.count("UPDATE") <= 2  # once more where a busy server takes too long to answer, and never over and over


def waiting_for(connection: psycopg.Connection[tuple[object, ...]], event: str) -> bool:
    """Whether a process of the server waits for this."""
    return bool(connection.execute("SELECT FROM pg_stat_activity WHERE wait_event = %s", [event]).fetchall())
