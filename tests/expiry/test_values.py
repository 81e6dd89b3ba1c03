"""Values that state a moment or a lifetime: numbers in each unit, values of Python, durations, and anything else."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerefresh.expiry import LATEST, LONGEST_LIFE, FieldKind, Reading, read
from onerefresh.expiry.values import TEN_YEARS

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
HOUR, DAY = 3600.0, 86_400.0
TOO_LARGE = "a number that is not a time: it is negative, too large or not finite"
LIFETIME, MOMENT, EITHER = FieldKind.LIFETIME, FieldKind.MOMENT, FieldKind.EITHER


def moment_of(value: object, kind: FieldKind = MOMENT) -> float | None:
    return read(value, kind, at=NOW).moment


def lifetime_of(value: object, kind: FieldKind = LIFETIME, unit: float | None = None) -> float | None:
    return read(value, kind, at=NOW, unit=unit).lifetime


# --- Values of Python ---


class Broken(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        raise RuntimeError("secret")

    def dst(self, moment: datetime | None) -> timedelta:
        raise RuntimeError("secret")

    def tzname(self, moment: datetime | None) -> str:
        raise RuntimeError("secret")


def test_values_of_python() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    assert moment_of(datetime(2027, 1, 15, 8, tzinfo=UTC)) == NOW
    assert moment_of(datetime(2027, 1, 15, 13, 30, tzinfo=east)) == NOW
    assert moment_of(datetime.max.replace(tzinfo=east)) == LATEST
    assert read(datetime.min.replace(tzinfo=east), MOMENT, at=NOW) == Reading()
    assert read(datetime(2027, 1, 15, 8), MOMENT, at=NOW).naive == NOW  # noqa: DTZ001 - it has no zone on purpose
    assert read(datetime(2027, 1, 15, tzinfo=Broken()), MOMENT, at=NOW).odd
    assert moment_of(date(2027, 1, 15)) == NOW - 8 * HOUR
    assert lifetime_of(timedelta(hours=1)) == HOUR
    assert read(timedelta(hours=-1), LIFETIME, at=NOW).odd
    assert read(timedelta(0), LIFETIME, at=NOW) == Reading()
    assert lifetime_of(timedelta.max) == LONGEST_LIFE
    assert lifetime_of(Decimal("3600.5")) == HOUR + 0.5
    assert lifetime_of(Fraction(7200, 2)) == HOUR
    assert moment_of(b"2027-01-15T08:00:00Z") == NOW
    assert lifetime_of(bytearray(b"3600")) == HOUR


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (True, "true or false"),
        (False, "true or false"),
        ([3600], "a list"),
        ({"seconds": 3600}, "an object"),
        (object(), "a value of another type"),
        (b"\xff", "a value of another type"),
        (1j, "a value of another type"),
        (math.nan, "a number that is not a time: it is negative, too large or not finite"),
        (math.inf, "a number that is not a time: it is negative, too large or not finite"),
        (-1, "a number that is not a time: it is negative, too large or not finite"),
        (10**400, "a number that is not a time: it is negative, too large or not finite"),
        (Decimal("sNaN"), "a number that is not a time: it is negative, too large or not finite"),
    ],
)
@pytest.mark.parametrize("kind", FieldKind)
def test_other_values_are_odd(value: object, shape: str, kind: FieldKind) -> None:
    assert read(value, kind, at=NOW) == Reading(odd=shape)


class RaisingDatetime(datetime):
    def replace(self, *args: Any, **others: Any) -> Any:
        raise RuntimeError("secret")


class RaisingDate(date):
    def isoformat(self) -> str:
        raise RuntimeError("secret")


class RaisingLifetime(timedelta):
    def total_seconds(self) -> float:
        raise RuntimeError("secret")


class RaisingText(str):
    __slots__ = ()

    def __len__(self) -> int:
        raise RuntimeError("secret")


class NoLifetime(timedelta):
    def total_seconds(self) -> float:
        return math.nan


class NoMoment(datetime):
    """Libraries have such a value for a missing date."""

    def replace(self, *args: Any, **others: Any) -> Any:
        return self

    def __sub__(self, other: object) -> Any:
        return NoLifetime()


OF_OTHER_CLASSES = [
    RaisingDatetime(2027, 1, 15, tzinfo=UTC),
    RaisingDate(2027, 1, 15),
    RaisingLifetime(hours=1),
    RaisingText("soon"),
    NoLifetime(hours=1),
    NoMoment(2027, 1, 15, tzinfo=UTC),
]


@pytest.mark.parametrize("value", OF_OTHER_CLASSES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("kind", FieldKind)
def test_values_of_other_classes_cost_no_answer(value: object, kind: FieldKind) -> None:
    found = read(value, kind, at=NOW)
    assert found.odd
    assert found == Reading(odd=found.odd)
    assert "secret" not in found.odd


@pytest.mark.parametrize("value", [None, "", " ", "never", "Never", "null", "None"])
def test_a_value_that_says_nothing(value: object) -> None:
    assert [read(value, kind, at=NOW) for kind in FieldKind] == [Reading()] * 3


@pytest.mark.parametrize("value", [0, 0.0, "0", "0.0", -0.0])
def test_zero_is_told_apart(value: object) -> None:
    assert [read(value, kind, at=NOW) for kind in FieldKind] == [Reading(is_zero=True)] * 3


# --- Numbers: seconds or milliseconds, a lifetime or a moment ---


@pytest.mark.parametrize("value", [NOW + HOUR, (NOW + HOUR) * 1e3, (NOW + HOUR) * 1e6, (NOW + HOUR) * 1e9])
@pytest.mark.parametrize("kind", FieldKind)
def test_an_epoch_in_any_unit_under_any_name_is_a_moment(value: float, kind: FieldKind) -> None:
    assert moment_of(value, kind) == NOW + HOUR
    assert moment_of(str(int(value)), kind) == NOW + HOUR


@pytest.mark.parametrize("kind", [LIFETIME, EITHER])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0.5, 0.5),
        (3600, HOUR),
        ("3600", HOUR),
        (60 * DAY, 60 * DAY),
        (TEN_YEARS, TEN_YEARS),
        (4 * DAY * 1000, 4 * DAY),
        (300_000, 300.0),
        (900_000, 900.0),
        (1_800_000, 1800.0),
        (3_600_000, HOUR),
        ("7200000", 2 * HOUR),
        (12 * HOUR * 1000, 12 * HOUR),
        (DAY * 1000, DAY),
        (60_000, 60_000.0),
        *[(days * DAY, days * DAY) for days in (1, 5, 7, 10, 14, 20, 25, 28, 30, 50, 60, 90, 100, 120, 180, 365, 3650)],
        (365.25 * DAY, 365.25 * DAY),
        (3599, 3599.0),
        (86_399, 86_399.0),
        (5_183_944, 5_183_944.0),
        (7 * DAY * 1000, 7 * DAY),
    ],
)
def test_a_number_smaller_than_an_epoch_is_a_lifetime(value: object, seconds: float, kind: FieldKind) -> None:
    assert lifetime_of(value, kind) == seconds
    assert moment_of(value) == float(str(value)), "under the name of a moment it is one, which is over"
    assert seconds in {read(value, MOMENT, at=NOW).other, float(str(value)) / 1000}, "or a lifetime, in a fresh answer"


@pytest.mark.parametrize("days", [4, 7, 14, 30, 90, 365, 3650])
@pytest.mark.parametrize("kind", [LIFETIME, EITHER])
def test_a_lifetime_of_days_in_milliseconds_is_not_one_of_centuries(days: int, kind: FieldKind) -> None:
    found = read(days * DAY * 1000, kind, at=NOW)
    if found.moment is None:
        assert found.lifetime == days * DAY
    else:
        assert found.moment <= NOW + TEN_YEARS, "20 days in milliseconds are a moment in seconds, too"


@pytest.mark.parametrize("value", [1_576_799_999, 3_153_600_000, 2**31 - 1, 2**32 - 1, 9_999_999_999])
def test_numbers_that_stand_for_a_very_long_life_are_days(value: int) -> None:
    found = read(value, LIFETIME, at=NOW)
    assert found.lifetime == value / 1000
    assert found.other == min(value, LONGEST_LIFE), "where nobody can refresh it, it lives that long"


@pytest.mark.parametrize("value", [2**63 - 1, (2**63 - 1) // 1000, 1e12 - 1, 1e30])
def test_larger_numbers_are_odd_under_the_name_of_a_lifetime(value: float) -> None:
    assert read(value, LIFETIME, at=NOW).odd


def test_a_moment_far_ahead_is_one_under_the_name_of_a_moment() -> None:
    assert moment_of(253_402_300_799) == LATEST, "the end of the year 9999"
    assert moment_of(999_999_999_999) == LATEST, "a number that stands for never"
    assert moment_of(253_402_300_799_999) == LATEST, "the same in milliseconds"
    assert moment_of(2**63 - 1) == (2**63 - 1) / 1e9
    assert moment_of(1_000_000_000) == 1_000_000_000


@pytest.mark.parametrize("value", [639_000_000_000_000_000, 253_402_300_800_000, 999_999_999_999_999])
def test_a_moment_after_the_year_9999_counts_something_else(value: int) -> None:
    """Such as the ticks of .NET, tenths of a microsecond since the year 1: as an end they would mean for ever."""
    assert read(value, MOMENT, at=NOW) == Reading(odd=TOO_LARGE)
    assert read(str(value), MOMENT, at=NOW) == Reading(odd=TOO_LARGE)


@pytest.mark.parametrize(("value", "seconds"), [(3_600_000, HOUR), ("3600000", HOUR), (500, 0.5), (NOW * 1000, None)])
def test_a_unit_in_the_name_counts(value: object, seconds: float | None) -> None:
    found = read(value, LIFETIME, at=NOW, unit=0.001)
    assert found == (Reading(lifetime=seconds) if seconds else Reading(moment=NOW))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3600s", HOUR),
        ("3600.5 s", HOUR + 0.5),
        ("3600 seconds", HOUR),
        ("15m", 900.0),
        ("1h", HOUR),
        ("24H", DAY),
        ("7d", 7 * DAY),
        ("2 weeks", 14 * DAY),
        ("900000ms", 900.0),
        ("PT1H", HOUR),
        ("pt3600s", HOUR),
        ("P1DT12H", 1.5 * DAY),
        ("P2W", 14 * DAY),
        ("PT0.5S", 0.5),
        ("01:00:00", HOUR),
        ("1.00:00:00", DAY),
        ("1h0m0s", HOUR),
        ("1h30m", 1.5 * HOUR),
        ("1.5h", 1.5 * HOUR),
        ("59m59.5s", HOUR - 0.5),
        ("1 hour, 30 min", 1.5 * HOUR),
        (str(timedelta(hours=1)), HOUR),
        (str(timedelta(days=1)), DAY),
        (str(timedelta(days=10, hours=1, microseconds=500_000)), 10 * DAY + HOUR + 0.5),
        ("30 days 00:00:00", 30 * DAY),
    ],
)
def test_a_lifetime_with_its_unit(text: str, seconds: float) -> None:
    for kind in FieldKind:
        assert read(text, kind, at=NOW) == Reading(lifetime=seconds)


@pytest.mark.parametrize("text", ["1x", "1h2x", "h", "1h-30m", "-1 day, 23:00:00", "P", "1:2:3", "1h" * 60])
def test_what_is_no_lifetime_with_its_unit(text: str) -> None:
    assert read(text, LIFETIME, at=NOW).odd


# --- Of any value ---

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.fractions()
    | st.text(alphabet=st.characters(codec=None))
    | st.text(alphabet="0123456789-+:.,TZ /GMTeEJanPHSMDW")
    | st.binary()
    | st.dates()
    | st.timedeltas()
    | st.datetimes()
    | st.datetimes(timezones=st.timezones())
    | st.datetimes().map(lambda moment: moment.replace(tzinfo=Broken())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
UNITS = st.sampled_from([None, 1.0, 0.001])


@given(ANY, st.sampled_from(FieldKind), UNITS, st.booleans(), st.floats(min_value=0, max_value=LATEST))
def test_any_value_is_read_and_bounded(
    value: object, kind: FieldKind, unit: float | None, is_utc: bool, at: float
) -> None:
    found = read(value, kind, at=at, unit=unit, is_utc=is_utc)
    assert (found.moment is not None) + (found.lifetime is not None) + bool(found.odd) <= 1
    for moment in (found.moment, found.naive):
        assert moment is None or 0.0 < moment <= LATEST
    for seconds in (found.lifetime, found.other):
        assert seconds is None or 0.0 <= seconds <= LONGEST_LIFE


NUMBERS = st.floats(min_value=0, max_value=1e19) | st.integers(0, 10**19)
LIVES, EPOCHS = st.floats(min_value=1e-300, max_value=TEN_YEARS), st.floats(min_value=1e9, max_value=99e9)


@given(LIVES, LIVES, st.sampled_from([LIFETIME, EITHER]), st.sampled_from([1.0, 0.001]))
def test_a_larger_lifetime_ends_no_earlier(one: float, two: float, kind: FieldKind, unit: float) -> None:
    """Where the name says the unit; without one, it is that of the rounder number."""
    less, more = (read(value, kind, at=NOW, unit=unit).lifetime for value in sorted((one, two)))
    assert less is not None
    assert more is not None
    assert less <= more


@given(EPOCHS, EPOCHS, st.sampled_from([1.0, 1e3, 1e6, 1e9]))
def test_a_larger_moment_is_no_earlier_one(one: float, two: float, scale: float) -> None:
    less, more = (moment_of(value * scale) for value in sorted((one, two)))
    assert less is not None
    assert more is not None
    assert less <= more


@given(NUMBERS, st.sampled_from([LIFETIME, EITHER]))
def test_no_number_without_a_unit_lasts_for_longer_than_ten_years(value: float, kind: FieldKind) -> None:
    found = read(value, kind, at=NOW)
    assert found.moment is None or found.moment <= NOW + TEN_YEARS
    assert found.lifetime is None or found.lifetime <= TEN_YEARS
