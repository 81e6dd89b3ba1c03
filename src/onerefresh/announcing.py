"""Events that happen on a caller's thread are published on another one.

A thread that may receive signals must not log: an interrupt could leave the lock of a logging handler taken, and a
renewal that has something to log would wait for it. There may be thousands of callers, so one thread does it for all.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from onerefresh.events import Event, publish
from onerefresh.limited_log import log_exception
from onerefresh.threads import start

__all__ = ["announce"]

MOST = 10_000
"""How many events may wait. Where no thread can start, the oldest are lost."""

_waiting: deque[Callable[[], Event]] = deque(maxlen=MOST)
_announcer: dict[str, object] = {}
"""Marks the thread that publishes them now, if any. No lock is needed: each step here is one call in C."""


def announce(made: Callable[[], Event]) -> None:
    """Publish soon what `made` returns. This neither waits nor takes a lock, so it may be called anywhere.

    Where no thread can start, the event comes with the next one.
    """
    _waiting.append(made)
    _begin()


def _begin() -> None:
    mine = object()
    try:
        if _announcer.setdefault("is", mine) is mine:
            start(_publish_all, "onerefresh events", daemon=True)
    except BaseException as error:
        if _announcer.get("is") is mine:
            _announcer.pop("is", None)
        if not isinstance(error, RuntimeError):  # Ctrl-C
            raise


def _publish_all() -> None:
    try:
        while True:
            if not _waiting:
                break
            try:
                publish(_waiting.popleft()())
            except Exception:  # noqa: BLE001 - an event that cannot be made must not stop the next one
                log_exception("an event could not be published")
    finally:
        _announcer.pop("is", None)
    if _waiting:  # one more came after the last look
        _begin()


def _after_fork() -> None:
    _waiting.clear()  # the parent publishes them
    _announcer.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
