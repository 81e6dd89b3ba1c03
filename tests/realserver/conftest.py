"""A server by others: django-oauth-toolkit with rotation and reuse protection, its own process for each test."""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

USERNAME = "ada"


@dataclass(frozen=True)
class Report:
    """What the server has seen: token requests by grant and status, API calls by status, and its refresh tokens."""

    token_requests: dict[str, int]
    api_calls: dict[str, int]
    sessions: int
    refresh_tokens: int
    live_refresh_tokens: int


class DotServer:
    """The running server, and the client that is registered there."""

    def __init__(self, port: int, database: Path, *, client_id: str, client_secret: str, password: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token_url = f"{self.url}/o/token/"
        self.database = database
        self.client_id = client_id
        self.client_secret = client_secret
        self._password = password
        self._http = httpx2.Client(base_url=self.url, trust_env=False, timeout=30)

    def item_url(self, number: int, *, seconds: float = 0.0) -> str:
        """A protected resource that takes so many seconds to answer."""
        return f"{self.url}/api/items/{number}?seconds={seconds}"

    def first_tokens(self) -> dict[str, Any]:
        """A new session: the token response of the password grant (RFC 6749 section 4.3)."""
        tokens = self.ask_for_tokens(grant_type="password", username=USERNAME, password=self._password)
        return dict(tokens.raise_for_status().json())

    def ask_for_tokens(self, **fields: str) -> httpx2.Response:
        """The answer to one token request."""
        return self._http.post(self.token_url, data=fields | self.identification)

    @property
    def identification(self) -> dict[str, str]:
        """The client's id and secret as fields of a token request (RFC 6749 section 2.3.1)."""
        return {"client_id": self.client_id, "client_secret": self.client_secret}

    def expire_access_tokens(self) -> None:
        """Let all access tokens end now, earlier than their clients know."""
        self._http.post("/test/expire").raise_for_status()

    def report(self) -> Report:
        return Report(**self._http.get("/test/report").raise_for_status().json())

    def tokens(self) -> list[str]:
        """The text of every refresh token that was ever issued, and of the access tokens that are left."""
        tables = ("oauth2_provider_refreshtoken", "oauth2_provider_accesstoken")
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            return [text for table in tables for (text,) in database.execute(f"SELECT token FROM {table}")]

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def lifetime() -> int:
    """Seconds that an access token lives; a test may parametrize it."""
    return 60


@pytest.fixture
def dot(tmp_path: Path, lifetime: int) -> Iterator[DotServer]:
    database, client_id, password = tmp_path / "server.db", "onerefresh tests", secrets.token_urlsafe(32)
    # Ends in characters that a client must form-encode before HTTP Basic: RFC 6749 section 2.3.1.
    client_secret = f"{secrets.token_urlsafe(32)}:%+ ü&="
    wanted = {
        "database": str(database),
        "lifetime": lifetime,
        "client_id": client_id,
        "client_secret": client_secret,
        "username": USERNAME,
        "password": password,
    }
    command = [sys.executable, str(Path(__file__).with_name("dot_server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # Through a pipe: a command line can be read by every user of the machine.
            process.stdin.write(json.dumps(wanted).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            assert line, "the server ended before it was ready: see its standard error"
            server = DotServer(
                json.loads(line)["port"], database, client_id=client_id, client_secret=client_secret, password=password
            )
            with contextlib.closing(server):
                yield server
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
