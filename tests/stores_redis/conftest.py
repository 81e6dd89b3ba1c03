"""Real servers, started once for each worker, and emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.relay import Relay

from onerefresh.credential.background import background_tasks

try:
    import redis  # noqa: F401 - is it there?
    from tests.servers.valkey import Cluster, Sentinels, Valkey
except ImportError as error:
    pytest.skip(f"the tests of the Redis store need {error.name}", allow_module_level=True)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def _no_looks_to_come() -> Iterator[None]:
    """The server is the next test's, too: what this one saved must not be put back into it."""
    yield
    background_tasks._give_up()


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey") / "server") as server:
        yield server


@pytest.fixture
def server(_server: Valkey) -> Valkey:
    """An empty server that all tests of this worker use: leave it as it was."""
    _server.do("FLUSHALL")
    return _server


@pytest.fixture
def relay(server: Valkey) -> Iterator[Relay]:
    """A line to the server that can be broken."""
    with Relay(server.port) as relay:
        yield relay


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Valkey]:
    """A server to break."""
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture(scope="session")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("valkey") / "cluster") as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    """An empty cluster that all tests of this worker use."""
    for node in _cluster.nodes:
        node.do("FLUSHALL")
    return _cluster


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    with Sentinels(tmp_path / "sentinels") as sentinels:
        yield sentinels
