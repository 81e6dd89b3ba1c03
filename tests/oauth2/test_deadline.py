"""No server, proxy or host of many addresses holds a token request for longer than its `timeout`."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from tests.oauth2.conftest import RawServer, answering, read_request, silent

from onerefresh.oauth2 import TokenRequest, TokenResponse
from onerefresh.oauth2 import wire as wires
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.send_httpx2 import Httpx2Sender
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

pytestmark = pytest.mark.slow

Sender = Callable[[TokenRequest], TokenResponse]
SenderFor = Callable[[str], Sender]
Start = Callable[..., RawServer]
Behaviour = Callable[[socket.socket, threading.Event], None]

TIMEOUT = 0.6
LATE = 0.8
"""So much later a slow machine may notice it."""
PATIENCE = 2.5
"""So long the servers of these tests go on, at most."""
OK = b"HTTP/1.1 200 OK\r\n"
ANSWER = OK + b"Content-Length: 23\r\n\r\n" + b'{"access_token": "new"}'


def drip(connection: socket.socket, stop: threading.Event, text: bytes) -> None:
    """Send byte after byte, each in time for a wait that begins anew with each."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and not stop.wait(0.03):
        connection.sendall(text[:1])
        text = text[1:] + text[:1]


def dripping(text: bytes, first: bytes = b"") -> Behaviour:
    def behave(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(first)
        drip(connection, stop, text)

    return behave


def dripping_handshake(connection: socket.socket, stop: threading.Event) -> None:
    connection.recv(65_536)
    connection.sendall(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb")  # the beginning of a long ServerHello
    drip(connection, stop, b"\x03\x03")


def tunnel_then(then: Behaviour) -> Behaviour:
    def behave(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        then(connection, stop)

    return behave


def verdict_of(send: Sender, url: str, timeout: float = TIMEOUT) -> Verdict:
    """The failure, which came in time."""
    begun = time.monotonic()
    with pytest.raises(RefreshFailure) as caught:
        send(TokenRequest(url, {"Connection": "close"}, b"grant_type=refresh_token", timeout))
    assert time.monotonic() - begun < timeout + LATE
    return caught.value.verdict


SENT = {
    "an interim answer": dripping(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a status": dripping(b"0", b"HTTP/1.1 20"),
    "headers": dripping(b"X-More: 1\r\n", OK),
    "a body": dripping(b" ", OK + b"Content-Length: 500000\r\n\r\n{"),
    "a body without a length": dripping(b" ", OK + b"\r\n{"),
    "chunks": dripping(b"1\r\n \r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n"),
    "a chunk's extension": dripping(b"x", OK + b"Transfer-Encoding: chunked\r\n\r\n1;"),
    "an answer in gzip": dripping(b"\x00", OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08"),
}


def all_at_once(verdicts: dict[str, Callable[[], Verdict]]) -> dict[str, Verdict]:
    with ThreadPoolExecutor(len(verdicts)) as threads:
        begun = {name: threads.submit(verdict) for name, verdict in verdicts.items()}
    return {name: done.result() for name, done in begun.items()}


def from_servers(sender_for: SenderFor, raw_server: Start) -> dict[str, Verdict]:
    urls = {name: raw_server(behaviour).origin + "/token" for name, behaviour in SENT.items()}
    return all_at_once({name: partial(verdict_of, sender_for(url), url) for name, url in urls.items()})


def test_a_server_that_drips(sender_for: SenderFor, raw_server: Start) -> None:
    said = Verdict(FailureKind.NO_ANSWER, "the token request was sent, but not answered within 0.6 s")
    assert from_servers(sender_for, raw_server) == dict.fromkeys(SENT, said)


def test_a_server_that_drips_while_the_interpreter_ends(
    sender_for: SenderFor, raw_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread can start any more, and so no alarm rings."""

    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(wires, "Alarm", no_thread)
    verdicts = from_servers(sender_for, raw_server)
    assert {verdict.kind for verdict in verdicts.values()} == {FailureKind.NO_ANSWER}


def test_a_whole_answer_in_front_of_a_dripping_end_is_taken(sender_for: SenderFor, raw_server: Start) -> None:
    url = raw_server(dripping(b" ", OK + b'\r\n{"access_token": "new"}')).origin + "/token"
    begun = time.monotonic()
    answer = sender_for(url)(TokenRequest(url, {}, b"", TIMEOUT))
    assert answer.body.strip() == b'{"access_token": "new"}'
    assert time.monotonic() - begun < TIMEOUT + LATE


def test_a_handshake_that_drips(sender_for: SenderFor, raw_server: Start) -> None:
    url = raw_server(dripping_handshake).origin.replace("http:", "https:") + "/token"
    assert verdict_of(sender_for(url), url).kind is FailureKind.UNAVAILABLE


PROXIES = {
    "status": dripping(b"0", b"HTTP/1.1 20"),
    "headers": dripping(b"X-More: 1\r\n", OK),
    "interim": dripping(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "handshake": tunnel_then(dripping_handshake),
    "nothing": tunnel_then(silent),
}


def proxy(connection: socket.socket, stop: threading.Event) -> None:
    """Drips in the way that the name of the host asks for."""
    asked = read_request(connection).partition(b" ")[2].partition(b".")[0].decode()
    PROXIES[asked](connection, stop)


def through_a_proxy(sender_for: SenderFor, timeout: float) -> set[FailureKind]:
    urls = {name: f"https://{name}.example/token" for name in PROXIES}
    verdicts = all_at_once({name: partial(verdict_of, sender_for(url), url, timeout) for name, url in urls.items()})
    return {verdict.kind for verdict in verdicts.values()}


def test_a_proxy_that_drips(sender_for: SenderFor, raw_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", raw_server(proxy).origin)
    assert through_a_proxy(sender_for, TIMEOUT) == {FailureKind.UNAVAILABLE}


@pytest.mark.usefixtures("trusted")
def test_a_proxy_that_drips_over_tls(raw_server: Start, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", raw_server(proxy, tls).origin)
    two_handshakes = 1.2
    assert through_a_proxy(lambda url: Httpx2Sender(Address.parse(url)), two_handshakes) == {FailureKind.UNAVAILABLE}


# --- Hosts of several addresses ---


def addresses(monkeypatch: pytest.MonkeyPatch, *found: tuple[str, int]) -> None:
    """``many.example`` has these addresses, each with a port of its own for the test."""
    real = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **named: Any) -> Any:
        if host != "many.example":
            return real(host, *rest, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def swallowing_port() -> Iterator[int]:
    """A port at which each address of this machine lets a connection wait for ever."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


def sender_without_checks(sender_for: SenderFor, url: str) -> Sender:
    send = sender_for(url.replace("many.example", "127.0.0.1"))
    send._address = Address.parse(url, allow_unencrypted_http=True)  # type: ignore[attr-defined]
    return send


def test_a_host_of_many_addresses(sender_for: SenderFor, swallowing_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses(monkeypatch, *((f"127.0.0.{number}", swallowing_port) for number in range(1, 13)))
    url = f"http://many.example:{swallowing_port}/token"
    assert verdict_of(sender_without_checks(sender_for, url), url).kind is FailureKind.UNAVAILABLE


def two_of_one_port(first: str, second: str) -> tuple[socket.socket, socket.socket]:
    """Sockets that are bound to one port of both addresses. Something else may have the port at the second one."""
    for _ in range(100):
        one, other = socket.socket(), socket.socket()
        one.bind((first, 0))
        with contextlib.suppress(OSError):
            other.bind((second, one.getsockname()[1]))
            return one, other
        one.close()
        other.close()
    raise AssertionError("no port is free at both addresses")


def test_an_address_that_swallows_connections_leaves_time_for_the_next(
    sender_for: SenderFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as sockets:
        full, listener = (sockets.enter_context(one) for one in two_of_one_port("127.0.0.2", "127.0.0.1"))
        full.listen(0)
        listener.listen()
        port = full.getsockname()[1]
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.2", port))

        def serve() -> None:
            connection, _ = listener.accept()
            answering(ANSWER)(connection, threading.Event())
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        addresses(monkeypatch, ("127.0.0.2", port), ("127.0.0.1", port))
        url = f"http://many.example:{port}/token"
        answer = sender_without_checks(sender_for, url)(TokenRequest(url, {}, b"", 1.0))
        thread.join()
    assert answer.body == b'{"access_token": "new"}'
