"""flock as a queue, a wake-up and a proof of death on one machine.

The holder of a credential has an exclusive lock on a file, and processes that wait ask for a shared one. The kernel
releases the lock of a process that dies. A process that is merely stopped keeps it, so no thread whose time is bounded
may block in flock. A daemon thread blocks there and signals the others.

Windows has another lock, on bytes of a file (`msvcrt.locking`). Its kernel releases that one, too, when the holder
dies. It can be neither shared nor waited for, so processes there look at the record from time to time.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from onerefresh.errors import StoreUnavailable
from onerefresh.locks import Lock
from onerefresh.pause import Wakeup, after
from onerefresh.private_files import check_private, make_folder
from onerefresh.real_time import monotonic
from onerefresh.safe_folders import Trust, trust
from onerefresh.store import POLL, AdvisoryLock, reset_in_child
from onerefresh.stores.forking import fork_lock
from onerefresh.stores.subscriber import Subscriber
from onerefresh.this_process import machine
from onerefresh.threads import start


def _module(name: str) -> Any:
    """The module; None where this system does not have it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


fcntl, msvcrt = _module("fcntl"), _module("msvcrt")

__all__ = ["FlockHold", "LockWaiter", "boot", "lock_path", "shared_seconds"]

MOST_BLOCKED = 8
"""Threads at most that block in the kernel for one store. Further renewals read the record from time to time."""


@functools.cache
def boot() -> str | None:
    """The id of this start of the machine; None where the system does not tell it."""
    if sys.platform == "darwin":
        return _boot_of_macos()
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip() or None
    except OSError:
        return None


def _boot_of_macos() -> str | None:
    import ctypes

    answer, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
    try:
        failed = ctypes.CDLL(None).sysctlbyname(b"kern.bootsessionuuid", answer, ctypes.byref(size), None, 0)
    except (OSError, AttributeError):
        return None
    return None if failed else answer.value.decode("ascii", "replace") or None


def shared_seconds() -> float:
    """A clock that all processes of this machine share and nobody sets. It counts while the machine sleeps, too."""
    return float(_read_shared_clock())


def _shared_clock() -> Callable[[], float]:
    clock = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
    read = getattr(time, "clock_gettime", None)
    if clock is None or read is None:
        return monotonic  # of Windows: it counts from the start of the machine, in all processes, also during sleep
    return functools.partial(read, clock)


_read_shared_clock = _shared_clock()


def _scope() -> str | None:
    """Where a lock file's number tells it from all others: at this start of this machine. None where that is not known.

    Windows does not name its starts. There the machine's name will do: after a new start, no holder is left.
    """
    return boot() or (f"on {machine()}" if fcntl is None and msvcrt is not None else None)


def lock_path(database: Path, key: str) -> Path:
    """The lock file of `key`, beside the database. It is never deleted and never written to."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return database.with_name(f"{database.name}.locks") / f"{digest}.lock"


_NO_SURPRISE: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Neither follow a link nor wait at a pipe, where the system can say so."""


def _open(path: Path, trusted: Trust) -> int:
    """Open the lock file, and make it where it is missing. Raises `StoreUnavailable`."""
    allowed = make_folder(path.parent, trusted, wanted=path.name)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_SURPRISE, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        check_private(path, os.fstat(descriptor), allowed)
    except StoreUnavailable:
        os.close(descriptor)
        raise
    return descriptor


def _unusable(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"the lock file {path} cannot be used: {error.strerror}")


class FlockHold(AdvisoryLock):
    """The exclusive lock on one file, held until `release`."""

    _descriptor: int | None = None

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        found = os.fstat(descriptor)
        # The same file at the same start of the same machine: a process that locks it later knows this holder is gone.
        scope = _scope() if found.st_ino else None
        self.death_proof = f"flock {scope} {found.st_dev}:{found.st_ino}" if scope else None
        reset_in_child(self)

    @classmethod
    def take(cls, path: Path, trusted: Trust | None = None) -> Self | AdvisoryLock | None:
        """Take the lock; None where another holder has it, and a lock that proves nothing where there are no locks.

        `trusted`: the trusted folders; None for those that the environment names.
        """
        if fcntl is None and msvcrt is None:
            return AdvisoryLock()
        trusted = trust() if trusted is None else trusted
        with fork_lock:
            descriptor = _open(path, trusted)
            hold = cls(descriptor)  # it releases the lock, too, if an interrupt comes before it is returned
            try:
                if _lock(descriptor):
                    return hold
            except OSError as error:
                hold.release()
                raise _unusable(path, error) from None
            hold.release()
            return None

    def release(self) -> None:
        descriptor = self._descriptor
        if descriptor is not None:
            # Unlocked explicitly: after closing alone, a copy of the descriptor in a forked child would keep the lock.
            with contextlib.suppress(OSError):
                _unlock(descriptor)
            self._descriptor = None  # not before: after an interrupt until here, `__del__` closes it
            os.close(descriptor)

    def __del__(self) -> None:
        """Release the lock where an interrupt came before it was returned, or during its release."""
        self.release()

    def after_fork(self) -> None:
        """Close the child's copy only: unlocking it would unlock the parent's."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int, *, shared: bool = False) -> bool:
    """Whether the lock was free and is held now. Raises `OSError` where the file cannot be locked."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        else:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # the first byte, whether it is there or not
    except OSError as error:
        if isinstance(error, BlockingIOError) or (fcntl is None and error.errno in _LOCKED):
            return False
        raise
    return True


def _unlock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    else:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)


_LOCKED = (errno.EACCES, errno.EDEADLK)
"""What `msvcrt.locking` raises for a byte that another handle has locked."""


def _threads_are_greenlets() -> bool:
    """Whether gevent has patched this process: a greenlet that blocks in the kernel would stop all others."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


class LockWaiter:
    """Waits for lock files to become free. One thread of this process blocks in the kernel for each file.

    There are `MOST_BLOCKED` such threads at most. `_lock` guards the map of them.
    """

    def __init__(self, trusted: Trust | None = None) -> None:
        self._trusted = trust() if trusted is None else trusted
        self._lock = Lock(order=2)
        self._blocked: dict[Path, _Blocked] = {}
        reset_in_child(self)

    def subscribe(self, path: Path, wake: Callable[[], object]) -> Wakeup | None:
        """Call `wake` once nobody holds the lock; None where nobody holds it now, or where no thread can block.

        Where `MOST_BLOCKED` threads block already, the wait ends after `POLL`. Raises `StoreUnavailable` where the file
        cannot be used.
        """
        if fcntl is None:
            return None
        if _threads_are_greenlets():
            return None
        with fork_lock, self._lock:
            blocked = self._blocked.get(path)
            if blocked is None:
                if len(self._blocked) >= MOST_BLOCKED:
                    return after(POLL)
                blocked = self._block(path)
                if blocked is None:
                    return None
                self._blocked[path] = blocked
            subscriber = Subscriber(wake, blocked.waiting)
            blocked.waiting[subscriber] = None
            return Wakeup(subscriber.end)

    def _block(self, path: Path) -> _Blocked | None:
        """Start a thread that blocks until the lock is free; None where it is free, or where none can start."""
        descriptor = _open(path, self._trusted)
        try:
            is_free = _lock(descriptor, shared=True)
        except OSError as error:
            os.close(descriptor)
            raise _unusable(path, error) from None
        except BaseException:  # Ctrl-C: no other code would close it and so release the lock
            os.close(descriptor)
            raise
        if is_free:
            os.close(descriptor)
            return None
        blocked = _Blocked(descriptor)
        try:
            start(functools.partial(self._wait, path, blocked), "onerefresh blocked", daemon=True)
        except RuntimeError:  # no thread can start any more: the interpreter ends, or the system is full
            os.close(descriptor)
            return None
        return blocked

    def _wait(self, path: Path, blocked: _Blocked) -> None:
        """Block in the kernel until the lock is free, then wake those that wait."""
        with contextlib.suppress(OSError):  # whatever is wrong with the file, the waiting renewals read the record
            fcntl.flock(blocked.descriptor, fcntl.LOCK_SH)
            fcntl.flock(blocked.descriptor, fcntl.LOCK_UN)
        with self._lock:
            if self._blocked.get(path) is blocked:
                del self._blocked[path]
            os.close(blocked.descriptor)
        for subscriber in list(blocked.waiting):  # nobody joins them any more
            subscriber.ring()

    def after_fork(self) -> None:
        """Close the child's copies of the descriptors: the threads that block with them are not in the child."""
        self._lock = Lock(order=2)
        blocked, self._blocked = self._blocked, {}
        for one in blocked.values():
            with contextlib.suppress(OSError):
                os.close(one.descriptor)


class _Blocked:
    """One thread that blocks in the kernel, and those that wait for it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.waiting: dict[Subscriber, None] = {}
