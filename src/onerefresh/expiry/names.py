"""The names of fields under which servers and programs state when a token ends, and when it was issued.

A name is compared without case and without anything but its letters and digits, so that ``expires_in``, ``expiresIn``
and ``ExpiresIn`` are one name. It has up to four parts: whose expiry it is, a word for its end, what the value is, and
the unit of a number, as in ``access_token`` + ``expires`` + ``in`` + ``ms``. docs/oauth2.md has them in a table.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from onerefresh.expiry.values import FieldKind

__all__ = ["DATES", "ISSUED", "LIVES", "MOMENTS", "OF_ACCESS", "OF_REFRESH", "SPANS", "UNITS", "WORDS", "Name"]
__all__ += ["is_expiry", "is_issue", "name_of", "shown"]

ACCESS, REFRESH = "access_token", "refresh_token"

OF_ACCESS = ("", "token", "access", "access_token")
"""Whose expiry it is, in the order in which they count: the last one first."""
OF_REFRESH = ("re", "refresh", "refresh_token", "x_refresh_token")
WORDS = ("expires", "expire", "expiry", "expiration", "exp")
"""What stands for the end. Alone, its value is a moment or a lifetime."""
SPANS = ("in", "after")
"""What follows where the value is a lifetime."""
MOMENTS = ("at", "on", "date", "time", "date_time", "timestamp", "ts")
"""What follows where the value is a moment, in the order in which they count."""
LIVES, DATES = ("lifetime", "ttl", "lease_duration", "valid_for"), ("valid_until", "valid_to")
"""Other words for a lifetime, and for the moment of the end."""
UNITS = {
    "ms": 0.001, "millis": 0.001, "milliseconds": 0.001,
    "s": 1.0, "sec": 1.0, "secs": 1.0, "seconds": 1.0,
}  # fmt: skip
"""What a number counts, in seconds."""
ISSUED = (
    "issued_at", "issued_on", "issued", "issue_time", "iat", "not_before", "nbf",
    "created_at", "created_on", "created", "obtained_at", "acquired_at", "received_at", "retrieved_at", "fetched_at",
    "requested_at", "generated_at", "cached_at", "saved_at", "stored_at", "updated_at", "refreshed_at",
    "last_refresh", "last_refreshed", "last_refreshed_at",
)  # fmt: skip
"""When a token was issued, or kept. Of several, the last moment that is not in the future counts."""
LONGEST_NAME = 60


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _any(words: tuple[str, ...]) -> str:
    return "|".join(sorted(map(_bare, words), key=len, reverse=True))


_EXPIRY = re.compile(
    rf"(?P<of>[a-z0-9]*?)(?:(?:{_any(WORDS)})(?:(?P<span>{_any(SPANS)})|(?P<moment>{_any(MOMENTS)}))?"
    rf"|(?P<life>{_any(LIVES)})|(?P<until>{_any(DATES)}))(?P<utc>utc)?(?P<unit>{_any(tuple(UNITS))})?"
)
_MOMENTS = [_bare(word) for word in MOMENTS]
_ISSUED = frozenset(_bare(of) + _bare(name) for of in OF_ACCESS for name in ISSUED)


def shown(name: str) -> str:
    """The name of an expiry's field, for people: as it is, as far as it has the usual characters."""
    return re.sub(r"[^\w.-]", "", name, flags=re.ASCII)


class Name(NamedTuple):
    """What a field's name says. `rank`: of several fields that are understood, the one with the smallest rank counts.

    `unit`: seconds that a number counts, or None. `is_utc`: dates without a time zone are in UTC.
    """

    rank: tuple[int, int, int]
    kind: FieldKind
    unit: float | None
    is_utc: bool


@functools.lru_cache(500)
def name_of(name: str, subject: str) -> Name | None:
    """What `name` says about the expiry of `subject`: ``"access_token"``, ``"refresh_token"`` or another field's name.

    None where it is not the name of such a field.
    """
    if len(name) > LONGEST_NAME or (found := _EXPIRY.fullmatch(_bare(name))) is None:
        return None
    whose = _prefixes(subject)
    if found["of"] not in whose:
        return None
    if found["unit"] and not (found["span"] or found["moment"] or found["unit"].startswith("m")):
        return None  # such as "expires" + "s"
    kind, place = FieldKind.EITHER, len(_MOMENTS) + 1
    if found["span"] or found["life"]:
        kind, place = FieldKind.LIFETIME, 1 if found["life"] else 0
    elif found["moment"] or found["until"]:
        kind, place = FieldKind.MOMENT, _MOMENTS.index(found["moment"]) if found["moment"] else len(_MOMENTS)
    rank = (-whose.index(found["of"]), 0 if found["unit"] else 1, place)
    return Name(rank, kind, UNITS.get(found["unit"] or ""), bool(found["utc"]))


def _prefixes(subject: str) -> list[str]:
    if subject == ACCESS:
        return list(map(_bare, OF_ACCESS))
    if subject == REFRESH:
        return list(map(_bare, OF_REFRESH))
    field = _bare(subject)
    return [field.removesuffix("token"), field] if field.removesuffix("token") else [field]


def is_expiry(name: str) -> bool:
    """Whether a field of this name states the expiry of an access token."""
    return name_of(name, ACCESS) is not None


def is_issue(name: str) -> bool:
    """Whether a field of this name states when a token was issued, or kept."""
    return len(name) <= LONGEST_NAME and _bare(name) in _ISSUED
