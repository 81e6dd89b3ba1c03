"""Standard output for results, standard error for people.

Whatever a person reads goes through here, line by line, and is shown rather than obeyed: a server's scope, a message
or a file's name may hold what moves the cursor, clears the screen, or begins a line of its own.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from onerefresh.redaction import visible

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = [
    "OutputFailed",
    "Parser",
    "Shown",
    "VisibleFormatter",
    "abandon_output",
    "say",
    "say_traceback",
    "say_traceback_of",
    "write_body",
    "write_exactly",
    "write_lines",
]

INDENT = "    "
"""Before each line of a traceback: none of them looks like a message of its own."""
_Info: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"


class OutputFailed(Exception):
    """Standard output cannot be written; without a text where its reader has simply gone."""


def say(line: str) -> None:
    """One line on standard error."""
    with contextlib.suppress(OSError):  # nobody is there to be told
        print(f"onerefresh: {visible(line)}", file=sys.stderr, flush=True)


def say_traceback(error: BaseException) -> None:
    """The error with its traceback, on standard error."""
    with contextlib.suppress(OSError):
        print(_indented("".join(traceback.format_exception(error))), file=sys.stderr, flush=True)


def say_traceback_of(thread: threading.ExceptHookArgs) -> None:
    """What is said of a thread that an exception has ended: a `threading.excepthook`."""
    if thread.exc_value is not None and not isinstance(thread.exc_value, SystemExit):
        say_traceback(thread.exc_value)


def _indented(text: str) -> str:
    return "\n".join(f"{INDENT}{visible(line)}" for line in text.rstrip("\n").split("\n"))


def write_lines(lines: Iterable[str]) -> None:
    """Lines for people, on standard output. Raises `OutputFailed`."""
    write_exactly(_writable("".join(f"{visible(line)}\n" for line in lines)))


def _writable(text: str) -> str:
    """`text`, with what standard output cannot write in its encoding as escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def write_exactly(text: str) -> None:
    """Write to standard output, at once: what a program reads, a token or JSON in ASCII. Raises `OutputFailed`."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise OutputFailed(_reason(error)) from None
    finally:
        del text  # it may be a token, and would show in a traceback with locals


class Shown:
    """A body as it may be shown on a terminal, where its bytes would be obeyed."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def of(self, chunk: bytes) -> str:
        text = self._decoder.decode(chunk).replace("\r\n", "\n")
        return "".join(letter if letter in "\n\t" else visible(letter) for letter in text)


def write_body(chunk: bytes, shown: Shown | None) -> None:
    """Write a part of a body to standard output: as it is, or as it may be shown. Raises `OutputFailed`."""
    if shown is not None:
        write_exactly(_writable(shown.of(chunk)))
    else:
        _write_bytes(chunk)


class VisibleFormatter(logging.Formatter):
    """Log records as lines that show what they hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        return visible(super().formatMessage(record))

    def formatException(self, ei: _Info) -> str:  # noqa: N802 - likewise
        return _indented(super().formatException(ei))


class Parser(argparse.ArgumentParser):
    """Its messages repeat what it was given."""

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        shown = "\n".join(map(visible, message.split("\n"))) if message else message
        super()._print_message(shown, file)

    def error(self, message: str) -> NoReturn:
        super().error(visible(message))


def _write_bytes(data: bytes) -> None:
    """Write bytes as they are to standard output. Raises `OutputFailed`."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputFailed(_reason(error)) from None


def _reason(error: OSError) -> str:
    return "" if isinstance(error, BrokenPipeError) else f"standard output cannot be written: {error.strerror}"


def abandon_output() -> None:
    """Let what is left go nowhere: Python flushes once more at exit, and that must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
