"""What a crash of the server costs: nothing where the store is durable, else what was not on disk yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.servers.relay import Relay
from tests.servers.valkey import Valkey

from onerefresh import StoreUnavailable
from onerefresh.store import StoreOutcomeUnknown
from onerefresh.stores.redis import RedisStore

pytestmark = pytest.mark.slow

AOF = "appendonly yes"


def appending(folder: Path, how: str) -> Valkey:
    return Valkey(folder / "valkey", AOF, f"appendfsync {how}")


@contextmanager
def unsynced(folder: Path) -> Iterator[Valkey]:
    """A server that never waits for its disk, with a user who may not ask whether it does."""
    with appending(folder, "no") as server:
        server.do("ACL", "SETUSER", "app", "reset", "on", ">pw", "~*", "&*", "+@all", "-config")
        yield server


def may_not_ask(address: str) -> str:
    return f"redis://app:pw@{address}"


@pytest.fixture(params=["always", "everysec"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Valkey]:
    with appending(tmp_path, request.param) as server:
        yield server


def test_what_a_durable_store_has_written_survives_a_crash(server: Valkey) -> None:
    with closing(RedisStore(server.url, durable=True)) as store:
        assert store.durable
        assert store.may_go_back, "a failover to a replica forgets it all the same"
        version = store.cas("acme", None, "first")
        server.restart()
        assert store.load("acme") == (version, "first")
        version = store.cas("acme", version, "second")
        server.restart()
        assert store.load("acme") == (version, "second")


def test_what_another_store_has_written_may_be_lost_in_a_crash(own_server: Valkey) -> None:
    with closing(RedisStore(own_server.url)) as store:
        assert not store.durable
        store.cas("acme", None, "body")
        own_server.restart()
        assert store.load("acme") is None


def test_a_server_without_an_append_only_file_is_refused_until_it_has_one(own_server: Valkey) -> None:
    with closing(RedisStore(own_server.url + "?durable=yes")) as store:
        for use in (lambda: store.load("acme"), lambda: store.cas("acme", None, "body")):
            with pytest.raises(StoreUnavailable, match="CONFIG SET appendonly yes"):
                use()
        own_server.do("CONFIG", "SET", "appendonly", "yes")
        store.cas("acme", None, "body")


def test_a_server_that_never_syncs_its_file_is_refused(tmp_path: Path) -> None:
    with appending(tmp_path, "no") as server, closing(RedisStore(server.url, durable=True)) as store:
        with pytest.raises(StoreUnavailable, match="CONFIG SET appendfsync everysec"):
            store.cas("acme", None, "body")


def test_a_write_that_does_not_reach_the_disk_has_an_unknown_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onerefresh.stores.redis.store.ON_DISK_MS", 100)
    with unsynced(tmp_path) as server, closing(RedisStore(may_not_ask(server.address), durable=True)) as store:
        with pytest.raises(StoreOutcomeUnknown, match="not on disk"):
            store.cas("acme", None, "body")


def test_a_write_that_is_sent_once_more_waits_for_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onerefresh.stores.redis.store.ON_DISK_MS", 100)
    with unsynced(tmp_path) as server, Relay(server.port) as relay:
        with closing(RedisStore(may_not_ask(relay.address), durable=True)) as store:
            assert store.load("acme") is None
            relay.lose("answer", of=b"EVAL")
            with pytest.raises(StoreOutcomeUnknown, match="not on disk"):
                store.cas("acme", None, "body")
            assert relay.lost == 1


def test_the_scripts_are_sent_whole_and_the_disk_is_waited_for_all_the_same(server: Valkey) -> None:
    with closing(RedisStore(server.url, durable=True)) as store:
        version = store.cas("acme", None, "first")
        server.do("SCRIPT", "FLUSH")
        version = store.cas("acme", version, "second")
        server.restart()
        assert store.load("acme") == (version, "second")
