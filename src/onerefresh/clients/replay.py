"""Which request bodies can be sent again, and how they are moved back to their beginning."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

__all__ = ["arewind", "body_position", "rewind"]


def body_position(body: object) -> int | None:
    """The position of a file that is about to be sent; None for any other body, and for a file that cannot tell it."""
    if not hasattr(body, "read") or isinstance(body, AsyncIterable):
        return None
    try:
        position = body.tell()  # type: ignore[attr-defined]  # a file without it raises AttributeError
    except (AttributeError, OSError, ValueError):
        return None
    return position if isinstance(position, int) else None


def rewind(body: object, position: int | None) -> bool:
    """Whether `body`, which was sent once, can be sent again; a file is moved back to `position` for that.

    No body, bytes and text can be sent again; so can a file that seeks. An iterator cannot. Another iterable can where
    it starts anew each time and is not used up (its first item is requested to find out).
    """
    if body is None or isinstance(body, (bytes, bytearray, memoryview, str)):
        return True
    if hasattr(body, "read"):
        return position is not None and _seek(body, position)
    if isinstance(body, Iterator) or not isinstance(body, Iterable):
        return False
    return iter(body) is not iter(body) and any(True for _ in body)


async def arewind(body: object, position: int | None) -> bool:
    """As `rewind`, for bodies that may be asynchronous iterables, too."""
    if not isinstance(body, AsyncIterable):
        return rewind(body, position)
    if isinstance(body, AsyncIterator) or aiter(body) is aiter(body):
        return False
    items = aiter(body)
    try:
        async for _ in items:
            return True
        return False
    finally:
        if hasattr(items, "aclose"):
            await items.aclose()


def _seek(body: object, position: int) -> bool:
    try:
        body.seek(position)  # type: ignore[attr-defined]  # a file without it raises AttributeError
        return bool(body.tell() == position)  # type: ignore[attr-defined]  # likewise
    except (AttributeError, OSError, ValueError):
        return False
