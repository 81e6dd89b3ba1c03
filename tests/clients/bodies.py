"""Bodies of every kind that a client takes: some can be sent twice, the others are used up by the first try."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Self

BODY = b"the body of a call, long enough to be more than nothing"
PIECES = [BODY[:10], BODY[10:]]
OFFSET = 7


class Anew:
    """A body that starts from its beginning each time."""

    def __iter__(self) -> Iterator[bytes]:
        yield from PIECES


class Wrapped:
    """A body that looks like `Anew`, and is used up after the first time."""

    def __init__(self) -> None:
        self.once = iter(PIECES)

    def __iter__(self) -> Iterator[bytes]:
        yield from self.once


class AsyncAnew:
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in PIECES:
            yield piece


class AsyncWrapped:
    def __init__(self) -> None:
        self.once = iter(PIECES)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.once:
            yield piece


class AsyncOnce:
    """An asynchronous iterator that is no generator."""

    def __init__(self) -> None:
        self.once = iter(PIECES)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return next(self.once)
        except StopIteration:
            raise StopAsyncIteration from None


async def pieces() -> AsyncIterator[bytes]:
    for piece in PIECES:
        yield piece


class Unseekable(io.RawIOBase):
    """A file as a pipe is one: it can be read, and nothing else."""

    def __init__(self) -> None:
        self.inner = io.BytesIO(BODY)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self.inner.read(size)

    def readinto(self, buffer: Any, /) -> int:
        data = self.inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class OneWay(Unseekable):
    """A file that says where it is, and cannot go back there."""

    def tell(self) -> int:
        return self.inner.tell()

    def seek(self, position: int, whence: int = 0, /) -> int:
        raise io.UnsupportedOperation("this file goes one way")


def file_in_the_middle() -> io.BytesIO:
    """A file that was read a bit already; what is left of it is `BODY`."""
    file = io.BytesIO(b"x" * OFFSET + BODY)
    file.seek(OFFSET)
    return file


def form() -> dict[str, str]:
    return {"field": BODY.decode()}


Bodies = Mapping[str, Callable[[], dict[str, Any]]]
"""For each kind of body that a client takes: the arguments of a fresh one."""

RAW = frozenset(
    {"bytes", "text", "file", "anew", "generator", "iterator", "map", "wrapped", "unseekable file", "one-way file"}
    | {"async anew", "async generator", "async iterator", "async wrapped"}
)
"""Kinds that are sent as `BODY` itself."""
REPLAYED = frozenset({"bytes", "text", "json", "form", "file", "multipart", "anew", "async anew"})
"""Kinds that can be sent twice; every other is used up by the first try."""


SYNC_HTTPX: Bodies = {
    "bytes": lambda: {"content": BODY},
    "text": lambda: {"content": BODY.decode()},
    "json": lambda: {"json": form()},
    "form": lambda: {"data": form()},
    "file": lambda: {"content": file_in_the_middle()},
    "multipart": lambda: {"files": {"upload": io.BytesIO(BODY)}, "data": form()},
    "anew": lambda: {"content": Anew()},
    "generator": lambda: {"content": (piece for piece in PIECES)},
    "iterator": lambda: {"content": iter(PIECES)},
    "map": lambda: {"content": map(bytes, PIECES)},
    "wrapped": lambda: {"content": Wrapped()},
    "unseekable file": lambda: {"content": Unseekable()},
    "one-way file": lambda: {"content": OneWay()},
    "multipart of an unseekable file": lambda: {"files": {"upload": Unseekable()}},
    "multipart of a one-way file": lambda: {"files": {"upload": OneWay()}},
}
ASYNC_HTTPX: Bodies = {
    **{kind: SYNC_HTTPX[kind] for kind in ("bytes", "text", "json", "form", "multipart")},
    "async anew": lambda: {"content": AsyncAnew()},
    "async generator": lambda: {"content": pieces()},
    "async iterator": lambda: {"content": AsyncOnce()},
    "async wrapped": lambda: {"content": AsyncWrapped()},
    "multipart of an unseekable file": lambda: {"files": {"upload": Unseekable()}},
    "multipart of a one-way file": lambda: {"files": {"upload": OneWay()}},
}
OLD_HTTPX: Bodies = {
    # httpx declares the whole length of a file that is sent from its middle on, and then sends less.
    **SYNC_HTTPX,
    "file": lambda: {"content": file_in_the_middle(), "headers": {"Content-Length": str(len(BODY))}},
}
REQUESTS: Bodies = {
    "bytes": lambda: {"data": BODY},
    "text": lambda: {"data": BODY.decode()},
    "json": lambda: {"json": form()},
    "form": lambda: {"data": form()},
    "file": lambda: {"data": file_in_the_middle()},
    "multipart": lambda: {"files": {"upload": io.BytesIO(BODY)}, "data": form()},
    "anew": lambda: {"data": Anew()},
    "generator": lambda: {"data": (piece for piece in PIECES)},
    "iterator": lambda: {"data": iter(PIECES)},
    "map": lambda: {"data": map(bytes, PIECES)},
    "wrapped": lambda: {"data": Wrapped()},
    "unseekable file": lambda: {"data": Unseekable()},
    "one-way file": lambda: {"data": OneWay()},
}
AIOHTTP: Bodies = {
    "bytes": lambda: {"data": BODY},
    "text": lambda: {"data": BODY.decode()},
    "json": lambda: {"json": form()},
    "form": lambda: {"data": form()},
    "file": lambda: {"data": file_in_the_middle()},
    "multipart": lambda: {"data": {"upload": io.BytesIO(BODY), **form()}},
    "async generator": lambda: {"data": pieces()},
    "async iterator": lambda: {"data": AsyncOnce()},
    "async wrapped": lambda: {"data": AsyncWrapped()},
    "unseekable file": lambda: {"data": Unseekable()},
    "one-way file": lambda: {"data": OneWay()},
    "multipart of an unseekable file": lambda: {"data": {"upload": Unseekable()}},
    "multipart of a one-way file": lambda: {"data": {"upload": OneWay()}},
}
