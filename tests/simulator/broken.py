"""What a run ends with that broke a promise."""

from __future__ import annotations

__all__ = ["Broken"]


class Broken(AssertionError):
    """A promise was broken. `promise`: a few words that name it."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise
