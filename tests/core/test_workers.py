"""Threads of renewals: a bounded number, of which a call that hangs takes none from the others for long."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.core.calls import (
    PATIENCE,
    Refresher,
    expired,
    in_threads,
    only,
    start_new_thread,
    until,
    until_renewals_are_over,
)

from onerefresh import Credential, RefreshUnavailable, Token, WaitTimeout, timekeeper, workers
from onerefresh.hiring import MOST_HELD_UP, SIZE
from onerefresh.locks import Reentered
from onerefresh.workers import hand_over

pytestmark = pytest.mark.usefixtures("_no_thread_is_left")


def credentials(count: int, refresher: Callable[..., Any], **options: Any) -> list[Credential]:
    return [Credential(f"tenant-{number}", refresher, token=expired(), **options) for number in range(count)]


async def ask_all(asked: list[Credential]) -> list[int]:
    return [token.generation for token in await asyncio.gather(*(one.atoken() for one in asked))]


class Gate:
    """Work that is held. `inside`: how many are in it now; `most`: how many were at once."""

    def __init__(self) -> None:
        self.open, self.arrived = threading.Event(), threading.Semaphore(0)
        self.inside = self.most = 0
        self._counting = threading.Lock()

    def __call__(self) -> None:
        with self._counting:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.arrived.release()
        assert self.open.wait(PATIENCE)
        with self._counting:
            self.inside -= 1


def come(gate: Gate, count: int) -> None:
    for _ in range(count):
        assert gate.arrived.acquire(timeout=PATIENCE)


# --- How many ---


def test_no_more_run_at_once_than_there_are_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "HELD_UP", PATIENCE * 10)
    gate = Gate()
    for _ in range(3 * SIZE):
        assert hand_over(gate)
    come(gate, SIZE)
    timekeeper.nudge()
    assert not gate.arrived.acquire(timeout=3 * timekeeper.SLICE)
    gate.open.set()
    come(gate, 2 * SIZE)
    until_renewals_are_over()
    assert gate.most == SIZE


def test_what_is_held_up_takes_no_thread_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "HELD_UP", 0.0)
    gate, done = Gate(), threading.Event()
    for _ in range(SIZE + MOST_HELD_UP - 1):
        hand_over(gate)
    hand_over(done.set)
    assert done.wait(PATIENCE)
    gate.open.set()


def test_what_hangs_takes_only_so_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "HELD_UP", 0.0)
    gate = Gate()
    for _ in range(SIZE + 2 * MOST_HELD_UP):
        hand_over(gate)
    come(gate, SIZE + MOST_HELD_UP - 1)
    until(lambda: len(workers._busy) >= MOST_HELD_UP)
    assert not gate.arrived.acquire(timeout=5 * timekeeper.SLICE) or gate.inside <= SIZE + MOST_HELD_UP
    gate.open.set()
    until_renewals_are_over()
    assert gate.most <= SIZE + MOST_HELD_UP


def test_work_that_waits_for_other_work_holds_it_up_in_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refresher asks another credential: without a thread for that one, all would wait for ever."""
    monkeypatch.setattr(workers, "HELD_UP", PATIENCE * 10)
    root = Credential("root", Refresher(), token=expired(), store="memory")

    def refresh(token: object) -> dict[str, object]:
        return {"access_token": root.token().reveal(), "refresh_token": "next", "expires_in": 3600}

    asked = credentials(2 * SIZE, refresh, store="memory", max_wait=PATIENCE)
    assert asyncio.run(ask_all(asked)) == [2] * 2 * SIZE


def test_async_work_that_waits_for_other_work_holds_it_up_in_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runs on a loop of its own, which has one of the threads while its refresher awaits another credential."""
    monkeypatch.setattr(workers, "HELD_UP", PATIENCE * 10)
    entered: list[int] = []
    roots = [Credential(f"root-{number}", Refresher(), token=expired(), store="memory") for number in range(2 * SIZE)]

    async def refresh(token: Token) -> dict[str, object]:
        entered.append(1)
        while len(entered) < SIZE:
            await asyncio.sleep(0.001)
        other = await roots[int(token.reveal())].atoken()
        return {"access_token": other.reveal(), "refresh_token": "next", "expires_in": 3600}

    def asked(number: int) -> Callable[[], int]:
        first = {**expired(), "access_token": str(number)}
        one = Credential(f"tenant-{number}", refresh, token=first, store="memory", max_wait=PATIENCE / 2)
        return lambda: one.token().generation

    assert in_threads([asked(number) for number in range(2 * SIZE)]) == [2] * 2 * SIZE


@pytest.mark.seconds
def test_a_burst_starts_no_thread_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def start(function: Callable[..., object], *arguments: Any) -> int:
        started.append(function.__qualname__)
        return start_new_thread(function, *arguments)

    monkeypatch.setattr("_thread.start_new_thread", start)
    asked = credentials(500, Refresher(), store="memory", max_wait=PATIENCE)
    assert asyncio.run(ask_all(asked)) == [2] * 500
    # A renewal's thread and its timekeeper come and go while work trickles; but there are far fewer than renewals.
    assert started.count("Job._begin") < 150


def test_threads_end_with_their_work() -> None:
    hand_over(lambda: None)
    until(lambda: not (workers._free or workers._busy or workers._here))


# --- Where the system has no thread to spare ---


def test_those_that_got_no_thread_run_on_those_that_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def refresh(token: object) -> dict[str, object]:
        assert go_on.wait(PATIENCE)
        return {"access_token": "next", "expires_in": 3600}

    async def main() -> list[int]:
        asked = credentials(15, refresh)
        for one in asked:
            one._memory.store.look_every = PATIENCE
        monkeypatch.setattr("_thread.start_new_thread", only(2))
        asking = asyncio.ensure_future(ask_all(asked))
        while not workers._ready:
            await asyncio.sleep(0)
        go_on.set()
        return await asking

    assert asyncio.run(main()) == [2] * 15
    assert not workers._ready


def test_a_renewal_that_waits_for_a_thread_says_so_when_its_caller_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def refresh(token: object) -> dict[str, object]:
        begun.set()
        assert go_on.wait(PATIENCE)
        return {"access_token": "next", "expires_in": 3600}

    async def main() -> None:
        first, second = credentials(2, refresh)
        monkeypatch.setattr("_thread.start_new_thread", only(1))
        under_way = asyncio.ensure_future(first.atoken())
        while not begun.is_set():
            await asyncio.sleep(0)
        with pytest.raises(WaitTimeout, match="it has not started yet"):
            await second.atoken(max_wait=0.05)
        go_on.set()
        assert (await under_way).generation == 2
        assert (await second.atoken()).generation == 2

    asyncio.run(main())


def test_without_any_thread_a_call_is_told_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refresher = Refresher()
    [one] = credentials(1, refresher)
    monkeypatch.setattr("_thread.start_new_thread", only(0))
    with pytest.raises(RefreshUnavailable, match="no thread can be started"):
        asyncio.run(ask_all([one]))
    assert refresher.calls == 0
    assert not workers._ready


def test_without_any_thread_a_call_that_may_block_does_the_work_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    refresher = Refresher()
    [one] = credentials(1, refresher)
    monkeypatch.setattr("_thread.start_new_thread", only(0))
    assert one.token().generation == 2
    assert refresher.calls == 1


def test_work_that_comes_while_the_last_thread_ends_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is added after that thread has looked for the last time, or else its caller is told that there is none."""
    monkeypatch.setattr("_thread.start_new_thread", only(0))
    done: list[int] = []
    refused: list[int] = []

    def add(number: int) -> None:
        if not hand_over(lambda: done.append(number)):
            refused.append(number)

    def many(first: int) -> None:
        for number in range(first, first + 500):
            add(number)

    def end_all_the_time() -> None:
        for _ in range(500):
            workers._run(workers._Worker())

    in_threads([lambda: many(0), lambda: many(1000), end_all_the_time, end_all_the_time])
    assert sorted(done + refused) == [*range(500), *range(1000, 1500)]
    assert not workers._ready


def test_a_copy_that_ends_in_a_forked_child_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a program of greenlets, each thread has a copy in the child, and one traceback a copy was printed there."""
    seen: list[object] = []
    monkeypatch.setattr("threading.excepthook", lambda args: seen.append(args.exc_value))
    done = threading.Event()

    def end() -> None:
        raise GeneratorExit

    assert hand_over(end)
    assert hand_over(done.set)
    assert done.wait(PATIENCE)
    assert seen == []


def test_work_that_fails_keeps_none_of_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr("threading.excepthook", lambda args: seen.append(args.exc_value))
    failure, done = ValueError("a defect"), list[int]()

    def fail() -> None:
        raise failure

    workers._ready.extend([fail, lambda: done.append(1), fail, lambda: done.append(2)])
    workers._run(workers._Worker())
    assert done == [1, 2]
    assert seen == [failure, failure]


# --- Other code on these threads ---


def test_a_destructor_between_two_steps_is_refused_a_wait_at_once() -> None:
    """It could wait for the very work that this thread is about to do."""
    asked, outcomes = credentials(2, Refresher()), list[object]()

    def ask() -> None:
        try:
            outcomes.append(asked[len(outcomes)].token())
        except RefreshUnavailable as error:
            outcomes.append(type(error))

    hand_over(ask)  # it is no step of a task
    until(lambda: outcomes)
    timekeeper.Timer(0.0, ask)
    until(lambda: len(outcomes) == 2)
    assert outcomes == [Reentered, Reentered]
    assert [one.token().generation for one in asked] == [2, 2]


FORKED = """
import os, sys, time
from onerefresh import workers

def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

work(0.1)
workers._last_look.load.measure()
child = os.fork()
if child == 0:  # the clock of the process begins anew here
    work(0.02)
    os._exit(0 if workers._last_look.load.measure() > 0.0 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="NOT TESTED: this system does not fork")
def test_a_forked_child_measures_its_own_load() -> None:
    assert subprocess.run([sys.executable, "-c", FORKED], check=False).returncode == 0
