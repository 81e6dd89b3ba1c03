"""websockets: `connect` for asyncio and `reconnect` for threads, as websockets' own of these names, with a credential.

async with connect("wss://api.example.com/feed", credential) as websocket: ...
with reconnect("wss://api.example.com/feed", credential) as websocket: ...
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any, Final

from onerefresh.clients.bearer import UNAUTHORIZED, HeaderText
from onerefresh.clients.call import Calls, RefusedCall
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError, RefreshUnavailable, StoreUnavailable, WaitTimeout
from onerefresh.one_object import OneObject

try:
    from websockets import client as protocol
    from websockets.asyncio import client as for_asyncio
    from websockets.datastructures import Headers
    from websockets.exceptions import InvalidStatus
    from websockets.sync import client as for_threads
    from websockets.uri import parse_uri
except ModuleNotFoundError as error:
    if error.name != "websockets":
        raise
    raise ConfigurationError(
        "onerefresh.clients.websockets needs websockets: pip install 'onerefresh[websockets]'"
    ) from None

__all__ = ["connect", "reconnect"]

_HEADER: Final = "Authorization"
_SWITCHING = 101
_TIME_IS_ENOUGH: Final = (RefreshUnavailable, StoreUnavailable, WaitTimeout)


class connect(OneObject, for_asyncio.connect):  # noqa: N801 - it takes the place of websockets' own
    """As ``websockets.asyncio.client.connect``, with the token of `credential` in each handshake with `uri`'s origin.

    A handshake that is refused waits for the next token, and is made once more. ``async for`` connects again and again,
    each time with the present token, also after an outage of the token endpoint.

    * `refused_statuses`: the statuses by which this server refuses a token; many answer 403.
    * `options`: those of websockets. An ``Authorization`` in `additional_headers` goes in place of the token; the first
      one is the event ``not_attached``, a warning.

    Raises `ConfigurationError` for arguments that make no sense. Connecting raises what websockets does, and an
    `OnerefreshError` where no token is available. `open_timeout` does not count the wait for a token; the credential's
    ``max_wait`` does.
    """

    def __init__(
        self,
        uri: str,
        credential: Credential,
        *,
        refused_statuses: Collection[int] = UNAUTHORIZED,
        **options: Any,
    ) -> None:
        self._handshakes = _Handshakes(credential, uri, refused_statuses)
        super().__init__(uri, **{"process_exception": _process_exception, **options})
        _silence(self.logger)
        self._own = Headers(self.additional_headers or {})

    async def connect(self) -> for_asyncio.ClientConnection:
        """Make one connection."""
        handshakes = self._handshakes
        if not handshakes.concern(self.uri, self._own):
            return await super().connect()
        credential = handshakes.calls.credential
        sent = handshakes.calls.fresh() or handshakes.calls.bearer.text(await credential.atoken())
        found = await self._tried(sent)
        call = handshakes.answered(sent, self, found)
        if call is not None:
            for step in call:
                match step:
                    case "take":
                        call.token = await credential.atoken(refused=call.refused)
                    case "send":
                        found = await self._tried(call.text)
                        call.status = _status(found)
                    case _:
                        handshakes.tell(call, self, found)
        if isinstance(found, InvalidStatus):
            raise found
        return found

    async def _tried(self, text: HeaderText) -> for_asyncio.ClientConnection | InvalidStatus:
        self.additional_headers = _with(self._own, text)
        try:
            return await super().connect()
        except InvalidStatus as error:
            return error


class reconnect(OneObject, for_threads.reconnect):  # noqa: N801 - as above
    """As ``websockets.sync.client.reconnect``, with the token of `credential`. See `connect`.

    ``with`` makes one connection, and ``for`` connects again and again.
    """

    def __init__(
        self,
        uri: str,
        credential: Credential,
        *,
        refused_statuses: Collection[int] = UNAUTHORIZED,
        **options: Any,
    ) -> None:
        self._handshakes = _Handshakes(credential, uri, refused_statuses)
        super().__init__(uri, **{"process_exception": _process_exception, **options})
        _silence(self.logger)
        self._own = Headers(self.additional_headers or {})

    def connect(self) -> for_threads.ClientConnection:
        """Make one connection."""
        handshakes = self._handshakes
        if not handshakes.concern(self.uri, self._own):
            return super().connect()
        credential = handshakes.calls.credential
        sent = handshakes.calls.fresh() or handshakes.calls.bearer.text(credential.token())
        found = self._tried(sent)
        call = handshakes.answered(sent, self, found)
        if call is not None:
            for step in call:
                match step:
                    case "take":
                        call.token = credential.token(refused=call.refused)
                    case "send":
                        found = self._tried(call.text)
                        call.status = _status(found)
                    case _:
                        handshakes.tell(call, self, found)
        if isinstance(found, InvalidStatus):
            raise found
        return found

    def _tried(self, text: HeaderText) -> for_threads.ClientConnection | InvalidStatus:
        self.additional_headers = _with(self._own, text)
        try:
            return super().connect()
        except InvalidStatus as error:
            return error


class _Handshakes(OneObject):
    """The handshakes with one origin."""

    def __init__(self, credential: Credential, uri: str, refused_statuses: Collection[int]) -> None:
        if not isinstance(uri, str):
            raise ConfigurationError(f"uri must be a string such as 'wss://api.example.com', not {type(uri).__name__}")
        parsed = parse_uri(uri)
        if parsed.user_info:
            raise ConfigurationError(
                "websockets would send the user name and password of the URI in the token's place: remove them"
            )
        host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
        self.calls = Calls(
            credential,
            f"{'wss' if parsed.secure else 'ws'}://{host}:{parsed.port}",
            header=_HEADER,
            scheme="Bearer",
            refused_statuses=refused_statuses,
            apart="connect by websockets' own connect()",
        )

    def concern(self, uri: str, own: Headers) -> bool:
        """Whether the handshake gets our token: after a redirect, websockets stays at the address where that leads."""
        if not self.calls.bearer.origins.cover_url(uri):
            return False
        if _HEADER not in own:
            return True
        self.calls.passes_through(_HEADER, "leave it out of additional_headers=, or use websockets' own connect()")
        return False

    def answered(self, sent: HeaderText, made: connect | reconnect, found: object) -> RefusedCall | None:
        """What is left of a handshake that was answered."""
        if not self._carried(made):
            return None
        return self.calls.answered(sent, _status(found), self.calls.bearer.origins.target_of(made.uri))

    def tell(self, call: RefusedCall, made: connect | reconnect, found: object) -> None:
        """The steps that need no token. A handshake has no body, and the connection of a refused one is closed."""
        call.rewound = True
        call.challenges = None
        if self._carried(made):
            call.challenges = (
                found.response.headers.get_all("WWW-Authenticate") if isinstance(found, InvalidStatus) else []
            )

    def _carried(self, made: connect | reconnect) -> bool:
        """Whether the request that was answered carried the token.

        A redirect to another origin takes it out, and one back to ours does not bring it again.
        """
        return _HEADER in Headers(made.additional_headers or {}) and self.calls.bearer.origins.cover_url(made.uri)


def _status(found: object) -> int:
    return found.response.status_code if isinstance(found, InvalidStatus) else _SWITCHING


def _with(own: Headers, text: HeaderText) -> Headers:
    headers = own.copy()
    headers[_HEADER] = text
    return headers


def _process_exception(error: Exception) -> Exception | None:
    """As websockets' own: None where trying again may succeed."""
    return None if isinstance(error, _TIME_IS_ENOUGH) else protocol.process_exception(error)


class _Silence(logging.Filter):
    """Takes tokens out of what websockets logs of a handshake at level DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(["…" if isinstance(value, HeaderText) else value for value in record.args])
        return True


_silencing: Final = _Silence()


def _silence(logger: object) -> None:
    """`logger`: websockets', or one of the user's, which may be an adapter, and one around another."""
    while isinstance(logger, logging.LoggerAdapter):
        logger = logger.logger
    if not isinstance(logger, logging.Logger):
        raise ConfigurationError(f"logger must be a logging.Logger or a LoggerAdapter, not {type(logger).__name__}")
    logger.addFilter(_silencing)  # added once, however often this is called
