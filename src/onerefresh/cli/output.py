"""Standard output is for results, standard error for people.

Every text for a person goes through this file, line by line, so that the terminal shows it and does not obey it. A
server's scope, a message or a file's name may hold characters that move the cursor, clear the screen, or begin a line
of their own.
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
"""Stands before each line of a traceback, so that none of them looks like a message of its own."""
_Info: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"


class OutputFailed(Exception):
    """Standard output cannot be written. The text is empty where its reader is simply gone."""


def say(line: str) -> None:
    """Print one line on standard error."""
    with contextlib.suppress(OSError):  # standard error is closed
        print(f"onerefresh: {visible(line)}", file=sys.stderr, flush=True)


def say_traceback(error: BaseException) -> None:
    """Print the error with its traceback on standard error."""
    with contextlib.suppress(OSError):
        print(_indented("".join(traceback.format_exception(error))), file=sys.stderr, flush=True)


def say_traceback_of(thread: threading.ExceptHookArgs) -> None:
    """Print the exception that has ended a thread: a `threading.excepthook`."""
    if thread.exc_value is not None and not isinstance(thread.exc_value, SystemExit):
        say_traceback(thread.exc_value)


def _indented(text: str) -> str:
    return "\n".join(f"{INDENT}{visible(line)}" for line in text.rstrip("\n").split("\n"))


def write_lines(lines: Iterable[str]) -> None:
    """Print lines for people on standard output. Raises `OutputFailed`."""
    write_exactly(_writable("".join(f"{visible(line)}\n" for line in lines)))


def _writable(text: str) -> str:
    """`text`, with escapes for what standard output cannot write in its encoding."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def write_exactly(text: str) -> None:
    """Write to standard output and flush: a token or JSON in ASCII, for a program. Raises `OutputFailed`."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise OutputFailed(_reason(error)) from None
    finally:
        del text  # it may be a token, and would show in a traceback with locals


class Shown:
    """Makes a body fit to be shown on a terminal, which would obey some of its bytes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def of(self, chunk: bytes) -> str:
        text = self._decoder.decode(chunk).replace("\r\n", "\n")
        return "".join(letter if letter in "\n\t" else visible(letter) for letter in text)


def write_body(chunk: bytes, shown: Shown | None) -> None:
    """Write a part of a body to standard output: as it is, or made fit for a terminal. Raises `OutputFailed`."""
    if shown is not None:
        write_exactly(_writable(shown.of(chunk)))
    else:
        _write_bytes(chunk)


class VisibleFormatter(logging.Formatter):
    """Formats log records as lines whose characters are all visible."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is that of logging
        return visible(super().formatMessage(record))

    def formatException(self, ei: _Info) -> str:  # noqa: N802 - likewise
        return _indented(super().formatException(ei))


class Parser(argparse.ArgumentParser):
    """A parser whose messages are visible, since they repeat the arguments."""

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
    """Discard what is left: Python flushes once more at exit, and that must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
