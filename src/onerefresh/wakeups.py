"""Ends the wait for a change of a record early: by the store itself, or by a few threads that wait in the store."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable

from onerefresh.pause import Wakeup, after
from onerefresh.real_time import monotonic
from onerefresh.store import POLL, Store, subscribed
from onerefresh.threads import start

__all__ = ["wakeup_for"]

AT_ONCE = 4
"""Threads at most that wait in stores by `Store.wait`. Other renewals read the record every `POLL` seconds."""
SLICE = 0.2
"""Most seconds of one such wait: it may be over for its renewal."""
AT_LEAST = 0.01
"""Fewest seconds of one: a `wait` that returns at once would have the record read without a pause."""
ABOUT = 0.01
"""Seconds by which a wait that was not ended by a change may be shorter than its time, where clocks are coarse."""


def wakeup_for(store: Store, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup:
    """Call `wake` once the record of `key` may have another version than `version`.

    `since`: when the read that found this version began, on the monotonic clock. Never raises an `Exception`: a user's
    store may do so, and a wake-up is only a hint.
    """
    store = store._that_waits()
    with contextlib.suppress(Exception):
        found = subscribed(store, key, version, since, wake)
        if found is not None:
            return Wakeup(functools.partial(_end, found.end), found.within)
    if type(store).wait is not Store.wait:
        waiting = _Waiting(store, key, version, wake)
        if waiting.begin():
            return Wakeup(waiting.end)
    return after(POLL)


def _end(end: Callable[[], object]) -> None:
    with contextlib.suppress(Exception):
        end()


class _Waiting:
    """One thread that waits in a store."""

    def __init__(self, store: Store, key: str, version: str, wake: Callable[[], object]) -> None:
        self._store, self._key, self._version = store, key, version
        self._wake: Callable[[], object] | None = wake

    def begin(self) -> bool:
        """Whether a thread waits: there are not too many already, and the system has one to give."""
        begins = False
        try:
            _waiting[self] = None
            if len(_waiting) <= AT_ONCE:
                start(self._run, "onerefresh waiting", daemon=True)
                begins = True
        except RuntimeError:  # no thread can start any more: the interpreter ends, or the system is full
            return False
        finally:
            if not begins:
                _waiting.pop(self, None)
        return begins

    def end(self) -> None:
        self._wake = None

    def _run(self) -> None:
        try:
            while True:
                if self._wake is None or self._is_woken():
                    break
        finally:
            _waiting.pop(self, None)
            wake, self._wake = self._wake, None
            if wake is not None:
                wake()

    def _is_woken(self) -> bool:
        """Wait for one slice; whether the record is to be read."""
        begun = monotonic()
        try:
            self._store.wait(self._key, self._version, SLICE)
        except Exception:  # noqa: BLE001 - a user's store may raise anything: then the record is read from time to time
            time.sleep(max(begun + POLL - monotonic(), 0.0))
            return True
        over = monotonic()
        time.sleep(max(begun + AT_LEAST - over, 0.0))
        return over < begun + SLICE - ABOUT


_waiting: dict[_Waiting, None] = {}

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waiting.clear)
