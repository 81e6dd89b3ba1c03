"""Standard output for results, standard error for people."""

from __future__ import annotations

import contextlib
import os
import sys

__all__ = ["OutputFailed", "abandon_output", "say", "write", "write_bytes"]


class OutputFailed(Exception):
    """Standard output cannot be written; without a text where its reader has simply gone."""


def say(line: str) -> None:
    """One line on standard error."""
    with contextlib.suppress(OSError):  # nobody is there to be told
        print(f"onerefresh: {line}", file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Write to standard output, at once. Raises `OutputFailed`."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise OutputFailed(_reason(error)) from None
    finally:
        del text  # it may be a token, and would show in a traceback with locals


def write_bytes(data: bytes) -> None:
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
