"""Sends a token request with the standard library: one connection, one request, one answer."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from io import BufferedReader
from socket import socket
from urllib.parse import unquote, urlsplit

from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.codec import TokenRequest, TokenResponse
from onerefresh.oauth2.wire import Body, Wire, password_of, proxy_for
from onerefresh.stores.forking import load_modules
from onerefresh.token import Secret
from onerefresh.verdict import RefreshFailure

__all__ = ["StdlibSender"]


class StdlibSender:
    """`http.client`, which follows no redirects and keeps no cookies; through an ``http://`` proxy where one is set."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._tls: ssl.SSLContext | None = None
        self._proxy: Secret | None = None

    def prepare(self) -> None:
        """Load the certificate authorities, which takes long the first time.

        Raises `ConfigurationError` for a proxy that cannot be used; httpx2 knows more kinds.
        """
        load_modules("encodings.idna")
        self._proxy = proxy_for(self._address, ("http",))
        if self._tls is None and self._address.scheme == "https":
            self._tls = ssl.create_default_context()

    def __call__(self, request: TokenRequest) -> TokenResponse:
        """Raises `RefreshFailure` where there is no answer."""
        self.prepare()
        wire = Wire(request.timeout, request.hidden.knowing(password_of(self._proxy)))
        connection = self._connection(wire.connect_timeout)
        try:
            return _exchange(connection, self._address.target, request, wire)
        except (OSError, HTTPException, RefreshFailure) as error:
            verdict = wire.failure(error)
        finally:
            connection.close()
            wire.close()
        # Raised here, so that nothing refers to the exception: some hold a part of the answer.
        raise RefreshFailure(verdict)

    def _connection(self, timeout: float) -> HTTPConnection:
        connection = self._to_host(timeout)
        connection.response_class = _WholeResponse
        return connection

    def _to_host(self, timeout: float) -> HTTPConnection:
        to = self._address
        if to.scheme == "http":
            return HTTPConnection(to.host, to.port, timeout=timeout)
        if self._proxy is None:
            return HTTPSConnection(to.host, to.port, timeout=timeout, context=self._tls)
        host, port = _host_of(self._proxy)
        tunnel = HTTPSConnection(host, port, timeout=timeout, context=self._tls)
        tunnel.set_tunnel(to.host, to.port, _proxy_headers(self._proxy))
        return tunnel


def _exchange(connection: HTTPConnection, target: str, request: TokenRequest, wire: Wire) -> TokenResponse:
    connection.set_debuglevel(0)  # the module's own debug output would print the request
    connection.connect()
    connection.auto_open = 0  # a connection that is lost is not opened again: that would send twice
    connection.sock.settimeout(request.timeout)
    wire.sending(connection.sock)
    connection.request("POST", target, body=request.body, headers=request.headers)
    body = Body()
    with connection.getresponse() as response:
        headers = {name.lower(): ", ".join(response.headers.get_all(name, [])) for name in response.headers}
        read: Callable[[], bytes] = lambda: response.read(65_536)  # noqa: E731 - iter() wants a callable in place
        body.read(iter(read, b""))
        if response.length:  # what is still missing; reading in parts does not complain about it
            raise IncompleteRead(b"", response.length)
        status = response.status
    return TokenResponse(status, headers, body.decoded(headers.get("content-encoding", "")))


class _WholeLines(BufferedReader):
    """Lines that end: `http.client` takes headers that break off for complete ones."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n"):
            raise IncompleteRead(b"")
        return line


class _WholeResponse(HTTPResponse):
    def __init__(self, sock: socket, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.fp = _WholeLines(self.fp.detach())


def _host_of(proxy: Secret) -> tuple[str, int]:
    try:
        host, port = urlsplit(proxy.reveal()).hostname, urlsplit(proxy.reveal()).port
    except ValueError:
        host = port = None
    if not host:
        raise ConfigurationError("the environment names a proxy that cannot be used: write it as http://host:port")
    return host, port or 80


def _proxy_headers(proxy: Secret) -> dict[str, str]:
    """HTTP Basic for a proxy URL that holds a user name (RFC 7617)."""
    name = urlsplit(proxy.reveal()).username
    if name is None:
        return {}
    pair = Secret(f"{unquote(name)}:{unquote(urlsplit(proxy.reveal()).password or '')}")
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.reveal().encode()).decode()}
