"""flock: who holds a credential, and what its release proves."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.stores import elsewhere
from tests.stores.holders import PATIENCE, Holder, open_descriptors, take

from onerefresh import StoreUnavailable
from onerefresh.stores.flock import FlockHold, LockWaiter, boot, lock_path


def test_one_holds_it_at_a_time(lock_file: Path) -> None:
    first = take(lock_file)
    assert first is not None
    assert take(lock_file) is None
    first.release()
    second = take(lock_file)
    assert second is not None
    first.release()  # once more: it is not the first one's any more
    assert take(lock_file) is None
    second.release()


def test_lock_files_are_private_and_empty_and_stay(lock_file: Path) -> None:
    hold = take(lock_file)
    assert hold is not None
    hold.release()
    assert stat.S_IMODE(lock_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(lock_file.parent.stat().st_mode) == 0o700
    assert lock_file.read_bytes() == b""


def test_names_of_lock_files_tell_nothing_and_differ(tmp_path: Path) -> None:
    database = tmp_path / "tokens.db"
    names = {lock_path(database, key).name for key in ("acme", "Acme", "../acme", "")}
    assert len(names) == 4
    assert all(name.removesuffix(".lock").isalnum() for name in names)


def test_another_process_s_hold_is_respected_and_ends_with_its_release(lock_file: Path, holder: Holder) -> None:
    assert take(lock_file) is None
    holder.release()
    hold = take(lock_file)
    assert hold is not None
    hold.release()


def test_a_hold_after_a_crash_proves_that_its_holder_is_gone(lock_file: Path, holder: Holder) -> None:
    holder.end()
    hold = take(lock_file)
    assert hold is not None
    assert hold.death_proof == holder.death_proof
    assert str(boot()) in holder.death_proof
    hold.release()


def test_a_lock_file_that_was_deleted_proves_nothing(lock_file: Path, holder: Holder) -> None:
    lock_file.unlink()
    hold = take(lock_file)
    assert hold is not None
    assert hold.death_proof != holder.death_proof
    hold.release()


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_something_else_in_the_place_of_the_lock_file_is_refused(lock_file: Path, kind: str) -> None:
    lock_file.parent.mkdir(mode=0o700)
    lock_file.symlink_to("/etc/passwd") if kind == "link" else lock_file.mkdir()
    for use in (lambda: FlockHold.take(lock_file), lambda: LockWaiter().subscribe(lock_file, print)):
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            use()


def test_a_folder_of_locks_that_others_can_write_to_is_refused(lock_file: Path) -> None:
    lock_file.parent.mkdir()
    lock_file.parent.chmod(0o777)
    with pytest.raises(StoreUnavailable, match="chmod go-w"):
        FlockHold.take(lock_file)


# --- Forks ---


def test_a_forked_child_neither_unlocks_nor_keeps_the_hold(tmp_path: Path) -> None:
    assert elsewhere.run("fork_while_holding", tmp_path / "tokens.db") == {
        "held after the child ended": True,
        "held while the child stays": True,
        "free once released": True,
    }


@pytest.mark.seconds
def test_a_child_that_outlives_a_crash_does_not_keep_the_hold(tmp_path: Path) -> None:
    left = elsewhere.run("leave_a_child", tmp_path / "tokens.db")
    try:
        assert elsewhere.run("take", tmp_path / "tokens.db") == {"free": True, "proof": left["proof"]}
    finally:
        os.kill(left["child"], signal.SIGKILL)


def test_releasing_frees_the_lock_although_a_child_has_a_copy_of_it(lock_file: Path) -> None:
    before = open_descriptors()
    hold = take(lock_file)
    assert hold is not None
    copies = open_descriptors() - before
    assert len(copies) == 1
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=copies
    )
    try:
        hold.release()
        again = take(lock_file)
        assert again is not None
        again.release()
    finally:
        child.communicate()


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
