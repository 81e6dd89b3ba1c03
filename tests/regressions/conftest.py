"""What regression tests share: a store that loses things, and a world of targets that refuse tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.promises.helpers import Kept, endpoint
from tests.regressions.targets import Process, World

from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer

RECOVERY = 0.5
"""Seconds of a recovery lease here."""


@pytest.fixture
def short_recovery(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path))
    monkeypatch.setattr("onerefresh.credential.registry.recovery_time", lambda *, may_go_back: RECOVERY)


@pytest.fixture
def login(auth_server: AuthServer) -> TokenEndpoint:
    return endpoint(auth_server)


@pytest.fixture
def store() -> Iterator[Kept]:
    store = Kept()
    yield store
    store.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World(monkeypatch)
    found.bad = lambda path, generation: path.startswith("/bad")
    return found


@pytest.fixture
def process(world: World) -> Iterator[Process]:
    found = Process(world)
    yield found
    found.credential.close()
