"""Locks, latches and threads: nothing waits for itself, and no interrupt leaves anything taken."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable

import pytest
from tests.core.calls import PATIENCE, in_threads, until

from onerefresh import RefreshUnavailable, locks, threads, timekeeper
from onerefresh.latches import Changes, Latch
from onerefresh.locks import Lock, Reentered, inside
from onerefresh.threads import start
from onerefresh.timekeeper import Alarm

# --- Locks ---


def test_a_lock_is_held_within_its_block_by_one_thread() -> None:
    lock, counted = Lock(), [0]

    def count() -> None:
        for _ in range(500):
            with lock:
                found = counted[0]
                time.sleep(0)
                counted[0] = found + 1

    in_threads([count] * 4)
    assert counted == [2000]


def test_who_has_it_cannot_wait_for_it_and_goes_on() -> None:
    lock = Lock()
    with lock:
        assert lock.mine
        assert inside()
        with pytest.raises(Reentered, match="call again"), lock:
            raise AssertionError("it is taken")
        assert lock.mine
    assert not lock.mine
    assert not inside()
    with lock:
        assert lock.mine


def test_who_has_one_takes_only_those_of_a_higher_order() -> None:
    first, other, second = Lock(), Lock(), Lock(order=1)
    with first:
        with pytest.raises(Reentered), other:
            raise AssertionError("it is of the same order")
        with second:
            assert second.mine
            with pytest.raises(Reentered), first:
                raise AssertionError("it is taken")
        assert not second.mine
    with second, pytest.raises(Reentered), first:
        raise AssertionError("it is of a lower order")


def test_nothing_is_waited_for_within_a_lock() -> None:
    lock, latch, changes = Lock(), Latch(), Changes()
    with lock:
        with pytest.raises(Reentered):
            latch.wait(PATIENCE)
        with pytest.raises(Reentered):
            changes.wait_for(lambda: False, PATIENCE)
        latch.set()
        assert latch.wait(PATIENCE)
        with pytest.raises(RefreshUnavailable):
            locks.refuse_inside()
    locks.refuse_inside()


def test_another_threads_lock_is_waited_for_and_no_longer_than_one_will() -> None:
    lock, taken, leave = Lock(), Latch(), Latch()

    def hold() -> None:
        with lock:
            taken.set()
            hold_on.acquire(timeout=PATIENCE)
        assert leave.wait(PATIENCE)

    hold_on = threading.Lock()
    hold_on.acquire()
    holder = start(hold, "holder")
    assert taken.wait(PATIENCE)
    with pytest.raises(TimeoutError), lock.within(0.01, TimeoutError):
        raise AssertionError("it is taken")
    assert not inside()
    hold_on.release()
    with lock.within(PATIENCE, TimeoutError):
        assert lock.mine
        assert inside()
    with lock:
        leave.set()
    assert holder.over.wait(PATIENCE)


class Interrupt(Exception):
    pass


def take(lock: Lock) -> None:
    with lock:
        pass


def take_for_a_while(lock: Lock) -> None:
    with lock.within(PATIENCE, TimeoutError):
        pass


@pytest.mark.parametrize("taking", [take, take_for_a_while])
def test_exceptions_that_come_at_any_time_leave_a_lock_free(taking: Callable[[Lock], None]) -> None:
    """As Ctrl-C does it to the main thread: fifty times, wherever it is just then."""
    lock, over, armed, hits = Lock(), False, False, 0

    def take_again_and_again() -> None:
        nonlocal armed
        armed = True
        while not over:
            taking(lock)

    def use() -> None:
        nonlocal armed, hits
        while not over:
            try:
                take_again_and_again()  # Python 3.13 excludes from a `try` the jump back of a loop at its end
            except Interrupt:
                armed = False
                hits += 1

    def until_hit(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f"nothing happens after {hits} interrupts"
            time.sleep(0.0001)

    thread = threading.Thread(target=use)
    thread.start()
    try:
        for sent in range(50):
            until_hit(lambda: armed)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Interrupt))
            until_hit(lambda sent=sent: hits > sent)  # type: ignore[misc]  # bound at once
    finally:
        over = True
        thread.join(PATIENCE)
    with lock.within(PATIENCE, TimeoutError):
        assert lock.mine


# --- Latches ---


def test_a_latch_lets_everybody_go_once_and_for_all() -> None:
    latch, waiting = Latch(), threading.Barrier(51)

    def wait() -> bool:
        waiting.wait(PATIENCE)
        return latch.wait(PATIENCE)

    def set_it() -> bool:
        waiting.wait(PATIENCE)
        latch.set()
        return True

    assert in_threads([*[wait] * 50, set_it]) == [True] * 51
    assert latch.is_set
    assert latch.wait(0.0)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.01])
def test_a_wait_for_a_latch_ends_in_time_and_leaves_nothing(seconds: float) -> None:
    latch = Latch()
    assert not latch.wait(seconds)
    assert not latch._gates


def test_changes_wake_whoever_waits_for_what_they_change() -> None:
    changes, seen, count = Changes(), [0], 200

    def wait_for(number: int) -> Callable[[], bool]:
        return lambda: changes.wait_for(lambda: seen[0] >= number, PATIENCE)

    def change() -> bool:
        for number in range(1, count + 1):
            seen[0] = number
            changes.notify()
        return True

    assert in_threads([wait_for(1), wait_for(count), wait_for(count // 2), change]) == [True] * 4
    assert not changes.wait_for(lambda: False, 0.0)
    assert not changes._gates


# --- Threads ---


def test_a_job_runs_on_a_thread_of_its_name_and_ends() -> None:
    before, seen = set(threads._jobs), list[threading.Thread]()
    for daemon in (False, True):
        job = start(lambda: seen.append(threading.current_thread()), "of this name", daemon=daemon)
        assert job.over.wait(PATIENCE)
    assert [(thread.name, thread.daemon) for thread in seen] == [("of this name", False), ("of this name", True)]
    assert not set(threads._jobs) - before


def test_where_one_thread_is_to_be_had_and_no_second_it_runs_on_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_start", no_more)
    seen: list[int] = []
    assert start(lambda: seen.append(threading.get_ident()), "onerefresh").over.wait(PATIENCE)
    assert len(seen) == 1
    assert seen != [threading.get_ident()]


def test_where_no_thread_is_to_be_had_who_starts_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    until(lambda: not timekeeper._threads)  # a timer of another test may still have it
    before = set(threads._jobs)  # those of other tests may last for long
    monkeypatch.setattr("_thread.start_new_thread", no_more)
    for begin in (lambda: start(print, "onerefresh"), lambda: Alarm(0.0, print)):
        with pytest.raises(RuntimeError, match="can't start"):
            begin()
    assert not set(threads._jobs) - before


def test_an_alarm_calls_once_its_time_is_over() -> None:
    called = Latch()
    alarm = Alarm(0.0, called.set)
    assert called.wait(PATIENCE)
    alarm.cancel()


def test_an_alarm_that_was_cancelled_calls_nothing() -> None:
    called: list[int] = []
    for number in range(20):
        alarm = Alarm(0.0 if number % 2 else PATIENCE, lambda number=number: called.append(number))  # type: ignore[misc]
        alarm.cancel()
        count = len(called)
        assert alarm._over.wait(PATIENCE)
        assert len(called) == count
        alarm.cancel()
    assert all(number % 2 for number in called)
