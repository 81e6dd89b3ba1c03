"""Limits the log lines about one host, so that a provider that is down, with thousands of customers, fills no disk.

There is no lock here, because a line may be logged anywhere: each step is one call in C.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

from onerefresh.real_time import monotonic

__all__ = ["Decision", "LogLimit"]

MOST = 20
"""Lines about one host within `SPAN` seconds. Further ones are counted."""
SPAN = 60.0


class Decision(NamedTuple):
    """What to do with a line.

    * `is_logged`: whether to log it. `is_last`: no further line about its host is logged for a while.
    * `left_out`: hosts for which that while is over, each with the number of lines that were left out.
    """

    is_logged: bool
    is_last: bool
    left_out: tuple[tuple[str, int], ...] = ()


class _Span:
    """The lines about one host until `ends_at`, by the clock. `numbers`: counts them."""

    __slots__ = ("ends_at", "numbers")

    def __init__(self, ends_at: float) -> None:
        self.ends_at, self.numbers = ends_at, itertools.count(1)


class LogLimit:
    """Lets through `most` lines about each host in `span` seconds. `clock`: seconds that only grow.

    A line that comes at the very end of a span may miss the count.
    """

    def __init__(self, most: int = MOST, span: float = SPAN, clock: Callable[[], float] = monotonic) -> None:
        self.most, self.span, self._clock = most, span, clock
        self._spans: dict[str, _Span] = {}

    def decide(self, host: str) -> Decision:
        """What to do with one more line about `host`."""
        now = self._clock()
        left_out = self._ended(now)
        number = next(self._spans.setdefault(host, _Span(now + self.span)).numbers)
        return Decision(number <= self.most, number == self.most, left_out)

    def _ended(self, now: float) -> tuple[tuple[str, int], ...]:
        found = []
        for host, span in list(self._spans.items()):
            if now < span.ends_at or self._spans.pop(host, None) is not span:
                continue  # or another thread has ended it
            left_out = next(span.numbers) - 1 - self.most
            if left_out > 0:
                found.append((host, left_out))
        return tuple(found)

    def clear(self) -> None:
        """Forget all lines."""
        self._spans = {}
