"""flock: who holds a credential, how the others wait for it, and what its release proves."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.stores import elsewhere

from onerefresh import StoreUnavailable, threads
from onerefresh.stores.flock import FlockHold, LockWaiter, boot, lock_path
from onerefresh.stores.sqlite import SQLiteStore

LONG = 60.0
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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return lock_path(tmp_path / "tokens.db", "acme")


@pytest.fixture
def holder(path: Path) -> Iterator[Holder]:
    holder = Holder(path)
    yield holder
    holder.end()


def take(path: Path) -> FlockHold | None:
    hold = FlockHold.take(path)
    assert hold is None or isinstance(hold, FlockHold)
    return hold


def open_descriptors() -> set[int]:
    numbers = [int(place.name) for place in Path("/dev/fd").iterdir()]
    return {number for number in numbers if is_open(number)}  # without the one that was read from


def parked_threads() -> list[threads.Job]:
    return [job for job in list(threads._jobs) if job.name == "onerefresh parked"]


def waiting_on(parking: LockWaiter, path: Path) -> int:
    """How many threads have come to where they sleep."""
    parked = parking._parked.get(path)
    return len(parked.free._gates) if parked is not None else 0


def in_a_thread(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def test_one_holds_it_at_a_time(path: Path) -> None:
    first = take(path)
    assert first is not None
    assert take(path) is None
    first.release()
    second = take(path)
    assert second is not None
    first.release()  # once more: it is not the first one's any more
    assert take(path) is None
    second.release()


def test_lock_files_are_private_and_empty_and_stay(path: Path) -> None:
    hold = take(path)
    assert hold is not None
    hold.release()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_bytes() == b""


def test_names_of_lock_files_tell_nothing_and_differ(tmp_path: Path) -> None:
    database = tmp_path / "tokens.db"
    names = {lock_path(database, key).name for key in ("acme", "Acme", "../acme", "")}
    assert len(names) == 4
    assert all(name.removesuffix(".lock").isalnum() for name in names)


def test_another_process_s_hold_is_respected_and_ends_with_its_release(path: Path, holder: Holder) -> None:
    assert take(path) is None
    holder.release()
    hold = take(path)
    assert hold is not None
    hold.release()


def test_a_hold_after_a_crash_proves_that_its_holder_is_gone(path: Path, holder: Holder) -> None:
    holder.end()
    hold = take(path)
    assert hold is not None
    assert hold.death_proof == holder.death_proof
    assert str(boot()) in holder.death_proof
    hold.release()


def test_a_lock_file_that_was_deleted_proves_nothing(path: Path, holder: Holder) -> None:
    path.unlink()
    hold = take(path)
    assert hold is not None
    assert hold.death_proof != holder.death_proof
    hold.release()


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_something_else_in_the_place_of_the_lock_file_is_refused(path: Path, kind: str) -> None:
    path.parent.mkdir(mode=0o700)
    path.symlink_to("/etc/passwd") if kind == "link" else path.mkdir()
    for use in (lambda: FlockHold.take(path), lambda: LockWaiter().waited(path, 0.0)):
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            use()


def test_a_folder_of_locks_that_others_can_write_to_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(StoreUnavailable, match="chmod go-w"):
        FlockHold.take(path)


# --- Waiting ---


def test_a_lock_that_is_free_is_not_waited_for(path: Path) -> None:
    assert LockWaiter().waited(path, LONG) is False
    assert parked_threads() == []


def test_all_waiters_wake_when_the_holder_lets_go(path: Path, holder: Holder) -> None:
    parking = LockWaiter()
    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(parking.waited, path, LONG) for _ in range(8)]
        until(lambda: waiting_on(parking, path) == 8)
        holder.release()
        assert [wait.result(PATIENCE) for wait in waits] == [True] * 8


def test_all_waiters_wake_when_the_holder_is_killed(path: Path, holder: Holder) -> None:
    parkings = [LockWaiter() for _ in range(4)]  # as of so many processes
    with ThreadPoolExecutor(4) as pool:
        waits = [pool.submit(parking.waited, path, LONG) for parking in parkings]
        until(lambda: len(parked_threads()) == 4)
        holder.child.kill()
        assert [wait.result(PATIENCE) for wait in waits] == [True] * 4


def test_a_stopped_holder_hangs_nobody_and_one_thread_stays_parked(path: Path, holder: Holder) -> None:
    parking = LockWaiter()
    holder.child.send_signal(signal.SIGSTOP)
    for _ in range(5):
        waiters = [in_a_thread(lambda: parking.waited(path, 0.02)) for _ in range(4)]
        for waiter in waiters:
            waiter.join(PATIENCE)
        assert not any(waiter.is_alive() for waiter in waiters)
    [parked] = parked_threads()
    assert parked.daemon
    holder.child.send_signal(signal.SIGCONT)
    holder.release()
    assert parked.over.wait(PATIENCE)


def test_each_lock_has_a_parked_thread_of_its_own(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "tokens.db")
    holds = [store.hold(key) for key in ("one", "two")]
    waiters = [in_a_thread(lambda key=key: store.wait(key, "", LONG)) for key in ("one", "two", "one")]  # type: ignore[misc]
    until(lambda: len(parked_threads()) == 2)
    for hold in holds:
        assert hold is not None
        hold.release()
    for waiter in waiters:
        waiter.join(PATIENCE)
    assert not any(waiter.is_alive() for waiter in waiters)
    until(lambda: parked_threads() == [])


def test_a_thousand_holds_and_waits_leave_no_descriptor_and_no_thread(path: Path) -> None:
    parking, before, threads = LockWaiter(), open_descriptors(), threading.active_count()
    for _ in range(1000):
        hold = take(path)
        assert hold is not None
        assert take(path) is None
        hold.release()
        assert parking.waited(path, 0.0) is False
    for _ in range(100):
        hold = take(path)
        assert hold is not None
        assert parking.waited(path, 0.0) is True
        hold.release()
        until(lambda: parked_threads() == [])
    assert (open_descriptors(), threading.active_count()) == (before, threads)


def until(happened: Callable[[], bool]) -> None:
    """Look until it has happened; the kernel tells nobody that a thread is parked in it."""
    patience = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        if happened():
            return
        patience.wait(0.005)
    raise AssertionError("it never happened")


# --- Forks ---


def test_a_forked_child_neither_unlocks_nor_keeps_the_hold(tmp_path: Path) -> None:
    assert elsewhere.run("fork_while_holding", tmp_path / "tokens.db") == {
        "held after the child ended": True,
        "held while the child stays": True,
        "free once released": True,
    }


def test_a_child_that_outlives_a_crash_does_not_keep_the_hold(tmp_path: Path) -> None:
    left = elsewhere.run("leave_a_child", tmp_path / "tokens.db")
    try:
        assert elsewhere.run("take", tmp_path / "tokens.db") == {"free": True, "proof": left["proof"]}
    finally:
        os.kill(left["child"], signal.SIGKILL)


def test_releasing_frees_the_lock_although_a_child_has_a_copy_of_it(path: Path) -> None:
    before = open_descriptors()
    hold = take(path)
    assert hold is not None
    copies = open_descriptors() - before
    assert len(copies) == 1
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=copies
    )
    try:
        hold.release()
        again = take(path)
        assert again is not None
        again.release()
    finally:
        child.communicate()


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


# --- Systems without flock ---


def test_without_fcntl_holds_prove_nothing_and_waiting_is_looking(tmp_path: Path) -> None:
    assert elsewhere.run("without_fcntl", tmp_path / "tokens.db") == {"proofs": [None, None], "body": "after"}


def test_two_processes_without_fcntl_still_send_one_request(tmp_path: Path) -> None:
    log = tmp_path / "sent"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", POLLING, str(tmp_path / "tokens.db"), str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    answers = [json.loads(child.communicate("go\n", PATIENCE)[0]) for child in children]
    assert answers == ["new", "new"]
    assert log.read_text() == "sent\n"


POLLING = """
import json, sys
sys.modules["fcntl"] = None
from onerefresh import Credential
from onerefresh.stores import flock
assert flock.fcntl is None
def refresh(token):
    with open(sys.argv[2], "a") as log:
        log.write("sent\\n")
    return {"access_token": "new", "refresh_token": "r2"}
first = {"access_token": "old", "refresh_token": "r1"}
acme = Credential("acme", refresh, token=first, store="sqlite:///" + sys.argv[1])
old = acme.token()
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps(acme.token(refused=old).reveal()))
"""
