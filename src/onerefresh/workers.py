"""The threads on which renewals and commands run. How many there are is decided by `hiring`.

Work that only waits holds no thread (see `tasks`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator

from onerefresh import timekeeper
from onerefresh.hiring import AT_ONCE, HELD_UP, Staff, hires, leaves
from onerefresh.interpreter import interpreter_ends
from onerefresh.last_look import LastLook, Work
from onerefresh.real_time import monotonic
from onerefresh.threads import start
from onerefresh.worker import Worker

__all__ = ["hand_over", "is_held_up", "not_counted", "pausing"]

LOOK = 0.02
"""Seconds between two looks of the timekeeper at work that waits."""

DEEPEST = 4
"""Where no thread can start, a thread that waits does other work meanwhile: in so many nested waits at most."""


# There is no lock, so that work can be handed over anywhere: each step on these is one call in C.
_ready: deque[Work] = deque()
"""Work that waits for a thread."""
_free: dict[Worker, None] = {}
"""Threads that will look for work before they end."""
_busy: dict[Worker, None] = {}
"""Threads at work."""
_here: dict[int, Worker] = {}
"""The thread of each identity."""


_last_look = LastLook()


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
            if _may_hire_at_once():
                _hire()
            else:
                _last_look.load.begins()
                timekeeper.keep(LOOK)  # it finds out how many are needed: there may be thousands of callers
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


def _will_any_come(threads: list[Worker]) -> bool:
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
    if timekeeper.is_missing() or not _here[threading.get_ident()].is_started:
        timekeeper.catch_up()  # there is none, or this is its thread
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


def is_held_up() -> bool:
    """Whether this is one of the threads, and is at its step for so long that another may have started in its place."""
    me = _here.get(threading.get_ident())
    return me is not None and _was_held_up(me)


def _was_held_up(worker: Worker) -> bool:
    return monotonic() > worker.since + HELD_UP


def _hire() -> None:
    """Start a thread. Raises `RuntimeError` where none can start."""
    worker = Worker()
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
            if _may_hire_at_once():
                _hire()
            else:
                _last_look.load.begins()
                timekeeper.keep(LOOK)


def _may_hire_at_once() -> bool:
    return len(_busy) < AT_ONCE or sum([not worker.waits for worker in list(_busy)]) < AT_ONCE


def _staff() -> Staff:
    """The present threads."""
    past = monotonic() - HELD_UP
    free = [worker.since > past for worker in list(_free)]
    at_work = [worker.since > past for worker in list(_busy) if not worker.waits]
    return Staff(sum(free), sum(at_work), len(free) - sum(free) + len(at_work) - sum(at_work))


def _running() -> int:
    """How many threads have taken or ended a piece of work a moment ago. One that may still fail to start is none."""
    past = monotonic() - LOOK
    return sum([worker.is_started and not worker.waits and worker.since > past for worker in {*_free, *_busy}])


def _run(me: Worker) -> None:
    me.is_started = True
    _free[me] = None
    _here[threading.get_ident()] = me
    try:
        while True:
            if timekeeper.is_missing():
                timekeeper.catch_up()
            try:
                work = _ready.popleft()
            except IndexError:
                _free.pop(me, None)
                timekeeper.stand_in()  # if no thread could start for it; others do not count on this one meanwhile
                _here[threading.get_ident()] = me
                if not _ready:
                    return
                _free[me] = None  # more came after the last look, and may rely on this thread
                continue
            me.since = monotonic()
            _busy[me] = None
            _free.pop(me, None)
            _hire_if_needed()
            try:
                _do(work)
            finally:
                del work
                me.is_replaced = me.is_replaced or _was_held_up(me)
                me.since = monotonic()
                _free[me] = None
                _busy.pop(me, None)
            if me.is_replaced and _ready and _leaves(me):
                return
    finally:
        _free.pop(me, None)
        _here.pop(threading.get_ident(), None)


def _leaves(me: Worker) -> bool:
    """Whether this thread ends although work waits. The timekeeper looks at that work, and starts threads if needed."""
    load = _last_look.load.share
    if not leaves(_running(), load=load):
        return False
    _free.pop(me, None)  # first: whoever hands work over from now on does not count on this thread
    with contextlib.suppress(RuntimeError):  # there is no timekeeper
        if leaves(_running(), load=load):  # others may have left at the same moment
            timekeeper.keep(LOOK)
            return True
    _free[me] = None
    return False


def _do(work: Work) -> None:
    try:
        work()
    except GeneratorExit:  # a greenlet's copy in a forked child, which ends here
        return
    except BaseException:  # noqa: BLE001 - a defect, which its callers know of: the others go on
        threading.excepthook(threading.ExceptHookArgs([*sys.exc_info(), threading.current_thread()]))


def _do_here() -> None:
    """Do some work on the timekeeper's thread. No other thread counts on this one."""
    me, identity = Worker(), threading.get_ident()
    try:
        _here[identity] = me
        _busy[me] = None
        with contextlib.suppress(IndexError):
            _do(_ready.popleft())
    finally:
        _busy.pop(me, None)
        _here.pop(identity, None)


def _look() -> float | None:
    """Start threads for work that waits. The timekeeper calls this.

    Returns after how many seconds it is to be called again, where work waits, or is under way while the interpreter
    ends.
    """
    is_stuck, load = _last_look.is_stuck(next(iter(list(_ready)), None)), _last_look.load.measure()
    for _ in range(hires(len(_ready), _staff(), load=load, is_stuck=is_stuck)):
        try:
            _hire()
        except RuntimeError:
            if not any(worker.helps or not (worker.waits or worker.pauses) for worker in list(_busy)):
                _do_here()  # nobody else would
            break
    if _ready:
        return LOOK
    return timekeeper.SLICE if _busy and interpreter_ends() else None


timekeeper.at_each_look(_look)
_of_the_parent: list[object] = []
"""What a forked child has copies of. They stay as they are: code that ends them would run in the child."""


def _after_fork() -> None:
    global _last_look
    _of_the_parent.extend([list(_ready), list(_busy), _last_look])
    _last_look = LastLook()
    _ready.clear()
    _free.clear()
    _busy.clear()
    _here.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
