"""Where a renewal waits."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import NamedTuple

from onerefresh.latches import Latch
from onerefresh.real_time import monotonic

__all__ = ["Pause", "Wakeup", "after"]

SLICE = 0.1
"""Seconds between two checks of whether the interpreter is ending, where a thread waits."""


class Wakeup(NamedTuple):
    """What may end a pause early.

    * `end`: withdraws it. It may be called several times, and never raises.
    * `within`: seconds after which the pause ends anyway.
    """

    end: Callable[[], object]
    within: float = math.inf


def after(seconds: float) -> Wakeup:
    """What ends a pause after so many seconds, where nothing announces a change."""
    return Wakeup(_nothing, seconds)


def _nothing() -> None:
    """Withdraw nothing."""


class Pause:
    """What a renewal awaits where it waits: it ends after `seconds`, or earlier.

    * `check`: raises where the renewal has to end, as at the interpreter's end; what it raises, the renewal gets.
    * `begin`: is called once, with a function that ends the pause from any thread. It neither blocks for long nor
      raises. None is returned where nothing ends the pause early.
    """

    __slots__ = ("begin", "check", "seconds")

    def __init__(
        self,
        seconds: float,
        check: Callable[[], object] | None = None,
        begin: Callable[[Callable[[], object]], Wakeup | None] | None = None,
    ) -> None:
        self.seconds, self.check, self.begin = seconds, check, begin

    def __await__(self) -> Generator[Pause, None, None]:
        yield self

    @property
    def is_sleep(self) -> bool:
        """Whether nothing but time ends it."""
        return self.begin is None

    def wait_here(self) -> None:
        """Wait on this thread, where the time that `begin` takes counts, too. Raises what `check` and `begin` raise."""
        woken, deadline = Latch(), monotonic() + self.seconds
        wakeup: Wakeup | None = None
        try:
            try:
                wakeup = self.begin(woken.set) if self.begin is not None else None
                if wakeup is not None:
                    deadline = min(deadline, monotonic() + wakeup.within)
                while True:
                    if self.check is not None:
                        self.check()
                    left = deadline - monotonic()
                    if left <= 0.0 or woken.wait(min(left, SLICE)):
                        return
            finally:
                if wakeup is not None:
                    wakeup.end()
        finally:
            if wakeup is not None:
                wakeup.end()  # again, where an interrupt cut it short: one that is left may keep a connection open
