"""The threads on which renewals and commands run: as many as have something to do, and at most `SIZE` at work.

A call may hang in a user's function or in a store. It must not hold up the work of others, so a thread that is held up
no longer counts, and another one starts in its place (`MOST_HELD_UP` at most). A thread that waits for another's work
does not count either. Work that only waits holds no thread (see `tasks`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from onerefresh import timekeeper
from onerefresh.interpreter import interpreter_ends
from onerefresh.threads import start

__all__ = ["SIZE", "hand_over", "not_counted", "pausing"]

SIZE = 32
"""Threads that count at the same time, at most."""
MOST_HELD_UP = 64
"""Further threads at most, in the place of threads that are held up."""
HELD_UP = 0.25
"""Seconds at one step after which a thread counts as held up, while work waits and no thread takes any."""
MOST_HIRED = 8
"""Threads at most that start at one look of the timekeeper, in the place of others that are held up."""
DEEPEST = 4
"""Where no thread can start, a thread that waits does other work meanwhile: in so many nested waits at most."""

Work = Callable[[], object]


class _Worker:
    """One thread.

    * `is_started`: it runs, or is certain to run soon.
    * `since`: when its present step began, on the monotonic clock.
    * `waits`: how many frames of its stack wait for the work of other threads.
    * `helps`: how many of these frames look for other work meanwhile.
    * `pauses`: how many frames wait in the middle of work that could not pause without holding the thread.
    """

    __slots__ = ("helps", "is_started", "pauses", "since", "waits")

    def __init__(self) -> None:
        self.is_started, self.since, self.waits, self.helps, self.pauses = False, 0.0, 0, 0, 0


# There is no lock, so that work can be handed over anywhere: each step on these is one call in C.
_ready: deque[Work] = deque()
"""Work that waits for a thread."""
_free: dict[_Worker, None] = {}
"""Threads that will look for work before they end."""
_busy: dict[_Worker, None] = {}
"""Threads at work."""
_here: dict[int, _Worker] = {}
"""The thread of each identity."""
_seen: list[Work | None] = [None]
"""The work that was the first to wait when the timekeeper looked last."""


def hand_over(work: Work, *, surely: bool = False) -> bool:
    """Run `work` on one of the threads; False if there is no thread and the system has none to give.

    `surely`: in that case, the first thread that there is runs it later. This neither waits nor takes a lock. After an
    interrupt within this call, `work` runs now or never: later, it could undo what its caller has done since.
    """
    try:
        _ready.append(work)
        if _will_any_come([*_free]):
            return True
        try:
            if len(_busy) < SIZE:
                _hire()
            else:
                timekeeper.keep()  # it finds out who is held up: there may be thousands of callers
        except RuntimeError:
            if _will_any_come([*_free, *_busy]):
                return True
            if surely:
                timekeeper.nudge()
                return True
            return not _taken_back(work)
    except BaseException:
        _taken_back(work)
        raise
    return True


def _taken_back(work: Work) -> bool:
    """Take `work` back; whether that was possible. A thread that was about to end may have taken it."""
    try:
        _ready.remove(work)
    except ValueError:
        return False
    return True


def _will_any_come(threads: list[_Worker]) -> bool:
    """Whether one of them will take more work, whatever becomes of the work that waits now, and of this thread."""
    me = _here.get(threading.get_ident())
    for worker in threads:  # noqa: SIM110 - an interrupt within a generator is reported as an error of its own
        if worker.is_started and not worker.waits and worker is not me:
            return True
    return False


@contextlib.contextmanager
def not_counted(*, helps: bool = False) -> Iterator[Callable[[], object] | None]:
    """A context in which this thread waits for work of other threads, which must not wait for this one in turn.

    `helps`: this thread calls the function that the context gives, if any, again and again. The function does work for
    which there is no other thread.
    """
    worker = _here.get(threading.get_ident())
    if worker is None:
        yield None
        return
    helps = helps and worker.waits < DEEPEST
    worker.waits, worker.helps = worker.waits + 1, worker.helps + helps
    try:
        _hire_if_needed()
        yield _help if helps else None
    finally:
        worker.waits, worker.helps = worker.waits - 1, worker.helps - helps


def _help() -> None:
    """Do some work that waits, where no thread can start and no other will come."""
    if not _here[threading.get_ident()].is_started:
        timekeeper.catch_up()  # this is its thread
    if not _ready or _will_any_come([*_free, *_busy]):
        return
    try:
        _hire()
    except RuntimeError:
        with contextlib.suppress(IndexError):
            _do(_ready.popleft())


@contextlib.contextmanager
def pausing() -> Iterator[None]:
    """A context in which this thread waits in the middle of work, perhaps for work that waits for a thread."""
    worker = _here.get(threading.get_ident())
    if worker is None:
        yield
        return
    worker.pauses += 1
    try:
        yield
    finally:
        worker.pauses -= 1


def _hire() -> None:
    """Start a thread. Raises `RuntimeError` where none can start."""
    worker = _Worker()
    try:
        _free[worker] = None
        start(lambda: _run(worker), "onerefresh renewals", shared=True)
        worker.is_started = True  # others may count on it, although it may need a while to begin
    except BaseException:  # Ctrl-C, too
        _free.pop(worker, None)
        raise


def _hire_if_needed() -> None:
    if _ready and not _free:
        with contextlib.suppress(RuntimeError):
            if _has_room():
                _hire()
            else:
                timekeeper.keep()  # it finds out whether all are held up


def _has_room(*, all_are_held_up: bool = False) -> bool:
    """Whether another thread may start."""
    if len(_busy) < SIZE:
        return True
    busy = [worker for worker in list(_busy) if not worker.waits]
    past = time.monotonic() - HELD_UP
    at_work = sum(worker.since > past for worker in busy) if all_are_held_up else len(busy)
    return at_work < SIZE and len(busy) < SIZE + MOST_HELD_UP


def _run(me: _Worker) -> None:
    me.is_started = True
    _free[me] = None
    _here[threading.get_ident()] = me
    try:
        while True:
            try:
                work = _ready.popleft()
            except IndexError:
                _free.pop(me, None)
                if not _ready:
                    return
                _free[me] = None  # more came after the last look, and may rely on this thread
                continue
            me.since = time.monotonic()
            _busy[me] = None
            _free.pop(me, None)
            _hire_if_needed()
            try:
                _do(work)
            finally:
                del work
                _free[me] = None
                _busy.pop(me, None)
    finally:
        _free.pop(me, None)
        _here.pop(threading.get_ident(), None)


def _do(work: Work) -> None:
    try:
        work()
    except GeneratorExit:  # a greenlet's copy in a forked child, which ends here
        return
    except BaseException:  # noqa: BLE001 - a defect, which its callers know of: the others go on
        threading.excepthook(threading.ExceptHookArgs([*sys.exc_info(), threading.current_thread()]))


def _do_here() -> None:
    """Do some work on the timekeeper's thread. No other thread counts on this one."""
    me, identity = _Worker(), threading.get_ident()
    me.since = time.monotonic()
    try:
        _here[identity] = me
        _busy[me] = None
        with contextlib.suppress(IndexError):
            _do(_ready.popleft())
    finally:
        _busy.pop(me, None)
        _here.pop(identity, None)


def _relieve() -> bool:
    """Start threads in the place of threads that are held up. The timekeeper calls this.

    Returns whether it is to be called again: work waits, or work is under way while the interpreter ends.
    """
    first = next(iter(list(_ready)), None)
    stuck, _seen[:] = first is not None and _seen == [first], [first]  # no work was taken since the last look
    for _ in range(min(len(_ready), MOST_HIRED) if stuck else 1):
        if not _ready or (_free and not stuck) or not _has_room(all_are_held_up=stuck):
            break
        try:
            _hire()
        except RuntimeError:
            if not any(worker.helps or not (worker.waits or worker.pauses) for worker in list(_busy)):
                _do_here()  # nobody else would
            break
    return bool(_ready) or (bool(_busy) and interpreter_ends())


timekeeper.every_slice(_relieve)
_of_the_parent: list[object] = []
"""What a forked child has copies of. They stay as they are: code that ends them would run in the child."""


def _after_fork() -> None:
    _of_the_parent.extend([list(_ready), list(_busy)])
    _ready.clear()
    _free.clear()
    _busy.clear()
    _here.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
