"""Limits the log lines about one topic, so that a provider that is down, with thousands of customers, fills no disk.

There is no lock here, because a line may be logged anywhere: each step is one call in C.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from onerefresh.real_time import monotonic

__all__ = ["Decision", "LogLimit"]

MOST = 20
"""Lines about one topic within `SPAN` seconds. Further ones are counted."""
SPAN = 60.0

Topic = TypeVar("Topic", bound=Hashable)


class Decision(NamedTuple, Generic[Topic]):
    """What to do with a line.

    * `is_logged`: whether to log it. `is_last`: no further line about its topic is logged for a while.
    * `left_out`: topics for which that while is over, each with the number of lines that were left out.
    """

    is_logged: bool
    is_last: bool
    left_out: tuple[tuple[Topic, int], ...] = ()


class _Span:
    """The lines about one topic until `ends_at`, by the clock. `numbers`: counts them."""

    __slots__ = ("ends_at", "numbers")

    def __init__(self, ends_at: float) -> None:
        self.ends_at, self.numbers = ends_at, itertools.count(1)


class LogLimit(Generic[Topic]):
    """Lets through `most` lines about each topic in `span` seconds. `clock`: seconds that only grow.

    A line that comes at the very end of a span may miss the count.
    """

    def __init__(self, most: int = MOST, span: float = SPAN, clock: Callable[[], float] = monotonic) -> None:
        self.most, self.span, self._clock = most, span, clock
        self._spans: dict[Topic, _Span] = {}  # the first ends first
        self._look_at = -math.inf  # no span ends before, so that a line does not look at all of them

    def decide(self, topic: Topic) -> Decision[Topic]:
        """What to do with one more line about `topic`."""
        left_out = self.left_out()
        number = next(self._spans.setdefault(topic, _Span(self._clock() + self.span)).numbers)
        return Decision(number <= self.most, number == self.most, left_out)

    def left_out(self) -> tuple[tuple[Topic, int], ...]:
        """The topics of which lines were left out until now, each with their number. Each is given once."""
        now, found = self._clock(), list[tuple[Topic, int]]()
        if now < self._look_at:
            return ()
        look_at = now + self.span  # one that another thread begins meanwhile ends no earlier
        for topic, span in list(self._spans.items()):
            if now < span.ends_at:
                look_at = span.ends_at
                break
            if self._spans.pop(topic, None) is not span:
                continue  # another thread has ended it
            left_out = next(span.numbers) - 1 - self.most
            if left_out > 0:
                found.append((topic, left_out))
        self._look_at = look_at
        return tuple(found)

    def clear(self) -> None:
        """Forget all lines."""
        self._spans, self._look_at = {}, -math.inf
