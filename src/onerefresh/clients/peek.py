"""The beginning of an answer's body, read for a rule.

Reading stops as early as it can, since the caller waits for the answer meanwhile: at the end of the body, after 64 KiB,
at the end of the first JSON document (an API that streams documents sends the next one much later), or after a second.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

from onerefresh.clients.decoding import Decoder, decoder_for
from onerefresh.real_time import monotonic

__all__ = ["LONGEST_LOOK", "LOOK_SECONDS", "Peek", "aread_beginning", "peek_at", "read_beginning"]

LONGEST_LOOK: Final = 65_536
"""How many bytes of a body a rule is shown at most."""

LOOK_SECONDS: Final = 1.0
"""A body that takes longer than this is shown as far as it has come."""


class Peek:
    """Collects the beginning of one body. `clock`: seconds that only grow.

    The client feeds it with pieces as they come from the network, and gives the same pieces to its caller.
    """

    __slots__ = ("_clock", "_decoder", "_document", "_ends_at", "_found", "_raw", "whole")

    def __init__(self, decoder: Decoder, *, is_json: bool, clock: Callable[[], float] = monotonic) -> None:
        self._decoder = decoder
        self._document = _FirstDocument() if is_json else None
        self._clock = clock
        self._ends_at = clock() + LOOK_SECONDS
        self._found = bytearray()
        self._raw = 0
        self.whole = False

    @property
    def body(self) -> bytes:
        """What was seen, decoded."""
        return bytes(self._found)

    def is_over(self, piece: bytes) -> bool:
        """Take the next piece; whether no more is needed."""
        self._raw += len(piece)
        try:
            found = self._decoder.decode(piece, LONGEST_LOOK - len(self._found) + 1)
        except Exception:  # noqa: BLE001 - each library has its own; the client itself tells the caller
            return True
        self._found += found[: LONGEST_LOOK - len(self._found)]
        is_long = self._raw >= LONGEST_LOOK or len(self._found) >= LONGEST_LOOK
        return (
            is_long or (self._document is not None and self._document.ends_in(found)) or self._clock() > self._ends_at
        )

    def end(self) -> None:
        """Note that the body has no further piece."""
        self.whole = True

    def decoded(self, body: bytes) -> None:
        """Take a whole body that the client has read and decoded already."""
        self._found = bytearray(body[:LONGEST_LOOK])
        self.whole = len(body) <= LONGEST_LOOK

    def undecoded(self) -> None:
        """Note that the client decodes the pieces itself."""
        plain = decoder_for("")
        assert plain is not None
        self._decoder = plain


def peek_at(encoding: str, *, is_json: bool) -> Peek | None:
    """A `Peek` for a body with this ``Content-Encoding``; None where it cannot be decoded here."""
    decoder = decoder_for(encoding)
    return None if decoder is None else Peek(decoder, is_json=is_json)


def read_beginning(rest: Iterator[bytes], look: Peek, kept: deque[bytes]) -> Exception | None:
    """Feed `look` with the beginning of a body, and keep its pieces; the error that came in the place of one."""
    while True:
        try:
            piece = next(rest, None)
        except Exception as error:  # noqa: BLE001 - the caller gets it, at the place where it belongs
            return error
        if piece is None:
            look.end()
            return None
        kept.append(piece)
        if look.is_over(piece):
            return None


async def aread_beginning(rest: AsyncIterator[bytes], look: Peek, kept: deque[bytes]) -> Exception | None:
    """As `read_beginning`, for an async client."""
    while True:
        try:
            piece = await anext(rest, None)
        except Exception as error:  # noqa: BLE001 - the caller gets it, at the place where it belongs
            return error
        if piece is None:
            look.end()
            return None
        kept.append(piece)
        if look.is_over(piece):
            return None


_TOKENS: Final = re.compile(rb'\\.?|["{}\[\]]', re.DOTALL)


class _FirstDocument:
    """Finds the end of the JSON object or array with which a text begins, in linear time."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def ends_in(self, piece: bytes) -> bool:
        """Whether it ends in this next piece."""
        if self._escaped and piece:
            self._escaped, piece = False, piece[1:]
        for token in _TOKENS.finditer(piece):
            sign = token[0]
            if sign[:1] == b"\\":
                self._escaped = len(sign) == 1
            elif sign == b'"':
                self._quoted = not self._quoted
            elif not self._quoted:
                self._depth += 1 if sign in b"{[" else -1
                if self._depth == 0:
                    return True
        return False
