"""Looking at the beginning of an answer of requests, of which its caller still gets every byte."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, Final

from requests import Response
from urllib3.exceptions import IncompleteRead
from urllib3.response import HTTPResponse

from onerefresh.clients.peek import Peek, read_beginning
from onerefresh.clients.rule import Head, Headers

__all__ = ["head_of", "peek"]

_PIECE: Final = 65_536


def head_of(response: Response) -> Head:
    """What a rule may know of the answer without its body."""
    body: object = response.request.body
    sent = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else None if body else b""
    return Head(response.request.method or "GET", Headers(response.headers.items()), sent)


def peek(response: Response, look: Peek) -> None:
    """Feed `look` with the beginning of the body."""
    if response._content_consumed:  # type: ignore[attr-defined]  # the stubs do not have it
        look.decoded(response.content or b"")
        return
    raw = response.raw
    if isinstance(raw, HTTPResponse) and not raw.closed:
        beginning = _Beginning(raw)
        beginning.look(look)
        response.raw = _Seen(beginning)


def _pieces(raw: HTTPResponse) -> Iterator[bytes]:
    """The body as it comes from the network, still compressed."""
    if raw.chunked and raw.supports_chunked_reads():
        yield from raw.read_chunked(_PIECE, decode_content=False)
        return
    read = getattr(raw, "read1", raw.read)  # the latter waits for a whole piece, and was all there was before 2.1
    while True:
        piece = read(_PIECE, decode_content=False)
        if not piece:
            break
        yield piece
    if raw.length_remaining:  # urllib3 1.26 says so only where all is read at once
        raise IncompleteRead(raw.tell(), raw.length_remaining)


class _Beginning:
    """A file that gives out the beginning again, and then the rest, or the error that came instead."""

    def __init__(self, raw: HTTPResponse) -> None:
        self.raw = raw
        self._rest = _pieces(raw)
        self._kept: deque[bytes] = deque()
        self._error: Exception | None = None
        self.closed = False
        self.hands_out_pieces = False

    def look(self, look: Peek) -> None:
        """Read the beginning."""
        self._error = read_beginning(self._rest, look, self._kept)

    def read1(self, size: int = -1) -> bytes:
        """The next piece, at most `size` bytes; nothing at the end."""
        if self.closed or size == 0:
            return b""
        if not self._kept and self._error is not None:
            raise self._error
        piece = self._kept.popleft() if self._kept else next(self._rest, b"")
        if 0 <= size < len(piece):
            self._kept.appendleft(piece[size:])
            return piece[:size]
        self.closed = not piece
        return piece

    def read(self, size: int = -1) -> bytes:
        """As many bytes; without a size all that are left. The next piece, where it `hands_out_pieces`."""
        found = bytearray()
        while True:
            left = size - len(found) if size >= 0 else -1
            piece = self.read1(left)
            found += piece
            if not piece or len(found) == size or self.hands_out_pieces:
                break
        return bytes(found)

    def close(self) -> None:
        """Close the connection, as if the answer had not been looked at."""
        self.closed = True
        self.raw.close()


class _Seen(HTTPResponse):
    """The answer of urllib3 as its caller would have got it."""

    def __init__(self, beginning: _Beginning) -> None:
        raw = beginning.raw
        super().__init__(
            body=beginning,  # type: ignore[arg-type]  # it is a file, as far as urllib3 needs one
            headers=raw.headers,
            status=raw.status,
            version=raw.version,
            reason=raw.reason,
            preload_content=False,
            decode_content=raw.decode_content,
            original_response=raw._original_response,
            msg=raw.msg,
            retries=raw.retries,
            enforce_content_length=False,  # what is beneath does that
            request_url=raw._request_url,
            auto_close=raw.auto_close,
        )
        self._beneath, self._beginning = raw, beginning

    def stream(self, amt: int | None = _PIECE, decode_content: bool | None = None) -> Generator[bytes, None, None]:
        """The pieces as they come, where they come chunked."""
        if not self.chunked or amt == 0:
            yield from super().stream(amt, decode_content)
            return
        read: Any = getattr(self, "read1", None)
        if read is None:
            read, self._beginning.hands_out_pieces = self.read, True  # before urllib3 2.1
        while True:
            piece = read(amt or _PIECE, decode_content=decode_content)
            if piece:
                yield piece
            elif self.closed:
                break

    def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Generator[bytes, None, None]:
        """As `stream`, for a chunked answer."""
        if self.chunked:
            yield from self.stream(amt, decode_content)
        else:
            yield from super().read_chunked(amt, decode_content)

    def release_conn(self) -> None:
        """Give the connection back."""
        self._beneath.release_conn()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "_beneath" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._beneath, name)
