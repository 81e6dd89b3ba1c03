"""Several processes begin with the same file at the same moment: whoever looks finds nothing, or the record."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from onerefresh.stores.sqlite import APPLICATION_ID, TABLE, SQLiteStore


@pytest.mark.parametrize("moment", range(3))
def test_a_file_that_another_process_is_making_is_empty_or_complete(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens.db"
    path.touch(0o600)  # what the other process does first of all
    statements = 0

    class Interrupted(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            nonlocal statements
            if statements == moment:
                begin_elsewhere(path)
            statements += 1
            return super().execute(*arguments)

    connect = sqlite3.connect
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, factory=Interrupted, **options))
        found = SQLiteStore(path).load("acme")

    assert statements > moment
    assert found is None or found.body == "{}"


def begin_elsewhere(path: Path) -> None:
    """Write the first record, unless the reader has the file locked at this moment."""
    with contextlib.closing(sqlite3.Connection(path, timeout=0)) as database, contextlib.suppress(sqlite3.Error):
        database.execute("BEGIN IMMEDIATE")
        database.execute(TABLE)
        database.execute("INSERT INTO records (key, version, body) VALUES ('acme', '1', '{}')")
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute("COMMIT")
