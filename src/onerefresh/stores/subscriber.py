"""A renewal that waits for a change, as stores keep it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onerefresh.pause import after

__all__ = ["CHANGED", "Subscriber"]


class Subscriber:
    """Calls `wake` once at most, and not once `end` has returned. It is one of `others` until then.

    Each step is one call in C, so that it may end anywhere, also under a lock. `end` never raises, and may be repeated.
    """

    __slots__ = ("_others", "_wake")

    def __init__(self, wake: Callable[[], object], others: dict[Any, None]) -> None:
        self._wake, self._others = [wake], others

    def ring(self) -> None:
        """Wake it. Not to be called under a lock."""
        self._others.pop(self, None)
        try:
            wake = self._wake.pop()
        except IndexError:
            return
        wake()

    def end(self) -> None:
        """Do not wake it any more."""
        self._others.pop(self, None)
        self._wake.clear()


CHANGED = after(0.0)
"""For a renewal that need not wait: the record has changed since it was read, or may have."""
