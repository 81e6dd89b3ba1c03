"""Code that must run in a process of its own: under another user, on a full disk, with a lock, in the middle of a fork.

Run as ``python -m tests.stores.elsewhere FUNCTION JSON``; it prints its result as JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import encodings.ascii
import encodings.idna  # noqa: F401 - once the process is another user it may not be able to import
import json
import logging
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from onerefresh import Credential, OnerefreshError, StoreUnavailable, Token, events
from onerefresh.stores.sqlite import SQLiteStore

ROOT = Path(__file__).parents[2]
NOBODY = 65_534


def run(function: str, *arguments: object) -> Any:
    """Run the function of this file in a new process, and give its result."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.stores.elsewhere", function, json.dumps(arguments, default=str)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (child.returncode, child.stderr) == (0, ""), child.stderr + child.stdout
    return json.loads(child.stdout)


# --- Another user ---


def drop_privileges() -> None:
    """Root reads and writes what it likes: be somebody else."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def use_as_another(path: str) -> dict[str, str]:
    """What a store says to a user who may not do what it takes: of a read, of a write and of a hold."""
    drop_privileges()
    said = {}
    store = SQLiteStore(path)
    actions: dict[str, Callable[[], object]] = {
        "load": lambda: store.load("acme"),
        "cas": lambda: store.cas("new", None, "body"),
        "hold": lambda: store.hold("acme"),
    }
    for name, action in actions.items():
        try:
            said[name] = f"did {action()}"
        except StoreUnavailable as error:
            said[name] = error.message
    return said


# --- A full disk ---


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A file system of 128 KiB at `place`, in mount points of this process's own; False where nobody may mount.

    Without the right to mount, a limit on the size of files takes its place.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, private = 0x00020000, 0x44000
    mounted = (
        os.geteuid() == 0
        and libc.unshare(new_mounts) == 0
        and libc.mount(b"none", b"/", None, private, None) == 0
        and libc.mount(b"tmpfs", bytes(place), b"tmpfs", 0, b"size=128k,mode=0700") == 0
    )
    if mounted:
        yield
        return
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield


def fill(place: Path) -> None:
    try:
        with (place / "filler").open("wb") as filler:
            while True:
                filler.write(b"x" * 4096)
                filler.flush()
                if filler.tell() > 1 << 20:
                    break
    except OSError:
        return
    (place / "filler").unlink()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def make_room(place: Path) -> None:
    (place / "filler").unlink(missing_ok=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def refresh_on_a_full_disk(folder: str) -> dict[str, object]:
    """Full before the claim; then full between the answer and the commit."""
    logging.getLogger("onerefresh").addHandler(logging.NullHandler())
    place, sent, told = Path(folder), [], []
    events.subscribe(lambda event: told.append(event.kind.value))

    def refresh(token: Token) -> dict[str, object]:
        sent.append(token.generation)
        fill(place)
        return {"access_token": "new", "refresh_token": "r2", "expires_in": 3600}

    with small_disk(place):
        store = SQLiteStore(place / "tokens.db")
        credential = Credential("acme", refresh, token={"access_token": "old", "refresh_token": "r1"}, store=store)
        old = credential.token()
        fill(place)
        before = store.load("acme")
        try:
            credential.token(refused=old)
            said = "nothing"
        except StoreUnavailable as error:
            said = error.message
        whole = store.load("acme") == before
        sent_while_full = len(sent)
        make_room(place)
        new = credential.token(refused=old)
        spooled = "spooled" in told
        make_room(place)
        credential.close()
        again = Credential("acme", refresh, store=SQLiteStore(place / "tokens.db"))
        return {
            "said": said,
            "whole": whole,
            "sent while full": sent_while_full,
            "new": new.reveal(),
            "spooled": spooled,
            "after": again.token().reveal(),
            "sent": len(sent),
        }


# --- Locks ---


def try_to_lock(path: str) -> str:
    """Whether another process could write to the database now."""
    connection = sqlite3.connect(path, timeout=0.0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        return str(error)
    finally:
        connection.close()
    return "locked it"


def take(path: str) -> dict[str, object]:
    """Whether the hold of this credential is free, and what it proves."""
    hold = SQLiteStore(path).hold("acme")
    return {"free": hold is not None, "proof": hold.death_proof if hold else None}


def without_fcntl(path: str) -> dict[str, object]:
    """Everything works by looking from time to time."""
    for name in [name for name in sys.modules if name.startswith("onerefresh.stores")]:
        del sys.modules[name]
    sys.modules["fcntl"] = None  # type: ignore[assignment]  # so that importing it fails, as on Windows
    from onerefresh.stores.sqlite import SQLiteStore as Store

    store = Store(path)
    held, second = store.hold("acme"), store.hold("acme")
    assert held is not None
    assert second is not None
    version = store.cas("acme", None, "before")
    changed = threading.Thread(target=lambda: store.cas("acme", version, "after"))
    changed.start()
    while (found := store.load("acme")) is not None and found.version == version:
        store.wait("acme", version, 60.0)
    changed.join()
    for hold in (held, second):
        hold.release()
    return {"proofs": [held.death_proof, second.death_proof], "body": found.body if found else None}


# --- Forks ---


def fork_in_the_middle(path: str) -> list[int]:
    """Fork again and again while another thread writes; each child uses the store. Their exit statuses."""
    store = SQLiteStore(path)
    version, ends = store.cas("acme", None, "0"), threading.Event()

    def write() -> None:
        at = version
        while not ends.wait(0.001):  # a lock is not fair: it leaves the fork a chance
            at = store.cas("acme", at, "body")

    writer = threading.Thread(target=write)
    writer.start()
    statuses = []
    for number in range(12):
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # a child that hangs dies, and the test with it
            written = store.cas(f"of {number}", None, "body")
            found = store.load(f"of {number}")
            os._exit(0 if found == (written, "body") and store.load("acme") is not None else 1)
        statuses.append(os.waitpid(child, 0)[1])
    ends.set()
    writer.join()
    return statuses


def fork_while_holding(path: str) -> dict[str, object]:
    """What a child's end, and a child that stays, mean for the parent's hold."""
    store = SQLiteStore(path)
    hold = store.hold("acme")
    assert hold is not None
    child = os.fork()
    if child == 0:
        hold.release()  # it is not the child's: this does nothing
        os._exit(0)
    os.waitpid(child, 0)
    held_after_the_child_ended = store.hold("acme") is None
    stays, stop = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(stop)
        os.read(stays, 1)
        os._exit(0)
    held_while_the_child_stays = store.hold("acme") is None
    hold.release()
    after = store.hold("acme")
    os.close(stop)
    os.waitpid(child, 0)
    return {
        "held after the child ended": held_after_the_child_ended,
        "held while the child stays": held_while_the_child_stays,
        "free once released": after is not None,
    }


def leave_a_child(path: str) -> dict[str, object]:
    """Take the hold, leave a child behind, and end as a crash does: the child must not keep the hold."""
    hold = SQLiteStore(path).hold("acme")
    assert hold is not None
    keep, child_s = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(child_s)
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        signal.alarm(60)
        signal.pause()
    os.close(keep)
    print(json.dumps({"child": child, "proof": hold.death_proof}), flush=True)
    os._exit(0)


def main() -> None:
    function, arguments = sys.argv[1:]
    try:
        result = globals()[function](*json.loads(arguments))
    except OnerefreshError as error:
        result = {"error": [type(error).__name__, error.message]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
