"""Processes of one session on a store that loses things, with recovery leases that last moments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.promises.helpers import Kept, endpoint

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
