"""Reads one HTTP/1.1 answer from a connection that serves no other (RFC 9112).

A server may break the rules, by mistake or on purpose. What can be understood is: the answer may hold the only refresh
token that lives. What cannot is `UnreadableAnswer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Head", "Received", "UnreadableAnswer", "read_body", "read_head"]

LARGEST_HEAD = 256 * 1024
"""Bytes of status lines and headers in all, those of interim answers too."""
MOST_INTERIM = 32
"""So many interim answers (100 Continue, 103 Early Hints …) are skipped."""

_LONGEST_CHUNK_LINE = 4096
_AT_ONCE = 65_536
_STATUS_LINE = re.compile(rb"HTTP/[0-9]\.[0-9] ([1-9][0-9]{2})(?: [^\r\n]*)?")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?")
_LENGTH = re.compile(r"[0-9]{1,18}")
_NO_BODY = frozenset({101, 204, 304})


class UnreadableAnswer(Exception):
    """What came is no answer, or breaks off. Quotes nothing of it."""


class Received(Protocol):
    """What comes over the connection: an `io.BufferedReader`."""

    def readline(self, size: int, /) -> bytes: ...

    def read1(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Head:
    """The status and the headers of an answer, with their names in lower case."""

    status: int
    headers: Mapping[str, str]


def read_head(lines: Received) -> Head:
    """The head of the final answer.

    Interim ones are skipped, all but 101, after which it is no HTTP any more (RFC 9110 section 15.2).

    Raises `UnreadableAnswer`; what reading raises.
    """
    left = LARGEST_HEAD
    for _ in range(MOST_INTERIM + 1):
        first, left = _line(lines, left)
        found = _STATUS_LINE.fullmatch(first)
        if found is None:
            raise UnreadableAnswer("the answer does not begin with a status")
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
            return Head(status, joined)
    raise UnreadableAnswer("there are too many interim answers")


def read_body(head: Head, stream: Received) -> Iterator[bytes]:
    """The body in parts, as they come. Raises `UnreadableAnswer` where it breaks off; what reading raises."""
    if head.status in _NO_BODY:
        return
    coding = head.headers.get("transfer-encoding", "")
    if coding.rpartition(",")[2].strip().lower() == "chunked":
        yield from _chunks(stream)
    elif coding or (length := _length(head.headers.get("content-length", ""))) is None:
        while part := stream.read1(_AT_ONCE):
            yield part
    else:
        yield from _exactly(stream, length)


def _line(lines: Received, limit: int) -> tuple[bytes, int]:
    """A line without its end, and how many bytes the next ones may have."""
    line = lines.readline(limit + 1)
    if not line.endswith(b"\n"):
        raise UnreadableAnswer("the answer breaks off" if len(line) <= limit else "the answer's headers are too large")
    return line.rstrip(b"\r\n"), limit - len(line)


def _add(headers: list[tuple[str, str]], line: str) -> None:
    """Take one line of the headers: a header, the rest of the one before (obs-fold), or junk, which is left out."""
    if line[0] in " \t":
        if headers:
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {line.strip()}".strip())
        return
    name, colon, value = line.partition(":")
    if colon and name.strip():
        headers.append((name.strip().lower(), value.strip()))


def _length(text: str) -> int | None:
    """The announced length; None where it is none, or there are several: the end of the connection is the end then."""
    values = {value.strip() for value in text.split(",")}
    value = values.pop() if len(values) == 1 else ""
    return int(value) if _LENGTH.fullmatch(value) else None


def _chunks(stream: Received) -> Iterator[bytes]:
    while True:
        line, _ = _line(stream, _LONGEST_CHUNK_LINE)
        size = _CHUNK_SIZE.fullmatch(line.strip())
        if size is None:
            raise UnreadableAnswer("a chunk of the answer has no size")
        if not (length := int(size[1], 16)):
            return  # trailers follow, and nothing after them
        yield from _exactly(stream, length)
        if _line(stream, 2)[0]:
            raise UnreadableAnswer("a chunk of the answer is longer than its size")


def _exactly(stream: Received, length: int) -> Iterator[bytes]:
    while length:
        part = stream.read1(min(length, _AT_ONCE))
        if not part:
            raise UnreadableAnswer("the answer breaks off")
        length -= len(part)
        yield part
