"""Sends a token request with httpx2's own HTTP engine: one connection, one request, one answer."""

from __future__ import annotations

import contextlib
import importlib.util
import ssl
from collections.abc import Iterable
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.codec import TokenRequest, TokenResponse
from onerefresh.oauth2.wire import RequestDeadline, password_of, proxy_for
from onerefresh.secret import Secret
from onerefresh.stores.forking import fork_lock, load_modules
from onerefresh.verdict import RefreshFailure

__all__ = ["Httpx2Sender"]

Stream: TypeAlias = Any
"""A `httpcore2.NetworkStream`."""


class Httpx2Sender:
    """Uses httpcore2, the engine of httpx2: no redirects, cookies, netrc or retries."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._tls: ssl.SSLContext | None = None
        self._proxy: Secret | None = None

    def prepare(self) -> None:
        """Import httpx2 and load the certificate authorities, which takes long the first time.

        Raises `ConfigurationError` for a proxy that cannot be used.
        """
        load_modules("httpx2", "httpcore2", "encodings.idna")
        import httpx2

        socks = ("socks5", "socks5h") if importlib.util.find_spec("socksio") else ()
        self._proxy = proxy_for(self._address, ("http", "https", *socks))
        if self._tls is None:
            is_https = self._address.scheme == "https"
            self._tls = httpx2.create_ssl_context() if is_https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with fork_lock:
            # httpcore2 imports its parts with its first pool, which takes 0.2 s that should not pass within a lease.
            self._pool(_Network(None, RequestDeadline(1.0))).close()

    def __call__(self, request: TokenRequest) -> TokenResponse:
        """Send the request and return the answer. Raises `RefreshFailure` where there is none."""
        self.prepare()
        wire = RequestDeadline(request.timeout, request.hidden.knowing(password_of(self._proxy)))
        try:
            return self._exchange(request, wire)
        except Exception as error:  # noqa: BLE001 - whatever it is, `wire` knows whether the request was sent
            verdict = wire.failure(error)
        finally:
            wire.close()
        # Raised here, so that nothing refers to the client's exception, which holds the request with its secrets.
        raise RefreshFailure(verdict)

    def _exchange(self, request: TokenRequest, wire: RequestDeadline) -> TokenResponse:
        import httpcore2

        def follow(event: str, info: dict[str, Any]) -> None:
            if "request" not in info or info["request"].method == b"CONNECT":
                return
            if event == "http11.send_request_headers.started":
                wire.sending()
            elif event == "http11.receive_response_headers.started":
                raise _Sent

        to, network = self._address, _Network(httpcore2.SyncBackend(), wire)
        headers = [("Host", to.authority), *request.framing.items(), *request.headers.items()]
        try:
            with self._pool(network) as pool, contextlib.suppress(_Sent):
                pool.handle_request(
                    httpcore2.Request(
                        request.method,
                        httpcore2.URL(scheme=to.scheme, host=to.host, port=to.port, target=request.target),
                        headers=headers,
                        content=request.body,
                        extensions={"trace": follow},
                    )
                )
            return wire.answer(network.receive)
        finally:
            network.close()

    def _pool(self, network: Any) -> Any:
        """The pool that makes the one connection: to the host itself, or through the proxy."""
        import httpcore2

        if self._proxy is None:
            return httpcore2.ConnectionPool(ssl_context=self._tls, network_backend=network)
        url, auth = _parts_of(self._proxy)
        if url.startswith("socks"):
            return httpcore2.SOCKSProxy(url, auth, ssl_context=self._tls, network_backend=network)
        to_proxy = self._tls if url.startswith("https") else None
        return httpcore2.HTTPProxy(
            url, auth, ssl_context=self._tls, proxy_ssl_context=to_proxy, network_backend=network
        )


class _Sent(Exception):
    """Stops httpcore2 before it reads the answer.

    httpcore2 rejects what breaks a rule of HTTP, and the only refresh token may be in it. So this library reads the
    answer.
    """


class _Network:
    """Connects for httpcore2 within the time that is left, and keeps the connection longer than httpcore2 does."""

    def __init__(self, plain: Any, wire: RequestDeadline) -> None:
        self._plain, self._wire = plain, wire
        self._links: list[_Link] = []

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Stream:
        stream: Stream = None

        def to_address(address: str, port: int, seconds: float) -> Any:
            nonlocal stream
            stream = self._plain.connect_tcp(address, port, seconds, local_address, socket_options)
            return stream.get_extra_info("socket")

        self._wire.connect(host, port, to_address)
        return _Link(stream, self._wire, self._links)

    def receive(self, most: int) -> bytes:
        """Bytes from the token endpoint, through all layers around the connection."""
        return self._links[-1].read(most)

    def close(self) -> None:
        for link in self._links:
            link.end()


class _Link:
    """A connection on which no wait is longer than the time that is left, whatever the caller asks for."""

    def __init__(self, stream: Stream, wire: RequestDeadline, links: list[_Link]) -> None:
        self._stream, self._wire, self._links = stream, wire, links
        links.append(self)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._wire.received(self._stream.read(max_bytes, self._wire.left()))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._wire.left())

    def close(self) -> None:
        """Do nothing: httpcore2 calls this when it is done, and the answer may still arrive."""

    def end(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Stream:
        return _Link(self._stream.start_tls(ssl_context, server_hostname, self._wire.left()), self._wire, self._links)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _parts_of(proxy: Secret) -> tuple[str, tuple[bytes, bytes] | None]:
    """The proxy's URL without user and password; and these two, or None."""
    try:
        split, port = urlsplit(proxy.reveal()), urlsplit(proxy.reveal()).port
    except ValueError:
        split, port = urlsplit(""), None
    if not split.hostname:
        raise ConfigurationError("the environment sets a proxy that cannot be used: write it as http://host:port")
    host = f"[{split.hostname}]" if ":" in split.hostname else split.hostname
    url = f"{split.scheme}://{host}" + (f":{port}" if port else "")
    if split.username is None:
        return url, None
    return url, (unquote(split.username).encode(), unquote(split.password or "").encode())
