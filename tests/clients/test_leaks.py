"""What other people's packages show of a token that was given to them: their tracebacks, logs, copies and pickles."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import traceback
from collections.abc import Callable

import aiohttp
import httpx
import httpx2
import pytest
import requests

from onerefresh import Credential
from onerefresh.clients import aiohttp as for_aiohttp
from onerefresh.clients import httpx as for_httpx
from onerefresh.clients import requests as for_requests
from onerefresh.testing import AuthServer

TOKEN = "test-access-"
Call = Callable[[Credential, str], None]


def with_httpx2(acme: Credential, url: str) -> None:
    with httpx2.Client(auth=for_httpx.BearerAuth(acme, url)) as client:
        client.get(url)


def with_httpx(acme: Credential, url: str) -> None:
    with httpx.Client(auth=for_httpx.BearerAuth(acme, url)) as client:
        client.get(url)


def with_a_transport(acme: Credential, url: str) -> None:
    with httpx2.Client(transport=for_httpx.BearerTransport(acme, url)) as client:
        client.get(url)


def with_an_adapter(acme: Credential, url: str) -> None:
    with requests.Session() as session:
        session.mount("http://", for_requests.BearerAdapter(acme, url))
        session.get(url, timeout=30)


def with_aiohttp(acme: Credential, url: str) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession(middlewares=[for_aiohttp.BearerAuth(acme, url)]) as session:
            async with session.get(url) as answer:
                await answer.read()

    asyncio.run(main())


@pytest.mark.parametrize(
    "call",
    [with_httpx2, with_httpx, with_a_transport, with_an_adapter, with_aiohttp],
    ids=lambda call: call.__name__,
)
def test_a_call_that_cannot_connect_shows_no_token(call: Call, credential: Credential, nobody: str) -> None:
    with pytest.raises(
        (httpx2.ConnectError, httpx.ConnectError, requests.ConnectionError, aiohttp.ClientError)
    ) as raised:
        call(credential, nobody)
    seen: list[BaseException | None] = [raised.value]
    for error in seen:
        if error is not None:
            told = traceback.TracebackException.from_exception(error, capture_locals=True, compact=False)
            assert TOKEN not in "".join(told.format())
            seen += [behind for behind in (error.__cause__, error.__context__) if behind not in seen]


def test_a_replay_that_cannot_connect_shows_no_token(server: AuthServer, credential: Credential) -> None:
    class LostAdapter(requests.adapters.HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *given: object, **options: object) -> requests.Response:
            if server.counters.api:
                assert request.url is not None
                request.url = "http://127.0.0.1:1/gone"
            return super().send(request, *given, **options)  # type: ignore[arg-type]  # handed on

    with requests.Session() as session:
        session.auth = for_requests.BearerAuth(credential, server.url)
        session.mount("http://", LostAdapter())
        server.revoke_access()
        with pytest.raises(requests.ConnectionError) as raised:
            session.get(server.api_url + "/a", timeout=30)
    told = traceback.TracebackException.from_exception(raised.value, capture_locals=True, compact=False)
    assert TOKEN not in "".join(told.format())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_answer_of_requests_is_pickled_without_the_token(
    server: AuthServer, credential: Credential, protocol: int
) -> None:
    with requests.Session() as session:
        session.auth = for_requests.BearerAuth(credential, server.url)
        server.revoke_access()
        answer = session.get(server.api_url + "/a", timeout=30)
        pickled = pickle.dumps(answer, protocol)
        assert TOKEN.encode() not in pickled
        again = pickle.loads(pickled)
        assert (again.json(), [first.status_code for first in again.history]) == (answer.json(), [401])
        assert again.request.headers["Authorization"] == "…"
        again.request.headers.pop("Authorization")
        assert requests.Session().send(again.request).status_code == 401  # it has left its credential behind
        assert session.send(again.request).status_code == 401
        assert server.counters.token_requests == 1


def test_a_copy_of_a_request_keeps_its_token(server: AuthServer, credential: Credential) -> None:
    with requests.Session() as session:
        session.auth = for_requests.BearerAuth(credential, server.url)
        prepared = session.prepare_request(requests.Request("GET", server.api_url + "/a"))
        server.revoke_access()
        for copied in (copy.copy(prepared), copy.deepcopy(prepared), prepared.copy()):
            assert session.send(copied).json()["generation"] == 2


def test_hpack_logs_no_token(server: AuthServer, credential: Credential, caplog: pytest.LogCaptureFixture) -> None:
    hpack = pytest.importorskip("hpack")
    caplog.set_level(logging.DEBUG)
    for_httpx.BearerAuth(credential, server.url)
    for_httpx.BearerTransport(credential, server.url, header="X-Api-Key")
    for_httpx.BearerTransport(credential, server.url, attach={"?k": "{token}", "cookie:s": "{token}"})
    encoder = hpack.Encoder()
    encoder.header_table_size = 200
    for name in ("authorization", "x-api-key", ":path", "cookie", "location", "x-other"):
        for number in range(5):
            value = f"of-others-{number}" if name == "x-other" else f"{TOKEN}{number}"
            encoder.encode([(name, value)], huffman=False)
    shown = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("hpack"))
    assert "authorization" not in shown
    assert TOKEN not in shown
    assert "of-others-1" in shown
