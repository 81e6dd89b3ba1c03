"""aiohttp: `BearerAuth` is a client middleware.

aiohttp.ClientSession(middlewares=(BearerAuth(credential, "https://api.example.com"),))
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from onerefresh.clients.bearer import UNAUTHORIZED, HeaderText
from onerefresh.clients.call import LONGEST_REFUSAL, Calls
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError

try:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, StreamReader
    from aiohttp.base_protocol import BaseProtocol
    from multidict import istr
except ModuleNotFoundError as error:
    if error.name != "aiohttp":
        raise
    raise ConfigurationError("onerefresh.clients.aiohttp needs aiohttp: pip install 'onerefresh[aiohttp]'") from None

__all__ = ["BearerAuth"]


class BearerAuth:
    """Sends the token of `credential` to `origins` and nowhere else. A refused call waits for the next token, once.

    It is one of the ``middlewares`` of a session or of a call, and may serve many of them. A request that already has
    the header passes through: the caller's own, or that of ``~/.netrc`` where the session has ``trust_env``.

    * `scheme`: stands before the token (``""``: the bare token).
    * `refused_statuses`: the statuses by which this API refuses a token.

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
        refused_statuses: Collection[int] = UNAUTHORIZED,
    ) -> None:
        self._calls = Calls(credential, origins, header=header, scheme=scheme, refused_statuses=refused_statuses)
        self._bearer = self._calls.bearer
        self._header = istr(self._bearer.header)  # so that its case is not folded for each request

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Perform one hop of a call; aiohttp calls this for each."""
        calls, bearer, header, url = self._calls, self._bearer, self._header, request.url
        held = request.headers.get(header)
        # Our own value is there where another middleware sends the same request again.
        theirs = held is not None and not isinstance(held, HeaderText)
        if theirs or not bearer.origins.cover(url.scheme, url.raw_host, url.port):
            return await handler(request)
        sent = calls.fresh() or bearer.text(await calls.credential.atoken())
        request.headers[header] = sent
        response = await handler(request)
        call = calls.answered(sent, response.status)
        if call is None:
            return response
        for step in call:
            match step:
                case "challenges":
                    call.challenges = response.headers.getall("WWW-Authenticate", [])
                case "drain":
                    await _drain(response)
                case "take":
                    call.token = await calls.credential.atoken(refused=call.refused)
                case "rewind":
                    call.rewound = await _can_go_again(request)
                case "send":
                    request.headers[header] = call.text
                    response = await handler(request)
                    call.status = response.status
        return response


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
