"""What ends a wait for a change of a record: the store itself, threads that wait in a store, or time."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
from tests.core.calls import PATIENCE
from tests.core.waking import Own, Waiting, Wakings, all_threads_end, around_each, subscribe, until

from onerefresh import wakeups
from onerefresh.store import POLL, Store
from onerefresh.wakeups import AT_LEAST, AT_ONCE, SLICE


@around_each
def test_a_store_that_has_no_way_to_tell_is_read_from_time_to_time(wrapped: Callable[[Store], Store]) -> None:
    wake = Wakings()
    wakeup = subscribe(wrapped(Own()), wake)
    wakeup.end()
    assert (wakeup.within, wake.count, len(wakeups._waiting)) == (POLL, 0, 0)


@around_each
def test_a_wait_of_ones_own_is_called_for_short_times_until_a_change(wrapped: Callable[[Store], Store]) -> None:
    store, wake = Waiting(), Wakings()
    with all_threads_end():
        wakeup = subscribe(wrapped(store), wake)
        assert wakeup.within == math.inf
        store.until(3)
        assert wake.count == 0
        store.change()
        assert wake.woken.wait(PATIENCE)
        wakeup.end()
    assert set(store.heard) == {("acme", "1", SLICE)}
    assert SLICE <= 0.2
    assert wake.count == 1


def test_who_has_ended_is_not_woken_and_keeps_no_thread() -> None:
    store, wake = Waiting(), Wakings()
    with all_threads_end():
        wakeup = subscribe(store, wake)
        store.until(1)
        wakeup.end()
        wakeup.end()
        store.change()
    assert wake.count == 0


@around_each
def test_so_many_wait_at_once_and_the_record_is_read_for_the_others(wrapped: Callable[[Store], Store]) -> None:
    assert AT_ONCE == 4
    store, wake = Waiting(), Wakings()
    with all_threads_end():
        waiting = [subscribe(wrapped(store), wake, f"key {number}") for number in range(AT_ONCE + 6)]
        assert [wakeup.within for wakeup in waiting] == [math.inf] * AT_ONCE + [POLL] * 6
        assert len(wakeups._waiting) == AT_ONCE
        store.until(2 * AT_ONCE)
        for wakeup in waiting:
            wakeup.end()
    assert {key for key, *_ in store.heard} == {f"key {number}" for number in range(AT_ONCE)}
    with all_threads_end():
        later = subscribe(store, wake, "later")
        assert later.within == math.inf
        later.end()
    assert wake.count == 0


def test_many_threads_that_subscribe_at_once_are_not_too_many() -> None:
    store, most, start = Waiting(), [0], threading.Barrier(16)

    def begin() -> None:
        start.wait(PATIENCE)
        found = subscribe(store, print)
        with store.news:
            most[0] += found.within == math.inf
        start.wait(PATIENCE)
        found.end()

    for _ in range(20):
        most[0] = 0
        threads = [threading.Thread(target=begin) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert most[0] <= AT_ONCE
        store.change()
        until(lambda: not wakeups._waiting)
        store.changed = False


@around_each
def test_a_wait_that_raises_does_no_harm(wrapped: Callable[[Store], Store], monkeypatch: pytest.MonkeyPatch) -> None:
    class Raising(Waiting):
        def wait(self, key: str, version: str, timeout: float) -> None:
            super().wait(key, version, 0.0)
            raise ValueError("test")

    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    store, wake, began = Raising(), Wakings(), time.monotonic()
    with all_threads_end():
        subscribe(wrapped(store), wake)
        assert wake.woken.wait(PATIENCE)
        assert time.monotonic() >= began + POLL, "the record is read as often as where nobody waits"
    assert (len(store.heard), wake.count, died) == (1, 1, [])


def test_a_wait_that_returns_at_once_does_not_read_the_record_without_a_pause() -> None:
    store, wake, began = Waiting(), Wakings(), time.monotonic()
    store.change()
    with all_threads_end():
        subscribe(store, wake)
        assert wake.woken.wait(PATIENCE)
        assert time.monotonic() >= began + AT_LEAST
    assert (len(store.heard), wake.count) == (1, 1)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_has_its_own_threads_and_as_many() -> None:
    store = Waiting()
    with all_threads_end():
        waiting = [subscribe(store, print, f"key {number}") for number in range(AT_ONCE)]
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # a child that hangs dies, and the test with it
            own = subscribe(Waiting(), print)
            os._exit(0 if own.within == math.inf else 1)
        assert os.waitpid(child, 0)[1] == 0
        for wakeup in waiting:
            wakeup.end()


def test_where_no_thread_starts_the_record_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    assert subscribe(Waiting(), print).within == POLL
    assert not wakeups._waiting
