"""A SQLite file may hold what is no text, where another program has written into it: a login replaces it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.core.calls import Refresher, first_token
from tests.golden.cases import RECORDS

from onerefresh import Credential, Credentials, StoreUnavailable
from onerefresh.record_text import encode
from onerefresh.store import Versioned
from onerefresh.stores.sqlite import SQLiteStore

GOOD = encode(RECORDS["idle"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with the record of one credential, in a table that takes anything."""
    path = tmp_path / "tokens.db"
    SQLiteStore(path).cas("acme", None, GOOD)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("ALTER TABLE records RENAME TO before")
        database.execute("CREATE TABLE records (key PRIMARY KEY, version, body)")
        database.execute("INSERT INTO records SELECT * FROM before")
    return path


def put(path: Path, column: str, value: object, *, cast: str = "?") -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE records SET {column} = {cast}", (value,))


def put_both(path: Path, version: object, body: object) -> None:
    put(path, "version", version)
    put(path, "body", body)


BODIES: dict[str, Callable[[Path], None]] = {
    "a number": lambda path: put(path, "body", 7),
    "a fraction": lambda path: put(path, "body", 1.5),
    "nothing": lambda path: put(path, "body", None),
    "bytes": lambda path: put(path, "body", b"\xff\x00"),
    "text that is not UTF-8": lambda path: put(path, "body", b'{"families":["\xff"]}', cast="CAST(? AS TEXT)"),
    "a zero byte": lambda path: put(path, "body", f"{GOOD}\0"),
    "no version": lambda path: put_both(path, None, 7),
    "bytes as the version": lambda path: put_both(path, b"\xff", 7),
    "a number as the version": lambda path: put_both(path, 7, 7),
}


@pytest.mark.parametrize("what", BODIES)
def test_what_is_no_text_is_damage_and_a_login_replaces_it(what: str, path: Path) -> None:
    """A body that was a number raised TypeError in `json.loads`; without a version nothing could be written."""
    BODIES[what](path)
    with Credential("acme", Refresher(), store=SQLiteStore(path)) as acme:
        for look in (acme.status, acme.token, acme.retry):
            with pytest.raises(StoreUnavailable, match=r"damaged.*; log in again to replace it"):
                look()
        acme.login(first_token(expires_in=3600))
        assert acme.status().generation == 1
    BODIES[what](path)
    with Credential("acme", Refresher(), store=SQLiteStore(path)) as acme:
        acme.logout()
        assert acme.status().state == "empty"
    BODIES[what](path)
    with Credentials(Refresher(), store=SQLiteStore(path)) as many:
        summary = many.refresh_due(within=60.0, keys=["acme"])
        assert summary.unreadable == 1
        many.delete("acme")
        assert many["acme"].status().state == "empty"


@pytest.mark.parametrize("version", [None, b"\xff", 7, b"text"])
def test_a_version_that_is_no_text_is_one_all_the_same(version: object, path: Path) -> None:
    put(path, "version", version)
    store = SQLiteStore(path)
    found = store.load("acme")
    assert found is not None
    assert found.body == GOOD
    store.cas("acme", found.version, "after")
    assert (store.load("acme") or Versioned("", "")).body == "after"


def test_bytes_that_are_the_text_of_a_record_are_read(path: Path) -> None:
    put(path, "body", GOOD.encode())
    assert (SQLiteStore(path).load("acme") or Versioned("", "")).body == GOOD


def test_a_scan_passes_by_keys_that_are_no_names_and_comes_to_its_end(path: Path) -> None:
    """A key that is not UTF-8 was read with another letter in its place, after which it came again, for ever."""
    store = SQLiteStore(path)
    with closing(sqlite3.connect(path)) as database, database:
        for number in range(150):
            for cast in ("?", "CAST(? AS TEXT)"):
                database.execute(f"INSERT INTO records VALUES ({cast}, 'v', 'b')", (b"\xff%03d" % number,))
        database.execute("INSERT INTO records VALUES (7, 'v', 'b'), (NULL, 'v', 'b')")
    found = dict(store.scan())
    assert len(found) == 151
    assert found["acme"] == store.load("acme")
