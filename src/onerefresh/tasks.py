"""Work that pauses: it has a thread only while it does something."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import TypeVar

from onerefresh.locks import reentered
from onerefresh.pause import Pause, Wakeup
from onerefresh.threads import JOBS
from onerefresh.timekeeper import Timer
from onerefresh.workers import hand_over, pausing

__all__ = ["Task", "refuse_between_steps", "run_here"]

T = TypeVar("T")


def refuse_between_steps() -> None:
    """Raise `Reentered` where a wait on this thread could hold up what it waits for.

    A destructor may run anywhere on the threads that all tasks share. Only in a task's own step may it wait.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is Task._advance.__code__:
            return
        if frame.f_code in JOBS and frame.f_locals["self"].shared:
            raise reentered()
        frame = frame.f_back


def run_here(work: Coroutine[Pause, None, T]) -> T:
    """Run `work` to its end on this thread, which waits where the work pauses."""
    failure: BaseException | None = None
    try:
        while True:
            try:
                pause = work.send(None) if failure is None else work.throw(failure)
            except StopIteration as stop:
                result: T = stop.value
                return result
            failure = _waited_here(pause)
    finally:
        work.close()
        del failure  # it refers to this frame


def _waited_here(pause: Pause) -> BaseException | None:
    """Wait on this thread; return what ends the wait otherwise than the time, for the work to judge."""
    try:
        with pausing():
            pause.wait_here()
    except BaseException as error:  # noqa: BLE001 - the work judges it
        return error
    return None


class Task:
    """Runs a coroutine on the threads of `workers`; after a pause, another thread may continue it.

    * `make`: makes the coroutine when it begins, of this task.
    * `thread`: the identity of the thread that runs it just now; None while it pauses.
    """

    __slots__ = ("_context", "_failure", "_make", "_parked", "_work", "thread")

    def __init__(self, make: Callable[[Task], Coroutine[Pause, None, object]]) -> None:
        self._make: Callable[[Task], Coroutine[Pause, None, object]] | None = make
        self._work: Coroutine[Pause, None, object] | None = None
        self._context = contextvars.Context()  # one for all threads that run it
        self._failure: BaseException | None = None
        self._parked: _Parked | None = None
        self.thread: int | None = None

    def start(self) -> bool:
        """Begin soon, on another thread; False where there is none."""
        return hand_over(self.go_on)

    def go_on(self) -> None:
        """Run on this thread until it pauses or ends."""
        while (pause := self._step()) is not None:
            self._parked = parked = _Parked(self, pause)
            if parked.park():
                return  # by now, another thread may run it

    def run_here(self) -> None:
        """Run to its end on this thread."""
        while (pause := self._step()) is not None:
            self._failure = _waited_here(pause)

    def fail(self, error: BaseException) -> None:
        """Raise `error` where it has paused, when it goes on."""
        self._failure = error

    def _step(self) -> Pause | None:
        """Run until the next pause, or None where it has ended. Raises what the work raises."""
        self._parked, self.thread = None, threading.get_ident()
        try:
            return self._context.run(self._advance)
        finally:
            self.thread = None

    def _advance(self) -> Pause | None:
        failure, self._failure = self._failure, None
        try:
            if self._make is not None:
                make, self._make = self._make, None
                self._work = make(self)
            assert self._work is not None
            return self._work.send(None) if failure is None else self._work.throw(failure)
        except StopIteration:
            return None
        finally:
            del failure  # it refers to this frame


class _Parked:
    """A task that pauses, and holds no thread. The first call that wakes it hands it to a thread; others do nothing."""

    __slots__ = ("_claimed", "_is_whole", "_is_woken", "_pause", "_task", "_timer", "_wakeup")

    def __init__(self, task: Task, pause: Pause) -> None:
        self._task: Task | None = task
        self._pause = pause
        self._claimed: dict[str, object] = {}
        self._is_whole = self._is_woken = False
        self._timer: Timer | None = None
        self._wakeup: Wakeup | None = None

    def park(self) -> bool:
        """Begin to wait; False where the task is to go on at once, on this thread."""
        task, pause = self._task, self._pause
        assert task is not None
        seconds = pause.seconds
        try:
            if pause.check is not None:
                pause.check()
            if pause.begin is not None:
                self._wakeup = pause.begin(self.wake)
                seconds = min(seconds, self._wakeup.within) if self._wakeup is not None else seconds
            if seconds > 0.0:
                at_the_end = self._end if pause.check is not None else None
                self._timer = Timer(seconds, self.wake, at_the_end, holds_the_exit=True, or_here=True)
        except RuntimeError:  # no thread can start any more: the interpreter is ending
            self._release()
            failure = _waited_here(pause)
            if failure is not None:
                task.fail(failure)
            return False
        except BaseException as error:  # noqa: BLE001 - the work judges it
            self._release()
            task.fail(error)
            return False
        self._is_whole = True
        if seconds > 0.0 and not self._is_woken:
            return True
        return not self._claim()

    def wake(self) -> None:
        """Let the task go on. Neither blocks nor raises."""
        self._is_woken = True
        if self._is_whole and not self._claimed:
            # Claimed on the thread that runs it, not here: an interrupt after the claim would lose the task.
            hand_over(self._go_on, surely=True)

    def _go_on(self) -> None:
        task = self._task
        if task is not None and self._claim():
            task.go_on()

    def _end(self) -> None:
        """End the pause where the interpreter is ending, and the task has to."""
        if not self._is_whole or self._claimed:
            return
        try:
            assert self._pause.check is not None
            self._pause.check()
        except BaseException as error:  # noqa: BLE001 - the work judges it
            task = self._task
            if task is not None and self._claimed.setdefault("by", error) is error:
                self._release()
                task.fail(error)
                hand_over(task.go_on, surely=True)

    def _claim(self) -> bool:
        """Whether this is the first call."""
        me = object()
        if self._claimed.setdefault("by", me) is not me:
            return False
        self._release()
        return True

    def _release(self) -> None:
        self._task = None
        if self._wakeup is not None:
            self._wakeup.end()
        if self._timer is not None:
            self._timer.cancel()
