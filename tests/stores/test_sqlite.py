"""The SQLite store: private, durable, and clear about what it cannot use."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.stores import elsewhere

from onerefresh import ConfigurationError, Credential, LoginRequired, StoreUnavailable, Token
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.stores import sqlite as sqlite_store
from onerefresh.stores.sqlite import SQLiteStore

FIRST = {"access_token": "test-access-1", "refresh_token": "test-refresh-1"}


class Refresher:
    """Counts its calls; the n-th gives ``test-access-(n+1)``."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, token: Token) -> dict[str, str]:
        self.calls += 1
        return {"access_token": f"test-access-{self.calls + 1}", "refresh_token": f"test-refresh-{self.calls + 1}"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.db"


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users can enter, of the user that `elsewhere` becomes."""
    folder = Path(tempfile.mkdtemp(prefix="onerefresh-", dir="/tmp"))
    yield folder
    for place in [folder, *folder.rglob("*")]:
        if place.is_dir():
            place.chmod(0o700)
    shutil.rmtree(folder)


def given_to_another(folder: Path) -> None:
    if os.geteuid() == 0:
        for place in [folder, *folder.rglob("*")]:
            os.chown(place, elsewhere.NOBODY, elsewhere.NOBODY)


@contextlib.contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


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
    folder.chmod(0o770)
    for use in [*uses(store), lambda: store.hold("acme")]:
        with pytest.raises(StoreUnavailable, match=f"others can write .*chmod go-w {folder}"):
            use()


def test_a_file_of_another_user_is_refused(path: Path) -> None:
    if os.geteuid() == 0:
        SQLiteStore(path).cas("acme", None, "body")
        os.chown(path, 12_345, 12_345)
    else:
        path = Path("/etc/passwd")
    for use in uses(SQLiteStore(path)):
        with pytest.raises(StoreUnavailable, match="belongs to another user"):
            use()


def uses(store: SQLiteStore) -> list[Callable[[], object]]:
    return [lambda: store.load("acme"), lambda: store.cas("acme", None, "body"), lambda: store.cas("acme", "1", "body")]


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
    assert [n for n in range(1, 6) if f"test-access-{n}\"".encode() in content] == []
    assert [n for n in range(1, 6) if f"test-refresh-{n}\"".encode() in content] == []


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


def test_the_journal_is_a_rollback_journal_and_the_strictest(path: Path) -> None:
    store = SQLiteStore(path)
    store.cas("acme", None, "body")
    assert path.read_bytes()[18:20] == b"\1\1"  # the file format's "legacy", which is no WAL
    with store._connected() as database:
        store._begin(database)
        settings = [
            database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "secure_delete")
        ]
        database.execute("ROLLBACK")
    assert settings == ["delete", 3, 1]


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
        with pytest.raises(StoreUnavailable, match="locked|journal mode wal"):
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


# --- What it cannot use ---


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_to_its_header(path: Path) -> None:
    os.truncate(path, 100)


def header_of_garbage(path: Path) -> None:
    path.write_bytes(b"\xa5" * 100 + path.read_bytes()[100:])


def page_of_garbage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"\xa5" * (len(content) - len(content) // 2))


def text_in_its_place(path: Path) -> None:
    path.write_text('{"access_token": "test-access-1", "refresh_token": "test-refresh-1"}\n' * 20)


@pytest.mark.parametrize(
    "damage", [truncated, cut_to_its_header, header_of_garbage, page_of_garbage, text_in_its_place]
)
def test_a_damaged_database_is_left_as_it_is_and_nothing_is_sent(path: Path, damage: Callable[[Path], None]) -> None:
    saved(path)
    damage(path)
    damaged = path.read_bytes()
    refresher = Refresher()
    with Credential("acme", refresher, token=FIRST, store=SQLiteStore(path)) as credential:
        for use in (credential.token, credential.status, lambda: credential.login(FIRST), credential.logout):
            with pytest.raises(StoreUnavailable, match=f"{path} is damaged .*move it away and log in again") as caught:
                use()
            assert "-refresh-1" not in str(caught.value)
    assert refresher.calls == 0
    assert path.read_bytes() == damaged


def saved(path: Path) -> None:
    with Credential("acme", Refresher(), store=SQLiteStore(path)) as credential:
        credential.login(FIRST)


GARBAGE = {
    "no JSON": "test-refresh-1 {",
    "another kind of JSON": '["test-refresh-1"]',
    "nothing": "",
    "deep": "[" * 100_000,
    "fields missing": '{"schema": 1, "token": {"refresh_token": "test-refresh-1"}}',
    "no access token": None,
    "not UTF-8": b"\xff\xfe test-refresh-1",
    "empty bytes": b"",
}


def body_of_garbage(path: Path, kind: str) -> None:
    body: object = GARBAGE[kind]
    with raw(path) as connection:
        if body is None:
            (text,) = connection.execute("SELECT body FROM records").fetchone()
            fields = json.loads(text)
            fields["token"]["access_token"] = ""
            body = json.dumps(fields)
        if isinstance(body, bytes):
            connection.execute("UPDATE records SET body = CAST(? AS TEXT)", (body,))
        else:
            connection.execute("UPDATE records SET body = ?", (body,))


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_record_of_garbage_sends_nothing_and_shows_nothing(path: Path, kind: str) -> None:
    saved(path)
    body_of_garbage(path, kind)
    refresher = Refresher()
    with Credential("acme", refresher, token=FIRST, store=SQLiteStore(path)) as credential:
        for use in (credential.token, credential.status):
            with pytest.raises(StoreUnavailable, match="cannot be read .*damaged.*log in again") as caught:
                use()
            assert "-refresh-1" not in str(caught.value)
    assert refresher.calls == 0


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_record_of_garbage_is_replaced_by_a_login(path: Path, kind: str) -> None:
    saved(path)
    body_of_garbage(path, kind)
    with Credential("acme", Refresher(), store=SQLiteStore(path)) as credential:
        credential.login({"access_token": "test-access-9"})
        assert credential.token().reveal() == "test-access-9"
        assert credential.status().state == "idle"


def test_a_record_of_garbage_can_be_logged_out_of(path: Path) -> None:
    saved(path)
    body_of_garbage(path, "no JSON")
    with Credential("acme", Refresher(), store=SQLiteStore(path)) as credential:
        credential.logout()
        with pytest.raises(LoginRequired):
            credential.token()


def test_a_record_of_a_newer_version_is_left_as_it_is(path: Path) -> None:
    saved(path)
    with raw(path) as connection:
        connection.execute("UPDATE records SET body = json_set(body, '$.schema', 999)")
    with Credential("acme", Refresher(), token=FIRST, store=SQLiteStore(path)) as credential:
        with pytest.raises(StoreUnavailable, match="another version of onerefresh"):
            credential.token()


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE theirs (x)"],
        ["CREATE TABLE records (key, version, body)"],
        ["PRAGMA application_id = 77"],
        ["CREATE TABLE records (key, version, body)", "PRAGMA application_id = 77"],
    ],
)
def test_another_program_s_database_is_left_as_it_is(path: Path, statements: list[str]) -> None:
    with raw(path) as connection:
        for statement in statements:
            connection.execute(statement)
    path.chmod(0o600)
    before = path.read_bytes()
    store = SQLiteStore(path)
    with pytest.raises(StoreUnavailable, match="another program's database"):
        store.cas("acme", None, "body")
    with contextlib.suppress(StoreUnavailable):
        assert store.load("acme") is None
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch(mode=0o600)
    store = SQLiteStore(path)
    assert store.load("acme") is None
    version = store.cas("acme", None, "body")
    assert store.load("acme") == (version, "body")


def test_a_folder_in_the_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir()
    for use in uses(SQLiteStore(path)):
        with pytest.raises(StoreUnavailable, match="is not a file"):
            use()


def test_a_file_in_the_place_of_the_folder_is_refused(path: Path) -> None:
    path.write_text("")
    store = SQLiteStore(path / "tokens.db")
    for use in [*uses(store), lambda: store.hold("acme")]:
        with pytest.raises(StoreUnavailable, match=r"not a folder|Not a directory"):
            use()


def test_a_missing_folder_is_made_by_a_write_and_not_by_a_read(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "one" / "two" / "tokens.db")
    assert store.load("acme") is None
    store.wait("acme", "", 0.0)
    assert not (tmp_path / "one" / "two" / "tokens.db").exists()
    version = store.cas("acme", None, "body")
    assert store.load("acme") == (version, "body")


def test_a_file_that_vanishes_is_an_empty_store(path: Path) -> None:
    store = SQLiteStore(path)
    version = store.cas("acme", None, "body")
    path.unlink()
    assert store.load("acme") is None
    with pytest.raises(Conflict):
        store.cas("acme", version, "after")
    assert mode_of(path) == 0o600


@pytest.mark.parametrize("bad", ["~no-such-user-here/tokens.db", "a\0b.db"])
def test_a_path_that_cannot_be_is_a_setting_that_is_wrong(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="no path for a store"):
        SQLiteStore(bad)


def test_one_file_by_two_names_is_one_store(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "tokens.db")
    names = {
        SQLiteStore(place).name
        for place in (tmp_path / "real" / "tokens.db", tmp_path / "link" / "tokens.db", tmp_path / "link.db")
    }
    assert names == {f"sqlite:///{tmp_path.resolve()}/real/tokens.db"}


ODD = ["a b.db", "a%20b.db", "a?mode=ro.db", "a#b.db", "ä🗝.db", "'.db", ":memory:"]


@pytest.mark.parametrize("name", ODD)
def test_a_file_of_any_name_will_do(tmp_path: Path, name: str) -> None:
    store = SQLiteStore(tmp_path / name)
    version = store.cas("acme", None, "body")
    assert store.load("acme") == (version, "body")
    assert sorted(place.name for place in tmp_path.iterdir()) == [name]


# --- Users who may not ---


def test_a_read_only_folder_is_read_and_said_to_be_so(public_folder: Path) -> None:
    path = public_folder / "tokens.db"
    version = SQLiteStore(path).cas("acme", None, "body")
    given_to_another(public_folder)
    public_folder.chmod(0o500)
    said = elsewhere.run("use_as_another", path)
    assert said["load"].startswith(f"did Versioned('{version}'")
    assert f"{path} or its folder cannot be written" in said["cas"]
    assert "cannot be made" in said["hold"]


def test_a_read_only_file_is_read_and_said_to_be_so(public_folder: Path) -> None:
    path = public_folder / "tokens.db"
    SQLiteStore(path).cas("acme", None, "body")
    given_to_another(public_folder)
    path.chmod(0o400)
    said = elsewhere.run("use_as_another", path)
    assert said["load"].startswith("did Versioned")
    assert f"{path} or its folder cannot be written" in said["cas"]


def test_a_file_that_its_owner_cannot_read_is_said_to_be_so(public_folder: Path) -> None:
    path = public_folder / "tokens.db"
    SQLiteStore(path).cas("acme", None, "body")
    given_to_another(public_folder)
    path.chmod(0o000)
    said = elsewhere.run("use_as_another", path)
    assert said["load"] == said["cas"] == f"{path} cannot be read: run chmod 600 {path}"


def test_a_folder_that_cannot_be_entered_is_said_to_be_so(public_folder: Path) -> None:
    path = public_folder / "closed" / "tokens.db"
    SQLiteStore(path).cas("acme", None, "body")
    given_to_another(public_folder)
    path.parent.chmod(0o000)
    said = elsewhere.run("use_as_another", path)
    assert all("Permission denied" in said[name] for name in ("load", "cas", "hold"))


def test_a_folder_that_cannot_be_made_is_said_to_be_so(public_folder: Path) -> None:
    path = public_folder / "one" / "two" / "tokens.db"
    given_to_another(public_folder)
    public_folder.chmod(0o500)
    said = elsewhere.run("use_as_another", path)
    assert said["load"] == "did None"
    assert said["cas"] == said["hold"] == f"the folder {path.parent} cannot be made: Permission denied"


def test_a_full_disk_sends_nothing_and_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    happened = elsewhere.run("refresh_on_a_full_disk", folder)
    assert str(folder / "tokens.db") in happened.pop("said")
    assert happened == {
        "whole": True,
        "sent while full": 0,
        "new": "new",
        "spooled": True,
        "after": "new",
        "sent": 1,
    }


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


def test_a_child_that_is_forked_in_the_middle_of_a_write_can_use_the_store(path: Path) -> None:
    assert elsewhere.run("fork_in_the_middle", path) == [0] * 25


# --- Network file systems ---

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/export /net nfs4 rw 0 0
host /net/local ext4 rw 0 0
bucket /with\\040blank fuse.s3fs rw 0 0
systemd-1 /auto autofs rw 0 0
server:/home /auto cifs rw 0 0
broken
"""


@pytest.mark.parametrize("path", ["/net/tokens.db", "/net/a/b/tokens.db", "/with blank/tokens.db", "/auto/tokens.db"])
def test_a_network_file_system_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="network file system .*use a local path"):
        sqlite_store.refuse_network_file_system(Path(path), MOUNTS)


@pytest.mark.parametrize("path", ["/tokens.db", "/tmp/tokens.db", "/net/local/tokens.db", "/network/tokens.db"])
def test_a_local_file_system_is_not_refused(path: str) -> None:
    sqlite_store.refuse_network_file_system(Path(path), MOUNTS)
