"""The names of fields under which servers and programs state when a token ends, and when it was issued.

A name is compared without case and without anything but its letters and digits, so that ``expires_in``, ``expiresIn``
and ``ExpiresIn`` are one name. It has up to four parts: whose expiry it is, a word for its end, what the value is, and
the unit of a number, as in ``access_token`` + ``expires`` + ``in`` + ``ms``. The moment of issue has such parts, too:
``token`` + ``created`` + ``at``. docs/oauth2.md has them in tables.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

from onerefresh.expiry.values import FieldKind

__all__ = ["DATES", "ISSUED", "ISSUED_ALONE", "LIVES", "MOMENTS", "OF_ACCESS", "OF_REFRESH", "SPANS", "UNITS", "WORDS"]
__all__ += ["Name", "is_expiry", "is_issue", "name_of", "shown"]

ACCESS, REFRESH = "access_token", "refresh_token"

OF_ACCESS = ("", "token", "access", "access_token")
"""Whose expiry it is, in the order in which they count: the last one first."""
OF_REFRESH = ("re", "refresh", "refresh_token", "x_refresh_token")
WORDS = ("expires", "expire", "expired", "expiry", "expiration", "exp")
"""What stands for the end. Alone, its value is a moment or a lifetime; ``expired`` alone is neither."""
SPANS = ("in", "after")
"""What follows where the value is a lifetime."""
MOMENTS = ("at", "on", "date", "time", "timestamp", "ts", "unix", "epoch")
"""What follows where the value is a moment, one or more of them. The first is the order in which they count."""
LIVES = ("lifetime", "ttl", "lease_duration", "valid_for", "validity", "validity_time", "validity_period")
DATES = ("valid_until", "valid_till", "valid_to")
"""Other words for a lifetime, and for the moment of the end."""
UNITS = {
    "ms": 0.001, "millis": 0.001, "milliseconds": 0.001,
    "s": 1.0, "sec": 1.0, "secs": 1.0, "seconds": 1.0,
    "mins": 60.0, "minutes": 60.0, "hours": 3600.0, "days": 86_400.0,
}  # fmt: skip
"""What a number counts, in seconds."""
ISSUED = (
    "issue", "issued", "create", "created", "creation", "obtained", "acquired", "received", "retrieved", "fetch",
    "fetched", "request", "requested", "generated", "cached", "saved", "stored", "update", "updated", "modified",
    "refreshed", "renewed",
)  # fmt: skip
ISSUED_ALONE = ("last_refresh", "not_before", "timestamp", "iat", "nbf")
"""When a token was issued, or kept. What says that it is a moment may follow; ``last`` may stand before the first ones.

Of several, the last moment that is not in the future counts.
"""
LONGEST_NAME = 60


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(map(_bare, words), key=len, reverse=True))


_UNIT = rf"(?P<utc>utc)?(?P<unit>{_any(UNITS)})?"
# `re` compiles these when the first answer comes: a process that only reads the store needs neither.
_EXPIRY = (
    rf"(?P<of>[a-z0-9]*?)(?:(?P<word>{_any(WORDS)})(?:(?P<span>{_any(SPANS)})|(?P<moment>(?:{_any(MOMENTS)})+))?"
    rf"|(?P<life>{_any(LIVES)})(?:in)?|(?P<until>{_any(DATES)})){_UNIT}"
)
_ISSUE = rf"(?:{_any(OF_ACCESS)})(?:(?:last)?(?:{_any(ISSUED)})|{_any(ISSUED_ALONE)})(?:{_any(MOMENTS)})*{_UNIT}"


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
    if len(name) > LONGEST_NAME or (found := re.fullmatch(_EXPIRY, _bare(name))) is None:
        return None
    whose = _prefixes(subject)
    if found["of"] not in whose:
        return None
    is_bare = not (found["span"] or found["moment"])
    if is_bare and (found["unit"] == "s" or found["word"] == "expired"):
        return None
    kind, place = FieldKind.EITHER, len(MOMENTS) + 1
    if found["span"] or found["life"]:
        kind, place = FieldKind.LIFETIME, 1 if found["life"] else 0
    elif found["moment"] or found["until"]:
        kind, place = FieldKind.MOMENT, _place(found["moment"] or "")
    rank = (-whose.index(found["of"]), 0 if found["unit"] else 1, place)
    return Name(rank, kind, UNITS.get(found["unit"] or ""), bool(found["utc"]))


def _place(moment: str) -> int:
    return next((place for place, word in enumerate(MOMENTS) if moment.startswith(word)), len(MOMENTS))


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
    return len(name) <= LONGEST_NAME and re.fullmatch(_ISSUE, _bare(name)) is not None
