"""What a newer version has stored with an object, beside what this version knows."""

from __future__ import annotations

from dataclasses import field
from typing import Any

__all__ = ["unknown_fields"]


def unknown_fields() -> Any:
    """The field `unknown` of each stored object: what a newer version stored with the object, by its stored name.

    It is kept as long as the object is, and written back.
    """
    return field(default_factory=dict, repr=False, hash=False)
