"""Locks for code that may be interrupted, or stopped, at any step.

Python runs destructors, weakref callbacks and signal handlers anywhere, also on a thread that holds one of these locks.
Such code cannot wait for what the frames below it have yet to do. So nothing waits for itself: a thread that holds
a lock gets `Reentered` at once where another wait could never end. And an exception from a signal handler (Ctrl-C)
leaves nothing locked for good: a lock is taken by one call in C, or is private to the interrupted caller.

Two rules follow for the users of these locks. While a lock is held, no user code is called and nothing is waited for.
And a thread that must take two locks takes the one of lower `order` first.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onerefresh.errors import RefreshUnavailable
from onerefresh.interpreter import finalizing

__all__ = ["Lock", "Reentered", "Within", "inside", "reentered", "refuse_inside"]


class Reentered(RefreshUnavailable):
    """A call in the middle of this library's own work on the same thread, where an answer cannot be waited for."""


def reentered() -> Reentered:
    """The error for a caller that would wait for itself."""
    return Reentered(
        "called during this library's own work on the same thread (from a destructor, a signal handler or a callback), "
        "where it cannot wait: call again after that has returned",
        retry_after=0.0,
    )


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
