"""The rule for how many threads start, as a table."""

from __future__ import annotations

import pytest

from onerefresh.hiring import AT_ONCE, MOST_HELD_UP, MOST_HIRED, SIZE, Staff, hires

MANY = 10_000


@pytest.mark.parametrize(
    ("waiting", "staff", "is_busy", "is_stuck", "expected"),
    [
        # nothing waits, or somebody is about to take it
        (0, Staff(0, 0, 0), False, False, 0),
        (0, Staff(0, SIZE, 0), False, True, 0),
        (1, Staff(1, 0, 0), False, False, 0),
        (3, Staff(2, 0, 0), False, False, 1),
        # a few start whatever the processor does
        (MANY, Staff(0, 0, 0), True, False, AT_ONCE),
        (MANY, Staff(1, 1, 0), True, False, AT_ONCE - 2),
        (MANY, Staff(0, AT_ONCE, 0), True, False, 0),
        (MANY, Staff(0, 0, AT_ONCE), True, False, 0),
        # the others only while it has time to spare
        (MANY, Staff(0, AT_ONCE, 0), False, False, MOST_HIRED),
        (2, Staff(0, AT_ONCE, 0), False, False, 2),
        (MANY, Staff(0, SIZE - 1, 0), False, False, 1),
        (MANY, Staff(0, SIZE, 0), False, False, 0),
        # threads that are held up do not count
        (MANY, Staff(0, 0, SIZE), False, False, MOST_HIRED),
        (MANY, Staff(0, SIZE - 1, MOST_HELD_UP), False, False, 1),
        (MANY, Staff(0, 0, SIZE + MOST_HELD_UP), False, False, 0),
        (MANY, Staff(0, 0, SIZE + MOST_HELD_UP - 3), False, False, 3),
        # where no work is taken, the processor is not asked
        (MANY, Staff(0, AT_ONCE, 0), True, True, MOST_HIRED),
        (1, Staff(0, 0, 1), True, True, 1),
        # those that have only just started count
        (MANY, Staff(SIZE - AT_ONCE, AT_ONCE, 0), False, True, 0),
        (1, Staff(1, 0, 0), True, True, 0),
        (MANY, Staff(0, SIZE, 0), True, True, 0),
        (MANY, Staff(0, 0, SIZE + MOST_HELD_UP), True, True, 0),
        # whatever there is, it is no negative number
        (MANY, Staff(0, 2 * SIZE, 2 * MOST_HELD_UP), True, False, 0),
        (1, Staff(SIZE, 0, 0), False, False, 0),
    ],
)
def test_so_many_threads_start(waiting: int, staff: Staff, is_busy: bool, is_stuck: bool, expected: int) -> None:
    assert hires(waiting, staff, is_busy=is_busy, is_stuck=is_stuck) == expected
