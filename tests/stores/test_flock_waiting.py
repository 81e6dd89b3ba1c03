"""Waiting for a lock file: who is woken, how many threads block in the kernel, and what SQLite reads meanwhile."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from tests.stores.holders import PATIENCE, Holder, open_descriptors, take, until

from onerefresh import threads
from onerefresh.locks import inside
from onerefresh.store import POLL
from onerefresh.stores.flock import MOST_BLOCKED, LockWaiter, lock_path
from onerefresh.stores.sqlite import SQLiteStore


def blocked_threads() -> list[threads.Job]:
    return [job for job in list(threads._jobs) if job.name == "onerefresh blocked"]


class Sleeper:
    """Somebody who subscribes to a lock. `count`: how often it was woken; `wakeup`: None where it need not wait."""

    def __init__(self, waiter: LockWaiter, path: Path) -> None:
        self.count, self.woken = 0, threading.Event()
        self.wakeup = waiter.subscribe(path, self._wake)

    def _wake(self) -> None:
        assert not inside(), "it is woken under a lock"
        self.count += 1
        self.woken.set()

    def end(self) -> None:
        assert self.wakeup is not None
        self.wakeup.end()


def asleep(waiter: LockWaiter, path: Path) -> Sleeper:
    sleeper = Sleeper(waiter, path)
    assert sleeper.wakeup is not None
    assert sleeper.wakeup.within == math.inf
    return sleeper


def test_a_lock_that_is_free_is_not_waited_for(lock_file: Path) -> None:
    assert LockWaiter().subscribe(lock_file, print) is None
    assert blocked_threads() == []


def test_all_are_woken_once_when_the_holder_lets_go(lock_file: Path, holder: Holder) -> None:
    waiter = LockWaiter()
    sleepers, ended = [asleep(waiter, lock_file) for _ in range(8)], asleep(waiter, lock_file)
    ended.end()
    ended.end()
    assert len(blocked_threads()) == 1
    holder.release()
    assert all(sleeper.woken.wait(PATIENCE) for sleeper in sleepers)
    until(lambda: blocked_threads() == [])
    assert [sleeper.count for sleeper in (*sleepers, ended)] == [1] * 8 + [0]
    assert waiter.subscribe(lock_file, print) is None


def test_all_are_woken_when_the_holder_is_killed(lock_file: Path, holder: Holder) -> None:
    sleepers = [asleep(LockWaiter(), lock_file) for _ in range(4)]  # as of so many processes
    assert len(blocked_threads()) == 4
    holder.child.kill()
    assert all(sleeper.woken.wait(PATIENCE) for sleeper in sleepers)


def test_who_is_woken_may_subscribe_at_once(lock_file: Path, holder: Holder) -> None:
    waiter, again = LockWaiter(), list[object]()
    wakeup = waiter.subscribe(lock_file, lambda: again.append(waiter.subscribe(lock_file, print)))
    assert wakeup is not None
    holder.release()
    until(lambda: again == [None])


def test_the_same_function_may_wait_twice(lock_file: Path, holder: Holder) -> None:
    waiter, woken = LockWaiter(), list[None]()
    first, _second = (waiter.subscribe(lock_file, lambda: woken.append(None)) for _ in range(2))
    assert first is not None
    first.end()
    holder.release()
    until(lambda: blocked_threads() == [])
    assert woken == [None]


def test_a_stopped_holder_hangs_nobody_and_one_thread_stays_blocked(lock_file: Path, holder: Holder) -> None:
    waiter = LockWaiter()
    holder.child.send_signal(signal.SIGSTOP)
    sleepers = [asleep(waiter, lock_file) for _ in range(20)]
    for sleeper in sleepers:
        sleeper.end()
    [blocked] = blocked_threads()
    assert blocked.daemon
    assert not waiter._blocked[lock_file].waiting
    holder.child.send_signal(signal.SIGCONT)
    holder.release()
    assert blocked.over.wait(PATIENCE)
    assert {sleeper.count for sleeper in sleepers} == {0}


def test_so_many_threads_block_and_further_waits_are_short(tmp_path: Path) -> None:
    paths = [lock_path(tmp_path / "tokens.db", f"key {number}") for number in range(MOST_BLOCKED + 3)]
    holds, waiter = [take(path) for path in paths], LockWaiter()
    blocking = [asleep(waiter, path) for path in paths[:MOST_BLOCKED]]
    before = open_descriptors()
    for path in paths[MOST_BLOCKED:]:
        more = Sleeper(waiter, path)
        assert more.wakeup is not None
        assert more.wakeup.within == POLL
        more.end()
    same = asleep(waiter, paths[0])
    assert (len(blocked_threads()), open_descriptors()) == (MOST_BLOCKED, before)
    assert holds[0] is not None
    holds[0].release()
    assert blocking[0].woken.wait(PATIENCE)
    assert same.woken.wait(PATIENCE)
    until(lambda: len(blocked_threads()) < MOST_BLOCKED)
    last = asleep(waiter, paths[-1])  # there is room for another one
    for hold in holds:
        assert hold is not None
        hold.release()
    assert last.woken.wait(PATIENCE)
    until(lambda: blocked_threads() == [])


def test_where_no_thread_starts_nothing_stays_open(
    lock_file: Path, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    waiter, before = LockWaiter(), open_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", refuse)
        assert waiter.subscribe(lock_file, print) is None
    assert (waiter._blocked, open_descriptors()) == ({}, before)


@pytest.mark.seconds
def test_a_thousand_holds_and_waits_leave_no_descriptor_and_no_thread(lock_file: Path) -> None:
    waiter, before, threads = LockWaiter(), open_descriptors(), threading.active_count()
    for _ in range(1000):
        hold = take(lock_file)
        assert hold is not None
        assert take(lock_file) is None
        hold.release()
        assert waiter.subscribe(lock_file, print) is None
    for _ in range(100):
        hold = take(lock_file)
        assert hold is not None
        asleep(waiter, lock_file).end()
        hold.release()
        until(lambda: blocked_threads() == [])
    assert (open_descriptors(), threading.active_count()) == (before, threads)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_keeps_no_lock_file_open_and_waits_for_itself(lock_file: Path, holder: Holder) -> None:
    waiter, before = LockWaiter(), open_descriptors()
    sleeper = asleep(waiter, lock_file)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # a child that hangs dies, and the test with it
        try:
            sleeper.end()  # a copy of the parent's
            assert open_descriptors() == before
            asleep(waiter, lock_file)
            assert len(open_descriptors()) == len(before) + 1
        except BaseException:  # noqa: BLE001 - the exit status tells it
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    holder.release()
    assert sleeper.woken.wait(PATIENCE)


# --- The store ---


def subscribed(store: SQLiteStore, key: str, version: str) -> float:
    """For how long a wait lasts at most, of one that is not woken."""
    wakeup = store.subscribe(key, version, time.monotonic(), print)
    if wakeup is None:
        return POLL
    wakeup.end()
    return wakeup.within


def test_what_the_last_holder_wrote_before_he_let_go_is_not_missed(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "tokens.db")
    read = store.cas("acme", None, "before")
    hold = store.hold("acme")
    assert hold is not None
    written = store.cas("acme", read, "after")
    hold.release()
    assert subscribed(store, "acme", read) == 0.0
    assert subscribed(store, "acme", written) == POLL
    assert subscribed(store, "other", "") == POLL
    assert subscribed(store, "other", "a version") == 0.0


def test_where_the_lock_or_the_record_cannot_be_used_a_wait_is_short(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "tokens.db")
    version = store.cas("acme", None, "before")
    lock_path(store.path, "acme").mkdir(parents=True, mode=0o700)
    assert subscribed(store, "acme", "another version") == POLL
    store.wait("acme", version, 0.0)
    store.path.chmod(0o644)
    assert subscribed(store, "other", "another version") == POLL
    store.wait("other", version, 0.0)
