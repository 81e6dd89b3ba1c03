"""Looking at what the store does to its server: who listens, and which connections and threads there are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.servers.postgres import PostgresServer

from onerefresh.stores.postgres import PostgresStore
from onerefresh.stores.postgres.own_connections import OwnConnections
from onerefresh.threads import Job

LONG = 60.0
PATIENCE = 30.0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def listeners(server: PostgresServer, store: PostgresStore, key: str = "acme") -> int:
    """How many connections hold the lock that tells that somebody listens to the key."""
    lock = store._statements.channel(key).lock
    [(count,)] = server.ask(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND (classid::bigint << 32) | objid::bigint = %s",
        lock,
    )
    found: int = count
    return found


@contextmanager
def waiting(store: PostgresStore, key: str, version: str, server: PostgresServer) -> Iterator[threading.Thread]:
    """Somebody waits for the record, once, and is listening."""
    waiter = threading.Thread(target=store.wait, args=(key, version, LONG))
    waiter.start()
    until(lambda: listeners(server, store, key) == 1)
    yield waiter
    waiter.join(PATIENCE)


def threads_of(store: PostgresStore) -> list[Job]:
    assert isinstance(store._source, OwnConnections)
    return [thread for thread in (store._source._closer, store._notifier._listener) if thread is not None]


def connections_of(name: str, server: PostgresServer) -> int:
    [(count,)] = server.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", name)
    found: int = count
    return found


def write_in_threads(store: PostgresStore, count: int) -> None:
    """So many threads write a record each, six times, all at once."""
    store.make_table()

    def write(number: int) -> None:
        version = store.cas(f"key {number}", None, "body")
        for _ in range(5):
            version = store.cas(f"key {number}", version, "body")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(store.load(f"key {number}") is not None for number in range(count))
