"""A test with several values runs with a few of them in `make test`, and with the others in `make long`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import pytest


def long(*values: Any) -> list[Any]:
    """Values of one parameter, or tuples of several, that repeat what others show already: for `make long`."""
    marks = (pytest.mark.slow, pytest.mark.long)
    return [pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=marks) for value in values]


def pairwise(cases: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Of all combinations, the first ones in which each two values meet; the others are for `make long`."""
    met: set[tuple[tuple[int, Any], ...]] = set()
    found = list[Any]()
    for case in cases:
        pairs = set(combinations(enumerate(case), 2))
        found += long(case) if pairs <= met else [case]
        met |= pairs
    return found
