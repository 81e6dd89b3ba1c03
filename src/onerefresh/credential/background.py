"""What is left to do when renewals are over, by and by, on one thread for all credentials of this process."""

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
"""Seconds between two looks at whether the interpreter ends."""

Rest = Coroutine[Pause, None, None]


class BackgroundTasks:
    """Runs coroutines that mostly sleep, each when its time has come. The thread ends with the last one.

    What is still to do when the interpreter ends is not done: nothing but what makes faults of a store less likely is
    left to this.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._changes = Changes()
        self._due: list[tuple[float, int, Runner, Rest]] = []
        self._numbers = itertools.count()
        self._thread: Job | None = None
        self._at_work: Runner | None = None  # whose rest is being advanced now, unless its store has closed since
        reset_in_child(self)

    def look_after(self, runner: Runner, rest: Rest) -> None:
        """Begin with `rest` soon; `runner` is their world."""
        with self._lock:
            self._put(time.monotonic(), runner, rest)
            if self._thread is None:
                try:
                    self._thread = start(self._work, "onerefresh background")
                except RuntimeError:  # no thread can start any more: as when the interpreter ends
                    self._give_up()
                    return
        self._changes.tell()

    def leave(self, store: Store) -> None:
        """Nothing is to be done in `store` any more: it closes."""
        with self._lock:
            for due in [due for due in self._due if due[2].store is store]:
                self._due.remove(due)
                due[3].close()
            heapq.heapify(self._due)
            if self._at_work is not None and self._at_work.store is store:
                self._at_work = None

    def after_fork(self) -> None:
        """What the parent's thread has to do is not the child's."""
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
        """What is due, when it is due; None where there is nothing left, and this thread is to end."""
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
    try:
        return runner.run_until_it_sleeps(rest)
    except BaseException:  # whatever one credential's store raises, it must not end the care for the others
        logging.getLogger("onerefresh").exception("looking after a token that was saved failed")
        return None


background_tasks = BackgroundTasks()
