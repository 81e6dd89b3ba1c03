"""Where a renewal waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

__all__ = ["Pause", "pause_for"]

SLICE = 0.1
"""Seconds between two checks of whether the interpreter is ending."""


class Pause:
    """What a renewal awaits where it waits. `wait` waits on a thread; `seconds`: it is a mere sleep of that length."""

    __slots__ = ("seconds", "wait")

    def __init__(self, wait: Callable[[], object], seconds: float | None = None) -> None:
        self.wait = wait
        self.seconds = seconds

    def __await__(self) -> Generator[Pause, None, None]:
        yield self


def pause_for(seconds: float, go_on: Callable[[], object] | None) -> None:
    """Sleep on this thread. `go_on` is called now and then, and raises where the sleep has to end."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if go_on is not None:
            go_on()
        time.sleep(min(left, SLICE))
