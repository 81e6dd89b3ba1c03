"""Sends a token request with the standard library: one connection, one request, one answer."""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import ssl
from urllib.parse import unquote, urlsplit

from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.codec import TokenRequest, TokenResponse
from onerefresh.oauth2.http_answer import Incoming, read_head
from onerefresh.oauth2.wire import RequestDeadline, password_of, proxy_for
from onerefresh.secret import Secret
from onerefresh.stores.forking import load_modules
from onerefresh.verdict import RefreshFailure

__all__ = ["StdlibSender"]


class StdlibSender:
    """Uses HTTP/1.1 without redirects and cookies, through an ``http://`` proxy where one is set."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._tls: ssl.SSLContext | None = None
        self._proxy: Secret | None = None

    def prepare(self) -> None:
        """Load the certificate authorities, which takes long the first time.

        Raises `ConfigurationError` for a proxy that cannot be used; httpx2 supports more kinds.
        """
        load_modules("encodings.idna")
        self._proxy = proxy_for(self._address, ("http",))
        if self._proxy is not None:
            _host_of(self._proxy)
        if self._tls is None and self._address.scheme == "https":
            self._tls = ssl.create_default_context()

    def __call__(self, request: TokenRequest) -> TokenResponse:
        """Send the request and return the answer. Raises `RefreshFailure` where there is none."""
        self.prepare()
        wire = RequestDeadline(request.timeout, request.hidden.knowing(password_of(self._proxy)))
        link = _Link(wire)
        try:
            self._connect(link)
            return _exchange(link, self._address, request)
        except Exception as error:  # noqa: BLE001 - whatever it is, `wire` knows whether the request was sent
            verdict = wire.failure(error)
        finally:
            link.close()
            wire.close()
        # Raised here, so that nothing refers to the exception, which may hold a part of the answer.
        raise RefreshFailure(verdict)

    def _connect(self, link: _Link) -> None:
        to = self._address
        if self._proxy is None:
            link.connect(to.host, to.port)
        else:
            link.connect(*_host_of(self._proxy))
            _tunnel(link, to, self._proxy)
        if self._tls is not None:
            link.secure(self._tls, to.host)


class _Link:
    """A connection on which no wait is longer than the time that is left."""

    def __init__(self, wire: RequestDeadline) -> None:
        self.wire = wire
        self._socket: socket.socket | None = None

    @property
    def _open(self) -> socket.socket:
        assert self._socket is not None
        self._socket.settimeout(self.wire.left())
        return self._socket

    def connect(self, host: str, port: int) -> None:
        def to_address(address: str, port: int, seconds: float) -> socket.socket:
            self._socket = socket.create_connection((address, port), seconds)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._socket

        self.wire.connect(host, port, to_address)

    def secure(self, tls: ssl.SSLContext, host: str) -> None:
        self._socket = tls.wrap_socket(self._open, server_hostname=host)

    def send(self, *parts: bytes) -> None:
        self._open.sendall(b"".join(parts))

    def receive(self, most: int) -> bytes:
        return self.wire.received(self._open.recv(most))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def _tunnel(link: _Link, to: Address, proxy: Secret) -> None:
    """Let the proxy connect to the token endpoint (RFC 9110 section 9.3.6)."""
    target = f"[{to.host}]:{to.port}" if ":" in to.host else f"{to.host}:{to.port}"
    link.send(_head("CONNECT", target, {"Host": target, **_proxy_headers(proxy)}))
    status = read_head(io.BufferedReader(Incoming(link.receive), 1)).status  # byte by byte: the rest is the host's
    if not 200 <= status < 300:
        raise OSError(f"the proxy answered {status}")


def _exchange(link: _Link, to: Address, request: TokenRequest) -> TokenResponse:
    headers = {"Host": to.authority, **request.framing, **request.headers}
    link.wire.sending()
    with contextlib.suppress(ConnectionError):  # a server may answer and close before it has read everything
        link.send(_head(request.method, request.target, headers), request.body)
    return link.wire.answer(link.receive)


def _head(method: str, target: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header contains a line break")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _host_of(proxy: Secret) -> tuple[str, int]:
    try:
        host, port = urlsplit(proxy.reveal()).hostname, urlsplit(proxy.reveal()).port
    except ValueError:
        host = port = None
    if not host:
        raise ConfigurationError("the environment sets a proxy that cannot be used: write it as http://host:port")
    return host, port or 80


def _proxy_headers(proxy: Secret) -> dict[str, str]:
    """HTTP Basic for a proxy URL that holds a user name (RFC 7617)."""
    name = urlsplit(proxy.reveal()).username
    if name is None:
        return {}
    pair = Secret(f"{unquote(name)}:{unquote(urlsplit(proxy.reveal()).password or '')}")
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.reveal().encode()).decode()}
