"""Answers of hostile and of broken servers: each is judged by what it means, and a token in it is not lost."""

from __future__ import annotations

import functools
import gzip
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from tests.oauth2.conftest import answering, read_request

from onerefresh import Credential, RefreshProtocolError, Secret, Token
from onerefresh.endpoints import JsonEndpoint
from onerefresh.oauth2 import TokenEndpoint, TokenRequest, TokenResponse
from onerefresh.oauth2.http_answer import LARGEST_HEAD
from onerefresh.verdict import FailureKind, RefreshFailure

Sender = Callable[[TokenRequest], TokenResponse]
SenderFor = Callable[[str], Sender]
Start = Callable[..., Any]

JSON = b'{"access_token": "the-next", "refresh_token": "its-refresh-token"}'
TOKEN = "the token"
LOST = FailureKind.NO_ANSWER
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


def whole(*headers: bytes, body: bytes = JSON, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*chunks: bytes) -> bytes:
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)


def chunk(data: bytes, size: bytes | None = None) -> bytes:
    return (b"%x" % len(data) if size is None else size) + b"\r\n" + data + b"\r\n"


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def packed(times: int) -> bytes:
    return functools.reduce(lambda data, _: gzip.compress(data), range(times), JSON)


PACKED = packed(1)
CHUNKS = chunk(JSON) + b"0\r\n\r\n"
HALF = JSON[:30]

ANSWERS: dict[str, tuple[bytes, object]] = {
    # Interim answers (RFC 9110 section 15.2).
    "early hints": (HINTS + whole(), TOKEN),
    "processing": (b"HTTP/1.1 102 Processing\r\n\r\n" + whole(), TOKEN),
    "an interim answer that nobody knows": (b"HTTP/1.1 142 What\r\n\r\n" + whole(), TOKEN),
    "many interim answers": ((HINTS + b"HTTP/1.1 100 Continue\r\n\r\n") * 1000 + whole(), TOKEN),
    "early hints that announce a body": (
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n" + whole(),
        TOKEN,
    ),
    "early hints and a refusal": (
        HINTS + whole(status=b"400 No", body=b'{"error": "invalid_grant"}'),
        FailureKind.DEAD,
    ),
    "early hints and nothing": (HINTS, LOST),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: what\r\n\r\n", LOST),
    # Chunks (RFC 9112 section 7.1).
    "chunks": (chunked(chunk(HALF), chunk(JSON[30:]), b"0\r\n\r\n"), TOKEN),
    "chunks without their end": (chunked(chunk(JSON)), TOKEN),
    "a chunk that breaks off": (chunked(chunk(HALF, b"ff")), LOST),
    "a negative chunk": (chunked(chunk(HALF, b"-5")), LOST),
    "a negative chunk that means all": (chunked(chunk(HALF, b"-1")), LOST),
    "a chunk of an absurd size": (chunked(chunk(HALF, b"f" * 5000)), LOST),
    "a chunk of a huge size": (chunked(chunk(HALF, b"f" * 12)), LOST),
    "a chunk whose size is no number": (chunked(chunk(HALF, b"0x1e")), LOST),
    "a chunk whose size is written as Python does": (chunked(chunk(HALF, b"1_e")), LOST),
    "an extension of a chunk without an end": (chunked(b"1e;" + b"x" * 200_000), LOST),
    "chunks announced twice": (OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + CHUNKS, TOKEN),
    "chunks and a length": (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, TOKEN),
    "chunks that are undone": (chunked(JSON), TOKEN),
    "chunks that are undone, in lines": (chunked(b"  " + JSON.replace(b", ", b",\r\n")), TOKEN),
    "a size with zeros before it": (chunked(chunk(JSON, b"%040x" % len(JSON)), b"0\r\n\r\n"), TOKEN),
    "spaces before a size": (chunked(chunk(JSON, b"  %x" % len(JSON)), b"0\r\n\r\n"), TOKEN),
    "packed chunks": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk(PACKED) + b"0\r\n\r\n", TOKEN),
    "packed to the end": (OK + b"Transfer-Encoding: gzip\r\n\r\n" + PACKED, TOKEN),
    "a coding that nobody knows": (OK + b"Transfer-Encoding: what\r\n\r\n" + PACKED, LOST),
    # Lies about the length.
    "less than announced, and all that counts": (OK + b"Content-Length: 500\r\n\r\n" + JSON, TOKEN),
    "less than announced": (OK + b"Content-Length: 500\r\n\r\n" + HALF, LOST),
    "less than announced of a form": (
        OK + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 500\r\n\r\naccess_token=the-ne",
        LOST,
    ),
    "more than announced": (OK + b"Content-Length: 30\r\n\r\n" + JSON, TOKEN),
    "characters counted in place of bytes": (
        OK + b"Content-Length: 77\r\n\r\n" + b'{"scope": "caf\xc3\xa9", ' + JSON[1:],
        TOKEN,
    ),
    "more than announced, and not all": (OK + b"Content-Length: 10\r\n\r\n" + HALF, LOST),
    "nothing": (whole(body=b""), FailureKind.PROTOCOL),
    "no length": (OK + b"\r\n" + JSON, TOKEN),
    "a refusal that breaks off": (b"HTTP/1.1 400 No\r\nContent-Length: 500\r\n\r\n{", FailureKind.DOUBTFUL),
    "an outage that breaks off": (b"HTTP/1.1 503 No\r\nContent-Length: 500\r\n\r\n<html>", FailureKind.UNAVAILABLE),
    "an error that breaks off": (b"HTTP/1.1 500 No\r\nContent-Length: 500\r\n\r\n<html>", FailureKind.SERVER_ERROR),
    "too many requests in broken chunks": (
        b"HTTP/1.1 429 No\r\nTransfer-Encoding: chunked\r\n\r\nwhat\r\n",
        FailureKind.UNAVAILABLE,
    ),
    # Headers.
    "a folded header": (whole(b"X-Folded: one\r\n two\r\n\tthree"), TOKEN),
    "a folded header that counts": (whole(b"Content-Encoding:\r\n gzip", body=PACKED), TOKEN),
    "many headers": (whole(*[b"X-More: 1"] * 1000), TOKEN),
    "headers without an end": (OK + b"X-More: 1\r\n" * 50_000, LOST),
    "a header without an end": (OK + b"X-More: " + b"x" * 500_000, LOST),
    "no status": (b"hello\r\n\r\n" + JSON, LOST),
    "an old protocol": (b"HTTP/1.0 200 OK\r\n\r\n" + JSON, TOKEN),
    "a status that is none": (b"HTTP/1.1 2000 OK\r\n\r\n" + JSON, LOST),
    # Encodings, of which none was asked for.
    "gzip": (whole(b"Content-Encoding: gzip", body=PACKED), TOKEN),
    "gzip in two headers": (whole(b"Content-Encoding: identity", b"Content-Encoding: gzip", body=PACKED), TOKEN),
    "gzip of gzip": (whole(b"Content-Encoding: gzip, gzip", body=gzip.compress(PACKED)), TOKEN),
    "gzip ten times": (whole(b"Content-Encoding: " + b"gzip, " * 9 + b"gzip", body=packed(10)), LOST),
    "gzip in parts": (whole(b"Content-Encoding: gzip", body=gzip.compress(HALF) + gzip.compress(JSON[30:])), TOKEN),
    "gzip that nobody named": (whole(body=PACKED), TOKEN),
    "gzip that is undone": (whole(b"Content-Encoding: gzip"), TOKEN),
    "a bomb in parts": (whole(b"Content-Encoding: gzip", body=gzip.compress(b" " * 1_000_000) * 900), LOST),
    "deflate as some send it": (whole(b"Content-Encoding: deflate", body=raw_deflate(JSON)), TOKEN),
    "gzip without its checksum": (whole(b"Content-Encoding: gzip", body=PACKED[:-8]), TOKEN),
    "gzip that breaks off": (whole(b"Content-Encoding: gzip", body=PACKED[:-20]), LOST),
    "gzip whose checksum is wrong": (whole(b"Content-Encoding: gzip", body=PACKED[:-8] + b"x" * 8), LOST),
    "gzip that is none": (whole(b"Content-Encoding: gzip", body=b"abc"), LOST),
    "an outage in gzip that is none": (
        whole(b"Content-Encoding: gzip", body=b"abc", status=b"503 No"),
        FailureKind.UNAVAILABLE,
    ),
    "brotli": (whole(b"Content-Encoding: br", body=b"\x0b\x02\x80"), LOST),
    "an encoding that is none": (whole(b"Content-Encoding: UTF-8"), TOKEN),
    "a character set that is a lie": (whole(b"Content-Type: application/json; charset=utf-16"), TOKEN),
    # Bodies.
    "a huge body": (OK + b"Content-Length: 90000000\r\n\r\n" + b" " * 1_100_000, LOST),
    "a huge refusal": (
        b"HTTP/1.1 429 No\r\nContent-Length: 90000000\r\n\r\n" + b" " * 1_100_000,
        FailureKind.UNAVAILABLE,
    ),
    "brackets without an end": (whole(body=b"[" * 100_000), LOST),
    "not in Unicode": (whole(body=b'{"scope": "caf\xe9", ' + JSON[1:]), TOKEN),
    "a mark of its byte order": (whole(body=b"\xef\xbb\xbf" + JSON), TOKEN),
    "in UTF-16": (whole(body=JSON.decode().encode("utf-16")), TOKEN),
    "a line break in a text": (whole(body=b'{"name": "one\ntwo", ' + JSON[1:]), TOKEN),
    "a comment behind it": (whole(body=JSON + b"\n<!-- 3 ms -->"), TOKEN),
    "a prefix against scripts": (whole(body=b")]}',\n" + JSON), TOKEN),
    "a warning before it": (whole(body=b"<br /><b>Notice</b>: undefined index\n" + JSON), TOKEN),
    "another object within a page": (whole(body=b"<html>{}" + JSON), LOST),
    "half a form beside a cookie": (
        OK + b"Set-Cookie: id=1\r\nContent-Length: 99\r\n\r\naccess_token=x&refresh_token=its-refresh-tok",
        LOST,
    ),
    # Against the rules, but clear.
    "a negative length": (OK + b"Content-Length: -5\r\n\r\n" + JSON, TOKEN),
    "a length that is no number": (OK + b"Content-Length: many\r\n\r\n" + JSON, TOKEN),
    "an absurd length": (OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + JSON, TOKEN),
    "two lengths": (OK + b"Content-Length: 5\r\nContent-Length: 500\r\n\r\n" + JSON, TOKEN),
    "a line that is no header": (whole(b"what is this", b"Server: x"), TOKEN),
    "a folded header before any": (OK + b" folded\r\n\r\n" + JSON, TOKEN),
    "line feeds alone": (whole().replace(b"\r\n", b"\n"), TOKEN),
    "a name with a space behind it": (OK + b"Content-Length : %d\r\n\r\n" % len(JSON) + JSON, TOKEN),
    "a name with brackets": (whole(b"X(1): 2"), TOKEN),
    "a control character in a header": (whole(b"X: a\0b\rc"), TOKEN),
    "a length with a sign": (OK + b"Content-Length: +66\r\n\r\n" + JSON, TOKEN),
    "two spaces before the status": (b"HTTP/1.1  200 OK\r\n\r\n" + JSON, TOKEN),
    "tabs around the status": (b"HTTP/1.1\t200\tOK\r\n\r\n" + JSON, TOKEN),
    "a protocol without a minor version": (b"HTTP/2 200 OK\r\n\r\n" + JSON, TOKEN),
    "a protocol in lower case": (b"http/1.1 200 OK\r\n\r\n" + JSON, TOKEN),
    "an empty line before the status": (b"\r\n" + whole(), TOKEN),
}


def outcome(send: Sender, url: str, timeout: float = 5.0) -> object:
    endpoint = TokenEndpoint(url, client_id="me", send=send, timeout=timeout)
    try:
        token = endpoint(Token("old", "its-old-refresh-token"))
    except RefreshFailure as failure:
        return "a leak" if "its-old-refresh-token" in failure.verdict.detail else failure.verdict.kind
    return TOKEN if token.reveal_refresh_token() == "its-refresh-token" else "another token"


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_is_judged_by_what_it_means(case: str, sender_for: SenderFor, raw_server: Start) -> None:
    answer, expected = ANSWERS[case]
    server = raw_server(answering(answer))
    assert outcome(sender_for(f"{server.origin}/token"), f"{server.origin}/token") == expected
    assert server.connections == 1


COOKIES = OK + b"Set-Cookie: rt=its-next\r\nSet-Cookie: at=the-next\r\n"
HALF_BODIES = {
    "cut": COOKIES + b"Content-Length: 99\r\n\r\n%s",
    "too large": COOKIES + b"\r\n%s" + b" " * (1024 * 1024),
    "in a chunk": COOKIES + b"Transfer-Encoding: chunked\r\n\r\n50\r\n%s",
}


@pytest.mark.parametrize("case", HALF_BODIES)
@pytest.mark.parametrize("half", [b'{"access_token": "hal', b"a-bare-token-of-some-le"])
def test_tokens_in_cookies_have_come_whatever_becomes_of_the_body(
    case: str, half: bytes, sender_for: SenderFor, raw_server: Start
) -> None:
    server = raw_server(answering(HALF_BODIES[case] % half))
    url = f"{server.origin}/refresh"

    def renewed(access: str) -> Token:
        cookies, fields = {"rt": "{refresh_token}"}, {"access_token": access}
        return JsonEndpoint(url, cookies=cookies, fields=fields, send=sender_for(url))(Token("old", "its-old"))

    token = renewed("cookie:at")
    assert (token.reveal(), token.reveal_refresh_token()) == ("the-next", "its-next")
    for in_the_body in ("access_token", "."):
        with pytest.raises(RefreshFailure) as raised:
            renewed(in_the_body)
        found = raised.value.verdict
        assert (found.kind, found.kept) == (FailureKind.UNUSABLE, Secret("its-next"))


def test_a_session_survives_an_answer_that_broke_off_behind_its_cookie(
    sender_for: SenderFor, raw_server: Start
) -> None:
    """Each refresh token is sent once, as a server that rotates demands."""
    answers = iter([b'Content-Length: 99\r\n\r\n{"access_token": "hal', b'\r\n{"access_token": "the-next"}'])
    numbers = iter(["two", "three"])

    def rotating(connection: socket.socket, stop: threading.Event) -> None:
        requests.append(read_request(connection))
        connection.sendall(OK + f"Set-Cookie: rt={next(numbers)}\r\n".encode() + next(answers))

    requests: list[bytes] = []
    url = f"{raw_server(rotating).origin}/refresh"
    endpoint = JsonEndpoint(url, cookies={"rt": "{refresh_token}"}, send=sender_for(url))
    first = {"access_token": "first", "refresh_token": "one", "expires_at": time.time() - 60.0}
    with Credential("cookie", endpoint, token=first) as credential:
        with pytest.raises(RefreshProtocolError):
            credential.token()
        token = credential.retry()
    assert (token.reveal(), token.reveal_refresh_token()) == ("the-next", "three")
    assert [found[0] for found in (re.findall(rb"rt=([a-z]+)", one) for one in requests)] == [b"one", b"two"]


def test_half_an_answer_that_deletes_the_cookie_proves_no_end(sender_for: SenderFor, raw_server: Start) -> None:
    server = raw_server(answering(OK + b"Set-Cookie: rt=; Max-Age=0\r\nContent-Length: 99\r\n\r\n"))
    url = f"{server.origin}/refresh"
    with pytest.raises(RefreshFailure) as raised:
        JsonEndpoint(url, cookies={"rt": "{refresh_token}"}, send=sender_for(url))(Token("old", "its-old"))
    assert raised.value.verdict.kind is LOST


@pytest.mark.parametrize(
    "flood",
    [HINTS * LARGEST_HEAD, (b"HTTP/1.1 103 x\r\nX: " + b"x" * (LARGEST_HEAD // 4) + b"\r\n\r\n") * 80],
    ids=["many", "large"],
)
def test_interim_answers_come_to_an_end(flood: bytes, sender_for: SenderFor, raw_server: Start) -> None:
    """They are bounded by their size, and not by the time alone."""
    server = raw_server(answering(flood + whole()))
    assert outcome(sender_for(f"{server.origin}/token"), f"{server.origin}/token", timeout=60.0) == LOST


def test_a_server_that_answers_before_it_has_read_is_heard(sender_for: SenderFor, raw_server: Start) -> None:
    def behave(connection: Any, stop: Any) -> None:
        connection.recv(10)
        connection.sendall(whole(status=b"413 No", body=b"{}"))

    server = raw_server(behave)
    assert outcome(sender_for(f"{server.origin}/token"), f"{server.origin}/token") != FailureKind.REFRESHER


@pytest.mark.seconds
@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000, HINTS * 5000, b"HTTP/1.1 2000 OK\r\n\r\n"]
)
def test_a_proxy_that_sends_without_an_end_sent_nothing(
    answer: bytes, sender_for: SenderFor, raw_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = raw_server(answering(answer))
    monkeypatch.setenv("HTTPS_PROXY", proxy.origin)
    assert outcome(sender_for("https://login.example/token"), "https://login.example/token") == FailureKind.UNAVAILABLE
