"""The contract of a store, kept by that for Redis: on one server, through sentinels, and on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.servers.relay import Relay
from tests.servers.valkey import Cluster, Sentinels, Valkey

from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import KeyFile
from onerefresh.stores.redis import RedisStore
from onerefresh.testing import FailingStoreContract, SharedStoreContract, StoreContract
from onerefresh.testing.stores.recording import Opener, Outage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    with Sentinels(tmp_path_factory.mktemp("sentinels")) as watched:
        yield watched


class TestRedisStore(SharedStoreContract, FailingStoreContract):
    @pytest.fixture
    def opener(self, relay: Relay) -> Opener:
        return partial(RedisStore, f"redis://{relay.address}")

    @pytest.fixture
    def outage(self, relay: Relay) -> Outage:
        return relay.down


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
