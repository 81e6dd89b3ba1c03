"""Behind a real PgBouncer in transaction mode, where each statement may come to another connection of the server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial

import psycopg
import pytest
from tests.servers import pgbouncer
from tests.servers.pgbouncer import PASSWORD, PgBouncer
from tests.servers.postgres import PostgresServer
from tests.stores_postgres.test_credentials import Children, expired, refresher
from tests.stores_postgres.watching import LONG, until, write_in_threads

from onerefresh import Credential, StoreUnavailable
from onerefresh.stores.postgres.store import POLLED, PostgresStore
from onerefresh.testing import AuthServer, SharedStoreContract
from onerefresh.testing.stores.recording import Opener

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(pgbouncer.program() is None, reason="NOT TESTED: PgBouncer; it is not installed"),
]


@pytest.fixture(scope="session")
def pooler(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    with PgBouncer(postgres_server.port) as pooler:
        yield pooler


@pytest.fixture
def opener(pooler: PgBouncer, table: str) -> Opener:
    return partial(PostgresStore, pooler.url, table=table)


class TestPostgresStoreBehindPgBouncer(SharedStoreContract):
    rounds = 5
    examples = 5

    @pytest.fixture
    def opener(self, pooler: PgBouncer, table: str) -> Opener:
        return partial(PostgresStore, pooler.url, table=table)


def test_waiting_is_polling_and_that_is_said_once(
    store: PostgresStore, opener: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    version = store.cas("acme", None, "before")
    with caplog.at_level(logging.WARNING, "onerefresh"):
        for _ in range(3):
            store.wait("acme", version, LONG)
            until(lambda: store._notifier._listener is None)
    assert store.look_every == POLLED
    [_] = [said for said in caplog.messages if "pooler" in said]  # other stores may have something to say, too
    assert PASSWORD not in caplog.text
    opener().cas("acme", version, "after")
    found = store.load("acme")
    assert found is not None
    assert found.body == "after"


def test_nothing_of_it_stays_on_the_connections_of_the_pooler(store: PostgresStore, pooler: PgBouncer) -> None:
    """They are somebody else's next: no setting, no lock, no LISTEN and no prepared statement may be left on them."""
    version = store.cas("acme", None, "before")
    store.wait("acme", version, LONG)
    store.cas("acme", version, "after")
    asked = (
        "SELECT current_setting('synchronous_commit'), (SELECT count(*) FROM pg_prepared_statements)::text,"
        " (SELECT count(*) FROM pg_listening_channels())::text,"
        " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())::text"
    )
    with psycopg.connect(pooler.url, autocommit=True) as other:
        assert [other.execute(asked).fetchone() for _ in range(4)] == [("on", "0", "0", "0")] * 4


def test_more_threads_than_the_pooler_has_connections_take_turns(store: PostgresStore) -> None:
    write_in_threads(store, 20)


def test_a_pooler_whose_connections_are_all_busy_is_a_store_that_cannot_be_used(
    postgres_server: PostgresServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PgBouncer(postgres_server.port, size=1) as pooler, closing(PostgresStore(pooler.url, table=table)) as store:
        version = store.cas("acme", None, "body")
        with psycopg.connect(pooler.url) as other:
            other.execute("SELECT 1")  # its transaction goes on
            monkeypatch.setattr("onerefresh.stores.postgres.connections.PATIENCE", 1.0)
            with pytest.raises(StoreUnavailable):
                store.load("acme")
        assert store.load("acme") == (version, "body")


def test_a_pooler_that_is_started_anew_is_used_again(postgres_server: PostgresServer, table: str) -> None:
    with PgBouncer(postgres_server.port) as pooler, closing(PostgresStore(pooler.url, table=table)) as store:
        version = store.cas("acme", None, "body")
        pooler.stop()
        with pytest.raises(StoreUnavailable, match="no server is listening there"):
            store.load("acme")
        pooler.start()
        version = store.cas("acme", version, "again")
        assert store.load("acme") == (version, "again")


def test_a_wrong_password_is_told_without_it(pooler: PgBouncer, table: str) -> None:
    wrong = pooler.url.replace(PASSWORD, "not-this-one")
    with closing(PostgresStore(wrong, table=table)) as store:
        with pytest.raises(StoreUnavailable, match="refused the") as caught:
            store.load("acme")
    assert "not-this-one" not in str(caught.value)


@pytest.mark.long
def test_of_several_processes_behind_it_one_refreshes(
    pooler: PgBouncer, table: str, store: PostgresStore, auth_server: AuthServer
) -> None:
    Credential("acme", refresher(auth_server), store=store).login(expired(auth_server))
    options = {"store": pooler.url, "table": table, "url": auth_server.json_refresh_url}
    with ExitStack() as stack:
        children = [stack.enter_context(Children("worker", **options)) for _ in range(3)]
        for child in children:
            assert child.line().startswith("ready")
        for child in children:
            child.tell("token")
        assert [child.line() for child in children] == ["generation 2"] * 3
    assert auth_server.counters.token_requests == 1
