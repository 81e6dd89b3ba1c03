"""aiohttp: `BearerAuth` is a client middleware.

aiohttp.ClientSession(middlewares=(BearerAuth(credential, "https://api.example.com"),))
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Final

from onerefresh.clients.bearer import Bearer, HeaderText
from onerefresh.clients.challenge import Interaction, PassThrough, Refused
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError

try:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, StreamReader
    from aiohttp.base_protocol import BaseProtocol
except ModuleNotFoundError as error:
    if error.name != "aiohttp":
        raise
    raise ConfigurationError("onerefresh.clients.aiohttp needs aiohttp: pip install 'onerefresh[aiohttp]'") from None

__all__ = ["BearerAuth"]

_LONGEST_REFUSAL: Final = 1_048_576
_UNAUTHORIZED: Final = frozenset({401})


class BearerAuth:
    """Sends the token of `credential` to `origins` and nowhere else; a refused call waits for the next one, once.

    It is one of the ``middlewares`` of a session or of a call, and may serve many of them. A request that has the
    header already passes through: its caller's, or that of ``~/.netrc`` where the session has ``trust_env``. `scheme`
    stands before the token (``""``: the bare token); `refused_statuses` are those by which this API refuses a token.
    Calls raise an `OnerefreshError` where there is no token to be had.
    """

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        *,
        header: str = "Authorization",
        scheme: str | None = "Bearer",
        refused_statuses: Collection[int] = _UNAUTHORIZED,
    ) -> None:
        if not isinstance(credential, Credential):
            raise ConfigurationError(f"credential is an onerefresh.Credential, not {type(credential).__name__}")
        self._credential = credential
        self._rules = Bearer(credential.key, origins, header=header, scheme=scheme, refused_statuses=refused_statuses)

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """aiohttp calls this for every hop of a call."""
        rules, credential, url = self._rules, self._credential, request.url
        held = request.headers.get(rules.header)
        # A text of ours is there where another middleware sends the same request again.
        theirs = held is not None and not isinstance(held, HeaderText)
        if theirs or not rules.origins.cover(url.scheme, url.raw_host, url.port):
            return await handler(request)
        token = credential.current() or await credential.atoken()
        request.headers[rules.header] = rules.text(token)
        response = await handler(request)
        if response.status not in rules.refused_statuses:
            if credential.unproven is token:
                credential.replayed(token, accepted=True)
            return response
        decision = rules.judge(response.status, _challenges(response))
        if isinstance(decision, PassThrough):
            return response
        await _drain(response)
        if isinstance(decision, Interaction):
            raise rules.interaction(decision, token)
        newer = await credential.atoken(refused=token)
        if newer.identity == token.identity or not await _can_go_again(request):
            return response
        request.headers[rules.header] = rules.text(newer)
        response = await handler(request)
        decision = rules.judge(response.status, _challenges(response))
        credential.replayed(newer, accepted=not isinstance(decision, Refused))
        if isinstance(decision, Interaction):
            await _drain(response)
            raise rules.interaction(decision, newer)
        return response


def _challenges(response: ClientResponse) -> list[str]:
    return response.headers.getall("WWW-Authenticate", [])


async def _can_go_again(request: ClientRequest) -> bool:
    """Whether aiohttp can send the body again: it knows which are used up, and rewinds files by itself."""
    await request.close()  # a refusal may come while the body is still being written
    body = request.body
    return body == b"" or not body.consumed


async def _drain(response: ClientResponse) -> None:
    """Read a refusal, at most 1 MiB of it, and give its connection back: others wait for it. It can be read again."""
    kept = bytearray()
    try:
        while chunk := await response.content.readany():
            kept += chunk
            if len(kept) > _LONGEST_REFUSAL:
                break
    finally:
        if not response.content.at_eof():
            response.close()
    loop = asyncio.get_running_loop()
    again = StreamReader(BaseProtocol(loop), limit=len(kept), loop=loop)
    again.feed_data(bytes(kept[:_LONGEST_REFUSAL]))
    again.feed_eof()
    response.content = again
