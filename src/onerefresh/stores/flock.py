"""flock as queue, wake-up and proof of death on one machine.

The holder of a credential has the file locked exclusively; who waits asks for it shared. The kernel releases the lock
of a process that dies. A process that is merely stopped keeps it: so nobody whose time is bounded ever blocks in flock.
A daemon thread parks there and signals.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Self

from onerefresh.errors import StoreUnavailable
from onerefresh.store import Hold, cleaned_after_fork

try:
    import fcntl
except ImportError:  # Windows: no proof of death, and waiting is polling
    fcntl = None  # type: ignore[assignment]  # a module or None

__all__ = ["FlockHold", "Parking", "boot", "lock_path", "shared_seconds"]


@functools.cache
def boot() -> str | None:
    """The id of this start of the machine; None where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None


def shared_seconds() -> float | None:
    """A clock that all processes of this machine share and nobody sets; it counts while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else None


def lock_path(database: Path, key: str) -> Path:
    """The lock file of `key`, beside the database. It is never deleted, and nothing is ever written to it."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return database.with_name(f"{database.name}.locks") / f"{digest}.lock"


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"the lock file {path} cannot be opened: {error.strerror}") from None


class FlockHold(Hold):
    """The exclusive lock on one file, held until `release`."""

    def __init__(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        self._descriptor: int | None = descriptor
        # The same file at the same start of the same machine: whoever locks it later can tell that this holder is gone.
        self.proof = f"flock {boot()} {found.st_dev}:{found.st_ino}" if boot() else None
        cleaned_after_fork(self)

    @classmethod
    def take(cls, path: Path) -> Self | Hold | None:
        """The lock if it is free; None where somebody has it; a hold that proves nothing where there is no flock."""
        if fcntl is None:
            return Hold()
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                return None
            raise StoreUnavailable(f"the lock file {path} cannot be locked: {error.strerror}") from None
        return cls(descriptor)

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            # Unlocked by name and not by closing alone: a copy of the descriptor in a forked child would keep the lock.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def after_fork(self) -> None:
        """A child only closes its copy: unlocking it would unlock the parent's."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class Parking:
    """Where this process waits for one lock file to be free: at most one thread parks in the kernel, for all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._parked: threading.Event | None = None
        self._descriptor: int | None = None
        cleaned_after_fork(self)

    def wait(self, timeout: float) -> bool:
        """Whether the file was free at some moment within `timeout` seconds."""
        if fcntl is None:
            return True
        with self._lock:
            free = self._parked
            if free is None:
                try:
                    self._descriptor = _open(self._path)
                except StoreUnavailable:
                    return True
                if self._try(self._descriptor):
                    self._descriptor = None
                    return True
                free = self._parked = threading.Event()
                threading.Thread(
                    target=self._park, args=(self._descriptor, free), name="onerefresh-parked", daemon=True
                ).start()
        return free.wait(timeout)

    def _try(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except OSError:
            return False
        os.close(descriptor)
        return True

    def _park(self, descriptor: int, free: threading.Event) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            with self._lock:
                if self._parked is free:
                    self._parked = None
                    self._descriptor = None
            os.close(descriptor)
            free.set()

    def after_fork(self) -> None:
        """The parked thread is not in the child: close the child's copy of its descriptor."""
        descriptor, self._descriptor = self._descriptor, None
        self._parked = None
        self._lock = threading.Lock()
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)
