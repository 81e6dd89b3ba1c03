"""Locks, latches and threads for code that may be interrupted, or stopped, at any step.

Python runs destructors, weakref callbacks and signal handlers anywhere, also on a thread that holds one of these locks.
Such code cannot wait for what the frames below it have yet to do. So nothing here waits for itself: a thread that holds
a lock gets `Reentered` at once where another wait could never end. And an exception from a signal handler (Ctrl-C)
leaves nothing locked for good: a lock is taken by one call in C, or is private to the interrupted caller.

Two rules follow for the users of these locks. While a lock is held, no user code is called and nothing is waited for.
And a thread that must take two locks takes the one of lower `order` first.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onerefresh.errors import RefreshUnavailable

__all__ = [
    "Alarm",
    "Changes",
    "Job",
    "Latch",
    "Lock",
    "Reentered",
    "Within",
    "finalizing",
    "inside",
    "interpreter_ends",
    "reentered",
    "refuse_inside",
    "start",
]


SHORT = 1.0
"""Most seconds to wait for an alarm's call, which is meant to be short."""


class Reentered(RefreshUnavailable):
    """A call in the middle of this library's own work on the same thread, where an answer cannot be waited for."""


def reentered() -> Reentered:
    """The error for a caller that would wait for itself."""
    return Reentered(
        "asked in the middle of this library's own work (by a destructor, a signal handler or a callback that ran just "
        "then), where nothing can be waited for: ask again when that has returned",
        retry_after=0.0,
    )


def finalizing() -> bool:
    """Whether Python takes its modules apart: no other thread runs any more, and nothing can be imported."""
    return sys.is_finalizing()


def interpreter_ends() -> bool:
    """Whether the main thread is done, so that what is left must come to an end."""
    main = threading.main_thread()
    # Up to 3.12, an interrupt within `is_alive` makes Python believe for good that the main thread has ended.
    stopped: bool | None = getattr(main, "_is_stopped", None)
    return not main.is_alive() if stopped is None else stopped


# --- Locks ---


class _Marks(threading.local):
    """The locks that this thread has entered last. Each may be released since; only the lock itself knows that."""

    entered: tuple[Lock, ...] = ()


_marks = _Marks()


def _held() -> tuple[Lock, ...]:
    """The locks that this thread holds."""
    return tuple([lock for lock in _marks.entered if lock.mine])


def inside() -> bool:
    """Whether this thread holds a lock of this library, because a frame below is in the middle of something."""
    return any(lock.mine for lock in _marks.entered)


def refuse_inside() -> None:
    """Raise `Reentered` where this thread holds a lock of this library."""
    if inside():
        raise reentered()


class Lock:
    """Mutual exclusion, by ``with``. Raises `Reentered` where this thread would wait for itself, or for a dead thread.

    `order`: a thread that holds locks may take only locks of a higher order than all of them.
    """

    __slots__ = ("_raw", "order")

    def __init__(self, order: int = 0) -> None:
        self._raw: Any = threading.RLock()  # it knows its owner; a `with` takes it and records that in one step
        self.order = order

    if TYPE_CHECKING:

        def __enter__(self) -> object: ...

        def __exit__(self, *_: object) -> None: ...

    else:
        # ``with`` looks up both methods before it calls the first. So the checks here are made before the lock is
        # taken, which happens in C. A method in Python could be interrupted between taking the lock and the ``with``.

        @property
        def __enter__(self):  # noqa: ANN204 - typed above
            enter = self._raw.__enter__
            self._may_be_taken()
            return enter

        @property
        def __exit__(self):  # noqa: ANN204, PLE0302 - typed above; it returns what takes the arguments
            leave = self._raw.__exit__
            self._mark()  # again: a signal handler may have run in between, and dropped the mark
            return leave

    @property
    def mine(self) -> bool:
        """Whether this thread holds the lock."""
        held: bool = self._raw._is_owned()
        return held

    def within(self, seconds: float, late: Callable[[], BaseException]) -> Within:
        """For ``with``, as the lock itself; raises `late()` where the lock is not free within so many seconds."""
        return Within(self, seconds, late)

    def hold_over_forks(self) -> None:
        """Make a fork wait until the lock is free, and hold the lock during the fork."""
        if hasattr(os, "register_at_fork"):
            # It is released by a call in C: an interrupt in a Python function would leave the lock taken.
            release = self._raw.release
            os.register_at_fork(before=self._before_fork, after_in_parent=release, after_in_child=release)
            os.register_at_fork(after_in_child=self._in_child)

    def _may_be_taken(self) -> None:
        held = _held()
        if held and max(lock.order for lock in held) >= self.order:
            raise reentered()
        if finalizing() and not self._is_free():
            raise reentered()  # a daemon thread had the lock when Python stopped that thread
        _marks.entered = (*held, self)

    def _mark(self) -> None:
        entered = _marks.entered
        if not entered or entered[-1] is not self:
            _marks.entered = (*entered, self)

    def _is_free(self, seconds: float = 0.0) -> bool:
        """Whether the lock is free, or becomes free within so many seconds."""
        free: bool = False
        try:
            free = self._raw.acquire(timeout=seconds)
        finally:
            # Released whatever `free` says: an interrupt may have come before it was assigned. And no other call is
            # made before `release`, since an interrupt could come there.
            try:  # noqa: SIM105 - `suppress` would be such a call
                self._raw.release()
            except RuntimeError:  # it was not taken
                pass
        return free

    def _before_fork(self) -> None:
        self._raw.acquire(blocking=not finalizing())

    def _in_child(self) -> None:
        if not self.mine and not self._is_free():  # `_before_fork` was interrupted, and the owner is not in the child
            self._raw._at_fork_reinit()


class Within:
    """A lock with a bounded wait; see `Lock.within`."""

    __slots__ = ("_late", "_lock", "_seconds")

    def __init__(self, lock: Lock, seconds: float, late: Callable[[], BaseException]) -> None:
        self._lock, self._seconds, self._late = lock, seconds, late

    if TYPE_CHECKING:

        def __enter__(self) -> object: ...

        def __exit__(self, *_: object) -> None: ...

    else:
        # As in `Lock`. The lock was free a moment ago; a thread that has taken it since holds it only briefly.

        @property
        def __enter__(self):  # noqa: ANN204 - typed above
            enter = self._lock.__enter__
            if not self._lock._is_free(self._seconds):
                raise self._late()
            return enter

        @property
        def __exit__(self):  # noqa: ANN204, PLE0302 - typed above
            return self._lock.__exit__


# --- Latches ---


SIGNALS_EVERY = 1.0
"""Seconds of one blocking call on the main thread: a signal that comes right before such a call is noticed after it."""


class Latch:
    """Set once and for all. Any number of threads wait for it, each at a gate of its own, without a lock."""

    __slots__ = ("_gates", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._gates: dict[Any, None] = {}

    def set(self) -> None:
        """Let all threads go on that wait, or come to wait.

        Call it again where an interrupt may have cut it short.
        """
        self.is_set = True
        _open(self._gates)

    def wait(self, seconds: float = threading.TIMEOUT_MAX) -> bool:
        """Wait until it is set, for at most so many seconds; whether it is set. Raises `Reentered` under a lock."""
        if seconds <= 0.0:
            return self.is_set
        if not self.is_set:
            refuse_inside()
        gate, deadline = _closed_gate(), time.monotonic() + seconds
        slice_ = SIGNALS_EVERY if threading.get_ident() == threading.main_thread().ident else threading.TIMEOUT_MAX
        try:
            self._gates[gate] = None
            while True:
                left = min(deadline - time.monotonic(), slice_)
                if self.is_set or finalizing():  # checked after the gate is there; at the end nothing sets it
                    return self.is_set
                if left <= 0.0 or gate.acquire(timeout=left):
                    return self.is_set
        finally:
            self._gates.pop(gate, None)


class Changes:
    """Lets any number of threads wait for what others change, each at a gate of its own."""

    __slots__ = ("_gates",)

    def __init__(self) -> None:
        self._gates: dict[Any, None] = {}

    def tell(self) -> None:
        """Wake all threads that wait, so that they look again."""
        _open(self._gates)

    def wait_for(self, holds: Callable[[], bool], seconds: float = threading.TIMEOUT_MAX) -> bool:
        """Wait until `holds()` is true, for at most so many seconds; whether it is. Raises `Reentered` under a lock.

        `holds` is not called again once it was true.
        """
        refuse_inside()
        deadline = time.monotonic() + seconds
        while True:
            gate = _closed_gate()
            try:
                self._gates[gate] = None
                if holds():  # checked after the gate is there: a later change opens the gate
                    return True
                left = min(deadline - time.monotonic(), threading.TIMEOUT_MAX)
                if left <= 0.0 or finalizing() or not gate.acquire(timeout=left):
                    return holds()
            finally:
                self._gates.pop(gate, None)


def _closed_gate() -> Any:
    gate = threading.Lock()
    gate.acquire()
    return gate


def _open(gates: dict[Any, None]) -> None:
    for gate in list(gates):
        try:
            gate.release()
        except RuntimeError:  # the gate is open already, and its thread has not gone yet
            continue


# --- Threads ---


_jobs: dict[Job, None] = {}
"""Jobs that are not over, except for those whose starter was interrupted."""
_begun: dict[Job, None] = {}
"""Jobs that have begun and are not over. Each adds itself."""
_exiting = False


class Job:
    """Work on a thread of its own. `over` is set when it has ended."""

    __slots__ = ("_work", "daemon", "name", "over")

    def __init__(self, work: Callable[[], object], name: str, daemon: bool) -> None:
        self._work, self.name, self.daemon = work, name, daemon
        self.over = Latch()

    def _begin(self) -> None:
        """Start the job's own thread, from a thread that takes no signals and that nothing waits for.

        Only there may Python code wait for a thread to start.
        """
        _begun[self] = None
        if _exiting and self not in _jobs:  # its starter was interrupted, and nothing waits for it
            self._work = _nothing
        thread = threading.Thread(target=self._run, name=self.name, daemon=self.daemon)
        try:
            thread.start()
        except RuntimeError:  # this thread does the work instead; the exit waits for it, too
            self._run()

    def _run(self) -> None:
        work, self._work = self._work, _nothing  # what the work refers to is released when the work ends
        try:
            work()
        finally:
            del work
            _begun.pop(self, None)
            if _jobs.pop(self, self) is self:  # a greenlet's copy in a forked child, which Python has forgotten
                threading.current_thread()  # registers it again, or its end would be an error
            self.over.set()


def _nothing() -> None:
    """The work of a job that has begun."""


def start(work: Callable[[], object], name: str, *, daemon: bool = False) -> Job:
    """Run `work` on a new thread. The interpreter waits for its end, unless it is a `daemon`.

    This neither waits nor takes a lock, so it may be called anywhere. ``Thread.start`` waits for the new thread with
    locks that an interrupt can leave taken, and for ever where the interpreter ends. Raises `RuntimeError` where no
    thread can start: the system has none to spare, or the interpreter ends. After an interrupt within this call, `work`
    may or may not be done.
    """
    job = Job(work, name, daemon)
    try:
        _jobs[job] = None
        _refuse_at_the_end()
        _thread.start_new_thread(job._begin, ())
    except BaseException:  # Ctrl-C, too: the exit would wait for this job for ever
        _jobs.pop(job, None)
        raise
    return job


class Alarm:
    """Calls `call` once when so many seconds are over, unless it is cancelled before. Raises what `start` raises.

    `call` must be short, and the interpreter's end does not wait for it.
    """

    __slots__ = ("_call", "_decided", "_off", "_over", "_seconds")

    def __init__(self, seconds: float, call: Callable[[], object]) -> None:
        self._seconds, self._call = seconds, call
        self._decided: Any = threading.Lock()  # taken for good by the first: the end of the time, or `cancel`
        self._off, self._over = Latch(), Latch()
        _refuse_at_the_end()
        _thread.start_new_thread(self._work, ())

    def cancel(self) -> None:
        """Prevent the call. Where `call` is running, wait for its end, for `SHORT` seconds at most."""
        came_first = self._decided.acquire(blocking=False)
        self._off.set()
        if not came_first:
            self._over.wait(SHORT)

    def _work(self) -> None:
        try:
            if not self._off.wait(self._seconds) and self._decided.acquire(blocking=False):
                self._call()
        finally:
            self._over.set()


def _refuse_at_the_end() -> None:
    if _exiting or finalizing():
        raise RuntimeError("no thread can start any more: the interpreter is ending")


def _at_exit() -> None:
    """Wait for the jobs that are left, after the threads that Python itself waits for.

    Until here daemon threads run, too.
    """
    global _exiting
    _exiting = True
    for job in [*_jobs, *_begun]:
        if not job.daemon:
            job.over.wait()


def _after_fork() -> None:
    _jobs.clear()  # their threads are not in the child
    _begun.clear()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
