"""The guide's examples are run, each against a server; its tables name everything."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onerefresh import Token
from onerefresh.config import parse
from onerefresh.endpoints import JsonEndpoint
from onerefresh.endpoints.ready import READY
from onerefresh.endpoints.shape import FIELDS

GUIDE = (Path(__file__).parents[2] / "docs" / "json-endpoints.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
ANSWER = {
    "access_token": "new",
    "token": "new",
    "tenant_access_token": "new",
    "data": {
        "access_token": "new",
        "refresh_token": "next",
        "expires": 900_000,
        "tokens": [{"jwt": "new"}],
        "renewal": "next",
        "session": {"expires_in_ms": 60_000},
        "token": "new",
    },
}


class Handler(BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = answer

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_examples_of_the_guide_run(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("ACME_KEY", "ACME_SECRET"):
        monkeypatch.setenv(variable, "s3cret-0123")
    response = SimpleNamespace(
        json=lambda: {"access_token": "a"}, cookies={"refresh_token": "rt-0123456789", "csrftoken": "csrf-0123456789"}
    )
    names: dict[str, Any] = {
        "__name__": "guide",
        "os": os,
        "first_answer": {"access_token": "a", "refresh_token": "r-0123456789"},
        "login_of_your_own": lambda: response,
    }
    for example in EXAMPLES:
        code = re.sub(r"https://(api|cms)\.acme\.com", server, example)
        exec(compile(code, "docs/json-endpoints.md", "exec"), names)
        token = Token("a-0123456789", "r-0123456789", extra={"csrf": "csrf-0123456789"})
        assert names["refresh"](token).reveal() == "new"
    assert names["web"].token().reveal_refresh_token() == "rt-0123456789"
    assert names["web"].token(refused=names["web"].token()).reveal() == "new"
    for name in ("acme", "cms", "web", "machine"):
        names[name].close()


def test_the_sections_of_the_configuration_file_are_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOP_KEY", "s3cret-0123")
    [text] = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    found = parse(f'store = "memory"\n{text}', tmp_path / "onerefresh.toml")
    for name in ("cms", "shop"):
        found.named(name).open().close()
    answer = {"data": {"token": "a", "expires": 60_000, "csrf": "c"}}
    assert found.named("shop").translated(answer)["access_token"] == "a"


def named_in(table: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", GUIDE.partition(table)[2].partition("\n\n")[0], re.MULTILINE))


def test_the_guide_names_every_setting_field_and_server() -> None:
    assert named_in("| setting | meaning |") == set(JsonEndpoint.__init__.__annotations__) - {"url", "return"}
    assert named_in("| field | content |") == set(FIELDS)
    ready = re.findall(r"`([\w-]+)`", GUIDE.partition("The names for `ready`:")[2].partition(".")[0])
    assert ready == list(READY)
    assert all(f"`{name}(" in GUIDE for name in (server.__name__ for server in READY.values()))
