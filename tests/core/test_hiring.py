"""The rules for how many threads start and which end, as tables."""

from __future__ import annotations

import pytest

from onerefresh.hiring import AT_ONCE, BUSY, FULL, MOST_HELD_UP, MOST_HIRED, SIZE, Staff, hires, leaves

MANY = 10_000


@pytest.mark.parametrize(
    ("waiting", "staff", "load", "is_stuck", "expected"),
    [
        # nothing waits, or somebody is about to take it
        (0, Staff(0, 0, 0), 0.0, False, 0),
        (0, Staff(0, SIZE, 0), 0.0, True, 0),
        (1, Staff(1, 0, 0), 0.0, False, 0),
        (3, Staff(2, 0, 0), 0.0, False, 1),
        # a few start whatever the processor does
        (MANY, Staff(0, 0, 0), BUSY, False, AT_ONCE),
        (MANY, Staff(1, 1, 0), BUSY, False, AT_ONCE - 2),
        (MANY, Staff(0, AT_ONCE, 0), BUSY, False, 0),
        (MANY, Staff(0, 0, AT_ONCE), BUSY, False, 0),
        # the others only while it has time to spare
        (MANY, Staff(0, AT_ONCE, 0), 0.0, False, MOST_HIRED),
        (2, Staff(0, AT_ONCE, 0), 0.0, False, 2),
        (MANY, Staff(0, SIZE - 1, 0), 0.0, False, 1),
        (MANY, Staff(0, SIZE, 0), 0.0, False, 0),
        # the less of it, the fewer
        (MANY, Staff(0, AT_ONCE, 0), BUSY / 2, False, MOST_HIRED // 2),
        (MANY, Staff(0, AT_ONCE, 0), BUSY * 0.99, False, 1),
        (MANY, Staff(0, AT_ONCE, 0), 2 * BUSY, False, 0),
        (MANY, Staff(0, AT_ONCE, 0), BUSY / 2, True, MOST_HIRED),
        (MANY, Staff(0, 0, 0), BUSY * 0.99, False, AT_ONCE),
        (MANY, Staff(0, AT_ONCE, 0), -1.0, False, MOST_HIRED),  # the clock of the process was set
        # threads that are held up do not count
        (MANY, Staff(0, 0, SIZE), 0.0, False, MOST_HIRED),
        (MANY, Staff(0, SIZE - 1, MOST_HELD_UP), 0.0, False, 1),
        (MANY, Staff(0, 0, SIZE + MOST_HELD_UP), 0.0, False, 0),
        (MANY, Staff(0, 0, SIZE + MOST_HELD_UP - 3), 0.0, False, 3),
        # where no work is taken, the processor is not asked
        (MANY, Staff(0, AT_ONCE, 0), BUSY, True, MOST_HIRED),
        (1, Staff(0, 0, 1), BUSY, True, 1),
        # those that have only just started count
        (MANY, Staff(SIZE - AT_ONCE, AT_ONCE, 0), 0.0, True, 0),
        (1, Staff(1, 0, 0), BUSY, True, 0),
        (MANY, Staff(0, SIZE, 0), BUSY, True, 0),
        (MANY, Staff(0, 0, SIZE + MOST_HELD_UP), BUSY, True, 0),
        # whatever there is, it is no negative number
        (MANY, Staff(0, 2 * SIZE, 2 * MOST_HELD_UP), BUSY, False, 0),
        (1, Staff(SIZE, 0, 0), 0.0, False, 0),
    ],
)
def test_so_many_threads_start(waiting: int, staff: Staff, load: float, is_stuck: bool, expected: int) -> None:
    assert hires(waiting, staff, load=load, is_stuck=is_stuck) == expected


@pytest.mark.parametrize(
    ("others", "load", "expected"),
    [
        (AT_ONCE, FULL, True),
        (SIZE, 2 * FULL, True),
        # while the processor has time to spare, all stay
        (SIZE, FULL * 0.99, False),
        # a few stay whatever it does
        (AT_ONCE - 1, 2 * FULL, False),
        (0, FULL, False),
    ],
)
def test_a_thread_that_was_held_up_ends_although_work_waits(others: int, load: float, *, expected: bool) -> None:
    assert leaves(others, load=load) is expected
