"""Work that is left when renewals are over, on one thread for all credentials of this process."""

from __future__ import annotations

import functools
import heapq
import itertools
import logging
import time
from collections.abc import Coroutine

from onerefresh.latches import Changes, Job, Lock, interpreter_ends, start
from onerefresh.runner import Pause, Runner
from onerefresh.store import Store, reset_in_child

__all__ = ["BackgroundTasks", "background_tasks"]

SLICE = 0.2
"""Seconds between two checks of whether the interpreter is ending."""

Rest = Coroutine[Pause, None, None]


class BackgroundTasks:
    """Runs coroutines that mostly sleep, each when it is due. The thread ends with the last one.

    Tasks still pending at interpreter exit are dropped. Schedule nothing here that correctness depends on: these tasks
    only make faults of a store less likely to do harm. `_lock` guards the schedule and the thread.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._changes = Changes()
        self._due: list[tuple[float, int, Runner, Rest]] = []
        self._numbers = itertools.count()
        self._thread: Job | None = None
        self._at_work: Runner | None = None  # the world of the task that runs now; None once its store closes
        reset_in_child(self)

    def look_after(self, runner: Runner, rest: Rest) -> None:
        """Schedule `rest`, to begin soon. `runner` is its world."""
        with self._lock:
            self._put(time.monotonic(), runner, rest)
            if self._thread is None:
                try:
                    self._thread = start(self._work, "onerefresh background")
                except RuntimeError:  # no thread can start any more, as at the interpreter's end
                    self._give_up()
                    return
        self._changes.tell()

    def leave(self, store: Store) -> None:
        """Drop all tasks of `store`, which is closing."""
        with self._lock:
            for due in [due for due in self._due if due[2].store is store]:
                self._due.remove(due)
                due[3].close()
            heapq.heapify(self._due)
            if self._at_work is not None and self._at_work.store is store:
                self._at_work = None

    def after_fork(self) -> None:
        """Drop all tasks in a forked child: the parent's thread performs them."""
        self._lock, self._changes, self._thread, self._at_work = Lock(), Changes(), None, None
        self._give_up()

    def _put(self, at: float, runner: Runner, rest: Rest) -> None:
        heapq.heappush(self._due, (at, next(self._numbers), runner, rest))

    def _work(self) -> None:
        while (due := self._next()) is not None:
            runner, rest = due
            seconds = _advanced(runner, rest)
            with self._lock:
                is_left, self._at_work = self._at_work is not runner, None
                if seconds is not None and not is_left:
                    self._put(time.monotonic() + seconds, runner, rest)
                else:
                    rest.close()

    def _next(self) -> tuple[Runner, Rest] | None:
        """Wait for the next task to be due; None where nothing is left and this thread has to end."""
        while True:
            with self._lock:
                if not self._due or interpreter_ends():
                    self._give_up()
                    self._thread = None
                    return None
                at, _, runner, rest = first = self._due[0]
                left = at - time.monotonic()
                if left <= 0.0:
                    heapq.heappop(self._due)
                    self._at_work = runner
                    return runner, rest
            self._changes.wait_for(functools.partial(self._is_first_no_more, first), min(left, SLICE))

    def _is_first_no_more(self, entry: object) -> bool:
        with self._lock:
            return not self._due or self._due[0] is not entry

    def _give_up(self) -> None:
        for _, _, _, rest in self._due:
            rest.close()
        self._due.clear()


def _advanced(runner: Runner, rest: Rest) -> float | None:
    """Run a task until it sleeps; the seconds until it is due again, or None where it has ended."""
    try:
        return runner.run_until_it_sleeps(rest)
    except BaseException:  # an exception of one store must not end the tasks of others
        logging.getLogger("onerefresh").exception("looking after a token that was saved failed")
        return None


background_tasks = BackgroundTasks()
