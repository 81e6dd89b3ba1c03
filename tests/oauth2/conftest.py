"""Servers that fail in each way that a connection can fail, on loopback."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from onerefresh.oauth2.address import Address
from onerefresh.oauth2.codec import TokenRequest, TokenResponse
from onerefresh.oauth2.send_httpx2 import Httpx2Sender
from onerefresh.oauth2.send_stdlib import StdlibSender

Behaviour = Callable[[socket.socket, threading.Event], None]


def read_request(connection: socket.socket) -> bytes:
    """One whole request: its headers, and as much body as they announce."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            return data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        part = connection.recv(65_536)
        if not part:
            break
        body += part
    return head + b"\r\n\r\n" + body


def answering(answer: bytes) -> Behaviour:
    """Reads the request, sends these bytes and closes."""

    def behave(connection: socket.socket, stop: threading.Event) -> None:
        read_request(connection)
        connection.sendall(answer)

    return behave


def resetting(connection: socket.socket, stop: threading.Event) -> None:
    read_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(connection: socket.socket, stop: threading.Event) -> None:
    read_request(connection)
    stop.wait()


def trickling(connection: socket.socket, stop: threading.Event) -> None:
    """Sends one header after the other, each well within any time-out for a single read, and never ends."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not stop.wait(0.05):
        connection.sendall(b"X-More: 1\r\n")


def half_then_silent(connection: socket.socket, stop: threading.Event) -> None:
    read_request(connection)
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"access_token": "half')
    stop.wait()


def mute_from_the_start(connection: socket.socket, stop: threading.Event) -> None:
    stop.wait()


def reset_in_handshake(connection: socket.socket, stop: threading.Event) -> None:
    connection.recv(100)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


BEHAVIOURS: dict[str, Behaviour] = {
    "closes": answering(b""),
    "resets": resetting,
    "silent": silent,
    "trickles": trickling,
    "half headers": answering(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half body": answering(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"access_token": "half'),
    "half chunk": answering(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{"access_token": "half'),
    "half then silent": half_then_silent,
    "garbage": answering(b"SSH-2.0-hello\r\n\r\n"),
    "broken gzip": answering(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde"),
    "mute": mute_from_the_start,
    "resets handshake": reset_in_handshake,
    "plain http": answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "proxy refuses": answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
}


class RawServer:
    """Listens on loopback and lets `behaviour` deal with each connection; counts them."""

    def __init__(self, behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self._behaviour, self._tls = behaviour, tls
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.origin = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stop.is_set():
                connection.close()
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client went away: that is what many of these tests are about
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._behaviour(connection, self._stop)
        connection.close()

    def stop(self) -> None:
        self._stop.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self._threads:
            thread.join()
        self._listener.close()


@pytest.fixture
def raw_server() -> Iterator[Callable[..., RawServer]]:
    """Starts servers with a behaviour, by its name or by a function."""
    with contextlib.ExitStack() as servers:

        def start(behaviour: str | Behaviour, tls: ssl.SSLContext | None = None) -> RawServer:
            server = RawServer(BEHAVIOURS[behaviour] if isinstance(behaviour, str) else behaviour, tls)
            servers.callback(server.stop)
            return server

        yield start


@pytest.fixture
def refused_port() -> Iterator[int]:
    """A port at which nobody listens, and nobody else will while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose queue is full: connecting to it takes for ever."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts unless told to."""
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """What a server needs to speak TLS as 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this process trust the authority, in the way that users do."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


Sender = Callable[[TokenRequest], TokenResponse]


@pytest.fixture(params=["httpx2", "stdlib"])
def sender_for(request: pytest.FixtureRequest) -> Callable[[str], Sender]:
    """Makes each of the two senders in turn, for a URL."""
    kind = Httpx2Sender if request.param == "httpx2" else StdlibSender
    return lambda url: kind(Address.parse(url))
