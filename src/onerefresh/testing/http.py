"""A lean HTTP/1.1 server on loopback: a thread for each connection, requests in, responses out (RFC 9112)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO
from urllib.parse import parse_qsl

from onerefresh.locks import Lock

_LINE_LIMIT = 65536
_HEADER_LIMIT = 200
_BACKLOG = 1024
_BODYLESS = {204, 304}


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request. Its body has been read to the end and is not chunked. Header names are in lower case."""

    method: str
    path: str
    query_string: str
    version: str
    headers: dict[str, list[str]] = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """The first header of that name, which is given in lower case."""
        values = self.headers.get(name)
        return values[0] if values else None

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.query_string, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. A body that is not `bytes` is sent chunked, one chunk for each item."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterable[bytes] = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection without an answer."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Send this response head, then hand the connection to `talk`."""

    headers: tuple[tuple[str, str], ...]
    talk: Callable[[BinaryIO, Callable[[bytes], None]], None]


Application = Callable[[Request], Response | Drop | Upgrade]


class _Malformed(Exception):
    """The received bytes are no request that this server understands."""


class HttpServer:
    """Serves an application on 127.0.0.1, on a port that the system chooses, until `stop`.

    `_lock` guards the connections and the decision to stop.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.address: tuple[str, int] = self._listener.getsockname()
        self.url = f"http://{self.address[0]}:{self.address[1]}"
        self._lock = Lock()
        self._stopping = False
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._acceptor = threading.Thread(target=self._accept, name="onerefresh-testing-accept", daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Close every connection and wait for the threads."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        # A connection from here wakes the acceptor on every platform; closing the listener does so only on some.
        socket.create_connection(self.address).close()
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            open_now = dict(self._connections)
        for connection, thread in open_now.items():
            _shut(connection)
            thread.join(5)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with self._lock:
                if self._stopping:
                    connection.close()
                    return
                thread = threading.Thread(
                    target=self._serve, args=(connection,), name="onerefresh-testing-serve", daemon=True
                )
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as reader:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while self._exchange(connection, reader):
                    pass
                _shut(connection)
        except OSError:
            pass  # the client left, or the server is stopping; `with` has closed this end
        finally:
            with self._lock:
                del self._connections[connection]

    def _exchange(self, connection: socket.socket, reader: BinaryIO) -> bool:
        """Serve one request; whether the connection stays open."""
        try:
            request = _read_request(reader, connection.sendall)
        except _Malformed as problem:
            connection.sendall(_encode(Response(400, (("Connection", "close"),), str(problem).encode()), ""))
            return False
        if request is None:
            return False
        answer = self._application(request)
        if isinstance(answer, Drop):
            return False
        if isinstance(answer, Upgrade):
            connection.sendall(_head(101, answer.headers))
            answer.talk(reader, connection.sendall)
            return False
        keep = _keeps_open(request)
        if isinstance(answer.body, bytes):
            connection.sendall(_encode(answer, request.method))
            return keep
        if request.version == "HTTP/1.0":
            connection.sendall(_head(answer.status, answer.headers))
            for piece in answer.body:
                connection.sendall(piece)
            return False
        connection.sendall(_head(answer.status, (*answer.headers, ("Transfer-Encoding", "chunked"))))
        for piece in answer.body:
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        return keep


def _read_request(reader: BinaryIO, send: Callable[[bytes], None]) -> Request | None:
    """The next request; None where the client has closed the connection between requests."""
    first = reader.readline(_LINE_LIMIT)
    if not first:
        return None
    parts = first.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _Malformed("not an HTTP/1.1 request line")
    method, target, version = parts
    headers: dict[str, list[str]] = {}
    for _ in range(_HEADER_LIMIT):
        line = reader.readline(_LINE_LIMIT)
        if line in (b"\r\n", b"\n"):
            break
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or name != name.strip():
            raise _Malformed("a header line is damaged")
        headers.setdefault(name.lower(), []).append(value.strip())
    else:
        raise _Malformed("too many header lines")
    if headers.get("expect", [""])[0].lower() == "100-continue":
        send(b"HTTP/1.1 100 Continue\r\n\r\n")
    path, _, query_string = target.partition("?")
    return Request(method, path, query_string, version, headers, _read_body(reader, headers))


def _read_body(reader: BinaryIO, headers: dict[str, list[str]]) -> bytes:
    if headers.get("transfer-encoding", [""])[0].lower() == "chunked":
        return _read_chunks(reader)
    lengths = set(headers.get("content-length", ["0"]))
    if len(lengths) != 1 or not (length := lengths.pop()).isdigit():
        raise _Malformed("Content-Length is not a number")
    return _read_exactly(reader, int(length))


def _read_chunks(reader: BinaryIO) -> bytes:
    body = bytearray()
    while True:
        try:
            size = int(reader.readline(_LINE_LIMIT).partition(b";")[0], 16)
        except ValueError:
            raise _Malformed("a chunk has no size") from None
        if size == 0:
            break
        body += _read_exactly(reader, size)
        reader.readline(_LINE_LIMIT)
    while reader.readline(_LINE_LIMIT).strip():  # trailers
        pass
    return bytes(body)


def _read_exactly(reader: BinaryIO, size: int) -> bytes:
    content = reader.read(size)
    if len(content) < size:
        raise _Malformed("the body ended early")
    return content


def _encode(response: Response, method: str) -> bytes:
    assert isinstance(response.body, bytes)
    headers = response.headers
    if response.status not in _BODYLESS:
        headers = (*headers, ("Content-Length", str(len(response.body))))
    body = b"" if method == "HEAD" or response.status in _BODYLESS else response.body
    return _head(response.status, headers) + body


def _head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unregistered"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _keeps_open(request: Request) -> bool:
    wish = (request.header("connection") or "").lower()
    return wish == "keep-alive" if request.version == "HTTP/1.0" else wish != "close"


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other end has closed already
        connection.shutdown(socket.SHUT_RDWR)
