"""flock as a queue, a wake-up and a proof of death on one machine.

The holder of a credential has an exclusive lock on a file, and processes that wait ask for a shared one. The kernel
releases the lock of a process that dies. A process that is merely stopped keeps it, so no thread whose time is bounded
may block in flock. A daemon thread blocks there and signals the others.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Self

from onerefresh.errors import StoreUnavailable
from onerefresh.latches import Latch
from onerefresh.locks import Lock
from onerefresh.private_files import check_private, make_folder
from onerefresh.safe_folders import Trust, trust
from onerefresh.store import AdvisoryLock, reset_in_child
from onerefresh.stores.forking import fork_lock
from onerefresh.threads import start

try:
    import fcntl
except ImportError:  # Windows: no proof of death, and waiting is polling
    fcntl = None  # type: ignore[assignment]  # a module or None

__all__ = ["FlockHold", "LockWaiter", "boot", "lock_path", "shared_seconds"]


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
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def lock_path(database: Path, key: str) -> Path:
    """The lock file of `key`, beside the database. It is never deleted and never written to."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return database.with_name(f"{database.name}.locks") / f"{digest}.lock"


def _open(path: Path, trusted: Trust) -> int:
    """Open the lock file, and make it where it is missing. Raises `StoreUnavailable`."""
    allowed = make_folder(path.parent, trusted, wanted=path.name)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
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
        self.death_proof = f"flock {boot()} {found.st_dev}:{found.st_ino}" if boot() else None
        reset_in_child(self)

    @classmethod
    def take(cls, path: Path, trusted: Trust | None = None) -> Self | AdvisoryLock | None:
        """Take the lock; None where another holder has it, and a lock that proves nothing where there is no flock.

        `trusted`: the trusted folders; None for those that the environment names.
        """
        if fcntl is None:
            return AdvisoryLock()
        trusted = trust() if trusted is None else trusted
        with fork_lock:
            descriptor = _open(path, trusted)
            hold = cls(descriptor)  # it releases the lock, too, if an interrupt comes before it is returned
            try:
                if _lock(descriptor, fcntl.LOCK_EX):
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
                fcntl.flock(descriptor, fcntl.LOCK_UN)
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


def _lock(descriptor: int, kind: int) -> bool:
    """Whether the lock was free and is held now."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _threads_are_greenlets() -> bool:
    """Whether gevent has patched this process: a greenlet that blocks in the kernel would stop all others."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


class LockWaiter:
    """Waits for lock files to become free. At most one thread of this process blocks in the kernel for each file.

    `_lock` guards the map of blocked threads.
    """

    def __init__(self, trusted: Trust | None = None) -> None:
        self._trusted = trust() if trusted is None else trusted
        self._lock = Lock(order=2)
        self._parked: dict[Path, _Parked] = {}
        reset_in_child(self)

    def waited(self, path: Path, timeout: float) -> bool:
        """Wait until nobody holds the lock, for at most `timeout` seconds; False at once where nobody holds it now.

        False at once, too, where no thread can block. Raises `StoreUnavailable` where the file cannot be used.
        """
        if fcntl is None:
            return False
        if _threads_are_greenlets():
            return False
        with fork_lock, self._lock:
            parked = self._parked.get(path)
            if parked is None:
                descriptor = _open(path, self._trusted)
                try:
                    is_free = _lock(descriptor, fcntl.LOCK_SH)
                except OSError as error:
                    os.close(descriptor)
                    raise _unusable(path, error) from None
                except BaseException:  # Ctrl-C: no other code would close it and so release the lock
                    os.close(descriptor)
                    raise
                if is_free:
                    os.close(descriptor)
                    return False
                parked = _Parked(descriptor)
                try:
                    start(functools.partial(self._park, path, parked), "onerefresh parked", daemon=True)
                except RuntimeError:  # no thread can start any more: the interpreter ends, or the system is full
                    os.close(descriptor)
                    return False
                self._parked[path] = parked
        parked.free.wait(timeout)
        return True

    def _park(self, path: Path, parked: _Parked) -> None:
        """Block in the kernel until the lock is free, then wake the threads that wait."""
        with contextlib.suppress(OSError):  # whatever is wrong with the file, the waiting threads read the record
            fcntl.flock(parked.descriptor, fcntl.LOCK_SH)
            fcntl.flock(parked.descriptor, fcntl.LOCK_UN)
        with self._lock:
            if self._parked.get(path) is parked:
                del self._parked[path]
            os.close(parked.descriptor)
        parked.free.set()

    def after_fork(self) -> None:
        """Close the child's copies of the descriptors: the threads that block with them are not in the child."""
        self._lock = Lock(order=2)
        parked, self._parked = self._parked, {}
        for one in parked.values():
            with contextlib.suppress(OSError):
                os.close(one.descriptor)


class _Parked:
    """One thread that blocks in the kernel, and the latch by which it wakes the others."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.free = Latch()
