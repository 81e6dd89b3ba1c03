"""The two senders: the same behaviour, on real sockets."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import ssl
import sys
import threading
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.package import PACKAGE

from onerefresh.errors import ConfigurationError
from onerefresh.oauth2 import TokenEndpoint, TokenRequest, TokenResponse
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.send_httpx2 import Httpx2Sender
from onerefresh.oauth2.send_stdlib import StdlibSender
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

pytestmark = pytest.mark.slow

SECRET = "refresh-token-of-the-test"
Sender = Callable[[TokenRequest], TokenResponse]
SenderFor = Callable[[str], Sender]
Start = Callable[..., Any]


def request_to(url: str, timeout: float = 5.0) -> TokenRequest:
    body = f"grant_type=refresh_token&refresh_token={SECRET}".encode()
    return TokenRequest(url, {"Content-Type": "application/x-www-form-urlencoded"}, body, timeout)


def failure_of(send: Sender, url: str, timeout: float = 5.0) -> Verdict:
    with pytest.raises(RefreshFailure) as caught:
        send(request_to(url, timeout))
    seen = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    frames = seen[seen.index(str(PACKAGE)) :] if str(PACKAGE) in seen else seen
    assert SECRET not in frames
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert SECRET not in caught.value.verdict.detail
    return caught.value.verdict


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer_with(answer: bytes, seen: list[bytes] | None = None) -> Callable[[socket.socket, threading.Event], None]:
    def behave(connection: socket.socket, stop: threading.Event) -> None:
        data = b""
        while not data.endswith(SECRET.encode()):
            data += connection.recv(65_536)
        if seen is not None:
            seen.append(data)
        connection.sendall(answer)

    return behave


@pytest.mark.parametrize(
    "behaviour", ["closes", "resets", "half headers", "half body", "half chunk", "garbage", "broken gzip"]
)
def test_a_request_whose_answer_is_lost_may_have_been_processed(
    behaviour: str, sender_for: SenderFor, raw_server: Start
) -> None:
    server = raw_server(behaviour)
    url = f"{server.origin}/token"
    assert failure_of(sender_for(url), url).kind is FailureKind.NO_ANSWER
    assert server.connections == 1


@pytest.mark.parametrize("behaviour", ["silent", "trickles", "half then silent"])
def test_no_server_can_hold_a_request_longer_than_its_time(
    behaviour: str, sender_for: SenderFor, raw_server: Start
) -> None:
    server = raw_server(behaviour)
    url = f"{server.origin}/token"
    verdict = failure_of(sender_for(url), url, timeout=1.0)
    assert verdict == Verdict(FailureKind.NO_ANSWER, "the token request was sent, but not answered within 1 s")
    assert server.connections == 1


def test_a_refused_connection_sent_nothing(sender_for: SenderFor, refused_port: int) -> None:
    url = f"http://127.0.0.1:{refused_port}/token"
    assert failure_of(sender_for(url), url).kind is FailureKind.UNAVAILABLE


def test_a_connection_that_takes_too_long_sent_nothing(sender_for: SenderFor, full_port: int) -> None:
    url = f"http://127.0.0.1:{full_port}/token"
    assert failure_of(sender_for(url), url, timeout=0.4).kind is FailureKind.UNAVAILABLE


def test_a_name_that_nobody_knows_sent_nothing(sender_for: SenderFor) -> None:
    url = "https://nothing.invalid/token"
    assert failure_of(sender_for(url), url).kind is FailureKind.UNAVAILABLE


@pytest.mark.parametrize("behaviour", ["mute", "resets handshake", "plain http"])
def test_a_failed_tls_handshake_sent_nothing(behaviour: str, sender_for: SenderFor, raw_server: Start) -> None:
    url = raw_server(behaviour).origin.replace("http:", "https:") + "/token"
    assert failure_of(sender_for(url), url, timeout=1.0).kind is FailureKind.UNAVAILABLE


def test_an_untrusted_certificate_gets_nothing(sender_for: SenderFor, raw_server: Start, tls: ssl.SSLContext) -> None:
    seen: list[bytes] = []
    server = raw_server(answer_with(http(b"{}"), seen), tls)
    verdict = failure_of(sender_for(f"{server.origin}/token"), f"{server.origin}/token")
    assert verdict.kind is FailureKind.UNAVAILABLE
    assert "certificate" in verdict.detail.lower()
    assert seen == []


@pytest.mark.usefixtures("trusted")
def test_a_trusted_certificate_gets_the_request(sender_for: SenderFor, raw_server: Start, tls: ssl.SSLContext) -> None:
    url = raw_server(answer_with(http(b'{"access_token": "a"}')), tls).origin + "/token"
    assert sender_for(url)(request_to(url)).body == b'{"access_token": "a"}'


@pytest.mark.usefixtures("trusted")
def test_a_server_that_goes_silent_behind_tls_is_left_in_time(
    sender_for: SenderFor, raw_server: Start, tls: ssl.SSLContext
) -> None:
    url = raw_server("trickles", tls).origin + "/token"
    assert failure_of(sender_for(url), url, timeout=1.5).kind is FailureKind.NO_ANSWER


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect"])
def test_redirects_are_not_followed(status: str, sender_for: SenderFor, raw_server: Start) -> None:
    other = raw_server("closes")
    server = raw_server(answer_with(http(b"", f"Location: {other.origin}/new?x=1", status=status)))
    url = f"{server.origin}/token"
    answer = sender_for(url)(request_to(url))
    assert answer.status == int(status[:3])
    assert answer.headers["location"] == f"{other.origin}/new?x=1"
    assert (server.connections, other.connections) == (1, 0)


def test_cookies_are_not_kept(sender_for: SenderFor, raw_server: Start) -> None:
    seen: list[bytes] = []
    server = raw_server(answer_with(http(b"{}", "Set-Cookie: session=1; Path=/"), seen))
    url = f"{server.origin}/token"
    send = sender_for(url)
    send(request_to(url))
    send(request_to(url))
    assert len(seen) == 2
    assert not any(b"cookie" in request.lower() for request in seen)


def test_a_netrc_file_does_not_replace_the_authorization_header(
    sender_for: SenderFor, raw_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen: list[bytes] = []
    server = raw_server(answer_with(http(b"{}"), seen))
    url = f"{server.origin}/token"
    sent = request_to(url)
    sender_for(url)(TokenRequest(url, {**sent.headers, "Authorization": "Basic bWU6bWU="}, sent.body, 5.0))
    assert seen[0].lower().count(b"authorization:") == 1
    assert b"basic bwu6bwu=" in seen[0].lower()


def test_the_query_of_the_url_is_kept(sender_for: SenderFor, raw_server: Start) -> None:
    seen: list[bytes] = []
    server = raw_server(answer_with(http(b"{}"), seen))
    url = f"{server.origin}/token?tenant=a%20b&p=B2C_1"
    sender_for(url)(request_to(url))
    assert seen[0].startswith(b"POST /token?tenant=a%20b&p=B2C_1 HTTP/1.1\r\n")


def test_an_answer_of_more_than_a_mebibyte_is_not_read(sender_for: SenderFor, raw_server: Start) -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n" + b" " * 3_000_000
    server = raw_server(answer_with(endless))
    verdict = failure_of(sender_for(f"{server.origin}/token"), f"{server.origin}/token")
    assert verdict == Verdict(FailureKind.NO_ANSWER, "the token endpoint's answer is larger than 1 MiB")


def test_a_small_answer_that_unpacks_to_a_large_one_is_not_unpacked(sender_for: SenderFor, raw_server: Start) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    server = raw_server(answer_with(http(bomb, "Content-Encoding: gzip")))
    verdict = failure_of(sender_for(f"{server.origin}/token"), f"{server.origin}/token")
    assert verdict == Verdict(FailureKind.NO_ANSWER, "the token endpoint's answer cannot be decoded")


@pytest.mark.parametrize("encoding", ["gzip", "identity", "deflate"])
def test_an_encoded_answer_is_read_though_none_was_asked_for(
    encoding: str, sender_for: SenderFor, raw_server: Start
) -> None:
    plain = b'{"access_token": "a"}'
    encoded = {"gzip": gzip.compress(plain), "identity": plain, "deflate": zlib.compress(plain)}[encoding]
    server = raw_server(answer_with(http(encoded, f"Content-Encoding: {encoding}")))
    answer = sender_for(f"{server.origin}/token")(request_to(f"{server.origin}/token"))
    assert json.loads(answer.body) == {"access_token": "a"}


def test_an_answer_in_chunks_is_put_together(sender_for: SenderFor, raw_server: Start) -> None:
    chunks = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n3\r\n 1}\r\n0\r\n\r\n'
    server = raw_server(answer_with(chunks))
    assert sender_for(f"{server.origin}/token")(request_to(f"{server.origin}/token")).body == b'{"a": 1}'


def test_the_answer_has_its_date(sender_for: SenderFor, raw_server: Start) -> None:
    """It shows whose clock is off."""
    server = raw_server(answer_with(http(b"{}", "Date: Fri, 15 Jan 2027 08:00:00 GMT", "Age: 7")))
    answer = sender_for(f"{server.origin}/token")(request_to(f"{server.origin}/token"))
    assert (answer.headers["date"], answer.headers["age"]) == ("Fri, 15 Jan 2027 08:00:00 GMT", "7")


def test_no_thread_and_no_connection_is_left(sender_for: SenderFor, raw_server: Start) -> None:
    server = raw_server(answer_with(http(b"{}")))
    before = set(threading.enumerate())
    url = f"{server.origin}/token"
    sender_for(url)(request_to(url))
    left = [thread for thread in set(threading.enumerate()) - before if isinstance(thread, threading.Timer)]
    assert left == []


def test_a_debug_log_holds_no_secret(
    sender_for: SenderFor, raw_server: Start, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    server = raw_server(answer_with(http(b'{"access_token": "access-token-of-the-test"}')))
    url = f"{server.origin}/token"
    sender_for(url)(request_to(url))
    printed = "".join(capfd.readouterr()) + caplog.text
    assert SECRET not in printed
    assert "access-token-of-the-test" not in printed


def test_http_clients_own_debug_output_holds_no_secret(
    raw_server: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("http.client.HTTPConnection.debuglevel", 1)
    server = raw_server(answer_with(http(b"{}")))
    url = f"{server.origin}/token"
    StdlibSender(Address.parse(url))(request_to(url))
    assert SECRET not in capsys.readouterr().out


class TestProxies:
    """A proxy of the environment serves for https, and sees nothing but the host."""

    @pytest.fixture
    def proxied(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        return lambda proxy: monkeypatch.setenv("HTTPS_PROXY", proxy)

    @pytest.mark.usefixtures("trusted")
    def test_the_request_goes_through_the_tunnel(
        self,
        sender_for: SenderFor,
        raw_server: Start,
        proxied: Callable[[str], None],
        authority: Any,
    ) -> None:
        inner = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("login.example").configure_cert(inner)
        seen: list[bytes] = []

        def proxy(connection: socket.socket, stop: threading.Event) -> None:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65_536)
            seen.append(head)
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with inner.wrap_socket(connection, server_side=True) as secured:
                answer_with(http(b'{"access_token": "a"}'), seen)(secured, stop)

        proxied(f"http://me:p%40ss@127.0.0.1:{raw_server(proxy).port}")
        url = "https://login.example/token"
        assert sender_for(url)(request_to(url)).body == b'{"access_token": "a"}'
        assert seen[0].startswith(b"CONNECT login.example:443 ")
        assert b"Basic bWU6cEBzcw==" in seen[0]
        assert SECRET.encode() not in seen[0]
        assert seen[1].startswith(b"POST /token HTTP/1.1\r\n")

    @pytest.mark.parametrize("behaviour", ["proxy refuses", "closes", "resets", "half headers"])
    def test_a_proxy_that_fails_sent_nothing(
        self, behaviour: str, sender_for: SenderFor, raw_server: Start, proxied: Callable[[str], None]
    ) -> None:
        proxied(f"http://me:password-of-the-proxy@127.0.0.1:{raw_server(behaviour).port}")
        verdict = failure_of(sender_for("https://login.example/token"), "https://login.example/token")
        assert verdict.kind is FailureKind.UNAVAILABLE
        assert "password-of-the-proxy" not in verdict.detail

    def test_loopback_goes_past_the_proxy(
        self, sender_for: SenderFor, raw_server: Start, proxied: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy = raw_server("closes")
        proxied(proxy.origin)
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        monkeypatch.setenv("ALL_PROXY", proxy.origin)
        url = raw_server(answer_with(http(b"{}"))).origin + "/token"
        assert sender_for(url)(request_to(url)).status == 200
        assert proxy.connections == 0

    def test_no_proxy_is_heeded(
        self, sender_for: SenderFor, raw_server: Start, proxied: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy = raw_server("closes")
        proxied(proxy.origin)
        monkeypatch.setenv("NO_PROXY", "nothing.invalid")
        failure_of(sender_for("https://nothing.invalid/token"), "https://nothing.invalid/token")
        assert proxy.connections == 0

    @pytest.mark.parametrize("proxy", ["gopher://127.0.0.1:1", "socks4://127.0.0.1:1"])
    def test_a_proxy_that_cannot_be_used_is_a_configuration_error(
        self, proxy: str, sender_for: SenderFor, proxied: Callable[[str], None]
    ) -> None:
        proxied(proxy)
        with pytest.raises(ConfigurationError, match="sets a proxy that cannot be used"):
            sender_for("https://login.example/token")(request_to("https://login.example/token"))


def test_httpx2_sends_where_it_is_installed() -> None:
    endpoint = TokenEndpoint("https://a.example/token", client_id="me")
    endpoint.prepare()
    assert isinstance(endpoint._send, Httpx2Sender)


def test_the_standard_library_sends_where_httpx2_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, raw_server: Start
) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    url = raw_server("closes").origin + "/token"
    endpoint = TokenEndpoint(url, client_id="me")
    endpoint.prepare()
    assert isinstance(endpoint._send, StdlibSender)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "POST"])
def test_other_methods_and_the_cookies_of_the_answer(sender_for: SenderFor, raw_server: Start, method: str) -> None:
    cookies = ("a=1; Expires=Wed, 30 Dec 2026 07:00:00 GMT; Path=/", "b=2")
    seen = b""

    def behave(connection: socket.socket, stop: threading.Event) -> None:
        nonlocal seen
        part = connection.recv(65_536)
        while part and not (seen + part).endswith((b"\r\n\r\n", b"{}")):
            seen, part = seen + part, connection.recv(65_536)
        seen += part
        lines = "".join(f"Set-Cookie: {cookie}\r\n" for cookie in cookies)
        connection.sendall(f"HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\n{{}}".encode())

    url = f"{raw_server(behave).origin}/a%2Fb?token={SECRET}"
    body = b"" if method in ("GET", "DELETE") else b"{}"
    answer = sender_for(url)(TokenRequest(url, {"Connection": "close", "Cookie": "rt=x"}, body, 5.0, method=method))
    assert (answer.status, tuple(answer.cookies), answer.body) == (200, cookies, b"{}")
    assert seen.startswith(f"{method} /a%2Fb?token={SECRET} HTTP/1.1\r\n".encode())
    assert (b"content-length" in seen.lower()) is bool(body)
    assert b"Cookie: rt=x\r\n" in seen
    assert SECRET not in repr(TokenRequest(url, {}, b"", 5.0))


def test_a_redirect_gets_no_token(sender_for: SenderFor, raw_server: Start) -> None:
    def other(connection: socket.socket, stop: threading.Event) -> None:
        connection.recv(65_536)

    elsewhere = raw_server(other)

    def behave(connection: socket.socket, stop: threading.Event) -> None:
        connection.recv(65_536)
        place = f"{elsewhere.origin}/x"
        connection.sendall(f"HTTP/1.1 307 Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())

    url = f"{raw_server(behave).origin}/?token={SECRET}"
    assert sender_for(url)(TokenRequest(url, {}, b"", 5.0, method="GET")).status == 307
    assert elsewhere.connections == 0
