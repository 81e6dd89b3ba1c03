"""CONTRIBUTING.md names files, targets and links that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_each_path_is_there() -> None:
    named = re.findall(r"`((?:src|tests|docs|bench)/[^`]+)`", TEXT) + re.findall(r"\]\(([^)#:]+)[^):]*\)", TEXT)
    assert len(named) > 10
    assert [path for path in named if not any(ROOT.glob(path.rstrip("/")))] == []


def test_each_target_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {word for words in re.findall(r"\bmake((?: [a-z]+)+)\b", TEXT) for word in words.split()}
    assert {"check", "test"} <= named
    assert named <= targets
