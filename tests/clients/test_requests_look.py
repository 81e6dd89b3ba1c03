"""requests gives its callers the answer of urllib3, too: it must be as if no rule had looked at it."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import requests
from tests.clients.scripted import Script, Scripted, answer, chunk, head

from onerefresh import Credential
from onerefresh.clients.refused import ApiAnswer, RefusedWhen
from onerefresh.clients.requests import BearerAdapter, BearerAuth
from onerefresh.testing import AuthServer

SMALL = json.dumps({"items": list(range(100))}).encode()
LONG = json.dumps({"items": list(range(50_000))}).encode()
CHUNKED = "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"


def chunks(body: bytes) -> list[bytes]:
    return [chunk(body[start : start + 3_000]) for start in range(0, len(body), 3_000)]


SCRIPTS: dict[str, list[bytes]] = {
    "/small": answer(SMALL, "Set-Cookie: a=b"),
    "/gzip": answer(gzip.compress(SMALL), "Content-Encoding: gzip"),
    "/chunked": [head(CHUNKED), *chunks(LONG), END],
    "/gzip-chunked": [head(CHUNKED, "Content-Encoding: gzip"), *chunks(gzip.compress(LONG)), END],
    "/until-close": [head(), LONG],
    "/cut": [head(CHUNKED), *chunks(LONG)],
    "/short": [head("Content-Length: 900"), SMALL],
}


def copied(response: requests.Response) -> bytes:
    file = io.BytesIO()
    shutil.copyfileobj(response.raw, file, 1000)
    return file.getvalue()


def in_parts(response: requests.Response) -> bytes:
    found = [response.raw.read(1), response.raw.read(7), response.raw.read(70_000), response.raw.read()]
    return b"|".join(found)


WAYS: dict[str, Callable[[requests.Response], Any]] = {
    "content": lambda response: response.content,
    "json": lambda response: response.json(),
    "lines": lambda response: list(response.iter_lines()),
    "small pieces": lambda response: b"".join(response.iter_content(10)),
    "pieces as they come": lambda response: list(response.iter_content(None)),
    "the raw file": lambda response: response.raw.read(),
    "the raw file, decoded": lambda response: response.raw.read(decode_content=True),
    "the raw file in parts": in_parts,
    "the raw file in decoded parts": lambda response: [
        response.raw.read(size, decode_content=True) for size in (1, 7, 70_000)
    ],
    "the raw file, as it comes": lambda response: b"".join(iter(lambda: response.raw.read1(500), b"")),
    "the raw file, copied": copied,
    "the raw file as a stream": lambda response: b"".join(response.raw.stream(100, decode_content=True)),
    "the raw file, chunk by chunk": lambda response: b"".join(response.raw.read_chunked(decode_content=False)),
    "what the head says": lambda response: (
        response.raw.status,
        response.raw.reason,
        response.raw.version,
        dict(response.raw.headers),
        response.raw.geturl(),
        response.raw.chunked,
        response.cookies.get_dict(),
    ),
    "after the end": lambda response: (response.content, response.raw.read(), response.raw.closed),
    "a buffer": lambda response: io.BufferedReader(response.raw).read(5_000),
}


def outcome(session: requests.Session, url: str, way: Callable[[requests.Response], Any]) -> Any:
    try:
        with session.get(url, stream=True, timeout=20) as response:
            return way(response)
    except Exception as error:  # noqa: BLE001 - whatever requests and urllib3 raise
        return type(error)


@pytest.fixture(params=["auth", "adapter"])
def looking(request: pytest.FixtureRequest, credential: Credential) -> Callable[[str, Any], requests.Session]:
    def open_session(url: str, refused: Any) -> requests.Session:
        session = requests.Session()
        if request.param == "auth":
            session.auth = BearerAuth(credential, url, refused=refused)
        else:
            session.mount("http://", BearerAdapter(credential, url, refused=refused))
        return session

    return open_session


@pytest.mark.seconds
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_read_an_answer_gives_the_same(looking: Callable[[str, Any], requests.Session], way: str) -> None:
    asked: list[int] = []

    def judge(found: ApiAnswer) -> None:
        asked.append(len(found.body))

    rule = RefusedWhen(judge, statuses=200)
    scripts: dict[str, Callable[[], Script]] = {}
    for path, pieces in SCRIPTS.items():
        scripts[path] = partial(list, pieces)
    with Scripted(scripts) as scripted:
        urls = {path: scripted.url + path for path in SCRIPTS}
        with looking(scripted.url, None) as session:
            expected = {path: outcome(session, url, WAYS[way]) for path, url in urls.items()}
        with looking(scripted.url, rule) as session:
            found = {path: outcome(session, url, WAYS[way]) for path, url in urls.items()}
    assert {path: got for path, got in found.items() if got != expected[path]} == {}
    assert len(asked) == len(SCRIPTS)


def test_the_connection_is_used_again(
    looking: Callable[[str, Any], requests.Session], server: AuthServer, caplog: pytest.LogCaptureFixture
) -> None:
    with looking(server.url, "slack") as session:
        for _ in range(5):
            assert session.get(server.api_url + "/a", timeout=20).json()["generation"] == 1
    assert sum("Starting new HTTP connection" in record.getMessage() for record in caplog.records) == 1


def test_an_answer_that_a_hook_has_read_already_is_looked_at_too(server: AuthServer, credential: Credential) -> None:
    def read(response: requests.Response, **_: Any) -> None:
        assert response.content

    server.refuse_with("slack")
    server.revoke_access()
    with requests.Session() as session:
        session.auth = BearerAuth(credential, server.url, refused="slack")
        request = requests.Request("GET", server.api_url + "/a", auth=session.auth)
        prepared = session.prepare_request(request)
        prepared.hooks["response"].insert(0, read)
        assert session.send(prepared, timeout=20).json()["generation"] == 2
