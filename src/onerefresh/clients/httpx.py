"""httpx2 and httpx, sync and async, on asyncio and trio.

`BearerAuth` is an ``auth=`` for a client. `BearerTransport` is mounted on an origin, and does the same below the
client's redirects and event hooks:

    httpx2.AsyncClient(auth=BearerAuth(credential, "https://api.example.com"))
    httpx2.Client(mounts={"https://api.example.com": BearerTransport(credential, "https://api.example.com")})
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Collection, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from onerefresh.clients.attach import Attach
from onerefresh.clients.bearer import UNAUTHORIZED, HeaderText
from onerefresh.clients.call import Calls
from onerefresh.clients.hiding import empty, silence, silence_hpack
from onerefresh.clients.httpx_messages import (
    PACKAGES,
    Request,
    Response,
    Transport,
    adrain,
    bodies_of,
    brings,
    copied,
    drain,
    forget,
    package_of,
    write,
)
from onerefresh.clients.httpx_peek import apeek, head_of, peek
from onerefresh.clients.refused import RefusedBy
from onerefresh.clients.replay import arewind, rewind
from onerefresh.credential import Credential
from onerefresh.damping import Target
from onerefresh.errors import ConfigurationError
from onerefresh.locks import Lock
from onerefresh.one_object import OneObject

__all__ = ["BearerAuth", "BearerTransport"]


_MARK: Final = "onerefresh"
_LOGGERS: Final = (
    *("httpx2", "httpx"),
    *[f"{core}.{part}" for core in ("httpcore2", "httpcore") for part in ("http11", "http2")],
)
"""They log the address of each request, and the headers of answers with addresses that repeat the query of it."""


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


class _Flow(OneObject):
    """One call, from the first try to the replay, as a generator that yields requests and is sent their answers."""

    _apart = "send that request by a client without this transport"

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        *,
        header: str,
        scheme: str | None,
        attach: Attach | None,
        replace: bool,
        refused_statuses: Collection[int],
        refused: RefusedBy,
    ) -> None:
        self._calls = Calls(
            credential,
            origins,
            header=header,
            scheme=scheme,
            attach=attach,
            replace=replace,
            refused_statuses=refused_statuses,
            refused=refused,
            apart=self._apart,
        )
        self._bearer = bearer = self._calls.bearer
        self._header = bearer.header.lower().encode("ascii")
        silence_hpack(
            *bearer.headers, *([":path", "location"] if bearer.query else []), *(["cookie"] if bearer.cookies else [])
        )
        if bearer.query:
            silence(_LOGGERS, bearer.query)

    @property
    def is_plain(self) -> bool:
        """Whether the token is in one header, and nowhere else."""
        return self._bearer.is_plain

    def sync_auth_flow(self, request: Request) -> Generator[Any, Any, None]:
        """The call, for a sync client."""
        if not self._concerns(request):
            yield request
            return
        calls, bodies = self._calls, bodies_of(request)
        sent = calls.fresh() or self._bearer.text(calls.credential.token())
        last = yield self._attach(request, sent)
        self._forget(last, sent)
        response, is_refusal = self._refusal_in(last, sent)
        target = self._target(response, request)
        call = calls.answered(sent, response.status_code, target, is_refusal=is_refusal)
        if call is None:
            return
        for step in call:
            match step:
                case "challenges":
                    call.challenges = self._challenges(response, call.text)
                case "head":
                    call.head = head_of(response)
                case "peek":
                    peek(response, call.peek)
                case "drain":
                    drain(response)
                case "take":
                    call.token = calls.credential.token(refused=call.refused)
                case "rewind":
                    call.rewound = all(rewind(*body) for body in bodies)
                case "send":
                    # After redirects it is another request: those before it were accepted, and must not be sent again.
                    replay = yield self._attach(response.request, call.text)
                    self._forget(replay, call.text)
                    response, call.is_refusal = self._refusal_in(replay, call.text, last)
                    call.status, call.target = response.status_code, self._target(response)

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Any, Any]:
        """The same call, for an async client."""
        if not self._concerns(request):
            yield request
            return
        calls, bodies = self._calls, bodies_of(request)
        sent = calls.fresh() or self._bearer.text(await calls.credential.atoken())
        last = yield self._attach(request, sent)
        self._forget(last, sent)
        response, is_refusal = self._refusal_in(last, sent)
        target = self._target(response, request)
        call = calls.answered(sent, response.status_code, target, is_refusal=is_refusal)
        if call is None:
            return
        for step in call:
            match step:
                case "challenges":
                    call.challenges = self._challenges(response, call.text)
                case "head":
                    call.head = head_of(response)
                case "peek":
                    await apeek(response, call.peek)
                case "drain":
                    await adrain(response)
                case "take":
                    call.token = await calls.credential.atoken(refused=call.refused)
                case "rewind":
                    call.rewound = all([await arewind(*body) for body in bodies])
                case "send":
                    replay = yield self._attach(response.request, call.text)
                    self._forget(replay, call.text)
                    response, call.is_refusal = self._refusal_in(replay, call.text, last)
                    call.status, call.target = response.status_code, self._target(response)

    def _refusal_in(self, response: Response, text: HeaderText, before: Response = None) -> tuple[Response, bool]:
        """The first refusal among the redirects that the client has followed already, and True; else its last answer.

        `before`: the answer that the replay follows, which the client keeps in the history, too.
        """
        if self._bearer.rules is not None:
            for hop in response.history:
                if hop is before or self._challenges(hop, text) is None:
                    continue
                if self._calls.is_refusal(text, hop.status_code, head_of(hop), hop.content):
                    return hop, True
        return response, False

    def _concerns(self, request: Request) -> bool:
        """Whether this request gets our token: its origin is ours, and its caller brought no header of their own."""
        url = request.url
        # `raw_host` is what the client connects to; `url.host` is for display.
        if not self._bearer.origins.cover(url.scheme, url.raw_host, url.port):
            return False
        if self._calls.replace:
            return True
        own = self._own(request)
        if own is not None:
            self._calls.passes_through(own)
        return own is None

    def _own(self, request: Request) -> str | None:
        """The name of what the caller brings in one of the token's places; None where there is nothing."""
        # `headers.get` first guesses an encoding for all headers, which would cost as much as all the rest here.
        header, length = self._header, len(self._header)
        for name, _ in request.headers.raw:
            if len(name) == length and name.lower() == header:
                if request.headers.get(self._bearer.header) != request.extensions.get(_MARK):
                    return self._bearer.header
                break
        return None if self._bearer.is_plain else brings(request, self._bearer)

    def _target(self, response: Response, concerned: Request | None = None) -> Target | None:
        """The origin and path of the request that was answered; None where that has no origin of ours.

        `concerned`: a request that has one.
        """
        answered, origins = response.request, self._bearer.origins
        url = answered.url
        origin = origins.only if answered is concerned else ""
        origin = origin or origins.of(url.scheme, url.raw_host, url.port)
        return (origin, url.raw_path.partition(b"?")[0].decode("ascii")) if origin else None

    def _attach(self, request: Request, text: HeaderText) -> Request:
        if text.further is not None:
            write(request, text.further)
        if self._header:
            request.headers[self._bearer.header] = text
        request.extensions[_MARK] = text  # a client copies it with the header into the request of a redirect
        return request

    def _forget(self, response: Response, text: HeaderText) -> None:
        if text.further is not None:
            forget(response, text.further, self._bearer.origins)

    def _challenges(self, response: Response, text: HeaderText) -> list[str] | None:
        url = response.request.url
        if not self._bearer.origins.cover(url.scheme, url.raw_host, url.port):
            return None
        if self._header and response.request.headers.get(self._bearer.header) != text:
            return None
        challenges: list[str] = response.headers.get_list("www-authenticate")
        return challenges


class BearerAuth(_Flow, _Auth):  # type: ignore[misc]  # their Requests differ
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

    _apart = "send that request with auth=None, as in client.post(url, auth=None), or by a client of its own"

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
        super().__init__(
            credential,
            origins,
            header=header,
            scheme=scheme,
            attach=attach,
            replace=replace,
            refused_statuses=refused_statuses,
            refused=refused,
        )
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
        self._flow = _Flow(
            credential,
            origins,
            header=header,
            scheme=scheme,
            attach=attach,
            replace=replace,
            refused_statuses=refused_statuses,
            refused=refused,
        )
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
