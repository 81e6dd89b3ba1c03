"""Times that a person gives to a `Token`: what is not understood is an error, which names what is accepted."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from numbers import Real
from typing import NamedTuple

from onerefresh.expiry.ends import CAUTIOUS_LIFE, end_of
from onerefresh.expiry.values import LATEST, LONGEST_LIFE, FieldKind, Reading, read

__all__ = ["Given", "Times", "lifetime_given", "moment_given", "refresh_end_given", "times_given"]

_PLAIN_UP_TO = 1e11
"""A number up to this one is seconds since the epoch, as is, under the name of a moment."""
_MOMENT = "a datetime with a tzinfo, an ISO 8601 or HTTP date, or seconds since the epoch"
_LIFETIME = "seconds, as a number or a text, or a timedelta"


class Given(NamedTuple):
    """What was given: seconds since the epoch, None where it is not known.

    Or what is `odd` about it, and what is `accepted` instead, in words.
    """

    moment: float | None = None
    odd: str = ""
    accepted: str = ""


class Times(NamedTuple):
    """The times of a token, in seconds since the epoch.

    `doubt`: what is stated about its end and is not understood. `problem`: what is wrong with what was given, in words.
    """

    expires_at: float | None
    issued_at: float
    doubt: str = ""
    problem: str = ""


def times_given(
    expires_in: object,
    expires_at: object,
    issued_at: object,
    *,
    now: float,
    claims: Mapping[str, object],
    renewable: bool,
) -> Times:
    """The times of a token, from the arguments of these names; where `expires_at` is ``...``, from its own `claims`."""
    issue = Given(now) if issued_at is None else moment_given("issued_at", issued_at, at=now)
    issued = now if issue.moment is None else issue.moment
    if expires_in is None and expires_at is ...:
        found = end_of({}, at=issued, claims=claims, renewable=renewable)
        return Times(found.expires_at, issued, found.odd or issue.odd, _problem(issue))
    life = Given() if expires_in is None else lifetime_given("expires_in", expires_in, at=issued, renewable=renewable)
    end = Given() if expires_at is None or expires_at is ... else moment_given("expires_at", expires_at, at=now)
    for given in (issue, life, end):
        if given.odd:
            return Times(now + CAUTIOUS_LIFE, now, given.odd, _problem(given))
    return Times(life.moment if end.moment is None else end.moment, issued)


def refresh_end_given(expires_in: object, expires_at: object, *, at: float, claims: Mapping[str, object]) -> Given:
    """When a refresh token ends, from the arguments ``refresh_expires_in`` and ``refresh_expires_at``.

    A lifetime begins at `at`; one of 0 means that it does not end, as servers say it. Where neither is given (None, and
    ``...``), its own `claims` count.
    """
    if expires_at is not None and expires_at is not ...:
        return moment_given("refresh_expires_at", expires_at, at=at)
    if expires_in is not None:
        life = lifetime_given("refresh_expires_in", expires_in, at=at, renewable=True)
        return Given() if life.moment == at else life
    found = end_of({}, at=at, claims=claims)
    return Given(None if found.odd else found.expires_at)


def _problem(given: Given) -> str:
    return f"{given.odd}: {given.accepted}" if given.odd else ""


def moment_given(name: str, value: object, *, at: float) -> Given:
    """The moment that is given as the argument `name`. `at`: about now, in seconds since the epoch."""
    if (isinstance(value, float) or type(value) is int) and 0.0 <= value < _PLAIN_UP_TO:
        return Given(min(float(value), LATEST))
    found = read(value, FieldKind.MOMENT, at=at)
    if found.moment is not None:
        return Given(found.moment)
    if found.lifetime is not None:
        return Given(None, f"{name} is a lifetime, not a moment", f"it takes {_MOMENT}")
    if found.naive is not None:
        return Given(None, f"{name} is {found.odd}", "give it a tzinfo, such as datetime.UTC")
    return _nothing(name, value, found, f"it takes {_MOMENT}; None means that it is not known")


def lifetime_given(name: str, value: object, *, at: float, renewable: bool) -> Given:
    """The end of the lifetime that is given as the argument `name`, and begins at `at`.

    0 and less say that it is over. `renewable`: as for `end_of`.
    """
    seconds = _seconds_given(value)
    if -math.inf < seconds <= 0.0:
        return Given(max(at + max(seconds, -LATEST), 0.0))
    found = read(value, FieldKind.LIFETIME, at=at)
    if found.moment is not None:
        return Given(found.moment)
    if found.lifetime is not None:
        life = found.lifetime if renewable or found.lifetime > (found.other or 0.0) else found.other or 0.0
        return Given(min(at + min(life, LONGEST_LIFE), LATEST))
    if found.is_zero:
        return Given(at)
    if found.naive is not None:
        return Given(None, f"{name} is {found.odd}", f"it takes {_LIFETIME}")
    return _nothing(name, value, found, f"it takes {_LIFETIME}; None means that it is not known")


def _seconds_given(value: object) -> float:
    """A number or a `timedelta` as seconds; NaN for anything else."""
    with contextlib.suppress(Exception):  # a number that is too large for a float, or of a user's class
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, (Real, Decimal)) and not isinstance(value, bool):
            return float(value)
    return math.nan


def _nothing(name: str, value: object, found: Reading, accepted: str) -> Given:
    if found.odd:
        return Given(None, f"{name} is {found.odd}", accepted)
    if isinstance(value, (str, bytes)) and not value.strip():
        return Given(None, f"{name} is an empty text", accepted)
    return Given(0.0 if found.is_zero else None)
