"""The contract of a store, kept by that for Redis: on one server, through sentinels, and on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.servers.valkey import Cluster, Sentinels, Valkey
from tests.stores_redis.proxy import Proxy

from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import KeyFile
from onerefresh.stores.redis import RedisStore
from onerefresh.testing import FailingStoreContract, SharedStoreContract, StoreContract
from onerefresh.testing.stores.recording import Opener, Outage

pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(server: Valkey) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    with Sentinels(tmp_path_factory.mktemp("sentinels")) as watched:
        yield watched


class TestRedisStore(SharedStoreContract, FailingStoreContract):
    @pytest.fixture
    def opener(self, proxy: Proxy) -> Opener:
        return partial(RedisStore, proxy.url)

    @pytest.fixture
    def outage(self, proxy: Proxy) -> Outage:
        return proxy.outage


class TestEncryptedRedisStore(StoreContract):
    rounds = 4
    examples = 5

    @pytest.fixture
    def opener(self, server: Valkey, tmp_path: Path) -> Opener:
        return partial(EncryptedStore, server.url, KeyFile(tmp_path / "acme.key"))


class TestRedisStoreOnACluster(SharedStoreContract):
    rounds = 4
    examples = 5

    @pytest.fixture
    def opener(self, cluster: Cluster) -> Opener:
        return partial(RedisStore, cluster.url)


class TestRedisStoreThroughASentinel(StoreContract):
    rounds = 4
    examples = 5

    @pytest.fixture
    def opener(self, watched: Sentinels) -> Opener:
        watched.primary.do("FLUSHALL")
        return partial(RedisStore, watched.url)
