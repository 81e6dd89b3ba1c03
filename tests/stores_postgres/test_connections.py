"""Connections: few, reused, closed behind their use, never shared with a forked child, and never waited on for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import psycopg_pool
import pytest
from tests.core.leaks import ACCESS, assert_error_is_silent
from tests.servers.postgres import PostgresServer
from tests.servers.relay import Relay
from tests.signals.places import signals_in
from tests.stores_postgres.watching import connections_of, threads_of, until, write_in_threads

from onerefresh import StoreUnavailable
from onerefresh.secret import Secret
from onerefresh.store import StoreOutcomeUnknown
from onerefresh.stores import change_notifier
from onerefresh.stores.postgres import PostgresStore, connections
from onerefresh.stores.postgres.exchange import Refused
from onerefresh.stores.postgres.own_connections import MOST, OwnConnections
from onerefresh.testing.stores.recording import Opener

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_one_connection_serves_all_operations_of_a_while(through: PostgresStore, relay: Relay) -> None:
    version = through.cas("acme", None, "body")
    for _ in range(20):
        through.load("acme")
        version = through.cas("acme", version, "body")
    assert relay.accepted == 1


def test_each_operation_is_one_round_trip(through: PostgresStore, relay: Relay) -> None:
    version = through.cas("acme", None, "body")
    sent: list[bytes] = []

    def see(data: bytes) -> bytes:
        sent.append(data)
        return data

    relay.to_server = see
    through.load("acme")
    through.cas("acme", version, "body")
    assert len(sent) == 2


def test_many_threads_share_few_connections(through: PostgresStore, relay: Relay) -> None:
    write_in_threads(through, 40)
    assert relay.accepted <= MOST


def test_who_finds_all_connections_busy_is_told_so(server: PostgresServer) -> None:
    connections = OwnConnections(Secret(server.url))
    with ExitStack() as stack:
        for _ in range(MOST):
            borrow = stack.enter_context(connections.borrow(time.monotonic() + 10, "reading acme"))
            assert not isinstance(borrow, Refused)
        refused = stack.enter_context(connections.borrow(time.monotonic() + 0.01, "reading globex"))
        assert isinstance(refused, Refused)
        assert refused.words.endswith("busy with reading acme, reading acme, reading acme, reading acme")
    with connections.borrow(time.monotonic() + 10, "reading acme") as borrow:
        assert not isinstance(borrow, Refused)
    connections.close()


def test_unused_connections_are_closed_and_their_thread_ends(
    store: PostgresStore, server: PostgresServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onerefresh.stores.postgres.own_connections.KEPT", 0.05)
    store.make_table()
    store.load("acme")
    until(lambda: not threads_of(store))
    until(lambda: connections_of(table, server) == 0)
    assert store.load("acme") is None


def test_a_connection_that_cannot_be_opened_takes_no_place(through: PostgresStore, relay: Relay) -> None:
    with relay.down():
        for _ in range(MOST + 1):
            with pytest.raises(StoreUnavailable):
                through.load("acme")
    assert through.load("acme") is None


@pytest.mark.long
@pytest.mark.slow
def test_a_server_that_stopped_is_an_error_in_bounded_time(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onerefresh.stores.postgres.connections.PATIENCE", 0.3)
    store = PostgresStore(f"{own_server.url}?connect_timeout=2")
    version = store.cas("acme", None, "before")
    with own_server.frozen():
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            store.load("acme")
        store.wait("acme", version, 0.1)
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            store.load("acme")  # on a new connection
    until(lambda: store.load("acme") == (version, "before"))
    with own_server.frozen():
        with pytest.raises(StoreOutcomeUnknown) as caught:
            store.cas("acme", version, ACCESS)
        assert_error_is_silent(caught.value)


def test_a_statement_that_takes_too_long_leaves_no_connection_at_the_server(
    server: PostgresServer, opener: Opener, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opener()
    version = store.cas("acme", None, "before")
    monkeypatch.setattr("onerefresh.stores.postgres.connections.PATIENCE", 0.2)
    with psycopg.connect(server.url) as another_program:
        another_program.execute(f"LOCK TABLE {table}")
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            store.load("acme")
        with pytest.raises(StoreOutcomeUnknown):
            store.cas("acme", version, "after")
        theirs = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{table}'"
        until(lambda: server.ask(theirs) == [(0,)])
    assert store.load("acme") == (version, "before")


# --- The user's pool ---


def test_a_pool_that_is_busy_or_closed_is_an_error_in_bounded_time(
    server: PostgresServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onerefresh.stores.postgres.connections.PATIENCE", 0.2)
    with psycopg_pool.ConnectionPool(server.url, min_size=1, max_size=1, open=True) as pool:
        store = PostgresStore(pool, table=table)
        store.cas("acme", None, "body")
        with pool.connection(), pytest.raises(StoreUnavailable, match="large enough"):
            store.load("acme")
        assert store.load("acme") is not None
        store.close()
        assert store.load("acme") is not None, "the pool stays open"
    with pytest.raises(StoreUnavailable, match="check that it is open"):
        store.load("acme")


def test_a_pool_s_connections_stay_as_they_were(server: PostgresServer, table: str) -> None:
    with psycopg_pool.ConnectionPool(server.url, min_size=1, max_size=1, open=True) as pool:
        store = PostgresStore(pool, table=table)
        version = store.cas("acme", None, "body")
        store.cas("acme", version, "body")
        with pool.connection() as connection:
            assert not connection.autocommit
            assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
            assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
            assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


def test_a_pool_whose_connections_the_server_has_closed_serves(server: PostgresServer, table: str) -> None:
    url = f"{server.url}?application_name={table}"
    with psycopg_pool.ConnectionPool(url, min_size=3, max_size=3, open=True) as pool:
        pool.wait()
        store = PostgresStore(pool, table=table)
        version = store.cas("acme", None, "body")
        server.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{table}'")
        until(lambda: connections_of(table, server) == 0)
        assert store.load("acme") == (version, "body")


class InTheMiddle:
    """A pool that lends connections of which somebody has not ended the transaction."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def getconn(self) -> psycopg.Connection:
        return self._connection

    @contextmanager
    def connection(self, timeout: float) -> Iterator[psycopg.Connection]:
        yield self._connection


def test_nothing_is_written_in_somebody_else_s_transaction(
    server: PostgresServer, store: PostgresStore, table: str
) -> None:
    version = store.cas("acme", None, "before")
    with psycopg.connect(server.url) as connection:
        connection.execute("SELECT 1")
        with pytest.raises(StoreUnavailable, match="in a transaction"):
            PostgresStore(InTheMiddle(connection), table=table).cas("acme", version, "after")
    assert store.load("acme") == (version, "before")


def test_ctrl_c_in_the_middle_shows_nothing_and_leaves_no_answer_behind(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    version = store.cas("acme", None, "before")
    with monkeypatch.context() as patched:
        patched.setattr("onerefresh.stores.postgres.exchange._within", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            store.cas("acme", version, ACCESS)
    assert_error_is_silent(caught.value)
    found = store.load("acme")
    assert found is not None
    assert found.body in ("before", ACCESS)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("use", ["load", "cas", "scan", "wait"])
def test_a_signal_at_any_place_leaves_no_turn_taken_and_no_connection_with_two(store: PostgresStore, use: str) -> None:
    """Before, four of them at the wrong place left the store unusable, for as long as the process lived.

    A connection that nobody has got yet may be lost: the garbage collector closes it.
    """
    store.cas("acme", None, "body")
    store.cas("beta", None, "other")
    source, count = store._source, 0
    assert isinstance(source, OwnConnections)

    def used() -> None:
        found = store.load("acme")
        assert found is not None
        if use == "cas":
            store.cas("acme", found.version, "body")
        elif use == "scan":
            assert len(list(store.scan())) == 2
        elif use == "wait":
            store.wait("acme", found.version, 0.001)

    for _ in signals_in(used, connections, change_notifier):
        count += 1
        assert not source._turns, f"after {count} signals"
        idle = [connection for _, connection in source._idle]
        assert len(set(idle)) == len(idle) <= MOST
        assert not any(waits.waiters for waits in store._notifier._waits.values())
        assert [getattr(store.load(key), "body", None) for key in ("acme", "beta")] == ["body", "other"]
    assert count > 100


def test_a_pool_without_utf_8_is_refused_before_anything_is_written(server: PostgresServer, table: str) -> None:
    with psycopg_pool.ConnectionPool(f"{server.url}?client_encoding=LATIN1", min_size=1, open=True) as pool:
        store = PostgresStore(pool, table=table)
        with pytest.raises(StoreUnavailable, match="client_encoding=UTF8"):
            store.cas("acme", None, "body")


# --- Forked children ---

FORK = """
import os, sys, threading
from onerefresh.stores import change_notifier
from onerefresh.stores.postgres import PostgresStore, connections
store = PostgresStore(os.environ["STORE"], table=os.environ["TABLE"])
version = store.cas("acme", None, "of the parent")
waiter = threading.Thread(target=store.wait, args=("acme", version, 30))
waiter.start()
while not ("acme" in store._notifier._waits and store._notifier._waits["acme"].listening):
    pass
pids = {connection.pgconn.backend_pid for connection in store._source._open}
child = os.fork()
if child == 0:
    try:
        assert not store._source._open and not store._source._idle
        assert store.load("acme") == (version, "of the parent")
        store.wait("acme", version, 0.01)
        version = store.cas("acme", version, "of the child")
        assert not pids & {connection.pgconn.backend_pid for connection in store._source._open}
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
waiter.join(20)
assert not waiter.is_alive(), "the parent hears what its child did"
found = store.load("acme")
assert found.body == "of the child"
assert pids & {connection.pgconn.backend_pid for connection in store._source._open}, "and goes on with its connection"
print("done")
"""


GREEN_FORK = """
from gevent import monkey
monkey.patch_all()
import os, threading, gevent
from gevent.os import fork_gevent
from onerefresh.stores import change_notifier
from onerefresh.stores.postgres import PostgresStore, connections
url, table = os.environ["STORE"], os.environ["TABLE"]
store = PostgresStore(url, table=table)
version = store.cas("acme", None, "of the parent")
waiter = gevent.spawn(store.wait, "acme", version, 30.0)
while not ("acme" in store._notifier._waits and store._notifier._waits["acme"].listening):
    gevent.sleep(0)
[connection] = store._source._open
number = connection.pgconn.socket
line = os.fstat(number)
child = fork_gevent()  # as a patched `os.fork`, whose `waitpid` now and then misses the end of a child
if child == 0:
    if os.path.samestat(os.fstat(number), line):
        os._exit(2)  # whatever the child's copy of the listener does, it does to the parent's line
    close, closed = change_notifier._close, threading.Event()
    def closing(line):
        close(line)
        closed.set()
    change_notifier._close = closing
    os._exit(0 if closed.wait(20) else 1)
assert os.waitstatus_to_exitcode(monkey.get_original("os", "waitpid")(child, 0)[1]) == 0
PostgresStore(url, table=table).cas("acme", version, "of another")
waiter.join(20)
assert waiter.dead, "the parent still hears what others do"
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("program", [FORK, GREEN_FORK], ids=["threads", "greenlets, which the child has, too"])
def test_a_forked_child_leaves_its_parent_s_connections_alone(server: PostgresServer, table: str, program: str) -> None:
    child = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", program],
        env={**os.environ, "STORE": server.url, "TABLE": table},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "done\n", ""), child.stderr
