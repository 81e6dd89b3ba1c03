"""Locks, latches and threads for code in whose midst anything may run, and be stopped, at any time.

User code runs wherever Python likes: a destructor in a garbage collection, a signal handler, a weakref callback, on a
thread that has a lock of ours. It cannot wait for what the frames below it have to do first. So here nothing waits for
itself: a thread that has a lock gets `Reentered` at once where another wait could never end. And an exception out of
a signal handler (Ctrl-C) leaves nothing taken for good: what is taken is taken by one call in C, or is private to the
caller who was interrupted.

The rules that follow from it: no user code is called, and nothing is waited for, while a lock is held; and whoever
must take two locks takes the one of lower `order` first.
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
"""Seconds that an alarm's call may take, which is to be short."""


class Reentered(RefreshUnavailable):
    """Asked in the middle of this library's own work on the same thread, where an answer cannot be waited for."""


def reentered() -> Reentered:
    """The error for a caller who would wait for himself."""
    return Reentered(
        "asked in the middle of this library's own work (by a destructor, a signal handler or a callback that ran just "
        "then), where nothing can be waited for: ask again when that has returned",
        retry_after=0.0,
    )


def finalizing() -> bool:
    """Whether Python takes its modules apart: no thread runs any more but this one, and nothing can be imported."""
    return sys.is_finalizing()


def interpreter_ends() -> bool:
    """Whether the main thread is done: what is left must come to an end."""
    main = threading.main_thread()
    # Up to 3.12 an interrupt in the midst of `is_alive` has Python believe, for good, that the main thread has ended.
    stopped: bool | None = getattr(main, "_is_stopped", None)
    return not main.is_alive() if stopped is None else stopped


# --- Locks ---


class _Marks(threading.local):
    """The locks that this thread has entered last. Each may be left since: whether it is held the lock itself knows."""

    entered: tuple[Lock, ...] = ()


_marks = _Marks()


def _held() -> tuple[Lock, ...]:
    """The locks that this thread holds."""
    return tuple([lock for lock in _marks.entered if lock.mine])


def inside() -> bool:
    """Whether this thread holds a lock of ours: a frame below is in the middle of something."""
    return any(lock.mine for lock in _marks.entered)


def refuse_inside() -> None:
    """Raise `Reentered` where this thread holds a lock of ours."""
    if inside():
        raise reentered()


class Lock:
    """Mutual exclusion, by ``with``. Raises `Reentered` where this thread could wait for itself, or for the dead.

    `order`: a thread that holds locks may take only those of a higher order than all of them.
    """

    __slots__ = ("_raw", "order")

    def __init__(self, order: int = 0) -> None:
        self._raw: Any = threading.RLock()  # it knows whose it is, and a `with` takes it and is told so in one step
        self.order = order

    if TYPE_CHECKING:

        def __enter__(self) -> object: ...

        def __exit__(self, *_: object) -> None: ...

    else:
        # ``with`` looks both up before it calls the first: what is decided here is decided before the lock is taken,
        # and what takes it is C. A method in Python might be interrupted between the taking and the ``with``.

        @property
        def __enter__(self):  # noqa: ANN204 - mypy is told above
            enter = self._raw.__enter__
            self._may_be_taken()
            return enter

        @property
        def __exit__(self):  # noqa: ANN204, PLE0302 - as above; and it gives what takes the arguments
            leave = self._raw.__exit__
            self._mark()  # once more: a signal handler may have come in between, and have dropped it
            return leave

    @property
    def mine(self) -> bool:
        """Whether this thread holds it."""
        held: bool = self._raw._is_owned()
        return held

    def within(self, seconds: float, late: Callable[[], BaseException]) -> Within:
        """For ``with``, as the lock itself: but raises `late()` where it is not free within so many seconds."""
        return Within(self, seconds, late)

    def hold_over_forks(self) -> None:
        """Have a fork wait until it is free, and hold it meanwhile."""
        if hasattr(os, "register_at_fork"):
            # What lets it go is no function in Python: an interrupt in one would leave the lock taken.
            release = self._raw.release
            os.register_at_fork(before=self._before_fork, after_in_parent=release, after_in_child=release)
            os.register_at_fork(after_in_child=self._in_child)

    def _may_be_taken(self) -> None:
        held = _held()
        if held and max(lock.order for lock in held) >= self.order:
            raise reentered()
        if finalizing() and not self._is_free():
            raise reentered()  # a daemon thread had it when Python stopped it
        _marks.entered = (*held, self)

    def _mark(self) -> None:
        entered = _marks.entered
        if not entered or entered[-1] is not self:
            _marks.entered = (*entered, self)

    def _is_free(self, seconds: float = 0.0) -> bool:
        """Whether it is free, or is so within so many seconds."""
        free: bool = False
        try:
            free = self._raw.acquire(timeout=seconds)
        finally:
            # Whatever is known of `free`: an interrupt may have come before that was noted. And nothing is called
            # before `release`, or an interrupt could come before that.
            try:  # noqa: SIM105 - as just said
                self._raw.release()
            except RuntimeError:  # it was not taken
                pass
        return free

    def _before_fork(self) -> None:
        self._raw.acquire(blocking=not finalizing())

    def _in_child(self) -> None:
        if not self.mine and not self._is_free():  # an interrupt cut `_before_fork` short, and who has it is not here
            self._raw._at_fork_reinit()


class Within:
    """A lock that one does not wait for without end; see `Lock.within`."""

    __slots__ = ("_late", "_lock", "_seconds")

    def __init__(self, lock: Lock, seconds: float, late: Callable[[], BaseException]) -> None:
        self._lock, self._seconds, self._late = lock, seconds, late

    if TYPE_CHECKING:

        def __enter__(self) -> object: ...

        def __exit__(self, *_: object) -> None: ...

    else:
        # As the lock's own. It was free a moment ago: whoever came in between keeps it no longer than others do.

        @property
        def __enter__(self):  # noqa: ANN204 - as above
            enter = self._lock.__enter__
            if not self._lock._is_free(self._seconds):
                raise self._late()
            return enter

        @property
        def __exit__(self):  # noqa: ANN204, PLE0302 - as above
            return self._lock.__exit__


# --- Latches ---


class Latch:
    """Set once and for all; any number of threads wait for it, each at a gate of its own: no lock."""

    __slots__ = ("_gates", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._gates: dict[Any, None] = {}

    def set(self) -> None:
        """Let everybody go who waits, or comes to wait. To be called again where an interrupt may have cut it short."""
        self.is_set = True
        _open(self._gates)

    def wait(self, seconds: float = threading.TIMEOUT_MAX) -> bool:
        """Wait until it is set, at most so many seconds; whether it is. Raises `Reentered` in a lock."""
        if seconds <= 0.0:
            return self.is_set
        if not self.is_set:
            refuse_inside()
        gate = _closed_gate()
        try:
            self._gates[gate] = None
            if not self.is_set and not finalizing():  # looked at only now; and at the end nobody is left to set it
                gate.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
            return self.is_set
        finally:
            self._gates.pop(gate, None)


class Changes:
    """Lets any number of threads wait for what others change, as at a latch."""

    __slots__ = ("_gates",)

    def __init__(self) -> None:
        self._gates: dict[Any, None] = {}

    def tell(self) -> None:
        """Something has changed: whoever waits looks again."""
        _open(self._gates)

    def wait_for(self, holds: Callable[[], bool], seconds: float = threading.TIMEOUT_MAX) -> bool:
        """Wait until `holds()` is true, at most so many seconds; whether it is. Raises `Reentered` in a lock.

        `holds` is not called again once it was true.
        """
        refuse_inside()
        deadline = time.monotonic() + seconds
        while True:
            gate = _closed_gate()
            try:
                self._gates[gate] = None
                if holds():  # looked at only now: whoever changes it later opens this gate
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
        except RuntimeError:  # it is open already, and who waited there has not gone yet
            continue


# --- Threads ---


_jobs: dict[Job, None] = {}
"""Those that are not over, as far as who started them was not interrupted."""
_begun: dict[Job, None] = {}
"""Those that have begun and are not over; each adds itself."""
_exiting = False


class Job:
    """Work on a thread of its own. `over` is set when it has ended."""

    __slots__ = ("_work", "daemon", "name", "over")

    def __init__(self, work: Callable[[], object], name: str, daemon: bool) -> None:
        self._work, self.name, self.daemon = work, name, daemon
        self.over = Latch()

    def _begin(self) -> None:
        """On a thread that takes no signals, and for which nobody waits: only here may Python code wait for a start."""
        _begun[self] = None
        if _exiting and self not in _jobs:  # who started it was interrupted, and nobody waits for it
            self._work = _nothing
        thread = threading.Thread(target=self._run, name=self.name, daemon=self.daemon)
        try:
            thread.start()
        except RuntimeError:  # this one is there at least, and is waited for as well
            self._run()

    def _run(self) -> None:
        work, self._work = self._work, _nothing  # what it holds is let go with its end
        try:
            work()
        finally:
            del work
            _begun.pop(self, None)
            if _jobs.pop(self, self) is self:  # a greenlet's copy in a forked child, whom Python has forgotten
                threading.current_thread()  # makes it known again, or its end would be an error
            self.over.set()


def _nothing() -> None:
    """The work of a job that has begun."""


def start(work: Callable[[], object], name: str, *, daemon: bool = False) -> Job:
    """Run `work` on a new thread; the interpreter waits for its end, unless it is a `daemon`.

    Neither waits nor takes a lock, so it may be called anywhere; ``Thread.start`` waits for the new thread with locks
    that an interrupt can leave taken, and for ever where the interpreter ends. Raises `RuntimeError` where no thread
    can start: the system has none to spare, or the interpreter ends. Where an interrupt comes in its midst, `work` may
    be done or not.
    """
    job = Job(work, name, daemon)
    try:
        _jobs[job] = None
        _refuse_at_the_end()
        _thread.start_new_thread(job._begin, ())
    except BaseException:  # Ctrl-C, too: whoever waits for it at the exit would wait for ever
        _jobs.pop(job, None)
        raise
    return job


class Alarm:
    """Calls `call` once when so many seconds are over, unless it is cancelled before. Raises as `start` does.

    `call` must be short: nobody waits for it when the interpreter ends.
    """

    __slots__ = ("_call", "_decided", "_off", "_over", "_seconds")

    def __init__(self, seconds: float, call: Callable[[], object]) -> None:
        self._seconds, self._call = seconds, call
        self._decided: Any = threading.Lock()  # taken for good by who comes first, the end of the time or `cancel`
        self._off, self._over = Latch(), Latch()
        _refuse_at_the_end()
        _thread.start_new_thread(self._work, ())

    def cancel(self) -> None:
        """Call nothing any more. Where `call` runs just now, this returns when it has ended."""
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
    """After the threads that Python itself waits for; until here daemon threads run, too."""
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
