from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from tests.clients.drivers import FORMS, Driver, Options
from tests.clients.recorder import Recorder
from tests.repetition import long

from onerefresh import Credential, Token
from onerefresh.testing import AuthServer


def refresher(server: AuthServer) -> Callable[[Token], dict[str, Any]]:
    """A function of the kind that users write."""
    opener = build_opener(ProxyHandler({}))

    def refresh(token: Token) -> dict[str, Any]:
        body = json.dumps({"refresh_token": token.reveal_refresh_token()}).encode()
        request = Request(server.json_refresh_url, body, {"Content-Type": "application/json"})
        with opener.open(request, timeout=30) as reply:
            return dict(json.load(reply))

    return refresh


class OpenDriver(Protocol):
    def __call__(self, credential: Credential, *, origins: str | list[str] | None = None, **options: Any) -> Driver: ...


REPEATED = ("httpx2 transport trio", "httpx asyncio", "httpx transport", "httpx transport asyncio")
"""Forms that share all of their code with others: on another event loop, or with `httpx2` in place of `httpx`."""


@pytest.fixture(params=[*(name for name in FORMS if name not in REPEATED), *long(*REPEATED)])
def form(request: pytest.FixtureRequest) -> type[Driver]:
    return FORMS[request.param]


@pytest.fixture
def server() -> Iterator[AuthServer]:
    with AuthServer() as server:
        yield server


@pytest.fixture
def credential(server: AuthServer) -> Credential:
    return Credential("acme", refresher(server), token=server.issue())


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture
def other_recorder() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture
def nobody() -> Iterator[str]:
    """An origin at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def open_driver(form: type[Driver], server: AuthServer) -> Iterator[OpenDriver]:
    """Opens sessions with the integration in them, closed after the test."""
    with ExitStack() as opened:

        def open_one(credential: Credential, *, origins: str | list[str] | None = None, **options: Any) -> Driver:
            return opened.enter_context(
                form(credential, server.url if origins is None else origins, Options(**options))
            )

        yield open_one


@pytest.fixture
def driver(open_driver: OpenDriver, credential: Credential) -> Driver:
    return open_driver(credential)


@pytest.fixture(autouse=True)
def _no_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture(autouse=True)
def _no_token_in_any_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Everything that is logged in these tests, at the finest level, by anybody."""
    caplog.set_level(logging.DEBUG)
    yield
    shown = "\n".join(
        f"{record.getMessage()} {record.exc_text or ''} {record.args!r}" for record in caplog.get_records("call")
    )
    assert "test-access-" not in shown
    assert "test-refresh-" not in shown
