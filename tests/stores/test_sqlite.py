"""The SQLite store: private, durable, and shared by threads and processes."""

from __future__ import annotations

import grp
import os
import pwd
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.stores import elsewhere
from tests.stores.databases import FIRST, Refresher, raw, uses

from onerefresh import Credential, StoreUnavailable
from onerefresh.store import StoreOutcomeUnknown
from onerefresh.stores import sqlite as sqlite_store
from onerefresh.stores.forking import load_modules
from onerefresh.stores.sqlite import SQLiteStore

PATIENCE = 30.0


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- Private ---


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_files_and_folders_are_this_user_s_alone_whatever_the_umask(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "one" / "two" / "tokens.db")
    version = store.cas("acme", None, "body")
    hold = store.hold("acme")
    assert hold is not None
    with raw(store.path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE records SET body = 'other'")
        found = {place.relative_to(tmp_path): mode_of(place) for place in tmp_path.rglob("*")}
        connection.execute("ROLLBACK")
    hold.release()
    assert Path("one/two/tokens.db-journal") in found
    folders = {path: mode for path, mode in found.items() if (tmp_path / path).is_dir()}
    assert folders == {Path("one"): 0o700, Path("one/two"): 0o700, Path("one/two/tokens.db.locks"): 0o700}
    assert {mode for path, mode in found.items() if path not in folders} == {0o600}
    assert store.load("acme") == (version, "body")


def test_a_file_that_others_can_read_is_refused(path: Path) -> None:
    SQLiteStore(path).cas("acme", None, "body")
    path.chmod(0o640)
    for use in uses(SQLiteStore(path)):
        with pytest.raises(StoreUnavailable, match=f"others can read .*chmod 600 {path}"):
            use()


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    store = SQLiteStore(folder / "tokens.db")
    store.cas("acme", None, "body")
    folder.chmod(0o702)
    with_hold: list[Callable[[], object]] = [*uses(store), lambda: store.hold("acme")]
    for use in with_hold:
        with pytest.raises(StoreUnavailable, match=f"others can write .*chmod go-w {folder}"):
            use()


@pytest.mark.parametrize(
    ("name", "members", "fits"),
    [("ada", [], True), ("ada", ["ada"], True), ("ada", ["ada", "bob"], False), ("staff", [], False)],
)
def test_a_folder_of_the_group_is_this_user_s_where_nobody_else_is_in_the_group(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, members: list[str], fits: bool
) -> None:
    path.parent.chmod(0o770)
    gid = path.parent.stat().st_gid
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="ada", pw_gid=gid))
    monkeypatch.setattr(pwd, "getpwall", lambda: [SimpleNamespace(pw_name="ada", pw_gid=gid)])
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=name, gr_mem=members))
    store = SQLiteStore(path)
    if fits:
        assert store.cas("acme", None, "body")
    else:
        with pytest.raises(StoreUnavailable, match="others can write"):
            store.cas("acme", None, "body")


def test_a_file_of_another_user_is_refused(path: Path) -> None:
    if os.geteuid() == 0:
        SQLiteStore(path).cas("acme", None, "body")
        os.chown(path, 12_345, 12_345)
    else:
        path = Path("/etc/passwd")
    for use in uses(SQLiteStore(path)):
        with pytest.raises(StoreUnavailable, match="belongs to another user"):
            use()


@pytest.mark.seconds
def test_old_tokens_are_not_in_the_file_any_more(path: Path) -> None:
    refresher = Refresher()
    with Credential("acme", refresher, token=FIRST, store=SQLiteStore(path)) as credential:
        token = credential.token()
        for _ in range(5):
            token = credential.token(refused=token)
            credential.replayed(token, accepted=True)
            settle(credential)
        assert token.reveal() == "test-access-6"
    content = path.read_bytes()
    assert b"test-access-6" in content
    assert [n for n in range(1, 6) if f'test-access-{n}"'.encode() in content] == []
    assert [n for n in range(1, 6) if f'test-refresh-{n}"'.encode() in content] == []


def settle(credential: Credential) -> None:
    """Until what was reported of the replay is in the record."""
    credential.status()


def test_old_bodies_of_any_size_are_overwritten(path: Path) -> None:
    store = SQLiteStore(path)
    version = store.cas("acme", None, "secret-0 " * 3000)
    for number, size in enumerate([1, 10_000, 3, 5000, 20_000, 2], 1):
        version = store.cas("acme", version, f"secret-{number} " * size)
    content = path.read_bytes()
    assert [number for number in range(7) if f"secret-{number}".encode() in content] == [6]


# --- Durable ---


def test_records_of_a_usual_size_share_their_pages(path: Path) -> None:
    store = SQLiteStore(path)
    body = "x" * 1_300  # with a JWT as its access token
    store.cas("0", None, body)
    with raw(path) as connection:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO records VALUES (?, 'v', ?)", ((str(number), body) for number in range(1, 300))
        )
        connection.execute("COMMIT")
    assert path.stat().st_size < 300 * 2_000
    assert store.load("299") == ("v", body)


def test_the_journal_is_a_rollback_journal_and_the_strictest(path: Path) -> None:
    store = SQLiteStore(path)
    store.cas("acme", None, "body")
    assert path.read_bytes()[18:20] == b"\1\1"  # the file format's "legacy", which is no WAL

    def settings(database: sqlite3.Connection) -> list[object]:
        store._begin(database)
        return [
            database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "secure_delete")
        ]

    assert store._connected(settings) == ["delete", 3, 1]


def test_a_wal_database_is_read_and_then_converted(path: Path) -> None:
    store = SQLiteStore(path)
    version = store.cas("acme", None, "body")
    with raw(path) as connection:
        assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    assert store.load("acme") == (version, "body")
    new = store.cas("acme", version, "after")
    assert path.read_bytes()[18:20] == b"\1\1"
    assert store.load("acme") == (new, "after")
    assert sorted(place.name for place in path.parent.iterdir() if "tokens" in place.name) == ["tokens.db"]


def test_a_wal_database_that_is_in_use_is_refused_for_writing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "BUSY_SECONDS", 0.1)
    store = SQLiteStore(path)
    version = store.cas("acme", None, "body")
    with raw(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("SELECT * FROM records").fetchall()
        with pytest.raises(StoreUnavailable, match=r"locked|journal mode wal"):
            store.cas("acme", version, "after")
    assert store.load("acme") == (version, "body")


def test_a_commit_whose_answer_was_lost_is_not_called_failed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLiteStore(path)
    version = store.cas("acme", None, "body")
    fail_at_commit(monkeypatch, applied=True)
    with pytest.raises(StoreOutcomeUnknown):
        store.cas("acme", version, "after")
    monkeypatch.undo()
    found = store.load("acme")
    assert found is not None
    assert found.body == "after"


def test_a_commit_whose_answer_was_lost_and_that_cannot_be_looked_up_is_not_called_failed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(path)
    version = store.cas("acme", None, "body")
    fail_at_commit(monkeypatch, applied=True)

    def unreadable(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store, "_read", unreadable)
    with pytest.raises(StoreOutcomeUnknown):
        store.cas("acme", version, "after")
    monkeypatch.undo()
    found = store.load("acme")
    assert found is not None
    assert found.body == "after"


def test_a_commit_that_surely_failed_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLiteStore(path)
    version = store.cas("acme", None, "body")
    fail_at_commit(monkeypatch, applied=False)
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        store.cas("acme", version, "after")
    monkeypatch.undo()
    assert store.load("acme") == (version, "body")


def fail_at_commit(monkeypatch: pytest.MonkeyPatch, *, applied: bool) -> None:
    """SQLite reports an error of the disk at the end of a commit, whether it was applied or rolled back."""

    class Failing(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql != "COMMIT":
                return super().execute(sql, *parameters)
            super().execute("COMMIT" if applied else "ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, factory=Failing, **options))


# --- Several at once ---


def test_a_database_that_another_program_has_locked_is_said_to_be_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "BUSY_SECONDS", 0.1)
    store = SQLiteStore(path)
    version = store.cas("acme", None, "body")
    with raw(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        for use in uses(store):
            with pytest.raises(StoreUnavailable, match="locked by another process"):
                use()
        other.execute("ROLLBACK")
    assert store.load("acme") == (version, "body")


@pytest.mark.seconds
def test_a_file_that_another_program_has_locked_holds_up_no_other_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor forks, nor who imports a client's modules: before, all of them waited for as long as the file was locked."""
    monkeypatch.setattr(sqlite_store, "BUSY_SECONDS", 60.0)
    locked, free = SQLiteStore(path), SQLiteStore(tmp_path / "others" / "tokens.db")
    version = locked.cas("acme", None, "body")
    with raw(path) as other, ThreadPoolExecutor(2) as pool:
        other.execute("BEGIN EXCLUSIVE")
        try:
            waiting: list[Future[Any]] = [
                pool.submit(locked.load, "acme"),
                pool.submit(locked.cas, "acme", version, "after"),
            ]
            for number in range(20):
                free.cas(f"key {number}", None, "body")
                load_modules("json")
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
            assert not any(one.done() for one in waiting)
        finally:
            other.execute("ROLLBACK")
        found, written = (one.result(PATIENCE) for one in waiting)
    assert found in ((version, "body"), (written, "after"))
    assert locked.load("acme") == (written, "after")


@pytest.mark.seconds
def test_who_reads_for_long_holds_up_no_other_file(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit waits for readers: one may have been stopped."""
    monkeypatch.setattr(sqlite_store, "BUSY_SECONDS", 60.0)
    read, free = SQLiteStore(path), SQLiteStore(tmp_path / "others" / "tokens.db")
    version = read.cas("acme", None, "body")
    with raw(path) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN")
        other.execute("SELECT * FROM records").fetchall()
        try:
            waiting = pool.submit(read.cas, "acme", version, "after")
            for number in range(20):
                free.cas(f"key {number}", None, "body")
            assert not waiting.done()
        finally:
            other.execute("ROLLBACK")
        after = waiting.result(PATIENCE)
    assert read.load("acme") == (after, "after")


@pytest.mark.seconds
def test_nothing_that_the_store_does_drops_a_lock_on_its_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """POSIX drops all locks of a process on a file when it closes any descriptor of that file."""
    monkeypatch.setattr(sqlite_store, "BUSY_SECONDS", 0.05)
    store = SQLiteStore(path)
    version = store.cas("acme", None, "body")
    with raw(path) as inside:
        inside.execute("BEGIN IMMEDIATE")
        assert elsewhere.run("try_to_lock", path) == "database is locked"
        store.load("acme")
        with pytest.raises(StoreUnavailable):
            store.cas("acme", version, "after")
        with pytest.raises(StoreUnavailable):
            store.cas("new", None, "body")
        hold = store.hold("acme")
        assert hold is not None
        hold.release()
        store.wait("acme", version, 0.0)
        SQLiteStore(path).load("acme")
        with Credential("acme", Refresher(), store=store) as credential, pytest.raises(StoreUnavailable):
            credential.token()
        assert elsewhere.run("try_to_lock", path) == "database is locked"
        inside.execute("ROLLBACK")
    assert elsewhere.run("try_to_lock", path) == "locked it"


@pytest.mark.seconds
def test_many_threads_may_make_the_file_at_once(tmp_path: Path) -> None:
    for attempt in range(10):
        store = SQLiteStore(tmp_path / f"{attempt}" / "tokens.db")
        start = threading.Barrier(6)

        def write(number: int, store: SQLiteStore = store, start: threading.Barrier = start) -> str:
            start.wait()
            return store.cas(f"key {number}", None, "body")

        with ThreadPoolExecutor(6) as pool:
            versions = list(pool.map(write, range(6)))
        assert [store.load(f"key {number}") for number in range(6)] == [(version, "body") for version in versions]


@pytest.mark.seconds
def test_a_child_that_is_forked_in_the_middle_of_a_write_can_use_the_store(path: Path) -> None:
    assert elsewhere.run("fork_in_the_middle", path) == [0] * 12
