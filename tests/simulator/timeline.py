"""Virtual time: what shall happen when. Nothing here ever waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

__all__ = ["Timeline"]


class Timeline:
    """A queue of actions by time. `now`: seconds since the run began; `steps`: actions so far."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def after(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call ``action(*arguments)`` in `seconds`; of two for the same moment the first one asked for comes first."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + seconds, self._count, action, arguments))

    def run(self, until: float, most: int) -> bool:
        """Let time pass to `until`; whether that took at most so many steps in all."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, action, arguments = heapq.heappop(queue)
            self.steps += 1
            if self.steps > most:
                return False
            action(*arguments)
        self.now = until
        return True
