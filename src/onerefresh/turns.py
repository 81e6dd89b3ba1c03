"""Turns: a limit on renewals at once at each token endpoint's host, first come, first served."""

from __future__ import annotations

from collections import deque

from onerefresh.latches import Latch, Lock
from onerefresh.store import cleaned_after_fork

__all__ = ["Place", "Turns"]


class Turns:
    """At most `limit` places at each host have their turn at the same time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = Lock()
        self._lines: dict[str, _Line] = {}
        cleaned_after_fork(self)

    def queue(self, host: str) -> Place:
        """A place at `host`, which has its turn at once where fewer than `limit` others have theirs."""
        with self._lock:
            line = self._lines.setdefault(host, _Line())
            place = Place(self, host, line)
            if line.busy < self.limit:
                line.busy += 1
                place._called.set()
            else:
                line.waiting.append(place)
        return place

    def _leave(self, place: Place) -> None:
        line = place._line
        with self._lock:
            if place._called.is_set:
                line.busy -= 1
                if line.waiting:
                    line.busy += 1
                    line.waiting.popleft()._called.set()
            else:
                line.waiting.remove(place)
            if not line.busy and self._lines.get(place._host) is line:
                del self._lines[place._host]

    def after_fork(self) -> None:
        """None of those who had a turn is in the child."""
        self._lock = Lock()
        self._lines = {}


class _Line:
    """Those at one host: how many have their turn, and who waits for it."""

    def __init__(self) -> None:
        self.busy = 0
        self.waiting: deque[Place] = deque()


class Place:
    """Somebody's place in the line at one host."""

    def __init__(self, turns: Turns, host: str, line: _Line) -> None:
        self._turns, self._host, self._line = turns, host, line
        self._called = Latch()

    def wait(self, seconds: float) -> bool:
        """Whether its turn has come, within so many seconds."""
        return self._called.wait(seconds)

    def leave(self) -> None:
        """Give the turn back, or give up waiting for it. To be called once."""
        self._turns._leave(self)
