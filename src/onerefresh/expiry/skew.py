"""How far this machine's clock is ahead of a server's: rules only, nothing here reads a clock.

A *skew* is a number of seconds, below 0 where this machine's clock is behind. Where it is not known, it is None.
"""

from __future__ import annotations

from collections.abc import Mapping

from onerefresh.expiry.dates import date_in
from onerefresh.expiry.values import FieldKind, read

__all__ = ["LEAST_SKEW", "is_nearly_over", "skew_by_date", "skew_by_issue", "skew_in_words", "span_of", "worth_it"]

LEAST_SKEW = 60.0
"""Seconds. A smaller skew is left alone: it is in the range of slow answers, and tokens are used with a margin."""
EARLIEST, LATEST = 1_000_000_000.0, 32_503_680_000.0
"""Seconds since the epoch: a `Date` before 2001 or after 2999 is that of a server without a clock."""
LONGEST_DATE = 40
NEARLY_OVER = 0.2
"""The share of a token's life. With less left at its arrival, it would be renewed at once, over and over."""


def skew_by_date(date: str | None, age: str | None, asked_at: float, came_at: float) -> float | None:
    """The skew that an answer's header ``Date`` shows (RFC 9110 section 6.6.1).

    `asked_at`, `came_at`: when the request was sent and the answer came, by this machine's clock. An answer with an
    ``Age`` comes from a cache, and its date is that of another answer. Within the time that the request took the date
    says nothing: the smaller skew is returned, with which a token ends earlier.
    """
    at = _moment(date, asked_at) if age is None else None
    if at is None or not EARLIEST <= at <= LATEST:
        return None
    if asked_at - at <= LEAST_SKEW and at - max(asked_at, came_at) <= LEAST_SKEW:
        return 0.0
    return asked_at - at


def skew_by_issue(
    issued_at: float, expires_at: float, asked_at: float, came_at: float, *, is_new: bool
) -> float | None:
    """The skew that a JWT's own ``iat`` and ``exp`` show where the answer has no date.

    `is_new`: it is another token than the one before. A token issued after it came shows a clock that is behind. One
    that is over, or nearly so, when it comes shows a clock that is ahead, or a cache; the first is more likely where
    the token is new. An older ``iat`` alone says nothing: many servers give the same token for a while.
    """
    if not issued_at < expires_at:
        return None
    if issued_at > max(asked_at, came_at) + LEAST_SKEW:
        return asked_at - issued_at
    if issued_at >= asked_at - LEAST_SKEW:
        return 0.0
    return asked_at - issued_at if is_new and is_nearly_over(issued_at, expires_at, asked_at) else None


def is_nearly_over(issued_at: float, expires_at: float, asked_at: float) -> bool:
    """Whether so little is left of a token's life that it would be renewed at once."""
    return expires_at - asked_at < NEARLY_OVER * (expires_at - issued_at)


def span_of(claims: Mapping[str, object], at: float) -> tuple[float, float] | None:
    """``iat`` and ``exp`` of a JWT (RFC 7519 section 4.1); None where it lacks one of them. `at`: about now."""
    issued, expires = (read(claims.get(name), FieldKind.MOMENT, at=at).moment for name in ("iat", "exp"))
    return None if issued is None or expires is None else (issued, expires)


def worth_it(skew: float) -> float:
    """The skew, or 0 where it is too small to matter."""
    return skew if abs(skew) > LEAST_SKEW else 0.0


def skew_in_words(skew: float) -> str:
    """What is said of a clock that is off."""
    return f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0.0 else 'behind'} the server's"


def _moment(date: str | None, at: float) -> float | None:
    """An HTTP date as seconds since the epoch; None where it is none, or several."""
    found = date_in(date, at=at) if date is not None and len(date) <= LONGEST_DATE else None
    return None if found is None or found.is_naive else found.moment
