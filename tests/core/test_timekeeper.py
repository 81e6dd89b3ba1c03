"""The timekeeper: nothing that is to happen later is lost with a thread, or freed at the wrong moment."""

from __future__ import annotations

import gc
import math
import os
import weakref
from collections.abc import Iterator

import pytest
from tests.core.calls import PATIENCE, until, until_renewals_are_over

from onerefresh import timekeeper
from onerefresh.latches import Latch
from onerefresh.timekeeper import Timer

LONG = 3600.0


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    until_renewals_are_over()
    until(lambda: not timekeeper._threads)
    yield
    for timer in list(timekeeper._live):
        timer.cancel()
    until(lambda: not timekeeper._threads)


def test_timers_are_called_in_their_order() -> None:
    called: list[int] = []
    timekeeper._threads[called.append] = None  # so that none begins before all are there
    for number in (3, 1, 2, 0):
        timer = Timer(LONG, lambda number=number: called.append(number))  # type: ignore[misc]  # bound at once
        timer.at = float(number)
    timekeeper._threads.clear()
    over = Latch()
    Timer(0.0, over.set)
    assert over.wait(PATIENCE)
    assert called == [0, 1, 2, 3]


def test_one_that_is_earlier_than_the_others_is_not_late() -> None:
    first, second = Latch(), Latch()
    late = Timer(LONG, second.set)
    until(lambda: timekeeper._keeper.next_at < math.inf)
    Timer(0.0, first.set)
    assert first.wait(PATIENCE)
    assert not second.is_set
    late.cancel()


def test_a_call_that_fails_ends_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr("threading.excepthook", lambda args: seen.append(args.exc_value))
    failure, over = ValueError("a defect"), Latch()

    def fail() -> None:
        raise failure

    Timer(0.0, fail)
    Timer(0.001, over.set)
    assert over.wait(PATIENCE)
    assert seen == [failure]


def test_timers_outlive_a_thread_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were forgotten with it, and the tasks that they were to wake waited for ever."""
    seen: list[object] = []
    monkeypatch.setattr("threading.excepthook", lambda args: seen.append(args.exc_value))
    failure, held = MemoryError("a defect"), Latch()
    timer = Timer(LONG, held.set)
    until(lambda: not timekeeper._new)
    monkeypatch.setattr(timekeeper, "_call_what_is_due", lambda heap: (_ for _ in ()).throw(failure))
    timekeeper.nudge()
    until(lambda: not timekeeper._threads)
    monkeypatch.undo()
    assert failure in seen
    timer.at = 0.0
    Timer(0.0, lambda: None)  # another thread begins
    assert held.wait(PATIENCE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_frees_nothing_of_its_parent_s_before_all_is_reset_there() -> None:
    """A renewal that is freed lets go of its lock on a file, which would be its parent's until stores are reset."""

    class Renewal:
        """What a timer would wake."""

        def wake(self) -> None:
            """Do nothing."""

    renewal = Renewal()
    known = weakref.ref(renewal)
    timekeeper._threads[renewal] = None  # so that none begins, and takes the timer
    timer = Timer(LONG, renewal.wake)
    timekeeper._threads.clear()
    del renewal
    child = os.fork()
    if child == 0:
        del timer
        gc.collect()
        os._exit(0 if known() is not None and not timekeeper._live else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    timer.cancel()
