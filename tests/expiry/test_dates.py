"""Each way in which a moment is written as a text, and what is not one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.expiry.test_values import HOUR, MOMENT, NOW, moment_of

from onerefresh.expiry import LATEST, FieldKind, Reading, read


@pytest.mark.parametrize(
    "text",
    [
        "2027-01-15T08:00:00Z",
        "2027-01-15T08:00:00z",
        "2027-01-15t08:00:00Z",
        " 2027-01-15T08:00:00Z\n",
        "2027-01-15T08:00Z",
        "2027-01-15T08Z",
        "20270115T080000Z",
        "2027-01-15T08:00:00+00:00",
        "2027-01-15T08:00:00+0000",
        "2027-01-15T08:00:00+00",
        "2027-01-15T08:00:00-00:00",
        "2027-01-15T09:30:00+01:30",
        "2027-01-15T03:00:00-0500",
        "2027-01-15T03:00:00\u221205:00",
        "2027-01-15 08:00:00Z",
        "2027-01-15 08:00:00 Z",
        "2027-01-15 08:00:00+00:00",
        "2027-01-15 08:00:00 +0000",
        "2027-01-15 08:00:00 UTC",
        "2027-01-15T08:00:00UTC",
        "2027/01/15 08:00:00 UTC",
        "2027-01-15 08:00:00.0 +0000 UTC",
        "2027-01-15T09:00:00+01:00[Europe/Paris]",
        "Fri, 15 Jan 2027 08:00:00 GMT",
        "Friday, 15-Jan-27 08:00:00 GMT",
        "Fri Jan 15 08:00:00 2027",
        "Fri, 15-Jan-2027 08:00:00 GMT",
        "Fri, 15 Jan 2027 08:00:00 +0000",
        "15 Jan 2027 09:00:00 +0100",
        "Fri Jan 15 08:00:00 UTC 2027",
        "Fri Jan 15 2027 08:00:00 GMT+0000 (Coordinated Universal Time)",
        "Fri Jan 15 2027 09:00:00 GMT+0100 (Central European Standard Time)",
        "01/15/2027 08:00:00 +00:00",
        "1/15/2027 8:00:00 AM +00:00",
        "/Date(1800000000000)/",
        "/Date(1800000000000+0100)/",
        "1800000000",
        "1800000000.0",
        "1.8e9",
        "+1800000000",
        "1800000000000",
    ],
)
@pytest.mark.parametrize("kind", FieldKind)
def test_a_moment_as_a_text(text: str, kind: FieldKind) -> None:
    assert read(text, kind, at=NOW)._replace(other=None) == Reading(moment=NOW)


@pytest.mark.parametrize("digits", range(1, 20))
def test_fractional_seconds_of_any_length(digits: int) -> None:
    fraction = ("123456789" * 3)[:digits]
    for text in (f"2027-01-15T08:00:00.{fraction}Z", f"2027-01-15T09:00:00,{fraction}+01:00"):
        assert moment_of(text) == pytest.approx(NOW + float(f"0.{fraction}"), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-15", NOW - 8 * HOUR),
        ("2027-01-15T24:00:00Z", NOW + 16 * HOUR),
        ("2026-12-31T23:59:60Z", datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()),
        ("1/15/2027 8:00:00 PM +00:00", NOW + 12 * HOUR),
        ("01/15/2027 12:00:00 AM +00:00", NOW - 8 * HOUR),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777.0),
        ("Sun Nov  6 08:49:37 1994", 784_111_777.0),
        ("9999-12-31T23:59:59Z", LATEST),
    ],
)
def test_other_moments(text: str, moment: float) -> None:
    assert moment_of(text) == moment


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00", "0001-01-01", "/Date(-62135596800000)/"]
)
def test_the_zero_of_a_program_is_no_moment(text: str) -> None:
    assert read(text, MOMENT, at=NOW) == Reading(), "Go and .NET write the year 1 where they know none"


@pytest.mark.parametrize("text", ["1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT", "/Date(0)/", "1900-01-01"])
def test_a_moment_before_the_epoch_is_odd(text: str) -> None:
    """It may say that the token is over, or that its end is not known."""
    assert read(text, MOMENT, at=NOW) == Reading(odd="a date long before any token")


@pytest.mark.parametrize(
    "text", ["2027-01-15T08:00:00", "2027-01-15 08:00:00.123456", "Fri, 15 Jan 2027 08:00:00", "20270115080000"]
)
def test_a_moment_without_a_zone_is_odd(text: str) -> None:
    found = read(text, MOMENT, at=NOW)
    assert found.odd == "a date and time without a time zone"
    assert found.naive == pytest.approx(NOW, abs=1.0)
    assert (found.moment, found.lifetime) == (None, None)
    assert read(text, MOMENT, at=NOW, is_utc=True).moment == pytest.approx(NOW, abs=1.0)


@pytest.mark.parametrize(
    "text",
    [
        "soon",
        "tomorrow",
        "2027-13-15T08:00:00Z",
        "2027-02-30T08:00:00Z",
        "2027-01-15T25:00:00Z",
        "2027-01-15T08:61:00Z",
        "2027-01-15T08:00:00+99:00",
        "2027-1-15",
        "15/01/2027 08:00:00",
        "01/15/2027 08:00:00",
        "Fri, 15 Foo 2027 08:00:00 GMT",
        "Fri, 32 Jan 2027 08:00:00 GMT",
        "Fri, 15 Jan 2027 08:00:00 XYZ",
        "2027-W03-5",
        "0x6B49D200",
        "1_800_000_000",
        "1,800,000,000",
        "nan",
        "inf",
        "-Infinity",
        "1e999",
        "-5",
        "P1Y",
        "P",
        "PT",
        "3600 parsecs",
        "½",
        "١٨٠٠٠٠٠٠٠٠",
        "\ud800",
        "9" * 200,
        "2027-01-15T08:00:00Z" * 20,
    ],
)
@pytest.mark.parametrize("kind", FieldKind)
def test_what_is_not_understood_is_named_by_its_shape(text: str, kind: FieldKind) -> None:
    found = read(text, kind, at=NOW)
    assert found == Reading(odd=found.odd)
    assert found.odd in (
        f"a text of {len(text)} characters that is not a date, a number or a duration",
        "a number that is not a time: it is negative, too large or not finite",
    )


@given(st.datetimes(datetime(2001, 9, 10), datetime(2999, 12, 31), timezones=st.timezones()))  # noqa: DTZ001
def test_a_datetime_is_read_from_its_usual_texts_too(moment: datetime) -> None:
    expected = moment.timestamp()
    assert moment_of(moment) == pytest.approx(expected, abs=1e-3)
    assert moment_of(moment.isoformat()) == pytest.approx(expected, abs=1e-3)
    assert moment_of(str(moment)) == pytest.approx(expected, abs=1e-3)
    in_utc = moment.astimezone(UTC)
    for form in ("%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y", "%Y-%m-%dT%H:%M:%SZ"):
        assert moment_of(in_utc.strftime(form)) == int(expected // 1)
