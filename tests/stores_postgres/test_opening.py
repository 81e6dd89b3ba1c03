"""Opening the store: what is accepted, what it is called, and what is refused before anything is connected to."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from functools import partial
from typing import Any

import psycopg
import psycopg_pool
import pytest
from tests.core.calls import PATIENCE, in_threads
from tests.core.leaks import SEED_ACCESS, assert_error_is_silent
from tests.servers.postgres import PostgresServer
from tests.servers.relay import Relay

from onerefresh import ConfigurationError, Credential
from onerefresh.store import HEAD_START, Store
from onerefresh.stores import open_store
from onerefresh.stores.postgres.store import PostgresStore, _ServerClock
from onerefresh.testing import AuthServer
from onerefresh.testing.stores.recording import Opener

PASSWORD = SEED_ACCESS


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"postgresql://me:{PASSWORD}@db.example.com/app", "postgresql://me@db.example.com:5432/app"),
        (
            f"postgres://you:{PASSWORD}@db.example.com:5432/app?sslmode=require",
            "postgresql://you@db.example.com:5432/app",
        ),
        (f"postgresql://me:{PASSWORD}@a:1,b:2/app", "postgresql://me@a,b:1,2/app"),
        ("postgresql:///app?host=/run/postgresql", "postgresql:///run/postgresql:5432/app"),
        ("postgresql://me@/", "postgresql://me@localhost:5432/me"),
        (f"host=db password={PASSWORD} dbname=app", "postgresql://db:5432/app"),
    ],
)
def test_the_name_is_the_place(url: str, name: str) -> None:
    store = PostgresStore(url)
    assert store.name == f"{name}#onerefresh_records"
    assert PASSWORD not in repr(store) + repr(vars(store))
    assert PostgresStore(url, table="app.tokens").name == f"{name}#app.tokens"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:a/{PASSWORD}@db/app",
        f"postgresql://me:a@{PASSWORD}@db/app",
        f"postgresql://me:1/{PASSWORD}@db/app",
        f"postgresql://me:a@db/app?{PASSWORD}=1",
        f"postgresql://me:%zz{PASSWORD}@db/app",
        f"postgresql://me:%ff{PASSWORD}@db/app",
        f"host=db password={PASSWORD} {PASSWORD}",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="%40") as caught:
        PostgresStore(url)
    assert_error_is_silent(caught.value)


@pytest.mark.parametrize("table", ["", "a b", 'a"b', "a;b", "a.b.c", ".", "a.", "1a", "ä", "x" * 64, "--", None])
def test_a_table_that_is_no_name_is_refused(table: Any) -> None:
    with pytest.raises(ConfigurationError, match="table must be a name"):
        PostgresStore("postgresql://db/app", table=table)


def test_a_url_for_sqlalchemy_is_told_from_one_that_cannot_be_read() -> None:
    with pytest.raises(ConfigurationError, match=r"leave out the \+"):
        open_store("postgresql+psycopg://me@db/app")


def test_a_pool_in_place_of_a_store_is_told_how_it_becomes_one() -> None:
    pool: Any = psycopg_pool.ConnectionPool("postgresql://db/app", open=False)
    with pytest.raises(ConfigurationError, match=r"PostgresStore\(pool\)"):
        open_store(pool)


def test_another_search_path_is_another_place() -> None:
    urls = ["postgresql://db/app", *(f"postgresql://db/app?options=-csearch_path%3D{schema}" for schema in "ab")]
    assert len({PostgresStore(url).name for url in urls}) == 3


@pytest.mark.parametrize("kwargs", [{"host": "db", "dbname": "a"}, lambda: {"host": "db", "dbname": "a"}])
def test_a_pool_is_named_after_the_place_wherever_it_is_written(kwargs: Any) -> None:
    # Two places of one name would take each other's spooled tokens for leftovers.
    pool = psycopg_pool.ConnectionPool(f"user=me password={PASSWORD}", kwargs=kwargs, open=False)
    assert PostgresStore(pool).name == "postgresql://me@db:5432/a#onerefresh_records"


def test_an_async_pool_is_refused() -> None:
    async def opened() -> object:
        return psycopg_pool.AsyncConnectionPool("postgresql://db/app", open=False)

    with pytest.raises(ConfigurationError, match=r"AsyncConnectionPool cannot be a store: pass a psycopg_pool"):
        PostgresStore(asyncio.run(opened()))


def test_a_single_connection_is_refused(server: PostgresServer) -> None:
    with psycopg.connect(server.url) as connection:
        with pytest.raises(ConfigurationError, match="one thread at a time; pass a psycopg_pool"):
            PostgresStore(connection)


@pytest.mark.parametrize("place", [None, 5, object(), b"postgresql://db/app"])
def test_anything_else_is_refused(place: object) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a store"):
        PostgresStore(place)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_url_opens_one_store_for_as_long_as_somebody_has_it(scheme: str) -> None:
    url = f"{scheme}://me:{PASSWORD}@db/app"
    store = open_store(url)
    assert isinstance(store, PostgresStore)
    assert open_store(url) is store
    assert open_store(url + "2") is not store
    forgotten = weakref.ref(store)
    del store
    gc.collect()
    assert forgotten() is None


def test_opening_connects_to_nothing(relay: Relay, table: str) -> None:
    PostgresStore(f"postgresql://postgres@127.0.0.1:{relay.port}/postgres", table=table)
    assert relay.accepted == 0


@pytest.mark.parametrize("_", range(5))
def test_many_who_create_the_table_at_once_all_succeed(opener: Opener, _: int) -> None:
    stores = [opener() for _ in range(8)]
    start = threading.Barrier(len(stores))

    def write(store: Store) -> None:
        start.wait(PATIENCE)
        store.cas(f"key {stores.index(store)}", None, "body")

    in_threads([partial(write, store) for store in stores])
    assert len(list(stores[0].scan())) == 8
    for store in stores:
        store.close()


def test_a_fresh_token_costs_the_server_nothing(relay: Relay, auth_server: AuthServer, table: str) -> None:
    store = PostgresStore(f"postgresql://postgres@127.0.0.1:{relay.port}/postgres", table=table)
    acme = Credential("acme", lambda token: token, token=auth_server.issue(), store=store)
    acme.token()
    sent: list[bytes] = []

    def see(data: bytes) -> bytes:
        sent.append(data)
        return data

    relay.to_server = see
    for _ in range(1000):
        acme.token()
    assert sent == []
    acme.close()


def test_who_refreshed_the_last_time_has_a_head_start() -> None:
    assert PostgresStore.head_start == HEAD_START > 0.0


@pytest.mark.parametrize("given", [None, False, True])
def test_a_server_without_a_standby_does_not_go_back(opener: Opener, given: bool | None) -> None:
    url, table = opener.args[0], opener.keywords["table"]  # type: ignore[attr-defined]  # a partial function
    store = PostgresStore(url, table=table, may_go_back=given)
    assert store.may_go_back is (given is not False), "until something is known it may"
    store.cas("acme", None, "body")
    assert store.may_go_back is (given is True)
    store.close()


# --- The server's clock ---


def test_two_who_use_the_store_read_one_clock(store: PostgresStore, opener: Opener, server: PostgresServer) -> None:
    other = opener()
    assert store.moment() is None
    store.make_table()
    for one in (store, other):
        one.load("acme")
    [(now,)] = server.ask("SELECT extract(epoch FROM clock_timestamp())::float8")
    here, there = store.moment(), other.moment()
    assert here is not None
    assert there is not None
    assert here.clock_epoch == there.clock_epoch != ""
    assert not here.single_host
    assert abs(here.seconds - now) < 1 > abs(there.seconds - now)


@pytest.mark.long
@pytest.mark.slow
def test_a_server_that_was_started_anew_has_another_era(own_server: PostgresServer) -> None:
    store = PostgresStore(own_server.url)
    store.cas("acme", None, "body")
    before = store.moment()
    own_server.restart()
    store.load("acme")
    after = store.moment()
    assert before is not None
    assert after is not None
    assert before.clock_epoch != after.clock_epoch


def test_a_clock_that_was_set_begins_an_era_of_this_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("onerefresh.stores.postgres.store.shared_seconds", lambda: now)
    clock = _ServerClock()
    assert clock.moment() is None
    clock.observe(1000.0, "start", now)
    now = 110.0
    assert clock.moment() == ("start", 1010.0, False)
    clock.observe(1011.0, "start", now)
    assert clock.moment() == ("start", 1011.0, False)
    clock.observe(1020.0, "start", now)
    set_to = clock.moment()
    assert set_to is not None
    assert set_to.clock_epoch.startswith("start/")
    assert set_to.seconds == 1020.0
    clock.observe(1020.0, "start", now)
    assert clock.moment() == set_to
    now = 171.0
    assert clock.moment() is None
    clock.observe(5.0, "another", now)
    assert clock.moment() == ("another", 5.0, False)
