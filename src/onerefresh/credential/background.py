"""Work that is left when renewals are over, on one thread for each store."""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Coroutine

from onerefresh.interpreter import interpreter_ends
from onerefresh.latches import Changes
from onerefresh.limited_log import log_exception
from onerefresh.locks import Lock
from onerefresh.pause import Pause
from onerefresh.real_time import monotonic
from onerefresh.run import Resumable
from onerefresh.store import Store, reset_in_child
from onerefresh.threads import Job, start

__all__ = ["BackgroundTasks", "background_tasks"]

SLICE = 0.2
"""Seconds between two checks of whether the interpreter is ending."""

Rest = Coroutine[Pause, None, None]


class _Work:
    """The tasks of one store, and the thread that runs them."""

    __slots__ = ("changes", "due", "thread")

    def __init__(self) -> None:
        self.changes = Changes()
        self.due: list[tuple[float, int, Resumable, Rest]] = []
        self.thread: Job | None = None


class BackgroundTasks:
    """Runs coroutines that mostly sleep, each when it is due. A store's thread ends with the last of its tasks.

    A store that hangs delays no task of another store. Tasks still pending at interpreter exit are dropped. Schedule
    nothing here that correctness depends on: these tasks only make faults of a store less likely to do harm. `_lock`
    guards the schedules and the threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._numbers = itertools.count()
        self._works: dict[int, _Work] = {}  # by the id of the store, which lives while a task of it is left
        reset_in_child(self)

    def look_after(self, world: Resumable, rest: Rest) -> None:
        """Schedule `rest`, to begin soon. `world` is where it runs."""
        with self._lock:
            work = self._works.setdefault(id(world.store), _Work())
            self._put(work, monotonic(), world, rest)
            if work.thread is None:
                try:
                    doing = functools.partial(self._do, work, world.store)
                    work.thread = start(doing, "onerefresh background", daemon=True)
                except RuntimeError:  # no thread can start any more, as at the interpreter's end
                    self._end(id(world.store), work)
                    return
        work.changes.notify()

    def leave(self, store: Store) -> None:
        """Drop all tasks of `store`, which is closing."""
        with self._lock:
            work = self._works.get(id(store))
            if work is None:
                return
            self._end(id(store), work)
        work.changes.notify()

    def after_fork(self) -> None:
        """Drop all tasks in a forked child: the parent's threads perform them."""
        self._lock = Lock()
        self._give_up()

    def _put(self, work: _Work, at: float, world: Resumable, rest: Rest) -> None:
        heapq.heappush(work.due, (at, next(self._numbers), world, rest))

    def _do(self, work: _Work, store: Store) -> None:
        while (due := self._next(work, store)) is not None:
            world, rest = due
            seconds = _advanced(world, rest)
            with self._lock:
                if seconds is not None and self._works.get(id(store)) is work:
                    self._put(work, monotonic() + seconds, world, rest)
                else:
                    rest.close()
            del due, world, rest

    def _next(self, work: _Work, store: Store) -> tuple[Resumable, Rest] | None:
        """Wait for the next task to be due; None where nothing is left and this thread has to end."""
        while True:
            with self._lock:
                if not work.due or interpreter_ends():
                    self._end(id(store), work)
                    return None
                at, _, world, rest = first = work.due[0]
                left = at - monotonic()
                if left <= 0.0:
                    heapq.heappop(work.due)
                    return world, rest
            work.changes.wait_for(functools.partial(self._is_first_no_more, work, first), min(left, SLICE))

    def _is_first_no_more(self, work: _Work, entry: object) -> bool:
        with self._lock:
            return not work.due or work.due[0] is not entry

    def _end(self, place: int, work: _Work) -> None:
        """Drop all tasks of `work`. The caller holds the lock."""
        if self._works.get(place) is work:
            del self._works[place]
        for _, _, _, rest in work.due:
            rest.close()
        work.due.clear()

    def _give_up(self) -> None:
        for place, work in list(self._works.items()):
            self._end(place, work)


def _advanced(world: Resumable, rest: Rest) -> float | None:
    """Run a task until it sleeps; the seconds until it is due again, or None where it has ended."""
    try:
        return world.run_until_it_sleeps(rest)
    except BaseException:  # noqa: BLE001 - an exception of one store must not end the tasks of others
        log_exception("a background task for a saved token failed")
        return None


background_tasks = BackgroundTasks()
