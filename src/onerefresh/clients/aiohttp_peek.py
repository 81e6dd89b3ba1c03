"""Looking at the beginning of an answer of aiohttp, without taking anything from it."""

from __future__ import annotations

import asyncio

from aiohttp import ClientRequest, ClientResponse, StreamReader
from aiohttp.payload import BytesPayload
from aiohttp.streams import EmptyStreamReader

from onerefresh.clients.peek import LOOK_SECONDS, Peek
from onerefresh.clients.rule import Head, Headers

__all__ = ["head_of", "peek"]


async def head_of(request: ClientRequest, response: ClientResponse) -> Head:
    """What a rule may know of the answer without its body."""
    body = request.body
    sent = await body.as_bytes() if isinstance(body, BytesPayload) else None if body else b""
    return Head(request.method, Headers(response.headers.items()), sent)


async def peek(content: StreamReader, look: Peek) -> None:
    """Feed `look` with the beginning of the body. aiohttp has no way to look at it but its buffer."""
    if isinstance(content, EmptyStreamReader):
        look.end()
        return
    if content.total_compressed_bytes is not None:
        look.undecoded()  # aiohttp decodes it, and leaves the header as it was
    taken = 0
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            while True:
                found = _fed(content, look, taken)
                if found is None:
                    break
                taken = found
                await content._wait("peek")
    except TimeoutError:
        return
    except Exception:
        if content.exception() is None:
            raise  # no error of the body: aiohttp's buffer is not as it was
        return  # the caller gets the same error when it reads


def _fed(content: StreamReader, look: Peek, taken: int) -> int | None:
    """How many pieces of the buffer `look` has got; None where it gets no more. `taken`: it has those already."""
    buffer = content._buffer
    while taken < len(buffer):
        piece = buffer[taken] if taken else buffer[0][content._buffer_offset :]
        taken += 1
        if look.is_over(piece):
            return None
    if content.is_eof():
        look.end()
        return None
    is_stuck = content.exception() is not None or content._protocol._reading_paused
    return None if is_stuck else taken  # nothing more comes before the caller reads
