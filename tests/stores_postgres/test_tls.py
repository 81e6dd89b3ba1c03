"""TLS to a real server, by what the URL says: the connections that ask and the one that listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.servers.postgres import NOBODY, PostgresServer, binaries_with_tls
from tests.servers.tls import Certificates, certificates
from tests.stores_postgres.watching import waiting

from onerefresh import StoreUnavailable
from onerefresh.stores.postgres import PostgresStore

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        binaries_with_tls() is None, reason="NOT TESTED: TLS to PostgreSQL; there is no server that was built with it"
    ),
]

USER = "app"


@pytest.fixture(scope="module")
def files() -> Iterator[Certificates]:
    with certificates(NOBODY) as made:
        yield made


@pytest.fixture(scope="module")
def server(files: Certificates) -> Iterator[PostgresServer]:
    """One that lets its users in by their certificates."""
    tls = {"ssl": "on", "ssl_cert_file": files["server.pem"], "ssl_key_file": files["server.key"]}
    with PostgresServer.start(binaries_with_tls(), ssl_ca_file=files["ca.pem"], **tls) as server:
        rules = server.data / "pg_hba.conf"
        rules.write_text(f"hostssl all {USER} 127.0.0.1/32 cert\n{rules.read_text()}")
        server.ask("SELECT pg_reload_conf()")
        server.ask(f"CREATE ROLE {USER} LOGIN")
        server.ask(f"GRANT CREATE ON SCHEMA public TO {USER}")
        yield server


def url(server: PostgresServer, user: str = "postgres", **options: str) -> str:
    said = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql://{user}@127.0.0.1:{server.port}/postgres?{said}"


@pytest.mark.long
def test_all_connections_are_encrypted_and_the_server_is_verified(
    server: PostgresServer, files: Certificates, table: str
) -> None:
    way = url(server, sslmode="verify-full", sslrootcert=files["ca.pem"], application_name=table)
    with closing(PostgresStore(way, table=table)) as store:
        version = store.cas("acme", None, "before")
        with waiting(store, "acme", version, server) as waiter:
            store.cas("acme", version, "after")
            encrypted = server.ask(
                "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = %s", table
            )
        assert not waiter.is_alive()
        assert encrypted
        assert {*encrypted} == {(True,)}


@pytest.mark.parametrize("authority", ["other.pem", "missing.pem"])
def test_a_server_whose_authority_is_not_trusted_is_not_used(
    server: PostgresServer, files: Certificates, authority: str
) -> None:
    with closing(PostgresStore(url(server, sslmode="verify-full", sslrootcert=files[authority]))) as store:
        with pytest.raises(StoreUnavailable, match=r"TLS failed: check sslmode, sslrootcert.*nothing was changed"):
            store.load("acme")


def test_a_certificate_for_another_host_is_not_accepted(files: Certificates) -> None:
    tls = {"ssl": "on", "ssl_cert_file": files["elsewhere.pem"], "ssl_key_file": files["elsewhere.key"]}
    with PostgresServer.start(binaries_with_tls(), **tls) as server:
        way = url(server, sslmode="verify-full", sslrootcert=files["ca.pem"])
        with closing(PostgresStore(way)) as store, pytest.raises(StoreUnavailable, match="TLS failed"):
            store.load("acme")


def test_a_user_may_come_by_a_certificate(server: PostgresServer, files: Certificates, table: str) -> None:
    trust = {"sslmode": "verify-full", "sslrootcert": files["ca.pem"]}
    mine = {"sslcert": files[f"{USER}.pem"], "sslkey": files[f"{USER}.key"]}
    with closing(PostgresStore(url(server, USER, **trust, **mine), table=table)) as store:
        version = store.cas("acme", None, "body")
        assert store.load("acme") == (version, "body")
    with closing(PostgresStore(url(server, USER, **trust), table=table)) as store:
        with pytest.raises(StoreUnavailable, match="certificate"):
            store.load("acme")
