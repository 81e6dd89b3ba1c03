"""Which place a URL or a client means, and what is refused, without ever showing a password."""

from __future__ import annotations

import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import redis as package
import redis.asyncio as _asyncio  # noqa: F401 - loads the part of the package
from tests.core.leaks import chain, formatted_with_locals, locals_of_ours
from tests.servers.valkey import Cluster, Sentinels, Valkey

from onerefresh import ConfigurationError, Credential, StoreUnavailable
from onerefresh.secret import Secret
from onerefresh.stores import open_store
from onerefresh.stores.redis import RedisStore
from onerefresh.stores.redis.address import Address

redis: Any = package
"""Parts of it have no types."""

PASSWORD = "pw-4Xk8-never-to-be-seen"


def shown(error: BaseException) -> str:
    """All that a tool could show of an error."""
    texts = [text for one in chain(error) for text in (str(one), repr(one), *map(repr, one.args))]
    return "\n".join([*texts, *locals_of_ours(error), formatted_with_locals(error), *traceback.format_exception(error)])


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://LOCALHOST:7000/3", "redis://localhost:7000/3"),
        ("rediss://user:pw@a.example/1", "rediss://a.example:6379/1"),
        ("valkey://a", "redis://a:6379/0"),
        ("valkeys://a", "rediss://a:6379/0"),
        ("redis://[::1]:7000", "redis://::1:7000/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=0"),
        ("unix://:pw@/run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
        ("redis+sentinel://b:1,a/acme", "redis+sentinel://a:26379,b:1/acme/0"),
        ("rediss+sentinel://:pw@a/acme/4?sentinel_password=pw", "rediss+sentinel://a:26379/acme/4"),
        ("redis+cluster://b,a:1", "redis+cluster://a:1,b:6379"),
        ("valkeys+cluster://:pw@a", "rediss+cluster://a:6379"),
    ],
)
def test_the_name_is_the_place_without_user_and_password(url: str, name: str) -> None:
    assert RedisStore(url).name == name
    assert RedisStore(url, prefix="app:").name == f"{name}#app:"


def test_a_url_says_more() -> None:
    parts = "durable=yes&prefix=app%3A&socket_timeout=2.5&ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem"
    address = Address.parse(Secret(f"rediss://ada:p%40ss%3F@host/7?{parts}"))
    assert address.login == ("ada", Secret("p@ss?"))
    settings = address.client().connection_pool.connection_kwargs
    assert {name: settings[name] for name in ("db", "username", "password", "socket_timeout")} == {
        "db": 7, "username": "ada", "password": "p@ss?", "socket_timeout": 2.5,
    }  # fmt: skip
    assert [settings[name] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")] == [
        "/ca.pem",
        "/c.pem",
        "/k.pem",
    ]
    store = RedisStore("redis://host?durable=yes&prefix=app%3A")
    assert (store.durable, store.name) == (True, "redis://host:6379/0#app:")
    assert RedisStore("redis://host", durable=True).durable
    assert not RedisStore("redis://host").durable
    assert "p@ss?" not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:///1",
        "redis://{}@/0",
        "redis://:{}@host/name",
        "redis://:{}@host:port",
        "redis://:{}@host:0",
        "redis://:{}@host:99999",
        "redis://:{}@host/0/1",
        "redis://:{}@host/0#part",
        "redis://:{}@a,b/0",
        "redis://:{}@host?password={}",
        "redis://:{}@host?db=1",
        "redis://:{}@host?durable=perhaps",
        "redis://:{}@host?socket_timeout=long",
        "redis://:{}@host?socket_timeout=0",
        "redis://:{}@host?socket_timeout=nan",
        "redis://:x?{}@host",
        "redis://host:{}",
        "redis://[::1",
        "unix://relative/{}",
        "unix:///folder/",
        "redis+sentinel://:{}@host",
        "redis+sentinel://host/service/0/{}",
        "redis+cluster://:{}@host/0",
        "redis+other://:{}@host",
        "redis+cluster://a,,b",
    ],
)
@pytest.mark.parametrize("opens", [RedisStore, open_store, lambda url: Credential("acme", lambda t: t, store=url)])
def test_a_url_that_is_wrong_is_refused_with_what_to_write(url: str, opens: Callable[[str], object]) -> None:
    with pytest.raises(ConfigurationError, match=r"redis://\[:PASSWORD@\]HOST") as caught:
        opens(url.format(PASSWORD, PASSWORD))
    assert PASSWORD not in shown(caught.value)


def test_the_same_url_is_the_same_store_for_as_long_as_somebody_has_it() -> None:
    store = open_store("redis://host")
    assert isinstance(store, RedisStore)
    assert open_store("redis://host") is store
    assert open_store("redis://host/1") is not store
    assert open_store("redis://:another@host") is not store
    assert open_store("redis://:another@host").name == store.name
    number = id(store)
    del store
    gc.collect()
    assert open_store("redis://host").name
    assert number


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'onerefresh\[redis\]'"):
        open_store("redis://host")


def test_an_empty_prefix_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        RedisStore("redis://host", prefix="")
    with pytest.raises(ConfigurationError, match="prefix"):
        RedisStore("redis://host?prefix=")


# --- Clients that are handed over ---


def blocking() -> Any:
    return redis.Redis(connection_pool=redis.BlockingConnectionPool(timeout=None))


def sentinel_of(*, primary: bool) -> Any:
    sentinel = redis.Sentinel([("127.0.0.1", 1)])
    return sentinel.master_for("acme") if primary else sentinel.slave_for("acme")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (redis.asyncio.Redis, r"blocking redis\.Redis"),
        (lambda: redis.Redis().pipeline(), "not redis.client.Pipeline"),
        (lambda: redis.Redis().pubsub(), "not redis.client.PubSub"),
        (lambda: redis.Sentinel([("127.0.0.1", 1)]), "not redis.sentinel.Sentinel"),
        (lambda: sentinel_of(primary=False), "master_for"),
        (lambda: redis.Redis(socket_timeout=None), "socket_timeout"),
        (blocking, "give it a timeout"),
        (lambda: 7, r"not builtins\.int"),
    ],
)
def test_what_cannot_be_used_is_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        RedisStore(make())


def test_a_client_is_to_be_wrapped() -> None:
    for client in (redis.Redis(), sentinel_of(primary=True)):
        with pytest.raises(ConfigurationError, match=r"RedisStore\(client\)"):
            open_store(client)
    with pytest.raises(ConfigurationError, match=r"blocking redis\.Redis"):
        open_store(redis.asyncio.Redis())


@pytest.mark.seconds
def test_the_same_place_has_the_same_name_by_url_and_by_client(sentinels: Sentinels, cluster: Cluster) -> None:
    assert RedisStore(redis.Redis("HOST", 7000, db=3)).name == RedisStore("redis://host:7000/3").name
    assert RedisStore(redis.Redis(unix_socket_path="/s")).name == RedisStore("unix:///s").name
    port = sentinels.sentinel.port
    client = redis.Sentinel([("127.0.0.1", port)]).master_for("acme", db=2)
    assert RedisStore(client).name == RedisStore(f"{sentinels.url}/2").name
    with redis.RedisCluster("127.0.0.1", cluster.nodes[1].port) as client:
        assert RedisStore(client).name == RedisStore(cluster.url).name


def used(store: RedisStore) -> None:
    version = store.cas("äcme", None, "bödy")
    assert store.load("äcme") == (version, "bödy")
    woken = threading.Event()
    wakeup = store.subscribe("äcme", "another version", time.monotonic(), woken.set)
    assert woken.wait(60.0)
    wakeup.end()
    assert store._notifier._unreachable_until == 0.0, "it could listen"
    assert list(store.scan()) == [("äcme", (version, "bödy"))]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decode_responses": True},
        {"decode_responses": True, "encoding": "latin-1", "protocol": 3},
        {"protocol": 3},
        {"max_connections": 1},
        {"single_connection_client": True},
        {"health_check_interval": 1},
    ],
)
def test_a_client_serves_whatever_its_settings_and_stays_open(server: Valkey, options: dict[str, Any]) -> None:
    with redis.Redis("127.0.0.1", server.port, **options) as client:
        client.ping()
        store = RedisStore(client)
        used(store)
        before = client.client_id()
        store.close()
        assert client.client_id() == before
        assert store.load("äcme") is not None


def test_a_client_of_a_cluster_serves(cluster: Cluster) -> None:
    with redis.RedisCluster("127.0.0.1", cluster.nodes[0].port, decode_responses=True) as client:
        used(RedisStore(client))


@pytest.mark.seconds
def test_a_client_of_a_sentinel_serves(sentinels: Sentinels) -> None:
    with redis.Sentinel([("127.0.0.1", sentinels.sentinel.port)]) as sentinel:
        with sentinel.master_for("acme", decode_responses=True) as client:
            used(RedisStore(client))


def test_a_client_of_the_package_valkey_serves(server: Valkey) -> None:
    valkey = pytest.importorskip("valkey", reason="the package valkey is not installed: its clients are not tested")
    with valkey.Valkey("127.0.0.1", server.port, socket_timeout=5, decode_responses=True) as client:
        used(RedisStore(client))
    with pytest.raises(ConfigurationError, match="blocking"):
        RedisStore(valkey.asyncio.Valkey())


def test_a_cluster_of_the_package_valkey_serves(cluster: Cluster) -> None:
    valkey = pytest.importorskip("valkey", reason="the package valkey is not installed: its clients are not tested")
    with valkey.ValkeyCluster("127.0.0.1", cluster.nodes[0].port, socket_timeout=5) as client:
        used(RedisStore(client))


def test_a_prefix_keeps_stores_apart_whatever_is_in_it(server: Valkey) -> None:
    stores = [RedisStore(server.url, prefix=prefix) for prefix in ("a*:", "ab:", "[a]:", "a?:", "a\\b:", "ä:", "a{x}:")]
    for number, store in enumerate(stores):
        store.cas("acme", None, str(number))
    for number, store in enumerate(stores):
        assert [(key, found.body) for key, found in store.scan()] == [("acme", str(number))]  # type: ignore[union-attr]
        store.close()


def test_nothing_expires(server: Valkey) -> None:
    store = RedisStore(server.url)
    store.cas("acme", None, "body")
    assert server.do("TTL", "onerefresh:{acme}") == -1
    store.close()


def test_a_wrong_password_is_never_shown(own_server: Valkey) -> None:
    own_server.do("CONFIG", "SET", "requirepass", PASSWORD)
    store = RedisStore(f"redis://:{PASSWORD}x@127.0.0.1:{own_server.port}")
    for use in (lambda: store.load("acme"), lambda: store.cas("acme", None, "body"), store.moment):
        with pytest.raises(StoreUnavailable, match="does not accept the user or the password") as caught:
            use()
        assert PASSWORD not in shown(caught.value) + repr(store) + store.name
    with pytest.raises(StoreUnavailable, match="requires a password"):
        RedisStore(own_server.url).load("acme")
    right = RedisStore(f"redis://:{PASSWORD}@127.0.0.1:{own_server.port}")
    used(right)
    right.close()
