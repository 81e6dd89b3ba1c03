"""Threads of renewals: a bounded number, of which a call that hangs takes none from the others for long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
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

from onerefresh import Credential, RefreshUnavailable, Token, WaitTimeout, last_look, timekeeper, workers
from onerefresh.hiring import AT_ONCE, FULL, MOST_HELD_UP, SIZE
from onerefresh.locks import Reentered
from onerefresh.pause import Pause
from onerefresh.processor_load import ProcessorLoad
from onerefresh.real_time import monotonic
from onerefresh.store import Conflict, StoreOutcomeUnknown, Versioned
from onerefresh.stores.memory import MemoryStore
from onerefresh.worker import Worker
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


class FixedLoad(ProcessorLoad):
    """A processor of which this process uses a fixed share."""

    def measure(self) -> float:
        return self.share


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> FixedLoad:
    fixed = FixedLoad()
    monkeypatch.setattr(workers._last_look, "load", fixed)
    return fixed


@pytest.mark.parametrize("were_held_up", [True, False])
def test_threads_that_were_held_up_end_while_the_processor_is_busy_although_work_waits(
    load: FixedLoad, monkeypatch: pytest.MonkeyPatch, *, were_held_up: bool
) -> None:
    """A store that hung answers them all at the same moment: they competed with the event loop for as long."""
    monkeypatch.setattr(workers, "HELD_UP", -1.0 if were_held_up else PATIENCE * 10)
    for module, name in ((workers, "LOOK"), (last_look, "STUCK")):
        monkeypatch.setattr(module, name, PATIENCE * 10)
    load.share = 0.0
    first, then = [Gate() for _ in range(3 * AT_ONCE)], Gate()
    for gate in first:
        hand_over(gate)
    for gate in first:
        come(gate, 1)
    load.share = FULL
    for _ in first:
        hand_over(then)
    stay = AT_ONCE if were_held_up else len(first)
    for left, gate in zip(range(len(first) - 1, -1, -1), first, strict=True):
        gate.open.set()
        if left >= stay:
            until(lambda left=left: len(workers._here) == left)  # type: ignore[misc]  # bound now
        else:
            come(then, 1)
    assert then.inside == stay
    then.open.set()
    come(then, len(first) - stay)
    until_renewals_are_over()
    assert then.most == stay


def test_work_that_comes_while_threads_end_is_done(load: FixedLoad, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onerefresh.workers.leaves", lambda others, *, load: others > 0)
    monkeypatch.setattr(workers, "HELD_UP", -1.0)
    done: list[int] = []

    def add(first: int) -> None:
        for number in range(first, first + 500):
            assert hand_over(lambda number=number: done.append(number))  # type: ignore[misc]  # bound now

    in_threads([lambda first=first: add(first) for first in (0, 500, 1000)])  # type: ignore[misc]  # bound now
    until(lambda: len(done) == 1500)
    assert sorted(done) == [*range(1500)]


def test_a_thread_stays_where_others_are_about_to_start_and_cannot(
    load: FixedLoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the only one that there is, and work that waits relies on it."""
    monkeypatch.setattr(workers, "HELD_UP", -1.0)
    load.share = FULL
    gate, done, starting, fails = Gate(), threading.Event(), threading.Semaphore(0), threading.Event()

    def start(function: Callable[..., object], *arguments: Any) -> int:
        if function.__name__ != "_begin":
            return start_new_thread(function, *arguments)
        starting.release()
        assert fails.wait(PATIENCE)
        raise RuntimeError("can't start new thread")

    def begin() -> None:
        with contextlib.suppress(RuntimeError):
            timekeeper.keep(PATIENCE)

    hand_over(gate)
    come(gate, 1)
    callers = [threading.Thread(target=begin)]
    callers += [threading.Thread(target=hand_over, args=(lambda: None,)) for _ in range(AT_ONCE)]
    with monkeypatch.context() as patched:
        patched.setattr("_thread.start_new_thread", only(0))
        assert hand_over(done.set)
        patched.setattr("_thread.start_new_thread", start)
        for caller in callers:
            caller.start()
            assert starting.acquire(timeout=PATIENCE)
        gate.open.set()
        try:
            assert done.wait(PATIENCE / 4)
        finally:
            fails.set()
            for caller in callers:
                caller.join(PATIENCE)


class TestLeaving:
    """One thread at the moment at which enough others run."""

    @pytest.fixture(autouse=True)
    def _others_run(self, load: FixedLoad, _no_thread_is_left: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        load.share = FULL
        monkeypatch.setattr(workers, "LOOK", PATIENCE * 10)
        others = [Worker() for _ in range(AT_ONCE)]
        for other in others:
            other.is_started = True
        workers._busy.update(dict.fromkeys(others))
        try:
            yield
        finally:
            for other in others:
                del workers._busy[other]

    @pytest.fixture
    def me(self) -> Iterator[Worker]:
        me = Worker()
        workers._free[me] = None
        try:
            yield me
        finally:
            workers._free.pop(me, None)

    def test_nobody_counts_on_it_from_before_the_last_look_on(
        self, me: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept: list[bool] = []
        monkeypatch.setattr(timekeeper, "keep", lambda within: kept.append(me in workers._free))
        assert workers._leaves(me)
        assert kept == [False]
        assert me not in workers._free

    def test_it_stays_where_nobody_would_look_at_the_work(self, me: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("_thread.start_new_thread", only(0))
        assert not workers._leaves(me)
        assert me in workers._free

    def test_it_stays_where_another_leaves_at_the_same_moment(
        self, me: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def leave(others: int, *, load: float) -> bool:
            enough = others >= AT_ONCE
            workers._busy.pop(next(iter(workers._busy)))
            gone.append(1)
            return enough

        gone: list[int] = []
        others = dict(workers._busy)
        monkeypatch.setattr("onerefresh.workers.leaves", leave)
        try:
            assert not workers._leaves(me)
        finally:
            workers._busy.update(others)
        assert len(gone) == 2
        assert me in workers._free

    def test_it_does_not_count_itself(self, me: Worker) -> None:
        other, _ = workers._busy.popitem()
        try:
            assert not workers._leaves(me)
        finally:
            workers._busy[other] = None

    @pytest.mark.parametrize(
        "change", [{"waits": 1}, {"is_started": False}, {"since": 0.0}], ids=["waits", "may not start", "may hang"]
    )
    def test_it_stays_for_one_that_will_take_no_work_soon(
        self, change: dict[str, Any], me: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workers, "LOOK", 1.0)
        for worker in list(workers._busy):
            worker.since = monotonic()
        for name, value in change.items():
            setattr(next(iter(workers._busy)), name, value)
        assert not workers._leaves(me)


def test_a_thread_is_held_up_by_a_long_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not workers.is_held_up(), "it is none of these threads"
    found: list[bool] = []
    hand_over(lambda: found.append(workers.is_held_up()))
    until(lambda: found)
    monkeypatch.setattr(workers, "HELD_UP", -1.0)
    hand_over(lambda: found.append(workers.is_held_up()))
    until(lambda: len(found) == 2)
    assert found == [False, True]
    assert not workers.is_held_up()


def test_renewals_whose_reads_hung_go_on_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that comes back answers all of them at the same moment."""
    wakes: list[Callable[[], object]] = []

    def begin(wake: Callable[[], object]) -> None:
        wakes.append(wake)

    def pause(seconds: float, check: Callable[[], object] | None = None, begins: Any = None) -> Pause:
        return Pause(PATIENCE if seconds == workers.LOOK else seconds, check, begins or begin)

    class Hangs(MemoryStore):
        answers, arrived = threading.Event(), threading.Semaphore(0)

        def load(self, key: str) -> Versioned | None:
            if workers._here:
                self.arrived.release()
                assert self.answers.wait(PATIENCE)
            return super().load(key)

    monkeypatch.setattr("onerefresh.runner.Pause", pause)
    monkeypatch.setattr(workers, "HELD_UP", 0.0)
    refresher, store, count = Refresher(), Hangs(), 2 * AT_ONCE

    async def main() -> list[int]:
        asking = asyncio.ensure_future(ask_all(credentials(count, refresher, store=store, max_wait=PATIENCE)))
        for _ in range(count):
            assert await asyncio.to_thread(store.arrived.acquire, timeout=PATIENCE)
        store.answers.set()
        await asyncio.to_thread(until, lambda: len(wakes) == count)
        await asyncio.to_thread(until, lambda: not workers._here)
        assert refresher.calls == 0
        monkeypatch.setattr(workers, "HELD_UP", PATIENCE)
        for wake in wakes:
            wake()
        return await asking

    assert asyncio.run(main()) == [2] * count
    assert refresher.calls == count


@pytest.mark.parametrize("fault", [Conflict, StoreOutcomeUnknown])
def test_a_new_token_waits_for_no_thread(monkeypatch: pytest.MonkeyPatch, fault: type[Exception]) -> None:
    """It is saved nowhere yet, and all threads but its own are taken by calls that hang."""
    monkeypatch.setattr(workers, "HELD_UP", PATIENCE * 10)
    monkeypatch.setattr("onerefresh.runner.is_held_up", lambda: True)
    refresher, gate, faults = Refresher(gated=True), Gate(), [fault("the first write")]
    saved = threading.Event()

    class Faulty(MemoryStore):
        def cas(self, key: str, expected: str | None, body: str) -> str:
            if refresher.leave.is_set() and faults:
                raise faults.pop()
            version = super().cas(key, expected, body)
            if refresher.leave.is_set():
                saved.set()
            return version

    acme = Credential("acme", refresher, token=expired(), store=Faulty(), max_wait=PATIENCE)
    asking = threading.Thread(target=acme.token)
    asking.start()
    refresher.wait_until_entered()
    for _ in range(2 * SIZE):
        hand_over(gate)
    come(gate, SIZE - 1)
    refresher.leave.set()
    try:
        assert saved.wait(PATIENCE / 4)
    finally:
        gate.open.set()
        asking.join(PATIENCE)
    assert not faults


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
        while len(workers._ready) < 13:  # before that, both threads could be done, and end
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
            workers._run(Worker())

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
    workers._run(Worker())
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
