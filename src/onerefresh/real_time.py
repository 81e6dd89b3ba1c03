"""The clocks: one that nobody replaces, for waiting, and the user's own, which tests may stop or set.

Tests freeze time: freezegun and mocks put other functions in the place of `time.monotonic`, in each module that has it.
A wait that is measured by such a clock never ends. So this module keeps a copy of the module `time` that nobody else
has. What belongs to the user's calendar, above all whether a token has expired, is asked of `time.time`, which such
tools set.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import time
from collections.abc import Callable
from importlib.machinery import BuiltinImporter
from types import ModuleType

__all__ = ["CLOCKS", "Wall", "is_set_by_tests", "monotonic", "process_time"]


def _own_copy() -> ModuleType:
    found = BuiltinImporter.find_spec("time")
    if found is None or found.loader is None:  # an interpreter in which `time` is not built in
        return time
    own = importlib.util.module_from_spec(found)
    found.loader.exec_module(own)
    return own


_own = _own_copy()
monotonic: Callable[[], float] = _own.monotonic
"""Seconds of the clock that `time.monotonic` reads where nobody has replaced it."""
process_time: Callable[[], float] = _own.process_time
"""Seconds of processor time that this process has used, as `time.process_time` reads them."""
_kind_of_clock = type(_own.time)


class _Clocks:
    """Both clocks, as one object. A simulation has another one in its place."""

    @staticmethod
    def time() -> float:
        """Seconds since the epoch, as the user's program sees them."""
        return time.time()

    @staticmethod
    def monotonic() -> float:
        """Seconds on a clock that nobody sets."""
        return monotonic()


CLOCKS = _Clocks()


def is_set_by_tests() -> bool:
    """Whether a tool for tests has put its own clock in the place of `time.time`: freezegun, time-machine, a mock."""
    if type(time.time) is not _kind_of_clock:
        return True
    traveller = getattr(sys.modules.get("time_machine"), "escape_hatch", None)  # it replaces the clock itself, in C
    return traveller is not None and bool(traveller.is_travelling())


APART = 0.05
"""Seconds by which a wall clock may fall behind the clock for waiting before it counts as one that stands still."""


class Wall:
    """The wall clock as one renewal reads it: it may be set, but it does not stand still.

    The pauses of a renewal are counted by it, and a pause that is over by the clock for waiting must be over by this
    one, too. A clock that goes on is read as it is, so that all renewals agree: the two clocks of a machine differ a
    little in speed.
    """

    __slots__ = ("_at", "_last", "_wall")

    def __init__(self) -> None:
        self._wall, self._at, self._last = 0.0, 0.0, math.inf

    def read(self) -> tuple[float, float]:
        """Seconds since the epoch, and seconds of the clock for waiting."""
        wall, at = time.time(), monotonic()
        expected = self._wall + (at - self._at)
        if wall < self._last or wall >= expected - APART:  # the first reading, one after it was set back, or it goes on
            self._wall, self._at, expected = wall, at, wall
        self._last = wall
        return expected, at
