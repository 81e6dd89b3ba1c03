"""Tasks that pause: on no thread while they wait, woken once, and ended where the interpreter ends."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from tests.core.calls import PATIENCE, until, until_renewals_are_over

from onerefresh import tasks, timekeeper, workers
from onerefresh.latches import Latch
from onerefresh.pause import Pause, Wakeup
from onerefresh.tasks import Task, run_here

LONG = 3600.0


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    until_renewals_are_over()
    yield
    until_renewals_are_over()


class Bell:
    """Ends a pause when it is rung. `ended`: how often the pause has withdrawn it."""

    def __init__(self, within: float = LONG) -> None:
        self.begun, self.ended, self.within = Latch(), 0, within
        self.wake: Callable[[], object] = lambda: None

    def begin(self, wake: Callable[[], object]) -> Wakeup:
        self.wake = wake
        self.begun.set()
        return Wakeup(self._end, self.within)

    def _end(self) -> None:
        self.ended += 1


def started(work: Callable[[], Coroutine[Pause, None, object]]) -> tuple[Latch, list[object]]:
    """Begin `work` as a task; what is set when it is over, and what it returned or raised."""
    over, outcome = Latch(), list[object]()

    async def run(_: Task) -> None:
        try:
            outcome.append(await work())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            outcome.append(error)
        finally:
            over.set()

    assert Task(run).start()
    return over, outcome


def test_a_task_that_pauses_has_no_thread() -> None:
    bells = [Bell() for _ in range(200)]

    async def work(bell: Bell) -> None:
        await Pause(LONG, begin=bell.begin)

    running = [started(lambda bell=bell: work(bell))[0] for bell in bells]  # type: ignore[misc]  # bound now
    assert all(bell.begun.wait(PATIENCE) for bell in bells)
    until(lambda: not (workers._busy or workers._free))
    assert not any(over.is_set for over in running)
    for bell in bells:
        bell.wake()
    assert all(over.wait(PATIENCE) for over in running)
    assert [bell.ended > 0 for bell in bells] == [True] * 200


def test_time_ends_a_pause() -> None:
    async def work() -> str:
        await Pause(0.0)
        await Pause(0.001)
        await Pause(LONG, begin=Bell(within=0.001).begin)
        return "done"

    over, outcome = started(work)
    assert over.wait(PATIENCE)
    assert outcome == ["done"]


def test_however_often_it_is_woken_it_goes_on_once() -> None:
    steps: list[str] = []
    first, second = Bell(), Bell()

    async def work() -> None:
        await Pause(LONG, begin=first.begin)
        steps.append("first")
        await Pause(LONG, begin=second.begin)
        steps.append("second")

    over, _ = started(work)
    assert first.begun.wait(PATIENCE)
    wake = first.wake
    for _ in range(5):
        wake()
    assert second.begun.wait(PATIENCE)
    wake()  # late: it is for a pause that is over
    until(lambda: not (workers._busy or workers._ready))
    assert steps == ["first"]
    second.wake()
    assert over.wait(PATIENCE)
    assert steps == ["first", "second"]


def test_one_that_is_woken_while_it_begins_to_pause_goes_on() -> None:
    def at_once(wake: Callable[[], object]) -> Wakeup:
        wake()
        return Wakeup(lambda: None)

    def elsewhere(wake: Callable[[], object]) -> Wakeup:
        thread = threading.Thread(target=wake)
        thread.start()
        thread.join()
        return Wakeup(lambda: None)

    async def work() -> int:
        for _ in range(50):
            await Pause(LONG, begin=at_once)
            await Pause(LONG, begin=elsewhere)
        return 50

    over, outcome = started(work)
    assert over.wait(PATIENCE)
    assert outcome == [50]


def test_what_a_check_raises_the_task_gets_and_nothing_is_begun() -> None:
    bell = Bell()

    def check() -> None:
        raise LookupError("it has to end")

    async def work() -> None:
        await Pause(LONG, check, bell.begin)

    over, outcome = started(work)
    assert over.wait(PATIENCE)
    assert [type(found) for found in outcome] == [LookupError]
    assert not bell.begun.is_set


def test_where_the_interpreter_ends_only_those_go_on_that_have_to(monkeypatch: pytest.MonkeyPatch) -> None:
    ends, may_wait = threading.Event(), Bell()

    def check() -> None:
        if ends.is_set():
            raise LookupError("it has to end")

    async def work(bell: Bell, check: Callable[[], object]) -> str:
        await Pause(LONG, check, bell.begin)
        return "woken"

    has_to, stays = started(lambda: work(Bell(), check)), started(lambda: work(may_wait, lambda: None))
    assert may_wait.begun.wait(PATIENCE)
    until(lambda: len(timekeeper._live) == 2)
    ends.set()
    monkeypatch.setattr(timekeeper, "interpreter_ends", ends.is_set)
    timekeeper.nudge()
    assert has_to[0].wait(PATIENCE)
    assert [type(found) for found in has_to[1]] == [LookupError]
    assert not stays[0].is_set
    may_wait.wake()
    assert stays[0].wait(PATIENCE)
    assert stays[1] == ["woken"]


def test_where_no_timekeeper_can_start_it_waits_on_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(tasks, "Timer", none)
    bell = Bell()

    async def work() -> str:
        await Pause(0.001)
        await Pause(LONG, begin=bell.begin)
        return "done"

    over, outcome = started(work)
    assert bell.begun.wait(PATIENCE)
    until(lambda: bell.ended == 1)  # begun anew, to be waited for here
    bell.wake()
    assert over.wait(PATIENCE)
    assert outcome == ["done"]


VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


def test_each_task_has_a_context_of_its_own_on_all_of_its_threads() -> None:
    async def work(number: int) -> list[int]:
        seen = [VARIABLE.get()]
        VARIABLE.set(number)
        await Pause(0.001)
        return [*seen, VARIABLE.get()]

    VARIABLE.set(99)
    found = [started(lambda number=number: work(number)) for number in range(1, 20)]  # type: ignore[misc]  # bound now
    assert all(over.wait(PATIENCE) for over, _ in found)
    assert [outcome for _, outcome in found] == [[[0, number]] for number in range(1, 20)]
    VARIABLE.set(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_in_a_forked_child_the_tasks_of_its_parent_do_not_go_on() -> None:
    bell, steps = Bell(), list[int]()

    async def work() -> None:
        try:
            await Pause(LONG, begin=bell.begin)
        finally:
            steps.append(os.getpid())

    over, _ = started(work)
    assert bell.begun.wait(PATIENCE)
    until(lambda: not workers._busy)
    child = os.fork()
    if child == 0:
        empty = not (workers._ready or workers._busy or workers._free or timekeeper._live or timekeeper._threads)
        done = threading.Event()
        workers.hand_over(done.set)  # the child has threads of its own
        os._exit(0 if empty and done.wait(PATIENCE) and not steps else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    bell.wake()
    assert over.wait(PATIENCE)
    assert steps == [os.getpid()]


def test_work_that_runs_here_waits_here() -> None:
    threads: list[int] = []

    async def work() -> str:
        threads.append(threading.get_ident())
        await Pause(0.001)
        threads.append(threading.get_ident())
        return "done"

    assert run_here(work()) == "done"
    assert threads == [threading.get_ident()] * 2


def test_nothing_refers_to_a_task_that_is_over() -> None:
    import gc
    import weakref

    class Thing:
        """Something that the task uses."""

    thing: Any = Thing()
    known = weakref.ref(thing)

    async def work(thing: Thing) -> None:
        await Pause(0.001)
        await Pause(LONG, begin=Bell(within=0.001).begin)
        del thing

    over, _ = started(lambda thing=thing: work(thing))  # type: ignore[misc]  # bound now
    del thing
    assert over.wait(PATIENCE)
    until_renewals_are_over()
    gc.collect()
    assert known() is None
