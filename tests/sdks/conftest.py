from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
from tests.clients.conftest import refresher
from tests.sdks.storm import Ended, Storm

from onerefresh import Credential
from onerefresh.announcing import announce
from onerefresh.events import Event, Kind, subscribe
from onerefresh.testing import AuthServer


@pytest.fixture
def server() -> Iterator[AuthServer]:
    with AuthServer() as server:
        yield server


@pytest.fixture
def acme(server: AuthServer) -> Credential:
    return Credential("acme", refresher(server), token=server.issue())


@pytest.fixture
def storm(server: AuthServer) -> Storm:
    return Storm(server)


@pytest.fixture
def ended(server: AuthServer) -> Callable[[], Ended]:
    return lambda: Ended(server)


@pytest.fixture
def not_attached() -> Iterator[Callable[[], list[str]]]:
    """The details of all events about calls without the token, up to now."""
    events: SimpleQueue[Event] = SimpleQueue()
    unsubscribe = subscribe(events.put)

    def told() -> list[str]:
        announce(lambda: Event(Kind.STORE_UP, "the last one"))  # they are published in their order
        found: list[Event] = []
        while True:
            event = events.get(timeout=30)
            if event.credential == "the last one":
                return [one.detail for one in found if one.kind is Kind.NOT_ATTACHED]
            found.append(event)

    yield told
    unsubscribe()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An origin at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _no_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture(autouse=True)
def _no_token_in_any_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Everything that is logged in these tests, at the finest level, by the SDKs, too, but not by a server."""
    caplog.set_level(logging.DEBUG)
    yield
    records = [record for record in caplog.get_records("call") if record.name != "websockets.server"]
    shown = "\n".join(f"{record.getMessage()} {record.exc_text or ''} {record.args!r}" for record in records)
    assert "test-access-" not in shown
    assert "test-refresh-" not in shown
