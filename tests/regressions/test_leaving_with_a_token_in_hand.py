"""A process that ends while its new token is in no safe place yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onerefresh import Credential
from onerefresh.stores.sqlite import SQLiteStore

PROGRAM = """
import sys
from onerefresh import Credential, StoreUnavailable
from onerefresh.stores.sqlite import SQLiteStore

class FailsAtTheCommit(SQLiteStore):
    writes = 0
    def cas(self, key, expected, body):
        self.writes += 1
        if self.writes == 3:  # after the seed and the claim
            raise StoreUnavailable("down for a moment")
        return super().cas(key, expected, body)

def refresh(token):
    return {"access_token": "second", "refresh_token": "r2", "expires_in": 3600}

seed = {"access_token": "first", "refresh_token": "r1", "expires_at": 1}
try:
    Credential("acme", refresh, token=seed, store=FailsAtTheCommit(sys.argv[1])).token()
except StoreUnavailable as error:
    print(error)
"""


@pytest.mark.seconds
def test_a_store_that_fails_once_as_the_process_ends_does_not_cost_the_token(tmp_path: Path) -> None:
    database = tmp_path / "tokens.db"
    nowhere = tmp_path / "file"
    nowhere.write_text("no folder, so nothing can be spooled here")
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(database)],
        env={**os.environ, "ONEREFRESH_STATE": str(nowhere)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "neither in the store nor in the spool" in child.stdout
    acme = Credential("acme", lambda token: token, store=SQLiteStore(database))
    assert acme.status().generation == 2
    assert acme.token().reveal() == "second"


SAVES = """
import sys
from pathlib import Path

import pytest
from onerefresh import Credential

tries = 0

def save(token):
    global tries
    tries += 1
    if tries == 1:
        raise OSError("down for a moment")
    Path(sys.argv[1]).write_text(token.reveal())

def refresh(token):
    return {"access_token": "second", "refresh_token": "r2", "expires_in": 3600}

seed = {"access_token": "first", "refresh_token": "r1", "expires_at": 1}
try:
    Credential("acme", refresh, token=seed, save=save).token(max_wait=0)
except TimeoutError:
    print("leaves")
"""


def test_a_save_that_fails_once_as_the_process_ends_does_not_cost_the_token(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    child = subprocess.run([sys.executable, "-c", SAVES, str(kept)], capture_output=True, text=True, check=True)
    assert child.stdout == "leaves\n"
    assert kept.read_text() == "second"
