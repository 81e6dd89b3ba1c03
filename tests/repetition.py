"""A test with several values runs with a few of them in `make test`, and with the others in `make long`."""

from __future__ import annotations

from typing import Any

import pytest


def long(*values: Any) -> list[Any]:
    """Values of one parameter, or tuples of several, that repeat what others show already: for `make long`."""
    marks = (pytest.mark.slow, pytest.mark.long)
    return [pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=marks) for value in values]
