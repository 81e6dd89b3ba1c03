from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores.board import Board
from tests.stores.holders import Holder

from onerefresh.stores.flock import lock_path


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test's database goes."""
    return tmp_path / "tokens.db"


@pytest.fixture
def lock_file(path: Path) -> Path:
    """Where the lock of `acme` goes, beside that database."""
    return lock_path(path, "acme")


@pytest.fixture
def holder(lock_file: Path) -> Iterator[Holder]:
    """Another process, which holds that lock."""
    holder = Holder(lock_file)
    yield holder
    holder.end()


@pytest.fixture
def board() -> Iterator[Board]:
    """What a server would be to those who wait."""
    board = Board()
    yield board
    board.break_down()  # ends the listeners of those that have not ended
