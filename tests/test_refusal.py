"""Where a token may go, what a refusal means, which bodies go again."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import pickle
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerefresh.clients.bearer import Bearer
from onerefresh.clients.challenge import (
    Challenge,
    Interaction,
    PassThrough,
    Refused,
    judge_refusal,
    parse_challenges,
)
from onerefresh.clients.origins import Origins
from onerefresh.clients.replay import arewind, body_position, rewind
from onerefresh.errors import ConfigurationError, RefreshProtocolError
from onerefresh.token import Token

API = "https://api.acme.com"


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        (API, "https://api.acme.com"),
        (API, "https://api.acme.com/a/b?c=d#e"),
        (API, "https://api.acme.com:443/"),
        (API, "HTTPS://API.Acme.COM/"),
        (API, "https://api.acme.com./"),
        (API, "https://user:word@api.acme.com/"),
        (API, "wss://api.acme.com/socket"),
        (API + "/", "https://api.acme.com/"),
        ("https://API.acme.com.:443", "https://api.acme.com/"),
        ("wss://api.acme.com", "https://api.acme.com/"),
        ("https://api.acme.com:8443", "https://api.acme.com:8443/"),
        ("http://localhost:8000", "ws://localhost:8000/"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("http://[::1]:8000", "http://[0:0:0:0:0:0:0:1]:8000/"),
        ("https://bücher.example", "https://xn--bcher-kva.example/"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example/"),
        ("http://api.acme.com", "https://api.acme.com/"),
    ],
)
def test_a_token_goes_to_its_origin_however_that_is_spelled(origin: str, url: str) -> None:
    assert Origins(origin).cover_url(url)


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        (API, "http://api.acme.com/"),
        (API, "https://api.acme.com:8443/"),
        (API, "https://acme.com/"),
        (API, "https://evil.api.acme.com/"),
        (API, "https://api.acme.com.evil.com/"),
        (API, "https://api.acme.com@evil.com/"),
        (API, "https://evil.com\\@api.acme.com.evil.com/"),
        (API, "https://evil.com#@api.acme.com/"),
        (API, "https://evil.com/api.acme.com"),
        (API, "//api.acme.com/"),
        (API, "/relative"),
        (API, ""),
        (API, "https://"),
        (API, "https://api.acme.com:0/"),
        (API, "https://api.acme.com:99999/"),
        (API, "https://api.acme.com:x/"),
        (API, "https://[api.acme.com"),
        (API, "https://ex%61mple.com/"),
        (API, "file:///api.acme.com"),
        (API, "ftp://api.acme.com/"),
        ("http://api.acme.com:8000", "https://api.acme.com:8000/"),
        ("http://api.acme.com:8000", "https://api.acme.com/"),
        ("http://127.0.0.1", "http://127.1/"),
        ("http://127.0.0.1", "http://2130706433/"),
        ("http://127.0.0.1", "http://0x7f.1/"),
        ("http://[::1]", "http://127.0.0.1/"),
        ("https://fass.de", "https://faß.de/"),
        ("https://bücher.example", "https://bücher.example/"),  # a client that connects so knows another rule
    ],
)
def test_a_token_goes_nowhere_else(origin: str, url: str) -> None:
    assert not Origins(origin).cover_url(url)


@given(
    st.sampled_from(["https://", "http://", "https:", "HTTPS://", "//", " https://", ""]),
    st.lists(st.sampled_from(["api.acme.com", "evil.com", *"/?#@:\\\t\n []%.x4", "443", "user"]), max_size=8),
)
def test_an_address_is_judged_alike_whatever_was_remembered_of_others(scheme: str, rest: list[str]) -> None:
    url = scheme + "".join(rest)
    origins = Origins(API)
    try:
        split = urlsplit(url)
        expected = origins.cover(split.scheme, split.hostname, split.port)
    except ValueError:
        expected = False
    for start in (url[:end] for end in range(len(url))):
        origins.cover_url(start + "/")
    assert (origins.cover_url(url), origins.cover_url(url)) == (expected, expected)


def test_nothing_that_may_be_secret_is_remembered_of_an_address() -> None:
    origins = Origins(API)
    for number in range(1000):
        for url in ("https://user:word{}@api.acme.com/", "https://api.acme.com?key=word{}/", "https://word{}.com#a/"):
            origins.cover_url(url.format(number))
        origins.cover_url(f"https://{number}.com/")
        origins.cover_url(f"https://{number}.com{'x' * 500}/")
    assert "word" not in str(origins._known_urls)
    assert len(origins._known_urls) == 256
    assert max(map(len, origins._known_urls)) <= 300


def test_an_international_origin_is_the_host_that_clients_connect_to() -> None:
    """Of each letter of the older scripts, and of those that are known to be trouble."""
    agreed = 0
    for number in [*range(0x80, 0x590), *range(0x10D0, 0x1200), *range(0x13A0, 0x1400), *range(0x1780, 0x1880)]:
        with contextlib.suppress(ConfigurationError, idna.IDNAError):
            (origin,) = Origins(f"https://a{chr(number)}b.example")
            assert origin == f"https://{idna.encode(f'a{chr(number)}b.example', uts46=True).decode()}"
            agreed += 1
    assert agreed > 900


def test_several_origins_are_several_exact_origins() -> None:
    origins = Origins([API, "https://files.acme.com:8443"])
    assert origins.cover("https", "files.acme.com", 8443)
    assert origins.cover("https", "api.acme.com", None)
    assert not origins.cover("https", "files.acme.com", 443)
    assert not origins.cover("https", None, None)
    assert repr(origins) == "Origins(https://api.acme.com, https://files.acme.com:8443)"
    assert list(Origins("http://[::1]:80")) == ["http://[::1]", "https://[::1]"]


@pytest.mark.parametrize(
    ("origins", "says"),
    [
        ("api.acme.com", "with its scheme"),
        ("api.acme.com:8443", "with its scheme"),
        ("//api.acme.com", "with its scheme"),
        ("https://", "with its scheme"),
        ("", "with its scheme"),
        ("*", "with its scheme"),
        ("ftp://api.acme.com", "with its scheme"),
        ("https://*.acme.com", "wildcards are not supported"),
        ("https://api.acme.com/v1", "remove what follows"),
        ("https://api.acme.com?", "remove what follows"),
        ("https://api.acme.com/?a=b", "remove what follows"),
        ("https://api.acme.com#", "remove what follows"),
        (" https://api.acme.com", "remove spaces"),
        ("https://api.acme.com\n", "remove spaces"),
        ("https://api.acme.com:0", "not valid"),
        ("https://api.acme.com:65536", "is not an origin"),
        ("https://api.acme.com:https", "is not an origin"),
        ("https://a..b", "not valid"),
        ("https://-a", "not valid"),
        ("https://faß.de", "xn--"),
        ("https://Ꭰ.example", "xn--"),
        ("https://a\ufe0fb.example", "xn--"),
        ("https://☃.example", "xn--"),
        ("https://127.1", "not valid"),
        ("https://0x7f000001", "not valid"),
        ("http://[fe80::1%25eth0]", "not valid"),
        ("https://[api.acme.com]", "is not an origin"),
        ("https://" + "a" * 300, "not valid"),
        ([], "origins is empty"),
        ((), "origins is empty"),
        (None, "not NoneType"),
        (b"https://api.acme.com", "not bytes"),
        ([API, None], "not NoneType"),
        ([API, 5], "not int"),
        (7, "not int"),
    ],
)
def test_what_is_no_origin_says_what_to_do(origins: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        Origins(origins)


@pytest.mark.parametrize("origin", ["https://user:hunter2@api.acme.com", "https://user@api.acme.com", "https://@a.com"])
def test_user_information_in_an_origin_is_refused_and_not_repeated(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="remove what is before the '@'") as caught:
        Origins(origin)
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=60) | st.from_regex(r"https?://[ -~]{0,30}\Z"))
def test_any_text_is_an_origin_or_a_clear_error(text: str) -> None:
    try:
        origins = Origins(text)
    except ConfigurationError:
        return
    assert all(Origins(origin).cover_url(origin) for origin in origins)


@given(
    st.text(max_size=12),
    st.none() | st.text(max_size=60) | st.from_regex(r"(evil\.|)api\.acme\.com[.@\\%:/]?[a-z]{0,5}\Z"),
    st.none() | st.integers(),
)
def test_nothing_but_the_very_host_is_covered(scheme: str, host: str | None, port: int | None) -> None:
    covered = Origins(API).cover(scheme, host, port)
    assert not covered or (scheme.lower(), (host or "").lower().rstrip("."), port or 443) in {
        ("https", "api.acme.com", 443),
        ("wss", "api.acme.com", 443),
    }


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        ([""], []),
        (["Bearer"], [("bearer", {}, None)]),
        (["BEARER Realm=x"], [("bearer", {"realm": "x"}, None)]),
        (
            ['Bearer realm="a, b", error="invalid_token"'],
            [("bearer", {"realm": "a, b", "error": "invalid_token"}, None)],
        ),
        (['Bearer realm="say \\"hi\\""'], [("bearer", {"realm": 'say "hi"'}, None)]),
        (['Bearer realm = "x" , error = invalid_token'], [("bearer", {"realm": "x", "error": "invalid_token"}, None)]),
        (['Bearer realm="x" error="y"'], [("bearer", {"realm": "x", "error": "y"}, None)]),
        (["Bearer,Basic"], [("bearer", {}, None), ("basic", {}, None)]),
        (
            ['Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"'],
            [
                ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}, None),
                ("basic", {"realm": "simple"}, None),
            ],
        ),
        (["Negotiate YWJj==, Bearer"], [("negotiate", {}, "YWJj=="), ("bearer", {}, None)]),
        (["Negotiate", 'Bearer error="x"'], [("negotiate", {}, None), ("bearer", {"error": "x"}, None)]),
        (['Bearer error="a", error="b"'], [("bearer", {"error": "a"}, None)]),
        (['Bearer error="never closed'], [("bearer", {"error": "never closed"}, None)]),
        (["Bearer authorization_uri=https://a/b?c=d"], [("bearer", {"authorization_uri": "https://a/b?c=d"}, None)]),
        (['error="x", Bearer'], [("bearer", {}, None)]),
        ([',, ,Bearer ,, error="x" ,'], [("bearer", {"error": "x"}, None)]),
        (['"stray, Basic" Bearer'], [("bearer", {}, None)]),
        (["Bearer\terror=x"], [("bearer", {"error": "x"}, None)]),
        (['Bearer error="", realm='], [("bearer", {"error": "", "realm": ""}, None)]),
        (["Bearer \x00\x80é error=x"], [("bearer", {"error": "x"}, None)]),
    ],
)
def test_challenges_are_read_as_the_standard_writes_them_and_as_servers_do(
    headers: list[str], expected: list[tuple[str, dict[str, str], str | None]]
) -> None:
    assert [(found.scheme, dict(found.params), found.token68) for found in parse_challenges(headers)] == expected


def test_a_challenge_keeps_its_own_text() -> None:
    first, second = parse_challenges(['Bearer error="a, b" , Basic realm="c"'])
    assert (first.text, second.text) == ('Bearer error="a, b"', 'Basic realm="c"')


@given(st.lists(st.text(alphabet='aB ,="\\\t=:/é\x00', max_size=80) | st.text(max_size=80), max_size=4))
def test_no_header_can_raise(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower() != ""
        assert challenge.text
    assert isinstance(judge_refusal(parse_challenges(headers)), (PassThrough, Refused, Interaction))


@pytest.mark.parametrize(
    "piece", ['"', '\\"', "a", "a ", "a=", 'a="', "a=b ", ", ", "=", "\\", "a  ", "a=b,", 'a b="\\']
)
def test_a_hostile_header_costs_no_more_than_its_length(piece: str) -> None:
    # Counted in matches rather than seconds: each step of the scan must move on, and 16 KiB are the most it reads.
    found = parse_challenges([piece * 1_000_000])
    assert len(found) <= 48
    assert sum(len(challenge.text) for challenge in found) <= 16_384


@pytest.mark.parametrize("piece", ["Basic a,", "a,", "\x00", '"', "x=y,", " ", ""])
def test_many_hostile_headers_cost_no_more_than_one(piece: str) -> None:
    """A 401 with 120 of them, of 8 kB each, blocked the event loop for seconds."""
    taken = 0

    def headers() -> Iterator[str]:
        nonlocal taken
        for _ in range(10_000):
            taken += 1
            yield (piece * 8192)[:8192]

    begun = time.thread_time()
    found = parse_challenges(headers())
    assert time.thread_time() - begun < 0.5
    assert taken <= (64 if piece == "" else 2)
    assert len(found) <= 48
    assert sum(len(challenge.text) for challenge in found) <= 16_384


def test_challenges_up_to_the_limits_are_read() -> None:
    headers = ["Basic realm=x"] * 20 + ["Basic a, " * 20] + ['Bearer error="invalid_token"']
    assert parse_challenges(headers)[-1].params == {"error": "invalid_token"}
    assert parse_challenges(["Basic a, " * 60])[-1].text == "Basic a"
    long = ['Basic realm="' + "x" * 8000 + '"', 'Bearer error="invalid_token"']
    assert parse_challenges(long)[-1].scheme == "bearer"


@pytest.mark.parametrize(
    ("header", "decision"),
    [
        ([], Refused()),
        (["nonsense=1"], Refused()),
        (["Bearer"], Refused()),
        (['Bearer realm="x"'], Refused()),
        (['Bearer error="invalid_token"'], Refused()),
        (['Bearer error="expired_token"'], Refused()),
        (['Bearer error="invalid_request"'], Refused()),
        (['DPoP error="invalid_token"'], Refused()),
        (['OAuth realm="x"'], Refused()),
        (["Basic", 'Bearer error="invalid_token"'], Refused()),
        (["Basic, Bearer"], Refused()),
        (['Bearer error="insufficient_scope"', "Bearer"], Refused()),
        (['Basic realm="x"'], Refused()),
        (["Negotiate"], Refused()),
        (["NTLM", "Negotiate YWJj"], Refused()),
        (['Digest realm="x", nonce="y"'], Refused()),
        (['Basic realm="Bearer error=insufficient_scope"'], Refused()),
        (['Basic error="insufficient_scope"'], Refused()),
        (['Basic, Bearer error="insufficient_scope"'], PassThrough()),
        (['DPoP error="use_dpop_nonce"'], PassThrough()),
        (['Bearer error="invalid_token"', 'DPoP error="use_dpop_nonce"'], PassThrough()),
        (['Bearer error="insufficient_scope", scope="admin"'], PassThrough()),
        (
            ['Basic, Bearer error="insufficient_user_authentication", acr_values="strong"'],
            Interaction(
                "insufficient_user_authentication",
                'Bearer error="insufficient_user_authentication", acr_values="strong"',
            ),
        ),
        (
            ['Bearer realm="", error="insufficient_claims", claims="eyJ9"'],
            Interaction("insufficient_claims", 'Bearer realm="", error="insufficient_claims", claims="eyJ9"'),
        ),
    ],
)
def test_a_challenge_decides_what_a_401_means(header: list[str], decision: object) -> None:
    assert Bearer("acme", API).judge(401, header) == decision


def test_a_scheme_of_the_apis_own_is_ours_even_where_it_is_called_basic() -> None:
    challenge = [Challenge("basic", {"error": "insufficient_scope"}, None, "Basic")]
    assert judge_refusal(challenge, "Bearer") == Refused()
    assert judge_refusal(challenge, "Basic") == PassThrough()


@pytest.mark.parametrize("status", [200, 302, 400, 403, 407, 500])
def test_only_the_named_statuses_refuse(status: int) -> None:
    assert Bearer("acme", API).judge(status, ['Bearer error="invalid_token"']) == PassThrough()


def test_an_api_may_have_other_statuses_that_refuse() -> None:
    rules = Bearer("acme", API, refused_statuses={401, 403})
    assert rules.judge(403, []) == Refused()
    assert rules.judge(403, ['Bearer error="insufficient_scope"']) == PassThrough()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"header": ""}, "is not a valid header name"),
        ({"header": "X Api"}, "is not a valid header name"),
        ({"header": "X-Api\r\nHost"}, "is not a valid header name"),
        ({"header": "X-Äpi"}, "is not a valid header name"),
        ({"header": None}, "is not a valid header name"),
        ({"header": "Cookie"}, "has another meaning"),
        ({"header": "host"}, "has another meaning"),
        ({"scheme": "Two words"}, "not an authentication scheme"),
        ({"scheme": "Bearer\r\n"}, "not an authentication scheme"),
        ({"scheme": 5}, "not an authentication scheme"),
        ({"refused_statuses": 401}, "a set of HTTP statuses"),
        ({"refused_statuses": ()}, "a set of HTTP statuses"),
        ({"refused_statuses": "401"}, "a set of HTTP statuses"),
        ({"refused_statuses": {200}}, "200 must be from 400 to 599"),
        ({"refused_statuses": {407}}, "and not 407, which is used by proxies"),
        ({"refused_statuses": {"401"}}, "must be from 400 to 599"),
        ({"refused_statuses": {True}}, "must be from 400 to 599"),
    ],
)
def test_arguments_that_make_no_sense_say_so(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        Bearer("acme", API, **arguments)


@pytest.mark.parametrize(
    ("scheme", "text"), [("Bearer", "Bearer abc"), ("Token", "Token abc"), ("", "abc"), (None, "abc")]
)
def test_a_token_is_written_after_its_scheme_or_alone(scheme: str | None, text: str) -> None:
    token = Token("abc")
    rules = Bearer("acme", API, scheme=scheme)
    assert rules.text(token) == text
    assert rules.text(token).token is token
    assert rules.text(Token("other")).endswith("other")


def test_a_headers_text_does_not_show_its_token(caplog: pytest.LogCaptureFixture) -> None:
    text = Bearer("acme", API).text(Token("secret-text"))
    logging.getLogger("test").warning("%r %s", text, {"Authorization": text})
    shown = f"{text!r} {[text]} {caplog.text}"
    assert "secret-text" not in shown
    assert pickle.loads(pickle.dumps(text)) == "…"


@pytest.mark.parametrize("text", ["a\r\nX: y", "a\nb", "é", "€", "a\x00", " ", "a ", "\t", "a\x7f", "\ud800"])
def test_a_token_that_no_header_can_carry_is_an_error_that_does_not_show_it(text: str) -> None:
    with pytest.raises(RefreshProtocolError, match="no header can carry") as caught:
        Bearer("acme", API).text(Token("hidden" + text, generation=7, family="f"))
    assert "hidden" not in f"{caught.value} {caught.value!r}"
    assert (caught.value.credential, caught.value.generation) == ("acme", 7)


def test_an_interaction_says_who_must_do_what_and_repeats_no_token() -> None:
    token = Token("secret-text", generation=3)
    error = Bearer("acme", API).interaction(Interaction("insufficient_claims", "Bearer claims=secret-text"), token)
    assert (error.credential, error.generation, error.challenge) == ("acme", 3, "Bearer claims=…")
    assert "insufficient_claims" in str(error)


class Anew:
    """Starts from the beginning each time."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    def __repr__(self) -> str:
        return "Anew()"


class Wrapped:
    """Looks like `Anew`, and is used up after the first time: progress bars are made like this."""

    def __init__(self) -> None:
        self.once = iter([b"one", b"two"])

    def __iter__(self) -> Iterator[bytes]:
        yield from self.once


class Kept:
    """Hands out the same iterator each time."""

    def __init__(self) -> None:
        self.once = iter([b"one", b"two"])

    def __iter__(self) -> Iterator[bytes]:
        return self.once


class OnlyReads:
    def __init__(self) -> None:
        self.file = io.BytesIO(b"body")

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)


class TellsButCannotSeek(OnlyReads):
    def tell(self) -> int:
        return self.file.tell()

    def seek(self, position: int) -> None:
        raise io.UnsupportedOperation


class SeeksElsewhere(OnlyReads):
    def tell(self) -> int:
        return self.file.tell()

    def seek(self, position: int) -> None:
        self.file.seek(0, io.SEEK_END)


def send(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, (bytes, str)):
        return body.encode() if isinstance(body, str) else body
    return body.read() if hasattr(body, "read") else b"".join(body)


@pytest.mark.parametrize("body", [None, b"", b"body", "body", Anew(), [b"one", b"two"], (b"one",)], ids=repr)
def test_a_body_that_can_go_again_goes_again_whole(body: Any) -> None:
    first = send(body)
    assert rewind(body, body_position(body))
    assert send(body) == first


@pytest.mark.parametrize(
    "make",
    [
        lambda: (piece for piece in [b"one"]),
        lambda: iter([b"one"]),
        lambda: map(bytes, [b"one"]),
        Wrapped,
        Kept,
        OnlyReads,
        TellsButCannotSeek,
        SeeksElsewhere,
        object,
    ],
)
def test_a_body_that_is_used_up_does_not_go_again(make: Any) -> None:
    body = make()
    position = body_position(body)
    if type(body) is not object:
        assert send(body) != b""
    assert not rewind(body, position)


def test_a_file_goes_back_to_where_it_was_and_not_to_its_start(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"header body")
    with path.open("rb") as file:
        file.seek(7)
        position = body_position(file)
        assert file.read() == b"body"
        assert rewind(file, position)
        assert file.read() == b"body"
    assert not rewind(file, position), "the file is closed"
    memory = io.BytesIO(b"header body")
    memory.seek(7)
    assert body_position(memory) == 7


def test_a_pipe_cannot_go_again() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"body")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        position = body_position(pipe)
        assert pipe.read() == b"body"
        assert not rewind(pipe, position)


class AsyncAnew:
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"one"


class AsyncWrapped:
    def __init__(self) -> None:
        self.once = iter([b"one"])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.once:
            yield piece


class AsyncKept:
    def __init__(self) -> None:
        self.once = aiter(AsyncAnew())

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.once


class AsyncFile(AsyncWrapped):
    async def read(self, size: int = -1) -> bytes:
        raise NotImplementedError

    async def tell(self) -> int:
        raise NotImplementedError


async def generator() -> AsyncIterator[bytes]:
    yield b"one"


@pytest.mark.parametrize(
    ("make", "again"),
    [(AsyncAnew, True), (AsyncWrapped, False), (AsyncKept, False), (AsyncFile, False), (generator, False)],
)
def test_an_asynchronous_body_goes_again_where_it_starts_anew(make: Any, again: bool) -> None:
    async def run() -> None:
        body = make()
        position = body_position(body)
        assert [piece async for piece in body] == [b"one"]
        assert await arewind(body, position) is again
        assert not rewind(body, position)
        assert await arewind(b"body", None)

    asyncio.run(run())
