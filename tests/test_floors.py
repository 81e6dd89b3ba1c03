"""No extra allows a version in which a vulnerability is known."""

from __future__ import annotations

import pytest
from tests.floors import ROOT, bounds, of_the_extras, of_the_table, problems, version


def test_no_extra_allows_a_vulnerable_version() -> None:
    assert problems(of_the_extras(), of_the_table()) == []


def test_no_pinned_version_is_vulnerable() -> None:
    pinned = bounds((ROOT / "requirements" / "constraints.txt").read_text("utf-8").replace(".post", ".").splitlines())
    floors = of_the_table()
    assert [name for name in floors if version(pinned[name]) < version(floors[name])] == []


def test_a_bound_that_is_too_low_is_found() -> None:
    floors = {"requests": "2.33.0", "gone": "1"}
    assert problems({"requests": "2.32", "new": "1"}, floors) == [
        "gone is in requirements/floors.txt, and in no extra",
        "new is not in requirements/floors.txt: look for its advisories",
        "requests>=2.32 allows versions below 2.33.0",
    ]
    with pytest.raises(ValueError, match="no lower bound"):
        bounds(["requests"])
