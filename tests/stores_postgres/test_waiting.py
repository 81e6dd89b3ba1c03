"""Waiting: LISTEN while somebody waits, NOTIFY only where somebody does, and polling behind a pooler."""

from __future__ import annotations

import logging
import select
import threading
import time
from itertools import count

import psycopg
import psycopg_pool
import pytest
from tests.servers.postgres import PostgresServer
from tests.servers.relay import Relay
from tests.stores_postgres.watching import LONG, PATIENCE, connections_of, listeners, threads_of, until, waiting

from onerefresh.stores.postgres.notifier import PostgresSubscription
from onerefresh.stores.postgres.own_connections import MOST, OwnConnections
from onerefresh.stores.postgres.store import POLLED, WOKEN, PostgresStore
from onerefresh.testing.stores.recording import Opener

pytestmark = pytest.mark.slow


def test_a_waiter_is_woken_by_another_process_s_write(
    store: PostgresStore, opener: Opener, server: PostgresServer
) -> None:
    version = store.cas("acme", None, "before")
    with waiting(store, "acme", version, server) as waiter:
        assert waiter.is_alive()
        opener().cas("acme", version, "after")
    assert not waiter.is_alive()


def test_a_waiter_is_woken_by_a_first_write(store: PostgresStore, opener: Opener, server: PostgresServer) -> None:
    store.make_table()
    with waiting(store, "acme", "", server) as waiter:
        opener().cas("acme", None, "first")
    assert not waiter.is_alive()


def test_a_waiter_is_not_woken_by_another_key(store: PostgresStore, opener: Opener, server: PostgresServer) -> None:
    version, other = store.cas("acme", None, "before"), store.cas("other", None, "before")
    with waiting(store, "acme", version, server) as waiter:
        with waiting(store, "other", other, server) as second:
            opener().cas("other", other, "after")
        assert not second.is_alive()
        assert waiter.is_alive()
        opener().cas("acme", version, "after")
    assert not waiter.is_alive()


def test_nothing_is_told_where_nobody_waits(store: PostgresStore, opener: Opener, server: PostgresServer) -> None:
    version = store.cas("acme", None, "before")
    channel = store._statements.channel("acme").name
    with psycopg.connect(server.url, autocommit=True) as other:
        other.execute(f"LISTEN {channel}".encode())
        version = opener().cas("acme", version, "unheard")
        other.execute("SELECT 1")
        assert list(other.notifies(timeout=0)) == []
        with waiting(store, "acme", version, server):
            opener().cas("acme", version, "heard")
        assert len(list(other.notifies(timeout=PATIENCE, stop_after=1))) == 1


@pytest.mark.long
def test_a_hundred_waiters_need_one_connection_which_is_closed_behind_them(
    store: PostgresStore, server: PostgresServer, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setattr("onerefresh.stores.postgres.own_connections.KEPT", 0.05)
    versions = {f"key {number}": store.cas(f"key {number}", None, "before") for number in range(100)}
    waiters = [threading.Thread(target=store.wait, args=(key, version, LONG)) for key, version in versions.items()]
    for waiter in waiters:
        waiter.start()
    until(lambda: sum(listeners(server, store, key) for key in versions) == 100)
    assert connections_of(table, server) <= MOST + 1
    for key, version in versions.items():
        store.cas(key, version, "after")
    for waiter in waiters:
        waiter.join(PATIENCE)
    assert not any(waiter.is_alive() for waiter in waiters)
    until(lambda: not threads_of(store))
    until(lambda: connections_of(table, server) == 0)


def test_who_looks_waits_and_looks_again_needs_one_connection(
    through: PostgresStore, relay: Relay, opener: Opener, server: PostgresServer
) -> None:
    """A server needs long for a new one, and in a storm all of them come at once."""
    version = through.cas("acme", None, "before")
    with waiting(through, "acme", version, server):
        after = opener().cas("acme", version, "after")
    assert through.load("acme") == (after, "after")
    through.wait("acme", version, LONG)
    assert through.load("acme") == (after, "after")
    assert relay.accepted == 1


def test_nothing_of_the_waiting_stays_on_the_connection(
    store: PostgresStore, opener: Opener, server: PostgresServer
) -> None:
    version = store.cas("acme", None, "before")
    with waiting(store, "acme", version, server):
        version = opener().cas("acme", version, "after")
    assert isinstance(store._source, OwnConnections)
    connection = store._source.dedicated()
    assert isinstance(connection, psycopg.Connection)
    assert connection.execute("SELECT count(*) FROM pg_listening_channels()").fetchone() == (0,)
    assert not connection._notify_handlers
    store._source.give_back(connection)
    assert listeners(server, store) == 0


def test_what_is_told_while_it_stops_listening_is_not_kept_with_the_connection(
    store: PostgresStore, opener: Opener
) -> None:
    """psycopg keeps what nobody hears, for as long as the connection lives: that may be days."""
    version = store.cas("acme", None, "before")
    line = PostgresSubscription(store._source, store._statements)
    line.listen(frozenset({"acme"}))
    opener().cas("acme", version, "after")
    assert select.select([line._connection.pgconn.socket], [], [], PATIENCE)[0], "it is told by now"
    line.close()
    assert isinstance(store._source, OwnConnections)
    connection = store._source.dedicated()
    assert connection is line._connection
    assert not connection._notifies_backlog
    store._source.give_back(connection)


def test_a_key_that_shares_its_lock_is_told_after_the_other_one_is_not_listened_to_any_more(
    store: PostgresStore, opener: Opener
) -> None:
    lock = store._statements.channel("acme").lock
    other = next(f"key {number}" for number in count() if store._statements.channel(f"key {number}").lock == lock)
    version = store.cas("acme", None, "before")
    line = PostgresSubscription(store._source, store._statements)
    assert line.listen(frozenset({"acme", other})) == {"acme": version, other: ""}
    assert line.listen(frozenset({"acme"})) == {}
    opener().cas("acme", version, "after")
    assert line.receive(PATIENCE) == ["acme"]
    line.close()


def test_a_connection_that_died_unnoticed_is_no_reason_to_stop_listening(
    through: PostgresStore, relay: Relay, opener: Opener, server: PostgresServer
) -> None:
    """The one that was kept may lead to a server that is not there any more, which a client finds out when it asks."""
    version = through.cas("acme", None, "before")
    relay.lose("request", of=b"pg_backend_pid")
    with waiting(through, "acme", version, server) as waiter:
        opener().cas("acme", version, "after")
    assert not waiter.is_alive()
    assert (relay.lost, relay.accepted) == (1, 2)


def test_a_listener_that_is_killed_as_it_gives_its_connection_back_closes_it(
    store: PostgresStore, server: PostgresServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under gevent it may be killed wherever it waits, also for the lock of those who lend and give back."""

    class Killed(BaseException):
        pass

    def killed(connection: object) -> None:
        raise Killed

    line = PostgresSubscription(store._source, store._statements)
    monkeypatch.setattr(store._source, "give_back", killed)
    with pytest.raises(Killed):
        line.close()
    until(lambda: connections_of(table, server) == 0)


def test_a_waiter_is_woken_where_there_is_no_table_yet(
    store: PostgresStore, opener: Opener, server: PostgresServer
) -> None:
    with waiting(store, "acme", "", server) as waiter:
        opener().cas("acme", None, "first")
    assert not waiter.is_alive()


def test_a_waiter_that_loses_its_connection_looks_for_himself(
    through: PostgresStore, relay: Relay, server: PostgresServer
) -> None:
    version = through.cas("acme", None, "before")
    with waiting(through, "acme", version, server) as waiter:
        relay.cut()
    assert not waiter.is_alive()


def test_a_server_without_a_connection_to_spare_is_not_asked_to_listen_again_at_once(
    through: PostgresStore, relay: Relay
) -> None:
    version = through.cas("acme", None, "before")
    with relay.down():
        through.subscribe("acme", version, time.monotonic(), bool).end()
        until(lambda: through._notifier._listener is None)
        accepted = relay.accepted
        for _ in range(5):
            assert through.subscribe("acme", version, time.monotonic(), bool).within == POLLED
        assert relay.accepted == accepted


def test_behind_a_pooler_waiting_is_polling_and_that_is_said_once(
    through: PostgresStore, relay: Relay, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onerefresh.stores.postgres.store.POLLED", 0.01)
    version = through.cas("acme", None, "before")
    through.close()
    relay.to_client = as_a_pooler
    assert through.look_every == WOKEN
    with caplog.at_level(logging.WARNING, "onerefresh"):
        for _ in range(3):
            through.wait("acme", version, LONG)
            until(lambda: through._notifier._listener is None)
    assert through.look_every == 0.01 < POLLED
    [said] = caplog.messages
    assert "pooler" in said
    version = through.cas("acme", version, "after")
    assert through.load("acme") == (version, "after")


def as_a_pooler(data: bytes) -> bytes:
    """Change the process id that a server tells when a connection begins, as PgBouncer does."""
    head, mark, rest = data.partition(b"K\0\0\0\x0c")
    return head + mark + bytes([rest[0] ^ 0x40]) + rest[1:] if mark else data


def test_a_pool_s_user_is_woken_on_a_connection_beside_the_pool(server: PostgresServer, table: str) -> None:
    with psycopg_pool.ConnectionPool(server.url, min_size=1, max_size=1, open=True) as pool:
        store = PostgresStore(pool, table=table)
        version = store.cas("acme", None, "before")
        with waiting(store, "acme", version, server) as waiter:
            store.cas("acme", version, "after")
        assert not waiter.is_alive()
