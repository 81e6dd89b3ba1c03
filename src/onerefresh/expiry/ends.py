"""When a token ends, from all that an answer or a stored row says about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from onerefresh.expiry.names import ACCESS, is_issue, name_of, shown
from onerefresh.expiry.values import FIRST_MOMENT, LONGEST_LIFE, FieldKind, Reading, read

__all__ = ["CAUTIOUS_LIFE", "End", "end_of", "jwt_end"]

CAUTIOUS_LIFE = 300.0
"""Seconds for which a token is used whose expiry is stated and not understood.

So it neither lasts for ever nor is refreshed for each call. Few servers give tokens a shorter life.
"""
MOST_BEHIND_UTC = 12 * 3600.0
"""Seconds: a moment without a time zone that was this long ago in UTC is over in every zone."""
MOST_BEHIND = 86_400.0
"""Seconds by which a server's clock may be behind, so that a new token's moment seems to be over."""
LEAST_LIFE = 60.0
"""Seconds. No shorter life is guessed: who writes 1 under the name of a moment means that the token is over, and 3600
beside a moment that is close at hand are an hour on a machine whose clock is ahead, not 3.6 seconds.
"""
MOST_FIELDS = 1000
"""How many fields of an answer are looked at."""
CLOSE = 0.1, 60.0
"""Two statements of one end agree within a share of the life, or within seconds, at most half of it."""


class End(NamedTuple):
    """When a token ends.

    * `expires_at`: seconds since the epoch; None where it is not known, or never.
    * `issued_at`: the beginning of its life, in seconds since the epoch.
    * `odd`: the field that states its end and is not understood, and the shape of its value, such as "expires_at is a
      text of 12 characters that is not a date, a number or a duration"; empty where the end is known otherwise.
    """

    expires_at: float | None
    issued_at: float
    odd: str = ""


class _Stated(NamedTuple):
    """What an answer's fields say: the first reading of each sort that is understood, and the first odd one.

    `none`: a lifetime of 0, which says that the expiry is not known.
    """

    lifetime: Reading | None
    moment: float | None
    odd: str
    naive: float | None
    odd_moment: bool
    none: bool


def end_of(
    answer: Mapping[str, object],
    *,
    at: float,
    subject: str = ACCESS,
    claims: Mapping[str, object] | None = None,
    kept: bool = False,
    renewable: bool = True,
) -> End:
    """When the token in an answer ends. Never raises because of what the answer holds.

    * `at`: when it was asked for, in seconds since the epoch.
    * `subject`: whose end: ``"access_token"``, ``"refresh_token"``, or the name of another field of the answer.
    * `claims`: those of the token itself, where it is a JWT (RFC 7519).
    * `kept`: the answer may be old. Then a moment counts before a lifetime, and a lifetime from when it was issued.
    * `renewable`: False where the token could not be refreshed: then a statement that is not understood means that the
      end is not known, since the token is worth more than the caution.
    """
    stated, claims = _stated(answer, subject, at, kept=kept), {} if claims is None else claims
    jwt, odd_jwt = (None, "") if stated.none else jwt_end(claims, at)
    life = _seconds_of(stated, claims, jwt, at, renewable=renewable)
    issued = _issued(answer, claims, at) if kept else at
    end = _kept_end(stated, jwt, life, issued, at) if kept else _fresh_end(stated, jwt, life, at)
    odd = stated.odd or odd_jwt
    # A lifetime beside a moment that is not understood may have begun long ago, where nothing else tells when.
    is_dated = issued is not None or stated.moment is not None or jwt is not None or not stated.odd_moment
    if (end.expires_at is not None and is_dated) or not odd:
        return end
    cautious = _cautious(stated.naive, at, renewable=renewable)
    if end.expires_at is not None and (cautious is None or end.expires_at < cautious):
        return end._replace(odd=odd)
    return End(cautious, at if cautious is None else min(at, cautious), odd)


def jwt_end(claims: Mapping[str, object], at: float) -> tuple[float | None, str]:
    """The moment that ``exp`` of a JWT states (RFC 7519 section 4.1.4), and what is odd about it."""
    found = read(claims.get("exp"), FieldKind.MOMENT, at=at)
    if found.other is not None:
        found = _not_over(found, at)
    if found.lifetime is not None:
        issued = _issued_claim(claims, at)
        return (at if issued is None else issued) + found.lifetime, ""
    return found.moment, f"the exp of its JWT is {found.odd}" if found.odd else ""


def _issued_claim(claims: Mapping[str, object], at: float) -> float | None:
    return read(claims.get("iat"), FieldKind.MOMENT, at=at).moment


def _fields(answer: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in islice(answer.items(), MOST_FIELDS):
        yield str(name), value


def _stated(answer: Mapping[str, object], subject: str, at: float, *, kept: bool) -> _Stated:
    known = [(found, name, value) for name, value in _fields(answer) if (found := name_of(name, subject)) is not None]
    known.sort(key=lambda each: each[0].rank)
    lifetime, moment, odd, naive, odd_moment, none = None, None, "", None, False, False
    for found, name, value in known:
        reading = read(value, found.kind, at=at, unit=found.unit, is_utc=found.is_utc)
        if not kept:
            reading = _not_over(reading, at)
        if reading.lifetime is not None:
            lifetime = lifetime or reading
        elif reading.moment is not None:
            moment = reading.moment if moment is None else moment
        elif reading.odd:
            odd, naive = odd or f"{shown(name)} is {reading.odd}", reading.naive if naive is None else naive
            odd_moment = odd_moment or found.kind is not FieldKind.LIFETIME
        none = none or (reading.is_zero and found.kind is FieldKind.LIFETIME)
    return _Stated(lifetime, moment, odd, naive, odd_moment, none and lifetime is None)


def _not_over(reading: Reading, at: float) -> Reading:
    """The reading as a lifetime, where its moment was over long before: no server answers with such a token."""
    if reading.moment is None or reading.other is None or reading.moment >= at - MOST_BEHIND:
        return reading
    return Reading(lifetime=reading.other) if reading.other >= LEAST_LIFE else reading


def _seconds_of(
    stated: _Stated, claims: Mapping[str, object], jwt: float | None, at: float, *, renewable: bool
) -> float | None:
    """The stated lifetime in seconds. Where its unit is not known, another statement of the same end tells it."""
    reading = stated.lifetime
    if reading is None or reading.lifetime is None or reading.other is None:
        return None if reading is None else reading.lifetime
    issued, moment = _issued_claim(claims, at), stated.moment if stated.moment is not None else jwt
    if moment is not None:
        lives = [moment - at] if issued is None else [moment - issued, moment - at]
        agrees = any(_agree(reading.lifetime, life) for life in lives)
        other_agrees = reading.other >= LEAST_LIFE and any(_agree(reading.other, life) for life in lives)
        return reading.other if other_agrees and not agrees else reading.lifetime
    if not renewable:
        return max(reading.lifetime, reading.other)  # else the token would be lost when it still works
    return reading.lifetime


def _agree(one: float, other: float) -> bool:
    share, seconds = CLOSE
    return abs(one - other) <= max(share * one, min(seconds, one / 2.0))


def _fresh_end(stated: _Stated, jwt: float | None, life: float | None, at: float) -> End:
    if life is not None:
        return End(at + min(life, LONGEST_LIFE), at)
    return End(stated.moment if stated.moment is not None else jwt, at)


def _kept_end(stated: _Stated, jwt: float | None, life: float | None, issued: float | None, at: float) -> End:
    moment = stated.moment if stated.moment is not None else jwt
    if moment is not None and life is not None:
        issued = moment - life
    if issued is None or issued > at or (moment is not None and issued >= moment):
        issued = at
    if moment is None and life is not None:
        moment = issued + life
    return End(moment, issued if moment is not None else at)


def _issued(answer: Mapping[str, object], claims: Mapping[str, object], at: float) -> float | None:
    """When a token was issued, or kept, as far as its answer or its own ``iat`` tells; never in the future."""
    claimed = _issued_claim(claims, at)
    if claimed is not None and claimed <= at:
        return claimed
    found = [read(value, FieldKind.MOMENT, at=at) for name, value in _fields(answer) if is_issue(name)]
    moments = [each.moment if each.moment is not None else each.naive for each in found]
    return max((moment for moment in moments if moment is not None and FIRST_MOMENT <= moment <= at), default=None)


def _cautious(naive: float | None, at: float, *, renewable: bool) -> float | None:
    """Until when a token is used whose end is not understood."""
    if naive is not None and naive + MOST_BEHIND_UTC < at:
        return naive  # over in every time zone
    if not renewable:
        return None
    end = at + CAUTIOUS_LIFE
    return min(end, naive) if naive is not None and naive > at else end
