"""What a Redis store says where its server or the way to it fails, and what was done then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.core.leaks import ACCESS, REFRESH, SEED_ACCESS, SEED_REFRESH, assert_error_is_silent
from tests.servers.relay import Relay
from tests.servers.valkey import Cluster, Sentinels, Valkey, free_port, until

from onerefresh import Credential, StoreUnavailable
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.stores.redis import RedisStore, connection
from onerefresh.stores.redis.connection import RedisConnection
from onerefresh.stores.redis.errors import RedisFailure

pytestmark = pytest.mark.slow

QUICK = "?socket_timeout=0.3"
WRITE = b"EVAL"
"""What every write has in it, sent whole or by its digest."""


@pytest.fixture
def store(server: Valkey) -> Iterator[RedisStore]:
    with closing(RedisStore(server.url)) as store:
        yield store


@pytest.fixture
def through(relay: Relay) -> Iterator[RedisStore]:
    """The same place, by the line that can be broken; its scripts are known to the server."""
    with closing(RedisStore(f"redis://{relay.address}")) as store:
        store.cas("warm", None, "body")
        store.load("warm")
        yield store


def uses(store: RedisStore) -> list[Callable[[], object]]:
    return [
        lambda: store.load("acme"),
        lambda: store.cas("acme", None, "body"),
        lambda: store.cas("acme", "1", "body"),
        lambda: list(store.scan()),
    ]


def assert_unavailable(store: RedisStore, said: str) -> None:
    """Every way to use it says so, and that nothing was changed."""
    for use in uses(store):
        with pytest.raises(StoreUnavailable, match=said) as caught:
            use()
        assert "nothing was changed" in caught.value.message
        assert store.name in caught.value.message
    store.wait("acme", "1", 0.01)
    store.close()


# --- A connection that is lost ---


@pytest.mark.parametrize("what", ["request", "answer"])
def test_a_write_whose_connection_is_lost_is_sent_once_more(relay: Relay, through: RedisStore, what: str) -> None:
    relay.lose(what, of=WRITE)
    version = through.cas("acme", None, "body")
    assert relay.lost == 1
    assert through.load("acme") == (version, "body")
    relay.lose(what, of=WRITE)
    after = through.cas("acme", version, "after")
    assert through.load("acme") == (after, "after")


@pytest.mark.parametrize("what", ["request", "answer"])
def test_a_read_whose_connection_is_lost_is_sent_once_more(relay: Relay, through: RedisStore, what: str) -> None:
    version = through.cas("acme", None, "body")
    relay.lose(what, of=WRITE)
    assert through.load("acme") == (version, "body")
    assert relay.lost == 1


@pytest.mark.parametrize("what", ["request", "answer"])
def test_the_outcome_is_unknown_where_the_connection_stays_lost(
    relay: Relay, through: RedisStore, store: RedisStore, what: str
) -> None:
    relay.lose(what, of=WRITE, then=relay.go_down)
    with pytest.raises(StoreOutcomeUnknown):
        through.cas("acme", None, "body")
    assert (store.load("acme") is not None) == (what == "answer")
    with pytest.raises(StoreUnavailable):
        through.cas("acme", None, "body")
    relay.come_up()
    if what == "answer":
        with pytest.raises(Conflict):
            through.cas("acme", None, "body")
    else:
        through.cas("acme", None, "body")


def test_the_outcome_is_unknown_where_others_have_written_before_it_could_be_looked_at(
    relay: Relay, through: RedisStore, store: RedisStore
) -> None:
    written = []

    def write_over_it() -> None:
        present = store.load("acme")
        assert present is not None
        written.append(store.cas("acme", present.version, "theirs"))

    relay.lose("answer", of=WRITE, then=write_over_it)
    with pytest.raises(StoreOutcomeUnknown, match="another process has written"):
        through.cas("acme", None, "ours")
    assert store.load("acme") == (written[0], "theirs")


def test_a_connection_that_was_cut_while_idle_costs_nothing(relay: Relay, through: RedisStore) -> None:
    for number in range(5):
        relay.cut()
        through.cas(f"key {number}", None, "body")
        relay.cut()
        assert through.load(f"key {number}") is not None


def test_a_traceback_with_locals_shows_no_token(relay: Relay, through: RedisStore) -> None:
    version = through.cas("acme", None, f"{ACCESS} {REFRESH}")
    body, failures = f"{SEED_ACCESS} {SEED_REFRESH}", []
    for how in ("conflict", "unknown", "down", "down"):
        if how == "unknown":
            relay.lose("answer", of=WRITE, then=relay.go_down)
        try:
            through.cas("acme", "another" if how == "conflict" else version, body)
        except (Conflict, StoreOutcomeUnknown, StoreUnavailable) as error:
            failures.append(error)
        version = "another"
    assert [type(failure) for failure in failures] == [
        Conflict,
        StoreOutcomeUnknown,
        StoreUnavailable,
        StoreUnavailable,
    ]
    for failure in failures:
        assert_error_is_silent(failure)


def test_a_damaged_record_is_not_shown(server: Valkey, store: RedisStore) -> None:
    server.do("HSET", "onerefresh:{acme}", "version", "1", "body", ACCESS.encode() + b"\xff")
    with pytest.raises(StoreUnavailable) as caught:
        store.load("acme")
    assert_error_is_silent(caught.value)


# --- A server that hangs ---


@pytest.mark.parametrize("connected", [True, False])
def test_a_server_that_hangs_is_given_up_in_time(own_server: Valkey, connected: bool) -> None:
    with closing(RedisStore(own_server.url + QUICK)) as store:
        if connected:
            store.cas("warm", None, "body")
        with own_server.paused():
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                store.load("acme")
            store.wait("acme", "1", 0.01)
        with own_server.paused():  # the connections that hung are gone
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                store.cas("acme", None, "body")
        assert store.load("acme") is None


def test_a_write_that_a_server_swallows_as_it_begins_to_hang_has_an_unknown_outcome(own_server: Valkey) -> None:
    with Relay(own_server.port) as relay, closing(RedisStore(f"redis://{relay.address}{QUICK}")) as store:
        store.cas("warm", None, "body")
        relay.hang(of=WRITE, then=own_server.pause)
        with pytest.raises(StoreOutcomeUnknown, match="did not answer in time"):
            store.cas("acme", None, "body")
        own_server.resume()
        until(lambda: store.load("acme") is not None)  # it was only slow


# --- What the server says ---


def test_nobody_listens_there() -> None:
    assert_unavailable(RedisStore(f"redis://127.0.0.1:{free_port()}"), "cannot be reached: Connection refused")


def test_a_host_that_does_not_exist() -> None:
    assert_unavailable(RedisStore("redis://no-such-host.invalid"), "cannot be reached: ")


def test_a_socket_that_does_not_exist(tmp_path: Path) -> None:
    assert_unavailable(RedisStore(f"unix://{tmp_path}/none.sock"), "there is no such file: check the socket")


def test_a_replica_is_refused_for_reading_too(own_server: Valkey, tmp_path: Path) -> None:
    with Valkey(tmp_path / "replica") as replica:
        with closing(RedisStore(own_server.url)) as store:
            store.cas("acme", None, "body")
        replica.replicates(own_server)
        with closing(RedisStore(replica.url)) as store:
            for use in uses(store)[:3]:
                with pytest.raises(StoreUnavailable, match="it is a replica: connect to the primary"):
                    use()


def test_a_server_whose_memory_is_full_is_still_read(own_server: Valkey) -> None:
    with closing(RedisStore(own_server.url)) as store:
        version = store.cas("acme", None, "body")
        own_server.do("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(StoreUnavailable, match="memory is full: raise maxmemory"):
            store.cas("acme", version, "after")
        assert store.load("acme") == (version, "body")


def test_a_server_that_lacks_replicas_is_still_read(own_server: Valkey) -> None:
    with closing(RedisStore(own_server.url)) as store:
        version = store.cas("acme", None, "body")
        own_server.do("CONFIG", "SET", "min-replicas-to-write", 1)
        with pytest.raises(StoreUnavailable, match="too few replicas"):
            store.cas("acme", version, "after")
        assert store.load("acme") == (version, "body")


def test_another_program_s_key_is_left_alone(server: Valkey, store: RedisStore) -> None:
    server.do("SET", "onerefresh:{acme}", "theirs")
    for use in uses(store)[:3]:
        with pytest.raises(StoreUnavailable, match="another program has stored"):
            use()
    [(key, found)] = store.scan()
    assert key == "acme"
    assert isinstance(found, StoreUnavailable)
    assert server.do("GET", "onerefresh:{acme}") == "theirs"


@pytest.mark.parametrize("fields", [("version", b"\xff", "body", "x"), ("version", "1", "body", b"\xff")])
def test_a_damaged_record_is_left_as_it_is(server: Valkey, store: RedisStore, fields: tuple[Any, ...]) -> None:
    server.do("HSET", "onerefresh:{acme}", *fields)
    with pytest.raises(StoreUnavailable, match="damaged"):
        store.load("acme")
    [(_, found)] = store.scan()
    assert isinstance(found, StoreUnavailable)


@pytest.mark.parametrize(
    "fields", [("version", b"\xff", "body", "x"), ("version", "1", "body", b"\xff"), ("version", "1")]
)
def test_a_login_replaces_what_is_damaged(server: Valkey, store: RedisStore, fields: tuple[Any, ...]) -> None:
    """It was told "log in again under another name, or remove it", and no login or logout could write over it."""
    acts: list[Callable[[Credential], object]] = [
        lambda acme: acme.login({"access_token": "a", "expires_in": 3600}),
        lambda acme: acme.logout(),
    ]
    for act in acts:
        server.do("DEL", "onerefresh:{acme}")
        server.do("HSET", "onerefresh:{acme}", *fields)
        with Credential("acme", lambda token: {}, store=store) as acme:
            with pytest.raises(StoreUnavailable, match=r"damaged.*log in again to replace it"):
                acme.status()
            act(acme)
            assert acme.status().generation in (1, 2)  # 2 where this process still knows the login


def test_a_scan_passes_by_a_key_that_is_no_name(server: Valkey, store: RedisStore) -> None:
    """Its name raised UnicodeDecodeError, and nobody saw the others."""
    server.do("HSET", b"onerefresh:{\xff}", "version", "1", "body", "x")
    version = store.cas("acme", None, "body")
    assert list(store.scan()) == [("acme", (version, "body"))]


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_a_server_that_throws_records_away_is_refused_until_it_is_told_not_to(own_server: Valkey, policy: str) -> None:
    own_server.do("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", policy)
    assert_unavailable(RedisStore(own_server.url), "CONFIG SET maxmemory-policy noeviction")
    own_server.do("CONFIG", "SET", "maxmemory-policy", "volatile-lru")  # what never expires is left alone
    with closing(RedisStore(own_server.url)) as store:
        store.cas("acme", None, "body")


def test_a_server_without_a_limit_to_its_memory_throws_nothing_away(own_server: Valkey) -> None:
    own_server.do("CONFIG", "SET", "maxmemory", 0, "maxmemory-policy", "allkeys-lru")
    with closing(RedisStore(own_server.url)) as store:
        store.cas("acme", None, "body")


COMMANDS = "+eval +evalsha +hget +hset +hdel +hmget +time +publish +subscribe +unsubscribe +scan"
CONNECTING = "+auth +select +hello +ping +client|setinfo"


def user(server: Valkey, *rules: str) -> RedisStore:
    server.do("ACL", "SETUSER", "app", "reset", "on", ">pw", *(one for rule in rules for one in rule.split()))
    return RedisStore(f"redis://app:pw@{server.address}")


def test_a_user_may_be_allowed_the_few_commands_that_it_takes(own_server: Valkey) -> None:
    with closing(user(own_server, "~onerefresh:*", "&onerefresh:*", CONNECTING, COMMANDS)) as store:
        version = store.cas("acme", None, "body")
        assert store.load("acme") == (version, "body")
        assert [key for key, _ in store.scan()] == ["acme"]
        changes = threading.Timer(0.05, lambda: store.cas("acme", version, "after"))
        changes.start()
        while store.load("acme") == (version, "body"):
            store.wait("acme", version, 60.0)
        changes.join()
        assert store._notifier._unreachable_until == 0.0, "it could listen"
        assert store.moment() is None, "without INFO, nobody knows whose clock it is"
    with closing(user(own_server, "~onerefresh:*", "&onerefresh:*", CONNECTING, COMMANDS, "+info")) as store:
        assert store.moment() is not None


@pytest.mark.parametrize("command", ["hget", "hset", "hdel", "hmget", "time", "eval"])
def test_a_user_without_one_of_the_commands_is_told_to_grant_them(own_server: Valkey, command: str) -> None:
    rules = ("~onerefresh:*", "&onerefresh:*", CONNECTING, COMMANDS, f"-{command}")
    with closing(user(own_server, *rules)) as store, pytest.raises(StoreUnavailable, match="grant the commands"):
        version = store.cas("acme", None, "body")
        store.cas("acme", version, "after")
        store.load("acme")


def test_a_user_who_may_not_publish_writes_all_the_same(own_server: Valkey) -> None:
    with closing(user(own_server, "~onerefresh:*", "resetchannels", CONNECTING, COMMANDS)) as store:
        version = store.cas("acme", None, "body")
        assert store.load("acme") == (version, "body")
        store.wait("acme", version, 0.01)


def test_a_user_who_may_not_write_is_told_what_to_grant(own_server: Valkey) -> None:
    with closing(user(own_server, "~other:*", "+@all")) as store:
        for use in uses(store)[:3]:
            with pytest.raises(StoreUnavailable, match="the user may not do this"):
                use()


def test_a_pool_that_is_exhausted_is_named(server: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onerefresh.stores.redis.connection.QUEUE", 0.01)
    pool: Any = redis.ConnectionPool(host="127.0.0.1", port=server.port, max_connections=1)
    taken = pool.get_connection()
    assert_unavailable(RedisStore(redis.Redis(connection_pool=pool)), "larger max_connections")
    pool.release(taken)
    kind: Any = redis.BlockingConnectionPool
    blocking = kind(host="127.0.0.1", port=server.port, max_connections=1, timeout=0.01)
    taken = blocking.get_connection()
    assert_unavailable(RedisStore(redis.Redis(connection_pool=blocking)), "larger max_connections")
    blocking.release(taken)
    for one in (pool, blocking):
        one.disconnect()


def test_too_many_clients_for_the_server_is_named(own_server: Valkey) -> None:
    with own_server.client() as client:
        client.execute_command("CONFIG", "SET", "maxclients", 1)
        assert_unavailable(RedisStore(own_server.url), "too many clients")
        client.execute_command("CONFIG", "SET", "maxclients", 100)


def test_forgotten_scripts_are_sent_again(server: Valkey, store: RedisStore) -> None:
    version = store.cas("acme", None, "body")
    server.do("SCRIPT", "FLUSH")
    assert store.load("acme") == (version, "body")
    server.do("SCRIPT", "FLUSH")
    store.cas("acme", version, "after")


# --- Clusters and sentinels ---


def test_a_server_that_is_no_cluster_and_a_cluster_that_was_named_as_a_server(server: Valkey, cluster: Cluster) -> None:
    assert_unavailable(RedisStore(f"redis+cluster://{server.address}"), "it is not a cluster")
    with closing(RedisStore(cluster.nodes[0].url)) as store:
        with pytest.raises(StoreUnavailable, match=r"redis\+cluster://"):
            for number in range(20):
                store.cas(f"key {number}", None, "body")


def test_a_cluster_that_cannot_be_reached() -> None:
    assert_unavailable(RedisStore(f"redis+cluster://127.0.0.1:{free_port()}"), "cannot be reached: Connection refused")


def test_a_sentinel_that_cannot_be_reached_or_knows_nothing(sentinels: Sentinels) -> None:
    url = f"redis+sentinel://127.0.0.1:{free_port()}/acme"
    assert_unavailable(RedisStore(url), "no sentinel knows a primary")
    assert_unavailable(RedisStore(sentinels.url + "-other"), "no sentinel knows a primary")


def test_slots_that_move_take_their_records_along(cluster: Cluster) -> None:
    with closing(RedisStore(cluster.url)) as store:
        version = store.cas("acme", None, "body")
        name = "onerefresh:{acme}"
        slot = cluster.nodes[0].do("CLUSTER", "KEYSLOT", name)
        [source] = [node for node in cluster.nodes if node.do("CLUSTER", "COUNTKEYSINSLOT", slot)]
        target = next(node for node in cluster.nodes if node is not source)
        ids = {node.port: node.do("CLUSTER", "MYID") for node in cluster.nodes}
        target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
        assert store.load("acme") == (version, "body"), "it is still where it was"
        source.do("MIGRATE", "127.0.0.1", target.port, name, 0, 5000)
        assert store.load("acme") == (version, "body"), "the old node says: ask the new one"
        version = store.cas("acme", version, "asked")
        for node in (target, source):
            node.do("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])
        assert store.load("acme") == (version, "asked"), "the old node says: it has moved"
        version = store.cas("acme", version, "moved")
        assert list(store.scan()) == [("acme", (version, "moved"))]


@pytest.mark.long
def test_a_failover_is_followed(sentinels: Sentinels) -> None:
    with closing(RedisStore(sentinels.url + QUICK)) as store:
        version = store.cas("acme", None, "body")
        clock_epoch = store.moment()
        sentinels.primary.do("WAIT", 1, 0)
        until(lambda: sentinels.replica.do("EXISTS", "onerefresh:{acme}"))
        sentinels.primary.kill()
        sentinels.fail_over()

        def is_back() -> bool:
            try:
                return store.load("acme") == (version, "body")
            except StoreUnavailable:
                return False

        until(is_back)
        store.cas("acme", version, "after")
        after = store.moment()
        assert clock_epoch is not None
        assert after is not None
        assert clock_epoch.clock_epoch != after.clock_epoch, "the new server has a clock of its own"


@pytest.mark.long
def test_a_cluster_that_has_lost_a_node_says_so_and_comes_back(cluster: Cluster) -> None:
    with closing(RedisStore(cluster.url + QUICK)) as store:
        store.cas("acme", None, "body")
        [owner] = [node for node in cluster.nodes if node.do("DBSIZE")]
        owner.kill()
        for use in (lambda: store.load("acme"), lambda: store.cas("acme", None, "body")):
            with pytest.raises((StoreUnavailable, StoreOutcomeUnknown)):
                use()
        owner.start()

        def is_back() -> bool:
            try:
                return bool(store.cas("acme", None, "body"))
            except (StoreUnavailable, StoreOutcomeUnknown):
                return False

        until(is_back)


def test_a_scan_misses_nothing_where_the_server_is_started_anew(tmp_path: Path) -> None:
    with Valkey(tmp_path / "valkey", "appendonly yes") as own_server:
        with closing(RedisStore(own_server.url)) as store:
            names = {f"key {number}" for number in range(1000)}
            for name in names:
                store.cas(name, None, "body")
            scan = store.scan()
            seen = {next(scan)[0] for _ in range(300)}
            own_server.stop()
            own_server.start()  # its cursors mean something else from now on
            assert seen | {key for key, _ in scan} == names


# --- Many at once ---


def test_threads_queue_for_the_one_connection_of_a_small_pool(server: Valkey) -> None:
    with redis.Redis("127.0.0.1", server.port, max_connections=1) as client:
        store = RedisStore(client)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: store.cas(f"key {number}", None, "body"), range(200)))
        assert len(list(store.scan())) == 200


def test_threads_that_write_at_once_share_the_pool(server: Valkey, store: RedisStore) -> None:
    before = server.do("INFO", "stats")["total_connections_received"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.cas(f"key {number}", None, "body"), range(200)))
    assert server.do("INFO", "stats")["total_connections_received"] - before <= 8 + 2


def test_a_write_costs_one_round_trip(server: Valkey, store: RedisStore) -> None:
    version = store.cas("acme", None, "body")
    store.load("acme")
    before = server.counted()
    for _ in range(10):
        found = store.load("acme")
        assert found is not None
        store.moment()
        version = store.cas("acme", version, "body")
    told = server.counted()
    more = {name: told[name] - before.get(name, 0) for name in told if told[name] > before.get(name, 0)}
    # What is below runs inside of the scripts; the counting itself asks INFO.
    assert {name: count for name, count in more.items() if name not in ("info", "client|setinfo", "select")} == {
        "evalsha": 20, "hmget": 10, "hdel": 10, "hget": 10, "hset": 10, "time": 20, "publish": 10,
    }  # fmt: skip


def test_those_that_wait_while_another_connects_in_vain_do_not_connect_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cluster's client connects when it is made: each of a thousand would wait for the tries of all before it."""
    crowd, entered, leave, made = 8, list[float](), threading.Event(), list[int]()

    def now() -> float:
        entered.append(1.0)
        return time.monotonic()

    def make() -> Any:
        made.append(len(entered))
        assert leave.wait(20.0)
        raise redis.ConnectionError("nobody is there")

    monkeypatch.setattr(connection, "monotonic", now)
    link = RedisConnection(make, [], lambda *_: None, mine=True)
    with ThreadPoolExecutor(crowd) as pool:
        asking = [pool.submit(link._client) for _ in range(crowd)]
        until(lambda: len(entered) >= crowd)
        leave.set()
        failures = [one.result(20.0) for one in asking]
    assert len(made) == 1
    assert {type(failure) for failure in failures} == {RedisFailure}
    link._client()
    assert len(made) == 2, "who comes later tries again"
