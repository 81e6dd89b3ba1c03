"""The time that all machines share: the clock of a store, or their own clocks where it has none."""

from __future__ import annotations

import math
from typing import TypeAlias

__all__ = ["Clock", "since"]

Clock: TypeAlias = tuple[str | None, float]
"""The epoch and the reading of the store's own clock; or None and seconds since the Unix epoch, where it has none."""


def since(at: float, now: float, longest: float) -> float:
    """Seconds since `at`. A time more than `longest` ahead comes from a clock that was set since, and says nothing."""
    return math.inf if at - now > longest else max(now - at, 0.0)
