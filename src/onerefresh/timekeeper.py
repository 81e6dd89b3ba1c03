"""One thread that calls whatever is to be called at a later time in this process."""

from __future__ import annotations

import heapq
import itertools
import math
import os
import sys
import threading
from collections import deque
from collections.abc import Callable

from onerefresh.interpreter import interpreter_ends
from onerefresh.latches import Changes, Latch
from onerefresh.real_time import monotonic
from onerefresh.threads import start

__all__ = ["Alarm", "Timer", "at_each_look", "catch_up", "is_missing", "keep", "nudge", "stand_in"]

SLICE = 0.1
"""Seconds between two checks of whether the interpreter is ending."""
SHORT = 1.0
"""Most seconds to wait for an alarm's call, which is meant to be short."""


class Timer:
    """Calls `call` once on the timekeeper's thread when so many seconds are over, unless it is cancelled before.

    `call` must be short. `at_the_end` is called, perhaps several times, once the interpreter is ending. The end waits
    for the timer if it `holds_the_exit`. Raises `RuntimeError` where there is no timekeeper, and the system has no
    thread for one or the interpreter ends; `or_here`: not where this thread can stand in, which it does by `stand_in`.
    """

    __slots__ = ("at", "at_the_end", "call", "holds_the_exit")

    def __init__(
        self,
        seconds: float,
        call: Callable[[], object],
        at_the_end: Callable[[], object] | None = None,
        *,
        holds_the_exit: bool = False,
        or_here: bool = False,
    ) -> None:
        self.at = monotonic() + seconds
        self.holds_the_exit = holds_the_exit
        self.call: Callable[[], object] | None = call
        self.at_the_end = at_the_end
        try:
            _live[self] = None
            _new.append(self)
            _begin()
        except BaseException as error:  # Ctrl-C, too
            if not or_here or not isinstance(error, RuntimeError) or interpreter_ends():
                self.cancel()
                raise
        if self.at < _keeper.next_at:
            nudge()

    def cancel(self) -> None:
        """Prevent the call, where it has not begun."""
        self.call = self.at_the_end = None  # what it refers to is released now
        if _live.pop(self, self) is None and not _live:
            nudge()  # nothing keeps the thread, and the interpreter's end would wait for it


class Alarm:
    """Calls `call` once when so many seconds are over, unless it is cancelled before. Raises what `Timer` raises.

    `call` must be short, and the interpreter's end does not wait for it.
    """

    __slots__ = ("_call", "_decided", "_over", "_timer")

    def __init__(self, seconds: float, call: Callable[[], object]) -> None:
        self._call = call
        self._decided: dict[str, str] = {}  # by whichever came first: the end of the time, or `cancel`
        self._over = Latch()
        self._timer = Timer(seconds, self._ring)

    def cancel(self) -> None:
        """Prevent the call. Where `call` is running, wait for its end, for `SHORT` seconds at most."""
        came_first = self._decided.setdefault("by", "cancel") == "cancel"
        self._timer.cancel()
        if came_first:
            self._over.set()
        else:
            self._over.wait(SHORT)

    def _ring(self) -> None:
        try:
            if self._decided.setdefault("by", "time") == "time":
                self._call()
        finally:
            self._over.set()


class _Keeper:
    """The state of the thread.

    * `next_at`: when it looks next, on the monotonic clock. `is_nudged`: it looks at once.
    * `sleeps`: for how many seconds it may sleep at most, for the sake of what is called at each look.
    """

    def __init__(self) -> None:
        self.changes = Changes()
        self.next_at, self.sleeps = math.inf, SLICE
        self.is_nudged = False


# Each step on what follows is one call in C, so there is no lock, and it may be used anywhere.
_keeper = _Keeper()
_threads: dict[object, None] = {}
"""The thread, where there is one. Where two timers began at once, there may be two threads, which share the work."""
_new: deque[Timer] = deque()
"""Timers of which the thread does not know yet."""
_live: dict[Timer, None] = {}
"""Timers that are neither over nor cancelled."""
_looks: list[Callable[[], float | None]] = []


def at_each_look(call: Callable[[], float | None]) -> None:
    """Have `call` called again and again while the thread runs.

    It returns for how many seconds the thread may sleep until the next call, or None where it needs none.
    """
    _looks.append(call)


def nudge() -> None:
    """Let the thread look at once. Where there is none, do nothing."""
    _keeper.is_nudged = True
    _keeper.changes.notify()


def keep(within: float) -> None:
    """Let the thread look within so many seconds. Raises `RuntimeError` where there is none, and none can start."""
    _begin()
    if not _keeper.is_nudged and _keeper.next_at > monotonic() + within:
        nudge()


def is_missing() -> bool:
    """Whether there are timers, and no thread that calls them."""
    return bool(_live) and not _threads


def stand_in() -> None:
    """Run as the timekeeper on this thread while there are timers, unless another thread does."""
    if is_missing():
        me = object()
        _threads[me] = None
        _run(me)


def catch_up() -> None:
    """Call what is due in the middle of other work, on the timekeeper's thread or on one that stands in for it."""
    now = monotonic()
    for timer in list(_live):
        if timer.at <= now:
            _fire(timer)


def _begin() -> None:
    if _threads:
        return
    me = object()
    try:
        _threads[me] = None
        start(lambda: _run(me), "onerefresh timekeeper", shared=True)
    except BaseException:
        _threads.pop(me, None)
        raise


def _run(me: object) -> None:
    """Run until nothing is left."""
    while True:
        try:
            _keep([])
        finally:
            _new.extend(list(_live))  # none, unless this thread has failed: then the next one has to know of them
            _threads.pop(me, None)
        if not _is_needed():
            return
        _threads[me] = None  # more came after the last look, and may rely on this thread


def _is_needed() -> bool:
    wanted = [seconds for call in _looks if (seconds := call()) is not None]
    _keeper.sleeps = min([SLICE, *wanted])
    if wanted:
        return True
    return any(timer.holds_the_exit for timer in list(_live)) if interpreter_ends() else bool(_live)


_numbers = itertools.count()


def _keep(heap: list[tuple[float, int, Timer]]) -> None:
    while True:
        _keeper.is_nudged = False
        _take_new(heap)
        _call_what_is_due(heap)
        if interpreter_ends():
            for timer in list(_live):
                _call(timer.at_the_end)
        if not _is_needed():
            return
        if len(heap) > 2 * len(_live) + 100:
            heap[:] = [entry for entry in heap if entry[2].call is not None]
            heapq.heapify(heap)
        now = monotonic()
        _keeper.next_at = min(heap[0][0] if heap else math.inf, now + _keeper.sleeps)
        _keeper.changes.wait_for(_has_news, max(_keeper.next_at - now, 0.0))


def _has_news() -> bool:
    return _keeper.is_nudged or any(timer.at < _keeper.next_at for timer in list(_new))


def _take_new(heap: list[tuple[float, int, Timer]]) -> None:
    while True:
        try:
            timer = _new.popleft()
        except IndexError:
            return
        if timer.call is not None:
            heapq.heappush(heap, (timer.at, next(_numbers), timer))


def _call_what_is_due(heap: list[tuple[float, int, Timer]]) -> None:
    now = monotonic()
    while heap and (heap[0][2].call is None or heap[0][0] <= now):
        _fire(heapq.heappop(heap)[2])


def _fire(timer: Timer) -> None:
    call = timer.call
    if call is not None and _live.pop(timer, timer) is None:
        timer.call = timer.at_the_end = None
        _call(call)


def _call(call: Callable[[], object] | None) -> None:
    try:
        if call is not None:
            call()
    except BaseException:  # noqa: BLE001 - a defect of one must not end the others
        threading.excepthook(threading.ExceptHookArgs([*sys.exc_info(), threading.current_thread()]))


_of_the_parent: list[Timer] = []
"""What a forked child has copies of. They stay as they are: a renewal that is freed would release its parent's lock."""


def _after_fork() -> None:
    """Forget the thread and its timers, which are not in the child."""
    _of_the_parent.extend(_live)
    _threads.clear()
    _new.clear()
    _live.clear()
    _keeper.changes, _keeper.next_at = Changes(), math.inf


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
