"""What the timekeeper saw when it last looked at the work that waits for a thread."""

from __future__ import annotations

from collections.abc import Callable

from onerefresh.hiring import STUCK
from onerefresh.processor_load import ProcessorLoad
from onerefresh.real_time import monotonic

__all__ = ["LastLook", "Work"]

Work = Callable[[], object]


class LastLook:
    """The work that waited `first`, `since` when it has done so, and the `load` of the processor meanwhile."""

    def __init__(self) -> None:
        self.first: Work | None = None
        self.since = 0.0
        self.load = ProcessorLoad()

    def is_stuck(self, first: Work | None) -> bool:
        """Whether no thread has taken any work for `STUCK` seconds. `first`: the work that waits first now."""
        now = monotonic()
        if first is None or first != self.first:
            self.first, self.since = first, now
        return first is not None and now >= self.since + STUCK
