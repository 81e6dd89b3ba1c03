"""One value that states when a token ends: a moment, or a lifetime."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from numbers import Real
from typing import NamedTuple

from onerefresh.expiry.dates import LONGEST_TEXT, date_in, from_datetime

__all__ = ["LATEST", "LONGEST_LIFE", "TEN_YEARS", "FieldKind", "Reading", "read", "shape_of"]

LONGEST_LIFE = 3_153_600_000.0
"""Seconds, a hundred years: no token lives longer, whatever its server says."""
LATEST = 32_503_680_000.0
"""Seconds since the epoch, the year 3000. Later times are cut to it, since not every system can write them as dates."""
TEN_YEARS = 315_576_000.0
"""Seconds. A number without a unit that would be a longer life is a moment, or counts milliseconds.

Some servers state ten years in seconds. The same number of milliseconds is three and a half days, so that every larger
number still is a life of days, not of centuries.
"""
FIRST_MOMENT = 1_000_000_000.0
"""Seconds since the epoch, 2001: no token is older, so that a smaller number may be a lifetime."""
FIRST_MOMENT_AS_LIFE = 1_600_000_000.0
"""Seconds since the epoch, 2020: a smaller number under the name of a lifetime is one. Some state 50 years."""
TOO_LARGE = 1000.0 * FIRST_MOMENT
"""A number this large under the name of a moment counts milliseconds, a thousand times as large microseconds …"""
AFTER_LAST = 253_402_300_800.0
"""Seconds since the epoch, the year 10,000: a number of smaller units that would be later counts something else."""
FIRST_MILLISECONDS = 300_000.0
"""Five minutes in milliseconds: a smaller number is seconds."""
_MINUTE, _HOUR, _DAY = 60_000.0, 3_600_000.0, 86_400.0
"""A minute and an hour in milliseconds, a day in seconds."""
FIRST_YEAR = -62_000_000_000.0
"""Seconds since the epoch: an earlier moment is the year 1, the zero of Go and .NET."""
_SCALES = (1.0, 1e3, 1e6, 1e9)
"""Parts of a second in which moments are counted."""


class FieldKind(enum.Enum):
    """What the name of a field says about its value."""

    LIFETIME = "lifetime"  # such as ``expires_in``
    MOMENT = "moment"  # such as ``expires_at``
    EITHER = "either"  # such as ``expires``


class Reading(NamedTuple):
    """What a value says. Nothing at all, where each part has its default: the expiry is not known, or there is none.

    * `moment`: seconds since the epoch; `lifetime`: seconds. At most one of them is given.
    * `other`: the lifetime, where the number may count the other unit, or may be a lifetime and no moment.
    * `odd`: the shape of a value that is not understood, in words that show nothing of it.
    * `naive`: the moment in UTC, where the value is a date and time without a time zone. It is odd, too.
    * `is_zero`: the value is the number 0.
    """

    moment: float | None = None
    lifetime: float | None = None
    other: float | None = None
    odd: str = ""
    naive: float | None = None
    is_zero: bool = False


NOTHING = Reading()
_NOTHING = frozenset({"", "never", "none", "null"})


def read(value: object, kind: FieldKind, *, at: float, unit: float | None = None, is_utc: bool = False) -> Reading:
    """What `value` says under a name of this kind. Never raises.

    `at`: about now, in seconds since the epoch. `unit`: seconds that a number counts, where the name says so (0.001:
    milliseconds). `is_utc`: the name says that dates without a zone are in UTC.

    0 and an empty text say that the expiry is not known.
    """
    try:
        return _read(value, kind, at, unit, is_utc=is_utc)
    except Exception:  # noqa: BLE001 - a value of a user's class may raise anything, and must cost no token
        return Reading(odd=shape_of(value))


def _read(value: object, kind: FieldKind, at: float, unit: float | None, *, is_utc: bool) -> Reading:
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value[: LONGEST_TEXT + 1]).decode("ascii")
    if isinstance(value, str):
        return _text(str.__str__(value), kind, at, unit, is_utc=is_utc)
    if value is None:
        return NOTHING
    if isinstance(value, timedelta):
        return _lifetime(value.total_seconds())
    if isinstance(value, datetime):
        found = from_datetime(value)
        return _moment(found.moment, is_naive=found.is_naive and not is_utc)
    if isinstance(value, date):
        return _text(value.isoformat(), kind, at, unit)
    if not isinstance(value, bool) and isinstance(value, (Real, Decimal)):
        return _number(float(value), kind, at, unit)
    return Reading(odd=shape_of(value))


def shape_of(value: object) -> str:
    """What kind of value it is, in words that show nothing of it."""
    if isinstance(value, str):
        return f"a text of {str.__len__(value)} characters that is not a date, a number or a duration"
    if isinstance(value, datetime):
        return "a date and time without a time zone"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float, Decimal)):
        return "a number that is not a time: it is negative, too large or not finite"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, (list, tuple)) else "a value of another type"


# --- Numbers ---


def _number(number: float, kind: FieldKind, at: float, unit: float | None) -> Reading:
    if number == 0.0:
        return Reading(is_zero=True)
    if not math.isfinite(number) or number < 0.0:
        return Reading(odd=shape_of(0))
    number *= unit or 1.0
    return _moment_in(number) if kind is FieldKind.MOMENT else _lifetime_in(number, kind, at, unit)


def _moment_in(number: float) -> Reading:
    """A number under the name of a moment: one, in any unit. Too small for that, it may be a lifetime by mistake."""
    if number < FIRST_MOMENT:
        return Reading(moment=number, other=number if number <= TEN_YEARS else number / 1000.0)
    fitting = [number / scale for scale in _SCALES if FIRST_MOMENT * scale <= number < TOO_LARGE * scale]
    is_known = fitting and (fitting[0] < AFTER_LAST or number < TOO_LARGE)
    return _moment(fitting[0]) if is_known else Reading(odd=shape_of(0))


def _lifetime_in(number: float, kind: FieldKind, at: float, unit: float | None) -> Reading:
    """A number under another name: a lifetime up to ten years, else a moment in any unit, else milliseconds."""
    if number <= TEN_YEARS and unit:
        return Reading(lifetime=number)
    if number <= TEN_YEARS:
        seconds, milliseconds = number, number / 1000.0
        if _is_round_in_milliseconds(number):
            return Reading(lifetime=milliseconds, other=seconds)
        return Reading(lifetime=seconds, other=milliseconds)
    first = FIRST_MOMENT_AS_LIFE if kind is FieldKind.LIFETIME else FIRST_MOMENT
    for scale in _SCALES:
        if first <= number / scale <= at + TEN_YEARS:
            other = number / 1000.0 if unit is None and scale == 1.0 else None
            return Reading(moment=number / scale, other=other)
    if unit:
        return _lifetime(number)
    if number <= 1000.0 * TEN_YEARS:
        return Reading(lifetime=number / 1000.0, other=min(number, LONGEST_LIFE))
    return Reading(odd=shape_of(0))


def _is_round_in_milliseconds(number: float) -> bool:
    """Whether a lifetime is whole minutes in milliseconds and not whole days in seconds; or whole hours.

    900,000 is a quarter of an hour, not ten days and ten hours. 5,184,000 is 60 days, and 31,536,000 a year.
    """
    if number < FIRST_MILLISECONDS or number % _MINUTE:
        return False
    return number % _DAY != 0.0 or number % _HOUR == 0.0


def _moment(moment: float, *, is_naive: bool = False) -> Reading:
    if moment < FIRST_YEAR:
        return NOTHING  # the zero of the program that wrote it
    if not moment > 0.0:  # or no number: libraries have such a value for a missing date
        return Reading(odd="a date long before any token")
    if is_naive:
        return Reading(odd="a date and time without a time zone", naive=min(moment, LATEST))
    return Reading(moment=min(moment, LATEST))


def _lifetime(seconds: float) -> Reading:
    if not seconds >= 0.0:
        return Reading(odd=shape_of(0))
    return Reading(lifetime=min(seconds, LONGEST_LIFE)) if seconds else NOTHING


# --- Texts ---

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d{1,3})?", re.IGNORECASE | re.ASCII)
_COMPACT = re.compile(r"20\d{12}", re.ASCII)
# Few servers write a lifetime with its unit, so `re` compiles these when they are first needed.
_WITH_UNIT = r"(\d+(?:\.\d+)?)\s*([a-z]+)[\s,]*"
_CLOCK = r"(?:(\d+)(?:\.|\s+|\s*days?,?\s+))?(\d{1,2}):(\d{2}):(\d{2}(?:\.\d+)?)"
_ISO_DURATION = (
    r"P(?:(\d+(?:[.,]\d+)?)W)?(?:(\d+(?:[.,]\d+)?)D)?"
    r"(?:T(?:(\d+(?:[.,]\d+)?)H)?(?:(\d+(?:[.,]\d+)?)M)?(?:(\d+(?:[.,]\d+)?)S)?)?"
)
_ISO_UNITS = (604_800.0, 86_400.0, 3600.0, 60.0, 1.0)
_UNITS = {
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604_800.0),
}
_DOT_NET = re.compile(r"\\?/Date\((-?\d{1,19})(?:[+-]\d{4})?\)\\?/", re.ASCII)


def _text(text: str, kind: FieldKind, at: float, unit: float | None, *, is_utc: bool = False) -> Reading:
    odd = Reading(odd=shape_of(text))
    if len(text) > LONGEST_TEXT:
        return odd
    text = text.strip()
    if text.casefold() in _NOTHING:
        return NOTHING
    found = date_in(text, at=at) if _COMPACT.fullmatch(text) or not _NUMBER.fullmatch(text) else None
    if found is not None:
        return _moment(found.moment, is_naive=found.is_naive and not is_utc)
    if _NUMBER.fullmatch(text):
        return _number(float(text), kind, at, unit)
    if (milliseconds := _DOT_NET.fullmatch(text)) is not None:
        return _moment(float(milliseconds[1]) / 1000.0)
    seconds = _duration(text)
    return odd if seconds is None else _lifetime(seconds)


def _duration(text: str) -> float | None:
    """A lifetime that is written with its unit, in seconds: "3600s", "1h30m", "PT1H", "01:00:00"; None for others."""
    flags = re.IGNORECASE | re.ASCII
    if re.fullmatch(rf"(?:{_WITH_UNIT})+", text, flags) is not None:
        terms = re.findall(_WITH_UNIT, text, flags)
        parts = [float(number) * _UNITS.get(unit.casefold(), math.nan) for number, unit in terms]
        return None if math.isnan(math.fsum(parts)) else math.fsum(parts)
    if (found := re.fullmatch(_CLOCK, text, re.ASCII)) is not None:
        days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
        return days * 86_400.0 + hours * 3600.0 + minutes * 60.0 + seconds
    if (found := re.fullmatch(_ISO_DURATION, text, flags)) is not None and any(found.groups()):
        parts = [float((part or "0").replace(",", ".")) for part in found.groups()]
        return math.fsum(part * unit for part, unit in zip(parts, _ISO_UNITS, strict=True))
    return None
