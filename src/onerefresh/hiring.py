"""How many threads are to start for work that waits, and which end: rules without a clock, threads or state.

Python runs one thread at a time. If many threads compute, each of them, and the thread of an event loop, waits for all
others; so further threads start only while the processor has time to spare, which shows that the present ones wait for
something else. A call may hang: a thread that is held up for long no longer counts, and another one starts in its
place. Many may hang and be answered at the same moment, as when a store comes back: then there are too many threads,
and those that were held up end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = [
    "AT_ONCE", "BUSY", "FULL", "HELD_UP", "MOST_HELD_UP", "MOST_HIRED", "SIZE", "STUCK", "Staff", "hires", "leaves",
]  # fmt: skip

AT_ONCE = 4
"""Threads that start without a look at the processor."""
SIZE = 32
"""Threads that count at the same time, at most."""
MOST_HELD_UP = 144
"""Further threads at most, in the place of threads that are held up."""
MOST_HIRED = 16
"""Threads at most that start at one look, while the processor is idle."""
HELD_UP = 0.1
"""Seconds at one step after which a thread counts as held up, while work waits and no thread takes any."""
STUCK = 0.1
"""Seconds without any work taken after which it counts that no thread takes any."""
BUSY = 0.5
"""The share of one processor from which on this process counts as busy."""
FULL = 0.8
"""The share from which on there are too many threads. If it were `BUSY`, threads would start and end in turns."""


class Staff(NamedTuple):
    """The threads at one moment.

    * `free`: threads that will take work next.
    * `at_work`: threads at a step that began less than `HELD_UP` seconds ago.
    * `held_up`: threads at a step that began earlier, and those that were to take work for so long and did not. Threads
      that wait for the work of others are in none of these numbers.
    """

    free: int
    at_work: int
    held_up: int


def hires(waiting: int, staff: Staff, *, load: float, is_stuck: bool) -> int:
    """How many threads start now for so many pieces of work that wait.

    `load`: the share of one processor that this process has used lately. The closer to `BUSY`, the fewer threads start
    at one look. `is_stuck`: no thread has taken any work for `STUCK` seconds.
    """
    there = sum(staff)
    spare = 1.0 if is_stuck else min(1.0 - load / BUSY, 1.0)
    room = min(SIZE - staff.free - staff.at_work, SIZE + MOST_HELD_UP - there, math.ceil(MOST_HIRED * spare))
    return max(min(waiting - staff.free, max(room, AT_ONCE - there)), 0)


def leaves(others: int, *, load: float) -> bool:
    """Whether a free thread that was held up once ends although work waits, because enough others are running.

    `others`: threads that took or ended a piece of work a moment ago, so that they are not waiting for something else.
    `load`: as for `hires`.
    """
    return load >= FULL and others >= AT_ONCE
