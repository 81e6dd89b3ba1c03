"""The result of refreshing many credentials. It holds no secret."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass

from onerefresh.errors import OnerefreshError

__all__ = ["ERRORS_KEPT", "Result", "Summary", "Tally", "What"]

ERRORS_KEPT = 100


class What(enum.StrEnum):
    """What became of one credential."""

    REFRESHED = "refreshed"  # by this run
    ADOPTED = "adopted"  # another process refreshed it meanwhile
    NEEDS_LOGIN = "needs_login"  # its session is over, or there is none
    FAILED = "failed"  # see the error; the next run tries it again
    POSTPONED = "postponed"  # not tried, since its host has not answered others; the next run tries it
    UNREADABLE = "unreadable"  # its record is damaged, no key opens it, or the store is down


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the credential `key`. `error`: why it has no newer token, where it has none."""

    key: str
    what: What
    error: OnerefreshError | None = None

    def __str__(self) -> str:
        message = f"{self.key}: {self.what.replace('_', ' ')}"
        return f"{message}: {self.error.message}" if self.error else message


@dataclass(frozen=True, slots=True)
class Summary:
    """How many credentials there were, and what became of those that were due or in trouble.

    * `looked_at`: records and keys in all.
    * `others`: records of other refreshers, which were left alone.
    * `refreshed`, `adopted`, `needs_login`, `failed`, `postponed`, `unreadable`: how many had that result; see `What`.
    * `errors`: the first hundred.
    """

    looked_at: int = 0
    others: int = 0
    refreshed: int = 0
    adopted: int = 0
    needs_login: int = 0
    failed: int = 0
    unreadable: int = 0
    postponed: int = 0
    errors: tuple[OnerefreshError, ...] = ()


class Tally:
    """Counts the results for a `Summary`."""

    def __init__(self) -> None:
        self.looked_at = 0
        self.others = 0
        self._results: Counter[What] = Counter()
        self._errors: list[OnerefreshError] = []

    def add(self, result: Result) -> None:
        self._results[result.what] += 1
        if result.error is not None and len(self._errors) < ERRORS_KEPT:
            self._errors.append(result.error)

    def summary(self) -> Summary:
        counts = {what.value: self._results[what] for what in What}
        return Summary(looked_at=self.looked_at, others=self.others, errors=tuple(self._errors), **counts)
