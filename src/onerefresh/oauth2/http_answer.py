"""Reads one HTTP/1.1 answer from a connection that serves no other (RFC 9112).

A server may break the rules, by mistake or on purpose. What can be understood is read, because the answer may hold the
only refresh token that works. Anything else is `UnreadableAnswer`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Head", "Incoming", "Received", "UnreadableAnswer", "read_body", "read_head", "read_on"]

LARGEST_HEAD = 256 * 1024
"""Bytes of status lines and headers in total, including those of interim answers."""

_LONGEST_CHUNK_LINE = 4096
_AT_ONCE = 65_536
_STATUS_LINE = re.compile(rb"(?i:HTTP)/[0-9]+(?:\.[0-9]+)?[ \t]+([1-9][0-9]{2})(?:[ \t][^\r\n]*)?")
_CHUNK_SIZE = re.compile(rb"0*([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?")
_LENGTH = re.compile(r"[0-9]{1,18}")
_NO_BODY = frozenset({101, 204, 304})


class UnreadableAnswer(Exception):
    """The received bytes are no answer, or break off. The message quotes nothing of them."""


class Received(Protocol):
    """The bytes from the connection: an `io.BufferedReader`."""

    def readline(self, size: int, /) -> bytes: ...

    def read1(self, size: int, /) -> bytes: ...


class Incoming(io.RawIOBase):
    """The bytes from a connection, as a file. `receive` takes a number of bytes and returns that many at most."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # what a BufferedReader gives
        part = self._receive(len(buffer))
        buffer[: len(part)] = part
        return len(part)


@dataclass(frozen=True, slots=True)
class Head:
    """The status and the headers of an answer, with header names in lower case.

    `cookies`: the values of all ``Set-Cookie`` headers, which cannot be told apart once they are joined.
    """

    status: int
    headers: Mapping[str, str]
    cookies: tuple[str, ...] = ()

    @property
    def codings(self) -> list[str]:
        """The transfer codings in their order; a server or proxy may have named one of them twice."""
        named = self.headers.get("transfer-encoding", "").lower().split(",")
        found = (coding.partition(";")[0].strip(' \t"') for coding in named)
        return [coding for coding in found if coding not in ("", "identity")]

    @property
    def encoding(self) -> str:
        """How the body is encoded within its chunks, as a ``Content-Encoding`` header would state it."""
        more = [coding for coding in self.codings if coding != "chunked"]
        return ", ".join(filter(None, [self.headers.get("content-encoding", ""), *more]))


def read_head(lines: Received) -> Head:
    """The head of the final answer.

    Interim answers are skipped, except 101, after which the connection does not speak HTTP any more (RFC 9110 section
    15.2). Raises `UnreadableAnswer`, and what reading raises.
    """
    left = LARGEST_HEAD
    while True:
        first, left = _line(lines, left)
        if not first:
            continue  # a superfluous empty line
        found = _STATUS_LINE.fullmatch(first)
        if found is None:
            raise UnreadableAnswer("the answer does not begin with a status line")
        headers: list[tuple[str, str]] = []
        while True:
            line, left = _line(lines, left)
            if not line:
                break
            _add(headers, line.decode("latin-1"))
        status = int(found[1])
        if status >= 200 or status == 101:
            joined: dict[str, str] = {}
            for name, value in headers:
                joined[name] = f"{joined[name]}, {value}" if name in joined else value
            return Head(status, joined, tuple(value for name, value in headers if name == "set-cookie"))


def read_body(head: Head, stream: Received) -> Iterator[bytes]:
    """The body in parts, as they arrive. Raises `UnreadableAnswer` where it breaks off, and what reading raises."""
    if head.status in _NO_BODY:
        return
    if "chunked" in head.codings:
        yield from _chunks(stream)
    elif head.codings or (length := _length(head.headers.get("content-length", ""))) is None:
        yield from read_on(stream)
    else:
        yield from _exactly(stream, length)


def read_on(stream: Received) -> Iterator[bytes]:
    """Everything until the connection is closed: some servers announce the characters rather than the bytes."""
    while part := stream.read1(_AT_ONCE):
        yield part


def _line(lines: Received, limit: int) -> tuple[bytes, int]:
    """A line without its end, and how many bytes the next ones may have."""
    line = lines.readline(limit + 1)
    return _whole(line, limit), limit - len(line)


def _whole(line: bytes, limit: int) -> bytes:
    if not line.endswith(b"\n"):
        raise UnreadableAnswer(
            "the answer is incomplete" if len(line) <= limit else "the answer's headers are too large"
        )
    return line.rstrip(b"\r\n")


def _add(headers: list[tuple[str, str]], line: str) -> None:
    """Take in one line of the headers: a header, the rest of the one before (obs-fold), or junk, which is left out."""
    if line[0] in " \t":
        if headers:
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {line.strip()}".strip())
        return
    name, colon, value = line.partition(":")
    if colon and name.strip():
        headers.append((name.strip().lower(), value.strip()))


def _length(text: str) -> int | None:
    """The announced length. None where there is none, or several: then the body ends with the connection."""
    values = {value.strip() for value in text.split(",")}
    value = values.pop() if len(values) == 1 else ""
    return int(value) if _LENGTH.fullmatch(value) else None


def _chunks(stream: Received) -> Iterator[bytes]:
    line = stream.readline(_LONGEST_CHUNK_LINE + 1)
    if line.lstrip().startswith(b"{"):  # a proxy has removed the chunks, but not the header
        yield line
        yield from read_on(stream)
        return
    while length := _size(line):
        yield from _exactly(stream, length)
        if _line(stream, 2)[0]:
            raise UnreadableAnswer("a chunk of the answer is longer than its size")
        line = stream.readline(_LONGEST_CHUNK_LINE + 1)
    # Trailers follow, and nothing after them.


def _size(line: bytes) -> int:
    size = _CHUNK_SIZE.fullmatch(_whole(line, _LONGEST_CHUNK_LINE).strip())
    if size is None:
        raise UnreadableAnswer("a chunk of the answer has no size")
    return int(size[1], 16)


def _exactly(stream: Received, length: int) -> Iterator[bytes]:
    while length:
        part = stream.read1(min(length, _AT_ONCE))
        if not part:
            raise UnreadableAnswer("the answer is incomplete")
        length -= len(part)
        yield part
