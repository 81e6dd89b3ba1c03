"""Cookies of an answer: which value counts, and when a cookie is deleted (RFC 6265)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import httpx2
import pytest
import requests

from onerefresh import ConfigurationError
from onerefresh.endpoints import JsonEndpoint
from onerefresh.endpoints.cookies import Cookies, cookies_of, named_cookies, unsendable_cookie
from onerefresh.oauth2 import TokenResponse
from onerefresh.oauth2.address import Address

HERE = Address.parse("https://api.acme.com/auth/refresh")
NOW = "Mon, 30 Nov 2026 07:00:00 GMT"


def found(*lines: str, date: str | None = NOW, apart: bool = True) -> Cookies:
    headers = {} if date is None else {"Date": date}
    if apart:
        return cookies_of(TokenResponse(200, headers, b"", lines), HERE)
    return cookies_of(TokenResponse(200, {**headers, "Set-Cookie": ", ".join(lines)}, b""), HERE)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("rt=abc", "abc"),
        (" rt = abc ; Path=/; HttpOnly; Secure; SameSite=Strict; Partitioned", "abc"),
        ('rt="abc"', '"abc"'),  # as a browser: quotes belong to the value
        (r'rt="a\073b"; Path=/', r'"a\073b"'),
        ("rt=a=b==", "a=b=="),
        ("rt=s%3Aabc.def%2B", "s%3Aabc.def%2B"),
        ("rt=abc; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "abc"),  # Max-Age counts
        ("rt=abc; Max-Age=soon", "abc"),
        ("rt=abc; Expires=never", "abc"),
        ("rt=abc; Expires=Wed, 30-Dec-2026 07:00:00 GMT", "abc"),
        ("rt=abc; Path=relative", "abc"),
        ("rt=abc; Domain=.acme.com; Path=/auth", "abc"),
        ("rt=abc; Domain=other.com; Path=/elsewhere", "abc"),  # it may be the only one that works
        ("rt=abc;Path=/auth/;path=/", "abc"),
    ],
)
@pytest.mark.parametrize("apart", [True, False])
def test_a_cookie_that_is_set(line: str, value: str, apart: bool) -> None:
    assert found(line, apart=apart) == Cookies({"rt": value})


@pytest.mark.parametrize(
    "line",
    [
        "rt=; Path=/",
        'rt=""; Path=/',
        "rt=x; Max-Age=0",
        "rt=x; max-age=-1; Path=/auth",
        "rt=x; Max-Age=000; Expires=Wed, 30 Dec 2026 07:00:00 GMT",
        "rt=deleted; expires=Thu, 01-Jan-1970 00:00:01 GMT; Max-Age=0; path=/",
        "rt=x; Expires=Mon, 30 Nov 2026 06:59:59 GMT",
    ],
)
def test_a_cookie_that_is_deleted(line: str) -> None:
    assert found(line) == Cookies({}, frozenset({"rt"}))


@pytest.mark.parametrize(
    "line", ["rt=; Path=/old; Max-Age=0", "rt=; Domain=other.com", "=x", "rt", "", "r t=1", ";a=b"]
)
def test_what_concerns_no_cookie_of_this_address(line: str) -> None:
    assert found(line) == Cookies()


def test_a_clock_that_is_hours_off_deletes_no_cookie() -> None:
    from email.utils import formatdate
    from time import time

    soon_by_the_server = formatdate(time() - 7000, usegmt=True)  # this machine is two hours ahead
    assert found(f"rt=x; Expires={soon_by_the_server}", date=None) == Cookies({"rt": "x"})
    assert found(f"rt=x; Expires={formatdate(0, usegmt=True)}", date=None) == Cookies({}, frozenset({"rt"}))


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (["rt=one", "rt=two"], "two"),  # the same cookie: the last one counts
        (["rt=broad; Path=/", "rt=narrow; Path=/auth/refresh"], "narrow"),
        (["rt=narrow; Path=/auth/refresh", "rt=broad; Path=/"], "narrow"),
        (["rt=ours; Path=/auth", "rt=theirs; Path=/admin"], "ours"),
        (["rt=; Path=/; Max-Age=0", "rt=new; Path=/auth"], "new"),  # the cookie moves
        (["rt=new; Path=/auth", "rt=; Path=/; Max-Age=0"], "new"),
        (["rt=; Max-Age=0", "rt=new"], "new"),
        (["rt=one; Path=/v1", "rt=two; Path=/v2"], "two"),  # a proxy changed the path
        (["rt=prefix; Path=/aut", "rt=ours; Path=/"], "ours"),
    ],
)
def test_several_cookies_of_one_name(lines: list[str], value: str) -> None:
    assert found(*lines).values == {"rt": value}
    assert not found(*lines).deleted


def test_the_last_of_equal_cookies_may_be_its_deletion() -> None:
    assert found("rt=new", "rt=; Max-Age=0").deleted == {"rt"}


def test_joined_headers_are_told_apart_in_spite_of_dates() -> None:
    joined = found("a=1; Expires=Wed, 30 Dec 2026 07:00:00 GMT", "b=2; Path=/", "c=; Max-Age=0", apart=False)
    assert joined == Cookies({"a": "1", "b": "2"}, frozenset({"c"}))


def values_of(cookies: object, address: Address) -> Mapping[str, str]:
    named = named_cookies(cookies, address)
    assert named is not None
    return named.values


def test_cookies_of_clients_and_what_a_header_cannot_carry() -> None:
    from http.cookies import SimpleCookie

    assert values_of(SimpleCookie("rt=abc; x=1"), HERE) == {"rt": "abc", "x": "1"}
    assert values_of({"rt": "abc", "gone": None, "": ""}, HERE) == {"rt": "abc"}
    assert not unsendable_cookie('"a b"=')
    assert all(map(unsendable_cookie, ["a;b", "a\r\nb", "é", " a", "a\x00"]))


def test_nothing_shows_values() -> None:
    assert "abc" not in repr(found("rt=abcdefgh"))


SET = ["rt=one; Path=/", "rt=two; Path=/auth", "rt=three; Path=/other", 'csrf="a b"; Path=/']


class Login(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        for line in SET:
            self.send_header("Set-Cookie", line)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def login() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Login) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/auth/login"
        server.shutdown()
        thread.join()


async def with_aiohttp(url: str) -> object:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client, client.get(url) as answer:
        return answer.cookies


def test_cookies_of_one_name_in_a_login_s_answer(login: str) -> None:
    """HTTP clients raise an error where one asks them for such a cookie by its name."""
    address = Address.parse(f"{login}/../refresh".replace("/login/..", ""))
    for cookies in (httpx2.get(login).cookies, requests.get(login, timeout=10).cookies):
        assert values_of(cookies, address) == {"rt": "two", "csrf": '"a b"'}
        assert values_of(cookies, HERE) == {"rt": "two", "csrf": '"a b"'}
    assert values_of(asyncio.run(with_aiohttp(login)), address)["csrf"] == '"a b"'


@pytest.mark.parametrize("odd", [None, "rt=x", [("rt", "x")], 5])
def test_what_are_no_cookies_is_refused(odd: Any) -> None:
    assert named_cookies(odd, HERE) is None
    kind = type(odd).__name__
    with pytest.raises(ConfigurationError, match=rf"cookies must be .* such as answer\.cookies, not {kind}"):
        JsonEndpoint(HERE.url).answer_of({}, cookies=odd)
