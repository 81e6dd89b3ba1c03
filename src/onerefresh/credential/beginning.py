"""Where renewals and commands begin: on a thread of `workers`, or here where the system has none to give."""

from __future__ import annotations

import threading

from onerefresh import errors
from onerefresh.interpreter import finalizing, interpreter_ends
from onerefresh.running_loop import running_loop
from onerefresh.tasks import Task

__all__ = ["begin", "refuse_at_the_end"]


def refuse_at_the_end(key: str) -> None:
    """Raise `CredentialClosed` once Python takes its modules apart: a new token could not be saved any more."""
    if finalizing():
        raise errors.CredentialClosed("the interpreter is ending", credential=key)


def begin(task: Task, key: str, *, never_here: bool = False) -> None:
    """Run `task` on other threads, for which the interpreter waits at exit, or here where there is none.

    Raises `RefreshUnavailable` where there is none and this thread must not be blocked (`never_here`, or it runs an
    event loop). Raises `CredentialClosed` where the interpreter ends and would stop this thread in the middle.
    """
    refuse_at_the_end(key)
    if task.start():
        return
    if interpreter_ends():
        if never_here or threading.current_thread().daemon:
            raise errors.CredentialClosed("the interpreter is ending", credential=key)
    elif never_here or running_loop() is not None:
        message = "no thread can be started: this process has reached its limit"
        raise errors.RefreshUnavailable(message, credential=key, retry_after=1.0)
    task.run_here()
