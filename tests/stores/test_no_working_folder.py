"""A program whose working folder was deleted: relative paths lead nowhere, and everything else works."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onerefresh import ConfigurationError, Credential
from onerefresh.config import read
from onerefresh.stores import open_store
from onerefresh.stores.keys import KeyFile
from onerefresh.stores.sqlite import SQLiteStore

WHAT_TO_DO = "'acme' is a relative path, and the working folder was deleted: write the full path"


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[Path]:
    """A folder that is there, for absolute paths, while the working folder is not."""
    before, gone = Path.cwd(), tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    yield tmp_path
    os.chdir(before)


@pytest.mark.parametrize("place", [SQLiteStore, KeyFile, read])
def test_a_relative_path_says_so(place: Callable[[str], object], nowhere: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        place("acme")
    assert raised.value.message == WHAT_TO_DO


def test_the_url_of_a_store_says_so(nowhere: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        open_store("sqlite:///acme")
    assert raised.value.message == WHAT_TO_DO


def test_the_command_line_says_so(nowhere: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "onerefresh", "--config", "acme", "status"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (2, f"onerefresh: {WHAT_TO_DO}\n")


def test_absolute_paths_work(nowhere: Path) -> None:
    store = f"sqlite:///{nowhere}/folder/acme.db"
    with Credential("acme", lambda token: {"access_token": "b"}, token={"access_token": "a"}, store=store) as acme:
        assert acme.token().reveal() == "a"
        assert acme.token(refused=acme.token()).reveal() == "b"
