"""Looking at the beginning of an answer of httpx2 or httpx, of which its caller still gets every byte."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Final

from onerefresh.clients.httpx_messages import PACKAGES, Response, package_of, sent_bytes
from onerefresh.clients.peek import Peek, aread_beginning, read_beginning
from onerefresh.clients.rule import Head, Headers

if TYPE_CHECKING:
    import httpx
    import httpx2

    class _Stream(httpx2.SyncByteStream, httpx2.AsyncByteStream, httpx.SyncByteStream, httpx.AsyncByteStream):
        pass

else:
    _Stream = type(
        "_Stream",
        tuple(base for package in PACKAGES for base in (package.SyncByteStream, package.AsyncByteStream)),
        {},
    )

__all__ = ["apeek", "head_of", "peek"]

_MOST_LEFT: Final = 64
"""How many pieces a closed body may still have. Those of httpcore fail at once; a user's stream need not."""


def head_of(response: Response) -> Head:
    """What a rule may know of the answer without its body."""
    request = response.request
    return Head(request.method, Headers(response.headers.multi_items()), sent_bytes(request))


def peek(response: Response, look: Peek) -> None:
    """Feed `look` with the beginning of the body."""
    if not _is_read(response, look):
        response.stream = seen = _Seen(response.stream)
        seen.read(look)


async def apeek(response: Response, look: Peek) -> None:
    """As `peek`, for an async client."""
    if not _is_read(response, look):
        response.stream = seen = _Seen(response.stream)
        await seen.aread(look)


def _is_read(response: Response, look: Peek) -> bool:
    try:
        look.decoded(response.content)
    except package_of(response).ResponseNotRead:
        return bool(response.is_closed)
    return True


class _Seen(_Stream):
    """A body whose beginning was read: it is given out again, and then the rest, or the error that came instead."""

    def __init__(self, beneath: Any) -> None:
        self._beneath = beneath
        self._pieces: deque[bytes] = deque()
        self._error: Exception | None = None
        self._rest: Any = None

    @property
    def elapsed(self) -> Any:
        """The time that the call took, as httpx2 asks for it."""
        return getattr(self._beneath, "elapsed", None)

    def read(self, look: Peek) -> None:
        """Read the beginning."""
        self._rest = iter(self._beneath)
        self._error = read_beginning(self._rest, look, self._pieces)

    async def aread(self, look: Peek) -> None:
        """As `read`, for an async client."""
        self._rest = aiter(self._beneath)
        self._error = await aread_beginning(self._rest, look, self._pieces)

    def __iter__(self) -> Iterator[bytes]:
        while self._pieces:
            yield self._pieces.popleft()
        if self._error is not None:
            raise self._error
        yield from self._rest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._pieces:
            yield self._pieces.popleft()
        if self._error is not None:
            raise self._error
        async for piece in self._rest:
            yield piece

    def close(self) -> None:
        self._beneath.close()

    async def aclose(self) -> None:
        await self._beneath.aclose()
        # trio requires each asynchronous generator to reach its end, and this is the only way to those within the
        # client. The body is closed, so that there is nothing more to come.
        with contextlib.suppress(Exception):
            for _ in range(_MOST_LEFT):
                if await anext(self._rest, None) is None:
                    break
