"""Threads that may be started anywhere, and that a signal leaves whole."""

from __future__ import annotations

import _thread
import atexit
import os
import threading
from collections.abc import Callable

from onerefresh.interpreter import finalizing
from onerefresh.latches import Latch

__all__ = ["Job", "start"]


_Thread, _start = threading.Thread, threading.Thread.start
"""As they were at first: a mock that a test puts in the place of either starts nothing, and all callers would wait."""
_jobs: dict[Job, None] = {}
"""Jobs that are not over, except for those whose starter was interrupted."""
_begun: dict[Job, None] = {}
"""Jobs that have begun and are not over. Each adds itself."""
_exiting = False


class Job:
    """Work on a thread of its own. `over` is set when it has ended. `shared`: as for `start`."""

    __slots__ = ("_work", "daemon", "name", "over", "shared")

    def __init__(self, work: Callable[[], object], name: str, daemon: bool, shared: bool) -> None:
        self._work, self.name, self.daemon, self.shared = work, name, daemon, shared
        self.over = Latch()

    def _begin(self) -> None:
        """Start the job's own thread, from a thread that takes no signals and that nothing waits for.

        Only there may Python code wait for a thread to start.
        """
        _begun[self] = None
        if _exiting and self not in _jobs:  # its starter was interrupted, and nothing waits for it
            self._work = _nothing
        thread = _Thread(target=self._run, name=self.name, daemon=self.daemon)
        try:
            _start(thread)
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


JOBS = (Job._begin.__code__, Job._run.__code__)
"""The code in which a job's threads begin."""


def start(work: Callable[[], object], name: str, *, daemon: bool = False, shared: bool = False) -> Job:
    """Run `work` on a new thread. The interpreter waits for its end, unless it is a `daemon`.

    `shared`: many callers depend on what this thread does, so no other code may wait on it.

    This neither waits nor takes a lock, so it may be called anywhere. ``Thread.start`` waits for the new thread with
    locks that an interrupt can leave taken, and for ever where the interpreter ends. Raises `RuntimeError` where no
    thread can start: the system has none to spare, or the interpreter ends. After an interrupt within this call, `work`
    may or may not be done.
    """
    job = Job(work, name, daemon, shared)
    try:
        _jobs[job] = None
        _refuse_at_the_end()
        _thread.start_new_thread(job._begin, ())
    except BaseException:  # Ctrl-C, too: the exit would wait for this job for ever
        _jobs.pop(job, None)
        raise
    return job


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
