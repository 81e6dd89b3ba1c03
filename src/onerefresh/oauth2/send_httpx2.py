"""Sends a token request with httpx2: one connection, one request, one answer."""

from __future__ import annotations

import importlib.util
import ssl
from typing import Any

from onerefresh.oauth2.address import Address
from onerefresh.oauth2.codec import TokenRequest, TokenResponse
from onerefresh.oauth2.wire import Body, Wire, password_of, proxy_for
from onerefresh.stores.forking import load_modules, undivided
from onerefresh.token import Secret
from onerefresh.verdict import RefreshFailure

__all__ = ["Httpx2Sender"]


class Httpx2Sender:
    """A bare httpx2 transport: no redirects, cookies, netrc or retries beneath it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._tls: ssl.SSLContext | None = None
        self._proxy: Secret | None = None

    def prepare(self) -> None:
        """Import httpx2 and load the certificate authorities, which takes long the first time.

        Raises `ConfigurationError` for a proxy that cannot be used.
        """
        load_modules("httpx2", "encodings.idna")
        import httpx2

        socks = ("socks5", "socks5h") if importlib.util.find_spec("socksio") else ()
        self._proxy = proxy_for(self._address, ("http", "https", *socks))
        if self._tls is None:
            is_https = self._address.scheme == "https"
            self._tls = httpx2.create_ssl_context() if is_https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            with undivided:
                # httpx2 imports most of itself with its first transport: 0.2 s that should not pass within a lease.
                httpx2.HTTPTransport(verify=self._tls, trust_env=False).close()

    def __call__(self, request: TokenRequest) -> TokenResponse:
        """Raises `RefreshFailure` where there is no answer."""
        import httpx2

        self.prepare()
        wire = Wire(request.timeout, request.hidden.knowing(password_of(self._proxy)))
        try:
            return self._exchange(request, wire)
        except (httpx2.HTTPError, OSError, RefreshFailure) as error:
            verdict = wire.failure(error)
        finally:
            wire.close()
        # Raised here, so that nothing refers to the client's exception: it holds the request with its secrets.
        raise RefreshFailure(verdict)

    def _exchange(self, request: TokenRequest, wire: Wire) -> TokenResponse:
        import httpx2

        connection: Any = None

        def follow(event: str, info: dict[str, Any]) -> None:
            nonlocal connection
            if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
                connection = info["return_value"].get_extra_info("socket")
            elif event == "http11.send_request_headers.started" and info["request"].method == b"POST":
                wire.sending(connection)

        body = Body()
        transport = httpx2.HTTPTransport(
            verify=self._tls or True,
            proxy=self._proxy.reveal() if self._proxy else None,
            trust_env=False,
            retries=0,
        )
        connecting, waiting = wire.connect_timeout, request.timeout
        timeouts = {"connect": connecting, "pool": connecting, "write": waiting, "read": waiting}
        with transport:
            response = transport.handle_request(
                httpx2.Request(
                    "POST",
                    request.url,
                    headers=request.headers,
                    content=request.body,
                    extensions={"timeout": timeouts, "trace": follow},
                )
            )
            try:
                body.read(response.iter_raw())
            finally:
                response.close()
        encoding = response.headers.get("content-encoding", "")
        return TokenResponse(response.status_code, dict(response.headers), body.decoded(encoding))
