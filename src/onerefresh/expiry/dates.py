"""Moments that are written as texts: ISO 8601, HTTP dates (RFC 9110 section 5.6.7), and what programs print."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

__all__ = ["LONGEST_TEXT", "Date", "date_in", "from_datetime"]

LONGEST_TEXT = 100
"""A text with more characters is no moment and no lifetime."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?"
_ZONE = r"(?P<zone>z|utc|ut|gmt|(?:utc|gmt)?[+\-\u2212]\d{2}(?::?\d{2}(?::?\d{2})?)?)"
_DAY_NAME = r"(?:[a-z]{3,9},?\s+)?"

_FORMS = (
    # ISO 8601 and RFC 3339; a space for the T; Ruby's and Go's "… +0000 UTC", Java's "…+01:00[Europe/Paris]".
    r"(?P<year>\d{4})(?P<dash>[-/]?)(?P<month>\d{2})(?P=dash)(?P<day>\d{2})"
    r"(?:(?:t|\s+)(?P<hour>\d{2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?)?"
    rf"(?:\s*{_ZONE}(?:\s+[a-z]{{1,5}}|\[[^\]]*\])?)?)?",
    # HTTP's IMF-fixdate and RFC 850 dates; e-mail dates (RFC 5322); the dates of cookies, with hyphens.
    rf"{_DAY_NAME}(?P<day>\d{{1,2}})[ -](?P<name>[a-z]{{3}})[a-z]*[ -](?P<year>\d{{4}}|\d{{2}})\s+{_CLOCK}"
    rf"(?:\s*{_ZONE})?",
    # HTTP's asctime dates, which are in UTC; Unix's and Java's way to print a date, with a zone.
    rf"[a-z]{{3}}\s+(?P<name>[a-z]{{3}})\s+(?P<day>\d{{1,2}})\s+{_CLOCK}\s+(?:{_ZONE}\s+)?(?P<year>\d{{4}})(?P<utc>)",
    # JavaScript's way to print a date.
    rf"[a-z]{{3}}\s+(?P<name>[a-z]{{3}})\s+(?P<day>\d{{1,2}})\s+(?P<year>\d{{4}})\s+{_CLOCK}\s+{_ZONE}(?:\s*\(.*\))?",
    # Azure App Service: month/day/year, understood only with a zone, since others write the day first.
    rf"(?P<month>\d{{1,2}})/(?P<day>\d{{1,2}})/(?P<year>\d{{4}})\s+{_CLOCK}\s*(?P<half>[ap]m)?\s+{_ZONE}",
    # Digits alone, as some APIs in Asia write a date and a time.
    r"(?P<year>20\d{2})(?P<month>\d{2})(?P<day>\d{2})(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})",
)
"""How a moment may be written. Few servers write one as a text, so `re` compiles each form when it is first needed."""


class Date(NamedTuple):
    """A moment in seconds since the epoch; where `is_naive`, its time zone is not known, and UTC was assumed."""

    moment: float
    is_naive: bool = False


def date_in(text: str, *, at: float) -> Date | None:
    """The moment that `text` states; None where it states none. `at`: about now, in seconds since the epoch.

    A date alone is its beginning in UTC. A leap second counts as the second before it.
    """
    if len(text) > LONGEST_TEXT or (not text.isascii() and "\u2212" not in text):
        return None
    for form in _FORMS:
        if (found := re.fullmatch(form, text, re.IGNORECASE)) is not None:
            return _date(found.groupdict(), at)
    return None


def from_datetime(moment: datetime) -> Date:
    """A `datetime` as a moment. Raises what its class or its time zone raises."""
    offset = moment.utcoffset()
    aware = moment.replace(tzinfo=UTC)
    return Date((aware - _EPOCH - (offset or timedelta())).total_seconds(), is_naive=offset is None)


def _date(parts: dict[str, str | None], at: float) -> Date | None:
    hour, minute, second = _hour(parts), int(parts.get("minute") or 0), int(parts.get("second") or 0)
    if hour > 24 or minute > 59 or second > 60:
        return None
    try:
        month = int(parts.get("month") or _MONTHS.index((parts.get("name") or "").lower()) + 1)
        day = datetime(_year(parts["year"] or "", at), month, int(parts["day"] or 0), tzinfo=UTC)
        offset = _offset(parts.get("zone"))
    except ValueError:
        return None
    moment = (day - _EPOCH).total_seconds() + hour * 3600.0 + minute * 60.0 + min(second, 59)
    is_naive = offset is None and parts.get("hour") is not None and "utc" not in parts
    fraction = float(f"0.{parts.get('fraction') or 0}")
    return Date(moment + fraction - (offset or 0.0), is_naive)


def _hour(parts: dict[str, str | None]) -> int:
    hour, half = int(parts.get("hour") or 0), (parts.get("half") or "").lower()
    return hour % 12 + (12 if half == "pm" else 0) if half and hour <= 12 else hour


def _year(digits: str, at: float) -> int:
    """RFC 9110 section 5.6.7: two digits that seem to be more than 50 years in the future are in the past."""
    if len(digits) == 4:
        return int(digits)
    now = (_EPOCH + timedelta(seconds=min(max(at, 0.0), 1e11))).year
    year = now - now % 100 + int(digits)
    return year - 100 if year > now + 50 else year


def _offset(zone: str | None) -> float | None:
    """Seconds by which the zone is ahead of UTC; None where there is none. Raises ValueError for one that is none."""
    if zone is None:
        return None
    digits = [int(digits) for digits in re.findall(r"\d\d", zone)]
    hours, minutes, seconds = (*digits, 0, 0, 0)[:3]
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError
    return (hours * 3600.0 + minutes * 60.0 + seconds) * (-1.0 if "-" in zone or "\u2212" in zone else 1.0)
