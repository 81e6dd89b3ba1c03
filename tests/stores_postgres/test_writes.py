"""Writes: what was acknowledged is there after a crash, and an answer that gets lost costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from tests.core.leaks import ACCESS, assert_error_is_silent
from tests.servers.postgres import PostgresServer
from tests.servers.relay import Relay
from tests.stores_postgres.watching import until

from onerefresh import StoreUnavailable
from onerefresh.store import Conflict, StoreOutcomeUnknown, Versioned
from onerefresh.stores.postgres import PostgresStore

pytestmark = pytest.mark.slow

LAZY = {"synchronous_commit": "off", "wal_writer_delay": "10s"}


@pytest.mark.long
@pytest.mark.slow
def test_an_acknowledged_write_survives_a_server_that_dies_at_once_although_it_is_set_to_be_lazy(
    own_server: PostgresServer,
) -> None:
    own_server.stop()
    own_server.settings |= LAZY
    own_server.up()
    store = PostgresStore(own_server.url)
    version = store.cas("acme", None, "before")
    own_server.ask("CREATE TABLE others (word text)")
    own_server.ask("CHECKPOINT")
    version = store.cas("acme", version, "after")
    with psycopg.connect(own_server.url, autocommit=True) as other:
        other.execute("INSERT INTO others VALUES ('lost')")
        own_server.kill()
    own_server.up()
    assert store.load("acme") == (version, "after")
    assert own_server.ask("SELECT * FROM others") == [], "this server was not lazy: the test shows nothing"


def test_the_strictest_setting_stays_as_it_is(server: PostgresServer, table: str) -> None:
    server.ask("CREATE ROLE strict SUPERUSER LOGIN PASSWORD 'p'")
    server.ask("ALTER ROLE strict SET synchronous_commit = remote_apply")
    server.ask(f"CREATE TABLE seen_{table} (setting text)")
    store = PostgresStore(f"postgresql://strict:p@127.0.0.1:{server.port}/postgres", table=table)
    try:
        store.make_table()
        server.ask(
            f"CREATE FUNCTION see_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen_{table} "
            "VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$"
        )
        server.ask(
            f"CREATE CONSTRAINT TRIGGER seen AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED "
            f"FOR EACH ROW EXECUTE FUNCTION see_{table}()"  # it runs right before the commit
        )
        version = store.cas("acme", None, "body")
        server.ask("ALTER ROLE strict SET synchronous_commit = off")
        store.close()
        store.cas("acme", version, "body")
        assert server.ask(f"SELECT setting FROM seen_{table}") == [("remote_apply",), ("on",)]
    finally:
        server.ask(f"DROP TABLE IF EXISTS {table}, seen_{table}")
        server.ask(f"DROP FUNCTION see_{table}")
        server.ask("DROP ROLE strict")


class Once:
    """Breaks the line when a piece of data that holds `mark` comes by for the first time, after `action`."""

    def __init__(self, mark: bytes, action: Callable[[], object] = lambda: None) -> None:
        self.mark, self.action, self.broke = mark, action, 0

    def __call__(self, data: bytes) -> bytes | None:
        if self.broke or self.mark not in data:
            return data
        self.broke += 1
        self.action()
        return None


@pytest.fixture
def version(through: PostgresStore) -> str:
    return through.cas("acme", None, "before")


@pytest.mark.parametrize("expects_a_record", [False, True])
def test_a_lost_request_is_sent_again(
    through: PostgresStore, relay: Relay, version: str, expects_a_record: bool
) -> None:
    key, expected = ("acme", version) if expects_a_record else ("other", None)
    relay.to_server = lost = Once(b"the body")
    new = through.cas(key, expected, "the body")
    assert lost.broke == 1
    assert through.load(key) == (new, "the body")


@pytest.mark.parametrize("expects_a_record", [False, True])
def test_a_lost_answer_is_found_out(
    through: PostgresStore, relay: Relay, store: PostgresStore, version: str, expects_a_record: bool
) -> None:
    key, expected = ("acme", version) if expects_a_record else ("other", None)
    before = store.load(key)
    relay.to_client = lost = Once(answer_of(expects_a_record), lambda: seen.append(store.load(key)))
    seen: list[Versioned | None] = []
    new = through.cas(key, expected, "the body")
    assert lost.broke == 1
    assert seen == [(new, "the body")] != [before], "it had been applied when its answer was lost"
    assert store.load(key) == (new, "the body")


def answer_of(is_an_update: bool) -> bytes:
    return b"UPDATE 1" if is_an_update else b"INSERT 0 1"


def test_a_write_whose_answer_was_lost_and_that_was_followed_by_another_is_of_unknown_outcome(
    through: PostgresStore, relay: Relay, store: PostgresStore, version: str
) -> None:
    def follow() -> None:
        found = store.load("acme")
        assert found is not None
        assert found.body == "ours"
        store.cas("acme", found.version, "theirs")

    relay.to_client = Once(b"UPDATE 1", follow)
    with pytest.raises(StoreOutcomeUnknown):
        through.cas("acme", version, "ours")
    found = store.load("acme")
    assert found is not None
    assert found.body == "theirs"


def test_a_write_whose_answer_was_lost_is_of_unknown_outcome_while_nobody_answers(
    through: PostgresStore, relay: Relay, store: PostgresStore, version: str
) -> None:
    def nobody() -> None:
        relay.to_server = lambda _: None

    relay.to_client = Once(b"UPDATE 1", nobody)
    with pytest.raises(StoreOutcomeUnknown) as caught:
        through.cas("acme", version, ACCESS)
    assert_error_is_silent(caught.value)
    found = store.load("acme")
    assert found is not None
    assert found.body == ACCESS


def test_a_request_that_never_arrives_is_of_unknown_outcome(
    through: PostgresStore, relay: Relay, store: PostgresStore, version: str
) -> None:
    relay.to_server = lambda data: None if ACCESS.encode() in data else data
    with pytest.raises(StoreOutcomeUnknown) as caught:
        through.cas("acme", version, ACCESS)
    assert_error_is_silent(caught.value)
    assert store.load("acme") == (version, "before")


def test_an_unused_connection_that_the_server_has_closed_is_not_used(
    through: PostgresStore, relay: Relay, store: PostgresStore, version: str, server: PostgresServer
) -> None:
    accepted = relay.accepted
    server.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'onerefresh'")
    assert through.load("acme") == (version, "before")
    through.cas("acme", version, "after")
    assert relay.accepted > accepted


def test_a_write_whose_backend_the_server_ends_is_sent_again(
    store: PostgresStore, server: PostgresServer, table: str
) -> None:
    version = store.cas("acme", None, "before")
    [(pid,)] = server.ask("SELECT pid FROM pg_stat_activity WHERE application_name = %s", table)
    with psycopg.connect(server.url) as blocker, ThreadPoolExecutor(1) as pool:
        blocker.execute(f"LOCK TABLE {table}".encode())
        writing = pool.submit(store.cas, "acme", version, "after")
        until(lambda: server.ask("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", pid) == [("Lock",)])
        server.ask("SELECT pg_terminate_backend(%s)", pid)
        until(lambda: server.ask("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid) == [(0,)])
        blocker.commit()
        new = writing.result()
    assert store.load("acme") == (new, "after")


def test_what_the_table_refuses_is_not_applied_and_not_shown(
    store: PostgresStore, server: PostgresServer, table: str
) -> None:
    version = store.cas("acme", None, "before")
    server.ask(f"ALTER TABLE {table} ADD CHECK (length(body) < 10)")
    with pytest.raises(StoreUnavailable) as caught:
        store.cas("acme", version, ACCESS)  # the server's own words quote the row
    assert_error_is_silent(caught.value)
    assert store.load("acme") == (version, "before")


def test_transactions_that_get_in_each_others_way_are_repeated(
    server: PostgresServer, table: str, store: PostgresStore
) -> None:
    server.ask("CREATE ROLE serial SUPERUSER LOGIN PASSWORD 'p'")
    server.ask("ALTER ROLE serial SET default_transaction_isolation = 'repeatable read'")
    serial = PostgresStore(f"postgresql://serial:p@127.0.0.1:{server.port}/postgres", table=table)
    version = store.cas("acme", None, "before")
    with psycopg.connect(server.url) as blocker:  # its update waits for this one, and then cannot be serialized
        blocker.execute(f"UPDATE {table} SET version = 'another' WHERE key = 'acme'")
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(serial.cas, "acme", version, "after")
            until(lambda: server.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == [(1,)])
            blocker.commit()
            with pytest.raises(Conflict):
                writing.result()
    serial.close()
    server.ask("DROP ROLE serial")
