"""The promises of the README, each through the public face alone, against a strict authorization server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.promises.helpers import Program, endpoint

from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))


@pytest.fixture
def login(auth_server: AuthServer) -> TokenEndpoint:
    """The token endpoint of the server."""
    return endpoint(auth_server)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store that processes share."""
    return f"sqlite:///{tmp_path}/tokens/tokens.db"


@pytest.fixture
def start(auth_server: AuthServer, url: str) -> Iterator[Callable[..., Program]]:
    """Start a program that shares the credential by that store."""
    with ExitStack() as programs:
        yield lambda task: programs.enter_context(Program(task, auth_server, url))
