"""The threads of renewals and commands, each of its own where the system has one to give."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable

from onerefresh import errors
from onerefresh.interpreter import finalizing, interpreter_ends
from onerefresh.running_loop import running_loop
from onerefresh.threads import start

__all__ = ["on_a_thread", "refuse_at_the_end"]


class _Thread:
    """A thread that looks for waiting work before it ends. `is_started`: it surely runs, now or soon."""

    __slots__ = ("is_started",)

    def __init__(self) -> None:
        self.is_started = False


_alive: dict[_Thread, None] = {}
"""The threads that have not ended. No lock: each step here is one call in C."""
_waiting: deque[Callable[[], None]] = deque()
"""Work for which the system had no thread, and whose caller must not be blocked."""


def refuse_at_the_end(key: str) -> None:
    """Raise `CredentialClosed` once Python takes its modules apart: a new token could not be saved any more."""
    if finalizing():
        raise errors.CredentialClosed("the interpreter is ending", credential=key)


def on_a_thread(work: Callable[[], None], key: str, *, never_here: bool = False) -> None:
    """Run `work` on a thread that the interpreter waits for at exit, or here where no thread can start any more.

    Where this thread must not be blocked (`never_here`, or it runs an event loop), the work waits for another one to
    end. Raises `RefreshUnavailable` where there is no other one either. Raises `CredentialClosed` where the interpreter
    ends and would stop this thread in the middle.
    """
    refuse_at_the_end(key)
    thread = _Thread()
    try:
        _alive[thread] = None
        start(lambda: _run(thread, work), f"onerefresh {key}")
        thread.is_started = True  # others may count on it, although it may need a while to begin
    except BaseException as error:
        _alive.pop(thread, None)
        if not isinstance(error, RuntimeError):
            raise  # Ctrl-C
        if interpreter_ends():
            if never_here or threading.current_thread().daemon:
                raise errors.CredentialClosed("the interpreter is ending", credential=key) from None
        elif never_here or running_loop() is not None:
            if _waits(work):
                return
            message = "no thread can be started: this process has reached its limit"
            raise errors.RefreshUnavailable(message, credential=key, retry_after=1.0) from None
        work()


def _run(thread: _Thread, work: Callable[[], None]) -> None:
    """Run `work` on this thread, then all that waits for one."""
    thread.is_started = True
    try:
        work()
    finally:
        while True:
            try:
                _run_what_waits()
            finally:
                _alive.pop(thread, None)
            if not _waiting:
                break
            _alive[thread] = None  # more came after the last look, and may rely on this thread


def _run_what_waits() -> None:
    while True:
        try:
            work = _waiting.popleft()
        except IndexError:
            return
        try:
            work()
        except BaseException:  # noqa: BLE001 - a defect, which its callers know of: the others go on
            threading.excepthook(threading.ExceptHookArgs([*sys.exc_info(), threading.current_thread()]))


def _waits(work: Callable[[], None]) -> bool:
    """Let `work` wait for a thread; False where there is none that could run it."""
    _waiting.append(work)
    if any(thread.is_started for thread in list(_alive)):
        return True
    try:
        _waiting.remove(work)
    except ValueError:
        return True  # a thread that was about to end has taken it
    return False


def _after_fork() -> None:
    _alive.clear()  # these threads are not in the child
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
