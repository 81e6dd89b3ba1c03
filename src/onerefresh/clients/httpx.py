"""httpx2 and httpx, sync and async, on asyncio and trio.

`BearerAuth` is an ``auth=`` for a client. `BearerTransport` is mounted on an origin, and does the same below the
client's redirects and event hooks:

    httpx2.AsyncClient(auth=BearerAuth(credential, "https://api.example.com"))
    httpx2.Client(mounts={"https://api.example.com": BearerTransport(credential, "https://api.example.com")})
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from onerefresh.clients.attach import Attach
from onerefresh.clients.bearer import UNAUTHORIZED
from onerefresh.clients.call import Calls
from onerefresh.clients.hiding import empty
from onerefresh.clients.httpx_flow import Flow
from onerefresh.clients.httpx_messages import (
    PACKAGES,
    Request,
    Response,
    Transport,
    copied,
    package_of,
)
from onerefresh.clients.refused import RefusedBy
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError
from onerefresh.locks import Lock
from onerefresh.one_object import OneObject

__all__ = ["BearerAuth", "BearerTransport"]

APART = "send that request with auth=None, as in client.post(url, auth=None), or by a client of its own"
APART_BELOW = "send that request by a client without this transport"
"""How a refresher sends its request without the token, beside `BearerAuth` and beside `BearerTransport`."""


if TYPE_CHECKING:
    import httpx
    import httpx2

    # Each package declares its methods for its own requests; ours serve both.
    class _Auth(httpx2.Auth, httpx.Auth):  # type: ignore[misc]  # their Requests differ
        pass

    class _Transport(  # type: ignore[misc]  # their Requests differ
        httpx2.BaseTransport, httpx2.AsyncBaseTransport, httpx.BaseTransport, httpx.AsyncBaseTransport
    ):
        pass

else:
    _Auth = type("_Auth", tuple(package.Auth for package in PACKAGES), {})
    _Transport = type(
        "_Transport",
        tuple(base for package in PACKAGES for base in (package.BaseTransport, package.AsyncBaseTransport)),
        {},
    )


class BearerAuth(Flow, _Auth):  # type: ignore[misc]  # their Requests differ
    """Sends the token of `credential` to `origins` and nowhere else. A refused call waits for the next token, once.

    It is the ``auth=`` of a client or of a call, of httpx2 or httpx, sync or async, and may serve many of them.

    * `scheme`: stands before the token (``""``: the bare token).
    * `attach`: how the API wants the token: a template such as ``'Token {token}'``, or a function; see `Attach`.
    * `replace`: the token replaces an ``Authorization`` that the call brings, as calls of many SDKs do. By default such
      a call passes through, and the first one is the event ``not_attached``, a warning.
    * `refused_statuses`: the statuses by which this API refuses a token.
    * `refused`: rules about other answers that refuse it, from `onerefresh.clients.refused`; also for a redirect that
      the client has followed already (`BearerTransport` judges it before).

    Calls raise an `OnerefreshError` where no token is available.

    httpx carries any header but ``Authorization`` to wherever a redirect leads, and logs each URL. So another place for
    the token raises `ConfigurationError` here; `BearerTransport` accepts it. Other arguments that make no sense raise
    it, too.
    """

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        *,
        header: str = "Authorization",
        scheme: str | None = "Bearer",
        attach: Attach | None = None,
        replace: bool = False,
        refused_statuses: Collection[int] = UNAUTHORIZED,
        refused: RefusedBy = None,
    ) -> None:
        calls = Calls(
            credential,
            origins,
            header=header,
            scheme=scheme,
            attach=attach,
            replace=replace,
            refused_statuses=refused_statuses,
            refused=refused,
            apart=APART,
        )
        super().__init__(calls)
        bearer = self._bearer
        if not bearer.is_plain or bearer.header.lower() != "authorization":
            raise ConfigurationError(
                f"httpx would send {bearer.places} to other origins after a redirect, and log it: use BearerTransport "
                "for it"
            )


class BearerTransport(OneObject, _Transport):
    """As `BearerAuth`, for one origin's transport: redirects, event hooks and ``max_redirects`` cannot affect it.

    Mount it: ``Client(mounts={"https://api.example.com": BearerTransport(credential, "https://api.example.com")})``.

    `transport` sends the requests (default: a plain one of the client's package); `_making` guards its creation. The
    caller's request never holds the token, so `header` and `attach` may be any: ``attach={"?key": "{token}"}`` puts it
    into the query, ``{"cookie:session": "{token}"}`` into a cookie. A cookie of that name in the client is replaced.
    """

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        transport: Transport = None,
        *,
        header: str = "Authorization",
        scheme: str | None = "Bearer",
        attach: Attach | None = None,
        replace: bool = False,
        refused_statuses: Collection[int] = UNAUTHORIZED,
        refused: RefusedBy = None,
    ) -> None:
        calls = Calls(
            credential,
            origins,
            header=header,
            scheme=scheme,
            attach=attach,
            replace=replace,
            refused_statuses=refused_statuses,
            refused=refused,
            apart=APART_BELOW,
        )
        self._flow = Flow(calls)
        self._quiet = not self._flow.is_plain
        if transport is not None and not {"handle_request", "handle_async_request"} & set(dir(transport)):
            raise ConfigurationError(
                f"transport must be a transport of httpx2 or httpx, not {type(transport).__name__}"
            )
        self._making = Lock()
        self._sync: Transport = transport
        self._async: Transport = transport

    def handle_request(self, request: Request) -> Response:
        """Perform a call of a `Client`."""
        if self._sync is None:
            self._make(request)
        flow = self._flow.sync_auth_flow(copied(request, quiet=self._quiet))
        response, before = None, sys.exception()
        try:
            attempt = next(flow)
            while True:
                response = self._sync.handle_request(attempt)
                response.request = attempt
                try:
                    attempt = flow.send(response)
                except StopIteration:
                    return response
        except BaseException as error:  # a cancellation, too: the connection goes back to its pool
            if response is not None:
                response.close()
            if self._quiet and isinstance(error, Exception):
                empty(error, before)
            raise
        finally:
            flow.close()

    async def handle_async_request(self, request: Request) -> Response:
        """Perform a call of an `AsyncClient`."""
        if self._async is None:
            self._make(request)
        flow = self._flow.async_auth_flow(copied(request, quiet=self._quiet))
        response, before = None, sys.exception()
        try:
            attempt = await anext(flow)
            while True:
                response = await self._async.handle_async_request(attempt)
                response.request = attempt
                try:
                    attempt = await flow.asend(response)
                except StopAsyncIteration:
                    return response
        except BaseException as error:  # a cancellation, too: the connection goes back to its pool
            if response is not None:
                await response.aclose()
            if self._quiet and isinstance(error, Exception):
                empty(error, before)
            raise
        finally:
            await flow.aclose()

    def _make(self, request: Request) -> None:
        package = package_of(request)
        with self._making:
            if self._sync is None:
                self._sync, self._async = package.HTTPTransport(), package.AsyncHTTPTransport()

    def __enter__(self) -> Self:
        if self._sync is not None:
            self._sync.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._sync is not None:
            self._sync.__exit__(exc_type, exc_value, traceback)

    async def __aenter__(self) -> Self:
        if self._async is not None:
            await self._async.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._async is not None:
            await self._async.__aexit__(exc_type, exc_value, traceback)

    def close(self) -> None:
        """Close the transport that sends."""
        if self._sync is not None:
            self._sync.close()

    async def aclose(self) -> None:
        """As `close`, for an async client."""
        if self._async is not None:
            await self._async.aclose()
