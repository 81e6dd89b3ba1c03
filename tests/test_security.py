"""SECURITY.md: each line of the threat model names tests, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    line
    for line in (ROOT / "SECURITY.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| who |", "| --- |"))
]


@pytest.mark.parametrize("row", ROWS)
def test_each_promise_names_tests_that_are_there(row: str) -> None:
    *_, promise, shown_by, _ = row.split("|")
    named = re.findall("`(tests/[^`]+)`", shown_by)
    assert promise.strip()
    assert named
    for path in named:
        assert "def test_" in (ROOT / path).read_text("utf-8"), path


def test_each_row_is_of_three_cells() -> None:
    assert len(ROWS) > 20
    assert {row.count("|") for row in ROWS} == {4}
