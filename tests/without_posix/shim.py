"""A process without what Windows does not have: `fcntl`, forks, owners and modes of files, the clocks by number.

`begin` takes it away from this process, for good. What the standard library needs of it was imported before, so that
only what comes later misses it, as this library does on Windows. The names are those that typeshed has for other
systems alone. With `locks`, there is a module `msvcrt` as Windows has it: its locks are real ones of the system, which
releases them when their holder is killed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import errno
import fcntl
import logging.handlers
import multiprocessing.util
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import types
import urllib.request
import uuid

__all__ = ["MISSING", "begin"]

NEEDED = (asyncio, concurrent.futures.thread, logging.handlers, multiprocessing.util, random, shutil, ssl, subprocess)
NEEDED_TOO = (tempfile, urllib.request, uuid)
MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "syslog", "pty", "tty")
MISSING: dict[types.ModuleType, tuple[str, ...]] = {
    os: (
        *("fork", "forkpty", "register_at_fork", "fchmod", "fchown", "chown", "lchown", "mkfifo"),
        *("geteuid", "getuid", "getegid", "getgid", "getgroups", "getpgid", "getpgrp", "getsid", "setsid", "killpg"),
        *(
            "setuid",
            "seteuid",
            "setgid",
            "setegid",
            "initgroups",
            "nice",
            "getloadavg",
            "sysconf",
            "pathconf",
            "statvfs",
        ),
        *("sched_getaffinity", "sched_yield", "sync", "fdatasync", "lockf", "posix_fallocate", "posix_fadvise", "wait"),
        *(
            "O_NOFOLLOW",
            "O_NONBLOCK",
            "O_CLOEXEC",
            "O_DIRECTORY",
            "O_SYNC",
            "O_DSYNC",
            "O_NOCTTY",
            "O_PATH",
            "O_TMPFILE",
        ),
        *("WNOHANG", "WIFEXITED", "WEXITSTATUS", "WIFSIGNALED", "WTERMSIG", "ctermid", "chroot", "fchdir", "pipe2"),
    ),
    time: ("clock_gettime", "clock_gettime_ns", "clock_getres", "clock_settime", "tzset", "pthread_getcpuclockid"),
    signal: (
        "SIGALRM",
        "SIGHUP",
        "SIGKILL",
        "SIGPIPE",
        "SIGUSR1",
        "SIGUSR2",
        "SIGCHLD",
        "setitimer",
        "pthread_sigmask",
    ),
}


def begin(*, locks: bool) -> None:
    """Take everything away. `locks`: there is a module `msvcrt`."""
    for module, names in MISSING.items():
        clocks = [name for name in dir(module) if name.startswith("CLOCK_")]
        for name in (*names, *clocks):
            if hasattr(module, name):
                delattr(module, name)
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # so that importing it fails
    assert not [name for name in sys.modules if name.partition(".")[0] == "onerefresh"], "it has seen this system"
    sys.modules["msvcrt"] = _Locks() if locks else None  # type: ignore[assignment]  # as above


class _Locks(types.ModuleType):
    """`msvcrt`, as far as it is about locks: the lock belongs to the handle, and is released with the process."""

    LK_UNLCK, LK_LOCK, LK_NBLCK, LK_RLCK, LK_NBRLCK = 0, 1, 2, 3, 4

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self._held: set[int] = set()
        self._flock, self._exclusive, self._unlock = fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN

    def locking(self, fd: int, mode: int, nbytes: int, /) -> None:
        """Lock or unlock so many bytes at the file's position. The bytes need not be there."""
        if nbytes < 1 or os.lseek(fd, 0, os.SEEK_CUR) != 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if mode == self.LK_UNLCK:
            if fd not in self._held:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # as Windows says it
            self._held.discard(fd)
            self._flock(fd, self._unlock)
            return
        if mode not in (self.LK_NBLCK, self.LK_NBRLCK):
            raise AssertionError("this would block for ten seconds, and then fail")
        try:
            self._flock(fd, self._exclusive)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
        self._held.add(fd)
