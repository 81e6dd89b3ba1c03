"""What the exceptions of HTTP clients in a user's refresher mean, seen on real sockets."""

from __future__ import annotations

import asyncio
import http.client
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3

from onerefresh.judge_exception import judge_exception
from onerefresh.testing import AuthServer
from onerefresh.verdict import FailureKind, Verdict

pytestmark = [pytest.mark.slow, pytest.mark.long]

SECONDS = 0.4
BODY = b"grant_type=refresh_token&refresh_token=refresh-token-of-the-test"


def by_httpx2(url: str, proxy: str | None) -> None:
    httpx2.post(url, content=BODY, timeout=SECONDS, trust_env=False, proxy=proxy).raise_for_status()


def by_httpx(url: str, proxy: str | None) -> None:
    httpx.post(url, content=BODY, timeout=SECONDS, trust_env=False, proxy=proxy).raise_for_status()


def by_requests(url: str, proxy: str | None) -> None:
    with requests.Session() as session:
        session.trust_env = False
        proxies = {"https": proxy} if proxy else None
        session.post(url, data=BODY, timeout=SECONDS, proxies=proxies).raise_for_status()


def by_aiohttp(url: str, proxy: str | None) -> None:
    async def post(timeout: aiohttp.ClientTimeout) -> None:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.post(url, data=BODY, proxy=proxy) as response:
                response.raise_for_status()
                await response.read()

    asyncio.run(post(aiohttp.ClientTimeout(sock_connect=SECONDS, sock_read=SECONDS)))


def by_urllib(url: str, proxy: str | None) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"https": proxy} if proxy else {}))
    with opener.open(url, BODY, timeout=SECONDS) as response:
        response.read()


def by_http_client(url: str, proxy: str | None) -> None:
    parts, via = urlsplit(url), urlsplit(proxy or url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(via.hostname or "", via.port, timeout=SECONDS)
    if proxy:
        connection.set_tunnel(parts.hostname or "", parts.port)
    try:
        connection.request("POST", parts.path, BODY)
        connection.getresponse().read()
    finally:
        connection.close()


def by_urllib3(url: str, proxy: str | None) -> None:
    with urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager() as pool:
        pool.request("POST", url, body=BODY, timeout=SECONDS, retries=False)


CLIENTS = [by_httpx2, by_httpx, by_requests, by_aiohttp, by_urllib, by_http_client, by_urllib3]
Call = Callable[[str, str | None], None]

NOT_SENT, LOST = {FailureKind.UNAVAILABLE}, {FailureKind.NO_ANSWER}
CAREFUL = {FailureKind.UNAVAILABLE, FailureKind.NO_ANSWER, FailureKind.REFRESHER}
"""Nothing was sent, but not every client's exception proves it: then it counts as perhaps sent, never as dead."""


def verdict_of(call: Call, url: str, proxy: str | None = None) -> Verdict:
    try:
        call(url, proxy)
    except Exception as error:  # noqa: BLE001 - whatever a client raises is what is to be judged
        verdict = judge_exception(error)
        if isinstance(error, urllib.request.HTTPError):
            error.close()
        assert "refresh-token-of-the-test" not in verdict.detail
        return verdict
    pytest.fail("the client raised nothing")


def meaning_of(call: Call, url: str, proxy: str | None = None) -> FailureKind:
    return verdict_of(call, url, proxy).kind


@pytest.fixture(params=CLIENTS, ids=lambda call: call.__name__.removeprefix("by_"))
def call(request: pytest.FixtureRequest) -> Call:
    found: Call = request.param
    return found


def test_a_refused_connection_was_not_sent(call: Call, refused_port: int) -> None:
    assert meaning_of(call, f"http://127.0.0.1:{refused_port}/token") is FailureKind.UNAVAILABLE


def test_an_unknown_name_was_not_sent(call: Call) -> None:
    assert meaning_of(call, "http://nothing.invalid/token") is FailureKind.UNAVAILABLE


def test_a_connection_that_takes_too_long_was_not_sent(call: Call, full_port: int) -> None:
    tells = call not in (by_urllib, by_http_client)  # there a time-out is a time-out, whatever was under way
    found = meaning_of(call, f"http://127.0.0.1:{full_port}/token")
    assert found is (FailureKind.UNAVAILABLE if tells else FailureKind.NO_ANSWER)


@pytest.mark.parametrize("behaviour", ["closes", "resets", "silent", "half body", "half chunk", "half then silent"])
def test_an_answer_that_breaks_off_is_lost(behaviour: str, call: Call, raw_server: Any) -> None:
    assert meaning_of(call, raw_server(behaviour).origin + "/token") is FailureKind.NO_ANSWER


def test_an_answer_that_is_no_http_is_lost(call: Call, raw_server: Any) -> None:
    assert meaning_of(call, raw_server("garbage").origin + "/token") is FailureKind.NO_ANSWER


@pytest.mark.parametrize("call", [by_httpx2, by_httpx, by_requests, by_aiohttp, by_urllib3])
def test_an_answer_that_cannot_be_decoded_is_lost(call: Call, raw_server: Any) -> None:
    assert meaning_of(call, raw_server("broken gzip").origin + "/token") is FailureKind.NO_ANSWER


def test_an_untrusted_certificate_was_not_sent(call: Call, raw_server: Any, tls: Any) -> None:
    assert meaning_of(call, raw_server("closes", tls).origin + "/token") is FailureKind.UNAVAILABLE


@pytest.mark.parametrize("behaviour", ["mute", "resets handshake", "plain http"])
def test_a_failed_tls_handshake_never_counts_as_an_answer(behaviour: str, call: Call, raw_server: Any) -> None:
    url = raw_server(behaviour).origin.replace("http:", "https:") + "/token"
    tells = call in (by_httpx2, by_httpx, by_aiohttp)
    assert meaning_of(call, url) in (NOT_SENT if tells else CAREFUL)


@pytest.mark.parametrize("behaviour", ["proxy refuses", "closes"])
def test_a_proxy_that_fails_never_counts_as_an_answer(behaviour: str, call: Call, raw_server: Any) -> None:
    proxy = raw_server(behaviour).origin
    assert meaning_of(call, "https://127.0.0.1:9/token", proxy) in CAREFUL


@pytest.mark.parametrize("call", [by_httpx2, by_httpx, by_requests, by_aiohttp, by_urllib])
@pytest.mark.parametrize(
    ("status", "body", "kind", "without_body"),
    [
        (400, {"error": "invalid_grant"}, FailureKind.DEAD, FailureKind.DOUBTFUL),
        (400, {"error": "invalid_scope"}, FailureKind.REQUEST_REJECTED, FailureKind.DOUBTFUL),
        (400, "", FailureKind.DOUBTFUL, FailureKind.DOUBTFUL),
        (401, {"code": "token_not_valid"}, FailureKind.DEAD, FailureKind.DOUBTFUL),
        (401, {"error": "invalid_client"}, FailureKind.CLIENT_REJECTED, FailureKind.DOUBTFUL),
        (403, {"detail": "no"}, FailureKind.REQUEST_REJECTED, FailureKind.REQUEST_REJECTED),
        (429, {}, FailureKind.UNAVAILABLE, FailureKind.UNAVAILABLE),
        (500, {}, FailureKind.SERVER_ERROR, FailureKind.SERVER_ERROR),
        (502, "<html>Bad gateway</html>", FailureKind.SERVER_ERROR, FailureKind.SERVER_ERROR),
        (503, {}, FailureKind.UNAVAILABLE, FailureKind.UNAVAILABLE),
    ],
)
def test_an_error_status_is_judged_by_the_answer(
    call: Call, status: int, body: Any, kind: FailureKind, without_body: FailureKind
) -> None:
    with AuthServer() as server:
        server.fail_next(status=status, body=body, headers={"Retry-After": "3"})
        verdict = verdict_of(call, server.token_url)
    # aiohttp's exception does not hold the body, so only the status speaks.
    assert verdict.kind is (without_body if call is by_aiohttp else kind)
    assert verdict.retry_after == 3.0


def test_an_expired_access_token_in_a_session_of_oauthlib_ends_nothing() -> None:
    kind = type("TokenExpiredError", (Exception,), {"error": "token_expired", "__module__": "oauthlib.oauth2.rfc6749"})
    assert judge_exception(kind()).kind is FailureKind.REFRESHER


def test_a_body_that_the_refresher_has_read_before_does_not_count_as_empty() -> None:
    with AuthServer() as server:
        server.fail_next(status=400, body={"error": "invalid_scope"})
        with pytest.raises(urllib.request.HTTPError) as caught:
            by_urllib(server.token_url, None)
        with caught.value:
            assert caught.value.read()
            assert judge_exception(caught.value).kind is FailureKind.DOUBTFUL


def test_a_streamed_answer_that_nobody_read_is_judged_by_its_status() -> None:
    with AuthServer() as server, httpx2.Client(trust_env=False) as client:
        server.fail_next(status=400, body={"error": "invalid_grant"})
        with client.stream("POST", server.token_url, content=BODY) as response:
            with pytest.raises(httpx2.HTTPStatusError) as caught:
                response.raise_for_status()
            assert judge_exception(caught.value).kind is FailureKind.DOUBTFUL
