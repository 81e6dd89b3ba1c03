"""Who holds a lock file in another process, and what is open here."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from onerefresh.stores.flock import FlockHold

PATIENCE = 30.0

HOLDER = """
import sys
from pathlib import Path
from onerefresh.stores.flock import FlockHold
hold = FlockHold.take(Path(sys.argv[1]))
print(hold.death_proof, flush=True)
sys.stdin.readline()
hold.release()
print("released", flush=True)
sys.stdin.readline()
"""


class Holder:
    """Another process that holds the lock."""

    def __init__(self, path: Path) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.child.stdout is not None
        self.death_proof = self.child.stdout.readline().strip()

    def release(self) -> None:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        assert self.child.stdout.readline() == "released\n"

    def end(self) -> None:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.close()


def take(path: Path) -> FlockHold | None:
    hold = FlockHold.take(path)
    assert hold is None or isinstance(hold, FlockHold)
    return hold


def open_descriptors() -> set[int]:
    """Those of lock files: other libraries may open and close some of their own at any time, and after a fork."""
    numbers = [int(place.name) for place in Path("/dev/fd").iterdir()]
    return {number for number in numbers if is_open(number) and is_lock_file(number)}


def is_lock_file(descriptor: int) -> bool:
    return "lock" in Path(os.path.realpath(f"/dev/fd/{descriptor}")).name


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def until(happened: Callable[[], bool]) -> None:
    """Look until it has happened; not everything is told."""
    patience = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        if happened():
            return
        patience.wait(0.005)
    raise AssertionError("it never happened")
