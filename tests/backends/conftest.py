from __future__ import annotations

import enum
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.backends.program import Program

from onerefresh import Credential, Status, Token
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer


class Age(enum.Enum):
    """How far the first token of a customer has come."""

    FRESH = enum.auto()
    AGEING = enum.auto()
    EXPIRED = enum.auto()


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))


@pytest.fixture
def new_program(
    new_auth_server: Callable[..., AuthServer], new_store: Callable[[str], str], tmp_path: Path
) -> Callable[..., Program]:
    """The guide's program, with a store of this kind and a server of these options."""

    def made(kind: str = "sqlite", **options: object) -> Program:
        server = new_auth_server(client_id="backend", **options)
        return Program(tmp_path / "program", server, new_store(kind))

    return made


def log_in(program: Program, customer: str, age: Age = Age.FRESH, *, by: AuthServer | None = None) -> None:
    """As somebody else would do it, on another machine."""
    server, now = by or program.server, time.time()
    answer = server.issue()
    ends = {Age.FRESH: now + 3600.0, Age.AGEING: now + 60.0, Age.EXPIRED: now - 60.0}[age]
    token = Token(str(answer["access_token"]), str(answer["refresh_token"]), issued_at=ends - 3600.0, expires_at=ends)
    endpoint = TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)
    with Credential(customer, endpoint, store=program.store) as credential:
        credential.login(token)


def status_of(program: Program, customer: str) -> Status:
    with Credential(customer, lambda token: token, store=program.store) as credential:
        return credential.status()
