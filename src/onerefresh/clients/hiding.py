"""What clients of others show of a request in their logs and errors: what holds a token is taken out."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from opcode import opmap
from traceback import walk_tb
from types import FrameType
from typing import Final

__all__ = ["empty", "mask", "silence", "silence_hpack"]


class _Masking(logging.Filter):
    """Takes the values of our parameters out of what others log of a URL. No record is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[str, None] = {}
        self._known: tuple[int, re.Pattern[str]] | None = None  # the number of names, and the pattern that finds them

    def know(self, names: Iterable[str]) -> None:
        """Take out the values of parameters of these names from now on. No lock is needed: each step is one in C."""
        for name in names:
            self._names.setdefault(name)

    def mask(self, text: str) -> str:
        """The text with ``…`` for each of these values."""
        if not self._names:
            return text
        known = self._known
        if known is None or known[0] < len(self._names):
            known = self._known = _pattern(list(self._names))
        return known[1].sub(r"\1…", text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True: no record is dropped."""
        if self._names:
            try:
                line = record.getMessage()  # whole, since an address may be an object, too
            except Exception:  # noqa: BLE001 - a line that cannot be written shows nothing; logging says what is wrong
                line = ""
            if (masked := self.mask(line)) != line:
                record.msg, record.args = masked, ()
        return True


def _pattern(names: list[str]) -> tuple[int, re.Pattern[str]]:
    # Also within an address within the address, where ? and & and = are escaped, once or more often.
    begin, equals = f"(?:{_spelled('?')}|{_spelled('&')})", _spelled("=")
    written = "|".join(["".join(map(_spelled, name)) for name in names])
    return len(names), re.compile(rf"({begin}(?:{written}){equals})[^&#\s\"'<>()]*")


def _spelled(letter: str) -> str:
    """A pattern for the letter as it is, and escaped."""
    escaped = "".join([f"%(?:25)*{byte:02x}" for byte in letter.encode()])
    return f"(?:{re.escape(letter)}|(?i:{escaped}))"


_masking: Final = _Masking()


def silence(loggers: Iterable[str], names: Iterable[str]) -> None:
    """Let no line of these loggers, and no error that `mask` is given, show the value of a parameter of these names."""
    _masking.know(names)
    for name in loggers:
        logging.getLogger(name).addFilter(_masking)  # added once, however often this is called


def mask(error: BaseException) -> None:
    """Take the values of our parameters out of the texts of an error of a client, and of those behind it."""
    for found in _chain(error, None):
        found.args = tuple([_masking.mask(value) if isinstance(value, str) else value for value in found.args])
        for name, value in list(getattr(found, "__dict__", {}).items()):
            if isinstance(value, str) and (masked := _masking.mask(value)) != value:
                setattr(found, name, masked)


def empty(error: BaseException, before: BaseException | None) -> None:
    """Let no frame of an error, and of those behind it, keep what was sent: a traceback with locals would show it.

    `before`: ``sys.exception()`` when the call began, whose frames are the caller's.
    """
    for found in _chain(error, before):
        for frame, _ in walk_tb(found.__traceback__):
            if not _goes_on(frame):
                with suppress(RuntimeError):  # it is running
                    frame.clear()


_RESUMABLE: Final = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR


def _goes_on(frame: FrameType) -> bool:
    """Whether the frame is that of a task or generator that waits, and goes on later.

    One error may be raised in several tasks, as by a transport that remembers a failure. Its traceback then has frames
    of tasks that have handled it, and Python before 3.13 would end such a task by clearing its frame.
    """
    code, last = frame.f_code, frame.f_lasti
    return bool(code.co_flags & _RESUMABLE) and last >= 0 and code.co_code[last] == opmap["YIELD_VALUE"]


def _chain(error: BaseException, before: BaseException | None) -> list[BaseException]:
    """The error and those behind it up to `before`, also those that it only names, as urllib3's do."""
    chain = [error]
    for found in chain:
        related = (found.__cause__, found.__context__, getattr(found, "reason", None), *found.args)
        others = [other for other in related if isinstance(other, BaseException) and other is not before]
        chain += [other for other in others if other not in chain]
    return chain


class _Hpack(logging.Filter):
    """Removes tokens from log records of hpack, which packs headers for HTTP/2 and logs them at level DEBUG."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: set[bytes] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True: no record is dropped."""
        given = record.args if isinstance(record.args, tuple) else (record.args,)
        shown = repr(given).lower().encode("ascii", "replace")
        if "block" in str(record.msg) or any(header in shown for header in tuple(self.headers)):
            record.args = tuple("…" if isinstance(value, (bytes, bytearray, str, tuple)) else value for value in given)
        return True


_hpack: Final = _Hpack()


def silence_hpack(*headers: str) -> None:
    """Let no line of hpack show the value of one of these headers; ``:path`` is the target of a request."""
    _hpack.headers |= {header.lower().encode("ascii") for header in headers}
    for name in ("hpack.hpack", "hpack.table"):
        logging.getLogger(name).addFilter(_hpack)  # added once, however often this is called
