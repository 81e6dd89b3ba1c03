"""What this user may not read or write, and a disk that is full."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores import elsewhere

from onerefresh.stores.sqlite import SQLiteStore


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


def test_a_read_only_folder_is_read_and_said_to_be_so(public_folder: Path) -> None:
    path = public_folder / "tokens.db"
    version = SQLiteStore(path).cas("acme", None, "body")
    given_to_another(public_folder)
    public_folder.chmod(0o500)
    said = elsewhere.run("use_as_another", path)
    assert version in said["load"]
    assert f"{path} or its folder cannot be written" in said["cas"]
    assert "cannot be created" in said["hold"]


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
    assert said["cas"] == said["hold"] == f"the folder {path.parent} cannot be created: Permission denied"


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
