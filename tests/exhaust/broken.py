"""What an exploration ends with that found a broken promise."""

from __future__ import annotations

__all__ = ["Broken"]


class Broken(AssertionError):
    """A promise was broken. `promise`: a few words that name it."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise
        self.what = what

    def __reduce__(self) -> tuple[type[Broken], tuple[str, str]]:
        return (type(self), (self.promise, self.what))
