"""aiohttp: `BearerAuth` is a client middleware.

aiohttp.ClientSession(middlewares=(BearerAuth(credential, "https://api.example.com"),))
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Iterable

from onerefresh.clients.attach import Attach
from onerefresh.clients.bearer import UNAUTHORIZED, Further, HeaderText
from onerefresh.clients.call import LONGEST_REFUSAL, Calls
from onerefresh.clients.hiding import empty, mask, silence
from onerefresh.clients.places import has_parameter, with_cookies, with_parameters
from onerefresh.clients.refused import RefusedBy
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError
from onerefresh.one_object import OneObject

try:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientResponseError, StreamReader
    from aiohttp.base_protocol import BaseProtocol
    from multidict import CIMultiDict, CIMultiDictProxy, istr
    from yarl import URL

    from onerefresh.clients.aiohttp_peek import head_of, peek
except ModuleNotFoundError as error:
    if error.name != "aiohttp":
        raise
    raise ConfigurationError("onerefresh.clients.aiohttp needs aiohttp: pip install 'onerefresh[aiohttp]'") from None

__all__ = ["BearerAuth"]


class BearerAuth(OneObject):
    """Sends the token of `credential` to `origins` and nowhere else. A refused call waits for the next token, once.

    It is one of the ``middlewares`` of a session or of a call, and may serve many of them.

    * `scheme`: stands before the token (``""``: the bare token).
    * `attach`: how the API wants the token: a template such as ``'Token {token}'``, or a function; see `Attach`.
      ``{"?key": "{token}"}`` puts it into the query, ``{"cookie:session": "{token}"}`` into a cookie. A cookie of that
      name in the session is replaced.
    * `replace`: the token replaces a header that the call brings, or that comes from ``~/.netrc`` where the session has
      ``trust_env``. By default such a call passes through, and the first one is the event ``not_attached``, a warning.
    * `refused_statuses`: the statuses by which this API refuses a token.
    * `refused`: rules about other answers that refuse it, from `onerefresh.clients.refused`.

    Raises `ConfigurationError` for arguments that make no sense. Calls raise an `OnerefreshError` where no token is
    available.
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
        apart = "send that request with middlewares=(), as in session.post(url, middlewares=()), or by a plain session"
        self._calls = Calls(
            credential,
            origins,
            header=header,
            scheme=scheme,
            attach=attach,
            replace=replace,
            refused_statuses=refused_statuses,
            refused=refused,
            apart=apart,
        )
        self._bearer = self._calls.bearer
        # So that their case is not folded for each request.
        self._headers = tuple([istr(header) for header in self._bearer.headers])
        if self._bearer.query:
            silence((), self._bearer.query)

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Perform one hop of a call; aiohttp calls this for each."""
        calls, bearer, url = self._calls, self._bearer, request.url
        origin = bearer.origins.of(url.scheme, url.raw_host, url.port)
        if not origin:
            return await handler(request)
        own = None if calls.replace else self._own(request)
        if own is not None:
            calls.passes_through(own)
            return await handler(request)
        sent = calls.fresh() or bearer.text(await calls.credential.atoken())
        response = await self._sent(request, sent, handler)
        call = calls.answered(sent, response.status, (origin, url.raw_path))
        if call is None:
            return response
        try:
            for step in call:
                match step:
                    case "challenges":
                        call.challenges = response.headers.getall("WWW-Authenticate", [])
                    case "head":
                        call.head = await head_of(request, response)
                    case "peek":
                        await peek(response.content, call.peek)
                    case "drain":
                        await _drain(response)
                    case "take":
                        call.token = await calls.credential.atoken(refused=call.refused)
                    case "rewind":
                        call.rewound = await _can_go_again(request)
                    case "send":
                        response = await self._sent(request, call.text, handler)
                        call.status = response.status
        except BaseException:  # the caller gets no answer to close, and its connection would stay taken
            response.close()
            raise
        return response

    def _own(self, request: ClientRequest) -> str | None:
        """The name of what the caller brings in one of the token's places; None where there is nothing."""
        for header in self._headers:
            held = request.headers.get(header)
            # Our own value is there where another middleware sends the same request again.
            if held is not None and not isinstance(held, HeaderText):
                return str(header)
        return has_parameter(str(request.url), self._bearer.query) if self._bearer.query else None

    async def _sent(self, request: ClientRequest, text: HeaderText, handler: ClientHandlerType) -> ClientResponse:
        """The answer to the request with this token."""
        if self._headers:
            request.headers[self._headers[0]] = text
        further = text.further
        if further is None:
            return await handler(request)
        for header, (_, value) in zip(self._headers[1:], further.headers, strict=True):
            request.headers[header] = value
        url, cookies, before = request.url, request.headers.getall("Cookie", []), sys.exception()
        try:
            if further.cookies:
                request.headers["Cookie"] = _hidden(with_cookies(cookies, further.cookies), text)
            if further.query:
                request.url = URL(with_parameters(str(url), further.query), encoded=True)
            response = await handler(request)
        except Exception as error:
            if isinstance(error, ClientResponseError):  # of a middleware beneath
                error.request_info = error.request_info._replace(url=url)
                error.args = (error.request_info, *error.args[1:])
            mask(error)
            empty(error, before)
            raise
        finally:
            # What is outside, such as another middleware, the jar or an error, never sees the token in these places.
            request.url = url
            if further.cookies:
                del request.headers["Cookie"]
                request.headers.extend([("Cookie", cookie) for cookie in cookies])
        self._forget(response, further, url)
        return response

    def _forget(self, response: ClientResponse, further: Further, url: URL) -> None:
        """Take the token out of what the answer says of its request, and of the address to which it redirects."""
        response._request_info = response._request_info._replace(url=url)
        response._cache.pop("request_info", None)
        for name in ("Location", "URI"):
            location = response.headers.get(name)
            if location is None:
                continue
            try:
                target = url.join(URL(location))
                leaves = not self._bearer.origins.cover(target.scheme, target.raw_host, target.port)
            except ValueError:
                leaves = True  # aiohttp says itself what is wrong with it
            if (cleaned := further.taken_out(location, leaves=leaves)) != location:
                headers = CIMultiDict(response.headers)
                headers[name] = cleaned
                response._headers = CIMultiDictProxy(headers)
                # As aiohttp itself reads them, in either direction.
                raw = [(key.encode(), value.encode(errors="surrogateescape")) for key, value in headers.items()]
                response._raw_headers = tuple(raw)
                response._cache.pop("headers", None)


def _hidden(text: str, like: HeaderText) -> HeaderText:
    """The text of a header whose ``repr`` does not show it."""
    hidden = HeaderText(text)
    hidden.token, hidden.further = like.token, None
    return hidden


async def _can_go_again(request: ClientRequest) -> bool:
    """Whether aiohttp can send the body again: it knows which bodies are used up, and rewinds files by itself."""
    await request.close()  # a refusal may come while the body is still being written
    body = request.body
    return body == b"" or not body.consumed


async def _drain(response: ClientResponse) -> None:
    """Read a refusal, at most 1 MiB of it, and give its connection back for other calls. It can be read again."""
    kept = bytearray()
    try:
        while True:
            chunk = await response.content.readany()
            kept += chunk
            if not chunk or len(kept) > LONGEST_REFUSAL:
                break
    finally:
        if not response.content.at_eof():
            response.close()
    loop = asyncio.get_running_loop()
    again = StreamReader(BaseProtocol(loop), limit=len(kept), loop=loop)
    again.feed_data(bytes(kept[:LONGEST_REFUSAL]))
    again.feed_eof()
    response.content = again
