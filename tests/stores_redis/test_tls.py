"""TLS to a real Redis server, by what the URL says: a single server, a cluster, and the connection that listens."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.servers.tls import Certificates, certificates
from tests.servers.valkey import PATIENCE, Valkey, free_port, until

from onerefresh import StoreUnavailable
from onerefresh.stores.redis import RedisStore

REDIS = shutil.which("redis-server")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        REDIS is None, reason="NOT TESTED: TLS to Redis; there is no redis-server, and the package of Valkey has no TLS"
    ),
]


@pytest.fixture(scope="module")
def files() -> Iterator[Certificates]:
    with certificates() as made:
        yield made


class TlsRedis(Valkey):
    """It has a port for TLS beside its plain one."""

    def __init__(
        self, folder: Path, files: Certificates, *config: str, name: str = "server", sentinel: bool = False
    ) -> None:
        self.tls_port = free_port()
        tls = [
            f"tls-port {self.tls_port}",
            f"tls-cert-file {files[f'{name}.pem']}",
            f"tls-key-file {files[f'{name}.key']}",
            f"tls-ca-cert-file {files['ca.pem']}",
        ]
        super().__init__(folder, *tls, *config, sentinel=sentinel, program=REDIS)

    def place(self, **options: str) -> str:
        said = "&".join(f"{name}={value}" for name, value in options.items())
        return f"rediss://127.0.0.1:{self.tls_port}/0?{said}"


@pytest.fixture(scope="module")
def redis(files: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    with TlsRedis(tmp_path_factory.mktemp("redis"), files, "tls-auth-clients optional") as server:
        yield server


def test_the_store_works_over_tls_and_is_woken_over_it(redis: TlsRedis, files: Certificates) -> None:
    with closing(RedisStore(redis.place(ssl_ca_certs=files["ca.pem"]))) as store:
        assert store.name == f"rediss://127.0.0.1:{redis.tls_port}/0"
        version = store.cas("acme", None, "before")
        waiter = threading.Thread(target=store.wait, args=("acme", version, PATIENCE))
        waiter.start()
        until(lambda: redis.do("PUBSUB", "CHANNELS") == ["onerefresh:{acme}"])
        version = store.cas("acme", version, "after")
        waiter.join(PATIENCE)
        assert not waiter.is_alive()
        assert store.load("acme") == (version, "after")


@pytest.mark.parametrize("authority", ["other.pem", "missing.pem", "server.key"])
def test_a_server_whose_authority_is_not_trusted_is_not_used(
    redis: TlsRedis, files: Certificates, authority: str
) -> None:
    with closing(RedisStore(redis.place(ssl_ca_certs=files[authority]))) as store:
        with pytest.raises(StoreUnavailable, match=r"ssl_ca_certs.*nothing was changed"):
            store.load("acme")


def test_a_certificate_for_another_host_is_not_accepted(tmp_path: Path, files: Certificates) -> None:
    with TlsRedis(tmp_path, files, name="elsewhere") as server:
        with closing(RedisStore(server.place(ssl_ca_certs=files["ca.pem"]))) as store:
            with pytest.raises(StoreUnavailable, match=r"TLS failed: [^:]*[^:.]: check ssl_ca_certs"):
                store.load("acme")


def test_a_server_that_asks_for_certificates_gets_the_client_s(tmp_path: Path, files: Certificates) -> None:
    trust, mine = {"ssl_ca_certs": files["ca.pem"]}, {"ssl_certfile": files["app.pem"], "ssl_keyfile": files["app.key"]}
    with TlsRedis(tmp_path, files, "tls-auth-clients yes") as server:
        with closing(RedisStore(server.place(**trust, **mine))) as store:
            version = store.cas("acme", None, "body")
            assert store.load("acme") == (version, "body")
        with closing(RedisStore(server.place(**trust))) as store, pytest.raises(StoreUnavailable, match="TLS failed"):
            store.load("acme")


@pytest.mark.long
def test_a_cluster_is_reached_over_tls(tmp_path: Path, files: Certificates) -> None:
    lines = ("cluster-enabled yes", "tls-cluster yes", "tls-replication yes", "tls-auth-clients optional")
    with TlsRedis(tmp_path, files, *lines) as node:
        node.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: "cluster_state:ok" in node.do("CLUSTER", "INFO"))
        way = node.place(ssl_ca_certs=files["ca.pem"]).replace("rediss://", "rediss+cluster://").replace("/0?", "?")
        with closing(RedisStore(way)) as store:
            version = store.cas("acme", None, "body")
            assert store.load("acme") == (version, "body")


def test_a_primary_is_found_through_sentinels_over_tls(tmp_path: Path, files: Certificates) -> None:
    lines = ("tls-replication yes", "tls-auth-clients optional")
    with TlsRedis(tmp_path / "primary", files, *lines) as primary:
        watched = f"sentinel monitor acme 127.0.0.1 {primary.tls_port} 1"
        with TlsRedis(tmp_path / "sentinel", files, *lines, watched, sentinel=True) as sentinel:
            hosts = f"127.0.0.1:{sentinel.tls_port}"
            with closing(RedisStore(f"rediss+sentinel://{hosts}/acme?ssl_ca_certs={files['ca.pem']}")) as store:
                version = store.cas("acme", None, "body")
                assert store.load("acme") == (version, "body")
                assert primary.do("DBSIZE") == 1
            with closing(RedisStore(f"rediss+sentinel://{hosts}/acme?ssl_ca_certs={files['other.pem']}")) as store:
                with pytest.raises(StoreUnavailable, match="TLS failed"):
                    store.load("acme")
