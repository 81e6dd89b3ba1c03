"""httpx2 and httpx, sync and async, on asyncio and trio.

`BearerAuth` is an ``auth=`` for a client. `BearerTransport` is mounted on an origin, and does the same below the
client's redirects and event hooks:

    httpx2.AsyncClient(auth=BearerAuth(credential, "https://api.example.com"))
    httpx2.Client(mounts={"https://api.example.com": BearerTransport(credential, "https://api.example.com")})
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Collection, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from onerefresh.clients.bearer import UNAUTHORIZED, HeaderText
from onerefresh.clients.call import Calls
from onerefresh.clients.httpx_messages import (
    PACKAGES,
    Request,
    Response,
    Transport,
    adrain,
    bodies_of,
    copied,
    drain,
    package_of,
)
from onerefresh.clients.replay import arewind, rewind
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError
from onerefresh.locks import Lock

__all__ = ["BearerAuth", "BearerTransport"]


_MARK: Final = "onerefresh"


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


class _Silence(logging.Filter):
    """Removes tokens from log records of hpack, which packs headers for HTTP/2 and logs them at level DEBUG."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: set[bytes] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True: no record is dropped."""
        given = record.args if isinstance(record.args, tuple) else (record.args,)
        shown = repr(given).lower().encode("ascii", "replace")
        if "block" in str(record.msg) or any(header in shown for header in self.headers):
            record.args = tuple("…" if isinstance(value, (bytes, bytearray, str, tuple)) else value for value in given)
        return True


_silent: Final = _Silence()


def _silence(header: bytes) -> None:
    _silent.headers |= {header}
    for name in ("hpack.hpack", "hpack.table"):
        logging.getLogger(name).addFilter(_silent)  # added once, however often this is called


class _Flow:
    """One call, from the first try to the replay, as a generator that yields requests and is sent their answers."""

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        *,
        header: str,
        scheme: str | None,
        refused_statuses: Collection[int],
    ) -> None:
        self._calls = Calls(credential, origins, header=header, scheme=scheme, refused_statuses=refused_statuses)
        self._bearer = self._calls.bearer
        self._header = self._bearer.header.lower().encode("ascii")
        _silence(self._header)

    def sync_auth_flow(self, request: Request) -> Generator[Any, Any, None]:
        """The call, for a sync client."""
        if not self._concerns(request):
            yield request
            return
        calls, bodies = self._calls, bodies_of(request)
        sent = calls.fresh() or self._bearer.text(calls.credential.token())
        response = yield self._attach(request, sent)
        call = calls.answered(sent, response.status_code)
        if call is None:
            return
        for step in call:
            match step:
                case "challenges":
                    call.challenges = self._challenges(response, call.text)
                case "drain":
                    drain(response)
                case "take":
                    call.token = calls.credential.token(refused=call.refused)
                case "rewind":
                    call.rewound = all(rewind(*body) for body in bodies)
                case "send":
                    # After redirects it is another request: those before it were accepted, and must not be sent again.
                    response = yield self._attach(response.request, call.text)
                    call.status = response.status_code

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Any, Any]:
        """The same call, for an async client."""
        if not self._concerns(request):
            yield request
            return
        calls, bodies = self._calls, bodies_of(request)
        sent = calls.fresh() or self._bearer.text(await calls.credential.atoken())
        response = yield self._attach(request, sent)
        call = calls.answered(sent, response.status_code)
        if call is None:
            return
        for step in call:
            match step:
                case "challenges":
                    call.challenges = self._challenges(response, call.text)
                case "drain":
                    await adrain(response)
                case "take":
                    call.token = await calls.credential.atoken(refused=call.refused)
                case "rewind":
                    call.rewound = all([await arewind(*body) for body in bodies])
                case "send":
                    response = yield self._attach(response.request, call.text)
                    call.status = response.status_code

    def _concerns(self, request: Request) -> bool:
        """Whether this request gets our token: its origin is ours, and its caller brought no header of their own."""
        url = request.url
        # `raw_host` is what the client connects to; `url.host` is for display.
        if not self._bearer.origins.cover(url.scheme, url.raw_host, url.port):
            return False
        # `headers.get` first guesses an encoding for all headers, which would cost as much as all the rest here.
        header, length = self._header, len(self._header)
        for name, _ in request.headers.raw:
            if len(name) == length and name.lower() == header:
                return bool(request.headers.get(self._bearer.header) == request.extensions.get(_MARK))
        return True

    def _attach(self, request: Request, text: HeaderText) -> Request:
        request.headers[self._bearer.header] = text
        request.extensions[_MARK] = text  # a client copies it with the header into the request of a redirect
        return request

    def _challenges(self, response: Response, text: HeaderText) -> list[str] | None:
        request = response.request
        if not self._concerns(request) or request.headers.get(self._bearer.header) != text:
            return None
        challenges: list[str] = response.headers.get_list("www-authenticate")
        return challenges


class BearerAuth(_Flow, _Auth):  # type: ignore[misc]  # their Requests differ
    """Sends the token of `credential` to `origins` and nowhere else. A refused call waits for the next token, once.

    It is the ``auth=`` of a client or of a call, of httpx2 or httpx, sync or async, and may serve many of them. A call
    that brings its own ``Authorization`` passes through.

    * `scheme`: stands before the token (``""``: the bare token).
    * `refused_statuses`: the statuses by which this API refuses a token.

    Calls raise an `OnerefreshError` where no token is available.

    httpx carries any header but ``Authorization`` to wherever a redirect leads. So another `header` raises
    `ConfigurationError` here; `BearerTransport` accepts it. Other arguments that make no sense raise it, too.
    """

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        *,
        header: str = "Authorization",
        scheme: str | None = "Bearer",
        refused_statuses: Collection[int] = UNAUTHORIZED,
    ) -> None:
        super().__init__(credential, origins, header=header, scheme=scheme, refused_statuses=refused_statuses)
        if header.lower() != "authorization":
            raise ConfigurationError(
                f"httpx would send the header {header!r} to other origins after a redirect: use BearerTransport for it"
            )


class BearerTransport(_Transport):
    """As `BearerAuth`, for one origin's transport: redirects, event hooks and ``max_redirects`` cannot affect it.

    Mount it: ``Client(mounts={"https://api.example.com": BearerTransport(credential, "https://api.example.com")})``.

    `transport` sends the requests (default: a plain one of the client's package); `_making` guards its creation. The
    caller's request never holds the token, so `header` may be any.
    """

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        transport: Transport = None,
        *,
        header: str = "Authorization",
        scheme: str | None = "Bearer",
        refused_statuses: Collection[int] = UNAUTHORIZED,
    ) -> None:
        self._flow = _Flow(credential, origins, header=header, scheme=scheme, refused_statuses=refused_statuses)
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
        flow = self._flow.sync_auth_flow(copied(request))
        response = None
        try:
            attempt = next(flow)
            while True:
                response = self._sync.handle_request(attempt)
                response.request = attempt
                try:
                    attempt = flow.send(response)
                except StopIteration:
                    return response
        except BaseException:  # a cancellation, too: the connection goes back to its pool
            if response is not None:
                response.close()
            raise
        finally:
            flow.close()

    async def handle_async_request(self, request: Request) -> Response:
        """Perform a call of an `AsyncClient`."""
        if self._async is None:
            self._make(request)
        flow = self._flow.async_auth_flow(copied(request))
        response = None
        try:
            attempt = await anext(flow)
            while True:
                response = await self._async.handle_async_request(attempt)
                response.request = attempt
                try:
                    attempt = await flow.asend(response)
                except StopAsyncIteration:
                    return response
        except BaseException:  # a cancellation, too: the connection goes back to its pool
            if response is not None:
                await response.aclose()
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
