"""What a server refuses is said in words that tell what to do, and never shows a token or a password."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from tests.core.leaks import ACCESS, SEED_ACCESS, assert_error_is_silent, logged, shown
from tests.servers.postgres import PostgresServer, free_port
from tests.servers.relay import Relay

from onerefresh import StoreUnavailable
from onerefresh.stores.postgres import PostgresStore
from onerefresh.stores.postgres.errors import cannot_connect

PASSWORD = SEED_ACCESS


@pytest.fixture
def role(server: PostgresServer) -> Iterator[str]:
    """A user without any rights, whose password is `PASSWORD`."""
    name = f"user_{secrets.token_hex(4)}"
    server.ask(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    yield name
    server.ask(f"DROP OWNED BY {name}")
    server.ask(f"DROP ROLE {name}")


@pytest.fixture
def as_role(server: PostgresServer, role: str, table: str) -> Callable[..., PostgresStore]:
    def opened(options: str = "", *, table: str = table) -> PostgresStore:
        url = f"postgresql://{role}:{PASSWORD}@127.0.0.1:{server.port}/postgres{options}"
        return PostgresStore(url, table=table)

    return opened


def refusal(store: PostgresStore) -> str:
    """What is said to who writes a token; it shows no secret."""
    with logged() as lines, pytest.raises(StoreUnavailable) as caught:
        store.cas("acme", None, ACCESS)
    assert_error_is_silent(caught.value)
    assert not shown("".join(lines))
    return str(caught.value)


def test_a_user_who_may_not_create_the_table_is_told_who_can(as_role: Callable[..., PostgresStore]) -> None:
    assert "onerefresh store init --sql" in refusal(as_role())


def test_the_rights_that_are_asked_for_are_enough(
    as_role: Callable[..., PostgresStore], store: PostgresStore, server: PostgresServer, role: str, table: str
) -> None:
    store.make_table()
    ours = as_role()
    assert f"GRANT SELECT, INSERT, UPDATE ON {table}" in refusal(ours)
    with pytest.raises(StoreUnavailable, match="GRANT SELECT, INSERT, UPDATE"):
        ours.load("acme")
    with pytest.raises(StoreUnavailable, match="GRANT SELECT, INSERT, UPDATE"):
        list(ours.scan())
    server.ask(f"GRANT SELECT, INSERT, UPDATE ON {table} TO {role}")
    version = ours.cas("acme", None, "before")
    version = ours.cas("acme", version, "after")
    assert ours.load("acme") == (version, "after")
    assert [key for key, _ in ours.scan()] == ["acme"]
    woken = threading.Event()
    wakeup = ours.subscribe("acme", "another version", time.monotonic(), woken.set)
    assert woken.wait(60)
    wakeup.end()
    assert ours._notifier._unreachable_until == 0.0, "it could listen"


def test_a_table_of_another_program_is_left_alone(store: PostgresStore, server: PostgresServer, table: str) -> None:
    server.ask(f"CREATE TABLE {table} (key text, body text)")
    assert "is not a table of onerefresh" in refusal(store)
    with pytest.raises(StoreUnavailable, match="is not a table of onerefresh"):
        store.load("acme")


def test_a_schema_that_is_missing_is_named(server: PostgresServer) -> None:
    assert "schema of table nowhere.records" in refusal(PostgresStore(server.url, table="nowhere.records"))


def test_a_schema_may_be_named(server: PostgresServer, table: str) -> None:
    server.ask(f"CREATE SCHEMA s_{table}")
    try:
        store = PostgresStore(server.url, table=f"s_{table}.Records")
        version = store.cas("acme", None, "body")
        assert store.load("acme") == (version, "body")
        assert server.ask(f'SELECT count(*) FROM s_{table}."Records"') == [(1,)]
    finally:
        server.ask(f"DROP SCHEMA s_{table} CASCADE")


def test_a_read_only_server_is_refused(
    as_role: Callable[..., PostgresStore], server: PostgresServer, role: str
) -> None:
    server.ask(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    assert "read-only" in refusal(as_role())
    assert "read-only" in refusal(as_role("?target_session_attrs=any"))


def test_a_wrong_password(server: PostgresServer, role: str, table: str) -> None:
    store = PostgresStore(f"postgresql://{role}:{SEED_ACCESS}x@127.0.0.1:{server.port}/postgres", table=table)
    assert "it refused the password" in refusal(store)


def test_no_password(server: PostgresServer, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", "/dev/null")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    assert "asks for a password" in refusal(PostgresStore(f"postgresql://{role}@127.0.0.1:{server.port}/postgres"))


def test_a_database_that_does_not_exist(server: PostgresServer) -> None:
    store = PostgresStore(f"postgresql://postgres@127.0.0.1:{server.port}/missing")
    assert "it refused the database" in refusal(store)


def test_a_server_without_tls(server: PostgresServer) -> None:
    assert "TLS failed" in refusal(PostgresStore(f"{server.url}?sslmode=require"))


def test_nobody_listens() -> None:
    port = free_port()
    said = refusal(PostgresStore(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/db"))
    assert "no server is listening there" in said
    assert f"127.0.0.1:{port}" in said


def test_a_host_that_does_not_exist() -> None:
    assert "no such host" in refusal(PostgresStore(f"postgresql://u:{PASSWORD}@nowhere.invalid/db"))


def test_too_many_connections(as_role: Callable[..., PostgresStore], server: PostgresServer, role: str) -> None:
    server.ask(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    assert "too many connections" in refusal(as_role())


def test_a_server_that_ends_or_starts_is_unavailable(through: PostgresStore, relay: Relay) -> None:
    through.make_table()
    with relay.down():
        assert "nothing was changed" in refusal(through)


def test_a_statement_that_the_server_cancels(
    as_role: Callable[..., PostgresStore], store: PostgresStore, server: PostgresServer, role: str, table: str
) -> None:
    store.make_table()
    server.ask(f"GRANT SELECT, INSERT, UPDATE ON {table} TO {role}")
    server.ask(f"ALTER ROLE {role} SET statement_timeout = '10ms'")
    with psycopg.connect(server.url) as other:
        other.execute(f"LOCK TABLE {table}".encode())
        assert "statement_timeout" in refusal(as_role())
    assert store.load("acme") is None


AT = 'connection failed: connection to server at "database-role-ssl.example.com" (10.0.0.1), port 5432 failed: '


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (f"{AT}Connection refused\n\tIs the server running on that host?", "no server is listening there"),
        (f"{AT}Connection timed out", "did not answer in time"),
        ("connection timeout expired", "did not answer in time"),
        (f'{AT}FATAL:  role "database" does not exist', "refused the user"),
        (f'{AT}FATAL:  role "x" is not permitted to log in', "refused the user"),
        (f'{AT}FATAL:  database "role " does not exist', "refused the database"),
        (f"{AT}FATAL:  sorry, too many clients already", "too many connections"),
        (f"{AT}FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "too many"),
        (f"{AT}FATAL:  the database system is starting up", "it is starting"),
        (f"{AT}FATAL:  the database system is shutting down", "it is shutting down"),
        (f"{AT}FATAL:  the database system is in recovery mode", "recovering"),
        (f"{AT}SSL error: certificate verify failed", "sslrootcert"),
        (f"{AT}server does not support SSL, but SSL was required", "TLS failed"),
        (f'{AT}FATAL:  no pg_hba.conf entry for host "10.0.0.2", user "u", database "d", no encryption', "pg_hba.conf"),
        (f'{AT}FATAL:  password authentication failed for user "role "', "refused the password"),
        (f"{AT}session is read-only", "read-only"),
        ("failed to resolve host 'database': [Errno -2] Name or service not known", "no such host"),
        ("[Errno -3] Temporary failure in name resolution", "cannot be resolved at the moment"),
        (f"{AT}FATAL:  tout va mal", "see its log"),
    ],
)
def test_each_kind_of_failure_to_connect_has_its_own_words(message: str, said: str) -> None:
    assert said in cannot_connect(message)
