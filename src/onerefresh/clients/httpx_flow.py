"""One call of httpx2 or httpx, from the first try to the replay."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, Final

from onerefresh.clients.bearer import HeaderText
from onerefresh.clients.call import Calls
from onerefresh.clients.hiding import silence, silence_hpack
from onerefresh.clients.httpx_messages import (
    Request,
    Response,
    adrain,
    bodies_of,
    brings,
    drain,
    forget,
    write,
)
from onerefresh.clients.httpx_peek import apeek, head_of, peek
from onerefresh.clients.replay import arewind, rewind
from onerefresh.damping import Target
from onerefresh.one_object import OneObject

__all__ = ["Flow"]

_MARK: Final = "onerefresh"
_LOGGERS: Final = (
    *("httpx2", "httpx"),
    *[f"{core}.{part}" for core in ("httpcore2", "httpcore") for part in ("http11", "http2")],
)
"""They log the address of each request, and the headers of answers with addresses that repeat the query of it."""


class Flow(OneObject):
    """One call, from the first try to the replay, as a generator that yields requests and is sent their answers."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._bearer = bearer = calls.bearer
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
