"""The store cannot be written: nothing is sent; and where it fails after the request, the spool keeps the new token."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.processes.conftest import Fleet

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {"patches": {"onerefresh.stores.sqlite.BUSY_SECONDS": 0.2}}
NOBODY = 65_534 if os.geteuid() == 0 else None
"""Root writes where it likes: its processes become another user."""


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another program has the file locked."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


def spooled(folder: Path) -> list[Path]:
    return sorted((folder / "spool").glob("*")) if (folder / "spool").exists() else []


def test_nothing_is_sent_while_the_database_is_locked(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.save_expired()
    process = fleet.start(**QUICK)
    with locked(fleet.database):
        kind, text = process.do("token").until("error")
        assert kind == "StoreUnavailable"
        assert "locked by another process" in text
    assert fleet.server.counters.token_requests == 0
    assert process.do("token").until("token") == 2


def test_the_spool_keeps_the_token_of_a_process_that_could_not_save_it(
    new_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    fleet = new_fleet()
    fleet.save_expired()
    holder = fleet.start(gates=["answered"], **QUICK)
    holder.do("token").until_gate("answered")
    with locked(fleet.database):
        holder.open("answered")
        holder.until_event("spooled")
        assert holder.until("token") == 2
        [file] = spooled(tmp_path / "state")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        holder.kill()
    after = fleet.start(**QUICK)
    assert after.do("token").until_answered() == 2
    assert after.events("restored")
    assert spooled(tmp_path / "state") == []
    assert fleet.server.counters.token_requests == 1
    after.do("calls", count=3)
    assert after.until("statuses") == [200] * 3


def test_the_process_itself_saves_as_soon_as_the_store_is_back(new_fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    fleet = new_fleet()
    fleet.save_expired()
    holder = fleet.start(gates=["answered"], **QUICK)
    holder.do("token").until_gate("answered")
    with locked(fleet.database):
        holder.open("answered")
        holder.until_event("spooled")
    holder.until_event("refreshed")
    holder.finish()
    assert spooled(tmp_path / "state") == []
    assert fleet.start().do("status").until("status") == {"state": "idle", "generation": 2}


def test_a_token_in_the_spool_of_a_session_that_ended_is_thrown_away(
    new_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    fleet = new_fleet()
    fleet.save_expired()
    holder = fleet.start(gates=["answered"], **QUICK)
    holder.do("token").until_gate("answered")
    with locked(fleet.database):
        holder.open("answered")
        holder.until_event("spooled")
        holder.kill()
    [file] = spooled(tmp_path / "state")
    old = file.read_bytes()
    fleet.seed = fleet.server.issue()
    fleet.save()
    file.write_bytes(old)
    file.chmod(0o600)
    process = fleet.start()
    assert process.do("status").until("status")["generation"] == 2
    assert process.do("refused").until("token") == 3
    assert spooled(tmp_path / "state") == []
    assert not process.events("restored")


@pytest.fixture
def folder_of_another() -> Iterator[Path]:
    """A folder of the user that the processes become, outside of folders that this user cannot enter."""
    folder = Path(tempfile.mkdtemp(prefix="a-store-", dir="/tmp"))
    if NOBODY is not None:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def save_as_another(fleet: Fleet) -> None:
    process = fleet.start(uid=NOBODY, token=fleet.seed)
    assert process.do("token").until_answered() == 1
    process.finish()


def test_nothing_is_sent_while_the_folder_is_read_only(
    new_fleet: Callable[..., Fleet], folder_of_another: Path
) -> None:
    fleet = new_fleet(database=folder_of_another / "tokens.db")
    save_as_another(fleet)
    folder_of_another.chmod(0o500)
    process = fleet.start(uid=NOBODY)
    assert process.do("token").until("token") == 1
    kind, text = process.do("refused").until("error")
    assert kind == "StoreUnavailable"
    assert str(folder_of_another) in text
    assert fleet.server.counters.token_requests == 0
    folder_of_another.chmod(0o700)
    assert process.do("refused").until("token", matches=lambda generation: generation == 2)


def test_a_folder_that_becomes_read_only_after_the_request_costs_nothing(
    new_fleet: Callable[..., Fleet], folder_of_another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = folder_of_another / "state"
    store = folder_of_another / "store"
    monkeypatch.setenv("ONEREFRESH_STATE", str(state))
    fleet = new_fleet(database=store / "tokens.db")
    save_as_another(fleet)
    holder = fleet.start(uid=NOBODY, gates=["answered"])
    holder.do("refused").until_gate("answered")
    store.chmod(0o500)
    holder.open("answered")
    holder.until_event("spooled")
    assert holder.until("token") == 2
    [file] = spooled(state)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    holder.kill()
    store.chmod(0o700)
    assert fleet.start(uid=NOBODY).do("token").until_answered() == 2
    assert spooled(state) == []
    assert fleet.server.counters.token_requests == 1


def test_where_neither_store_nor_spool_can_be_written_it_is_said_loudly_and_tried_again(
    new_fleet: Callable[..., Fleet], folder_of_another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = folder_of_another / "state"
    store = folder_of_another / "store"
    monkeypatch.setenv("ONEREFRESH_STATE", str(state))
    fleet = new_fleet(database=store / "tokens.db")
    save_as_another(fleet)
    holder = fleet.start(uid=NOBODY, gates=["answered"])
    holder.do("refused").until_gate("answered")
    store.chmod(0o500)
    state.mkdir(exist_ok=True)
    state.chmod(0o555)
    holder.open("answered")
    assert holder.until_event("unsaved")["detail"]
    assert holder.until("error")[0] == "StoreUnavailable"
    store.chmod(0o700)
    holder.until_event("refreshed")
    assert fleet.start(uid=NOBODY).do("token").until_answered() == 2
    assert fleet.server.counters.token_requests == 1
