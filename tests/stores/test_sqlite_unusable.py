"""Files that the SQLite store cannot use: each is left as it is, and nothing is sent."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.stores.databases import FIRST, Refresher, raw, saved, uses

from onerefresh import ConfigurationError, Credential, LoginRequired, StoreUnavailable
from onerefresh.store import Conflict
from onerefresh.stores.sqlite import SQLiteStore


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
            with pytest.raises(StoreUnavailable, match=r"cannot be read .*damaged.*log in again") as caught:
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
        connection.execute("UPDATE records SET body = json_remove(json_set(body, '$.schema', 999), '$.checksum')")
    before = path.read_bytes()
    with Credential("acme", Refresher(), token=FIRST, store=SQLiteStore(path)) as credential:
        for act in (credential.token, credential.logout, lambda: credential.login(FIRST)):
            with pytest.raises(StoreUnavailable, match="newer version of onerefresh: update onerefresh") as caught:
                act()
            assert "log in" not in str(caught.value)
    assert path.read_bytes() == before


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
    with_hold: list[Callable[[], object]] = [*uses(store), lambda: store.hold("acme")]
    for use in with_hold:
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
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("~no-such-user-here/tokens.db", "there is no such home folder; write the full path"),
        ("a\0b.db", "not a usable path for a store"),
    ],
)
def test_a_path_that_cannot_be_is_a_setting_that_is_wrong(bad: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
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
