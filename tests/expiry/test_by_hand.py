"""The times of a `Token` that somebody makes: each spelling of them, and what is refused."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.core.test_token import jwt
from tests.expiry.test_values import OF_OTHER_CLASSES

from onerefresh import ConfigurationError, Token

MOMENT = 1_800_000_000.0
HOUR = 3600.0


@pytest.mark.parametrize(
    "given",
    [
        MOMENT,
        int(MOMENT),
        str(MOMENT),
        MOMENT * 1000,
        Decimal(int(MOMENT)),
        datetime(2027, 1, 15, 8, tzinfo=UTC),
        "2027-01-15T08:00:00Z",
        "2027-01-15 09:00:00.000+01:00",
        "Fri, 15 Jan 2027 08:00:00 GMT",
        "Friday, 15-Jan-27 08:00:00 GMT",
        "Fri Jan 15 08:00:00 2027",
    ],
)
def test_a_moment(given: Any) -> None:
    assert Token("a", expires_at=given).expires_at == MOMENT
    token = Token("a", issued_at=given, expires_in=HOUR)
    assert (token.issued_at, token.expires_at) == (MOMENT, MOMENT + HOUR)


@pytest.mark.parametrize("given", [HOUR, 3600, "3600", "1h", "PT1H", timedelta(hours=1), Decimal(3600)])
def test_a_lifetime(given: Any) -> None:
    assert Token("a", expires_in=given, issued_at=MOMENT).expires_at == MOMENT + HOUR


@pytest.mark.parametrize("hours", [250, 1000, 24_000])
def test_a_timedelta_has_its_unit_with_it(hours: int) -> None:
    """As a number of seconds it would be round in milliseconds."""
    assert Token("a", "r", expires_in=timedelta(hours=hours), issued_at=MOMENT).expires_at == MOMENT + hours * HOUR


def test_a_moment_in_the_place_of_a_lifetime() -> None:
    soon = time.time() + HOUR
    for given in (soon, soon * 1000, datetime.fromtimestamp(soon, UTC).isoformat()):
        expires_at = Token("a", "r", expires_in=given).expires_at
        assert expires_at == pytest.approx(soon, abs=1.0)


def test_a_very_long_life_is_days_where_it_can_be_refreshed() -> None:
    assert Token("a", "r", expires_in=1_576_799_999, issued_at=MOMENT).expires_at == MOMENT + 1_576_799.999
    assert Token("a", expires_in=1_576_799_999, issued_at=MOMENT).expires_at == MOMENT + 1_576_799_999


@pytest.mark.parametrize("seconds", [0, -60, "0", timedelta(0), timedelta(seconds=-60), -1e308])
def test_a_lifetime_that_is_over(seconds: Any) -> None:
    token = Token("a", expires_in=seconds, issued_at=MOMENT)
    assert token.expires_at is not None
    assert 0.0 <= token.expires_at <= MOMENT


def test_the_exp_of_a_jwt_in_milliseconds() -> None:
    assert Token(jwt(exp=MOMENT * 1000)).expires_at == MOMENT
    odd = Token(jwt(exp="soon"), "r")
    assert odd.expires_at == odd.issued_at + 300
    assert odd.doubt.startswith("the exp of its JWT is a text of 4 characters")
    assert Token(jwt(exp="soon")).expires_at is None, "nobody can refresh it"


def test_what_is_not_known() -> None:
    assert Token("a").expires_at is None
    assert Token("a", expires_at=None).expires_at is None
    assert Token("a", expires_at="never").expires_at is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("expires_at", "in an hour", r"expires_at is a text of 10 characters .*a datetime with a tzinfo"),
        ("expires_in", "soon", r"expires_in is a text of 4 characters .*: it takes seconds.*a timedelta; None"),
        ("expires_at", datetime(2027, 1, 15), r"expires_at .*without a time zone.*a tzinfo, such as datetime.UTC"),  # noqa: DTZ001
        ("issued_at", "2027-01-15T08:00:00", r"issued_at .*without a time zone.*give it a tzinfo"),
        ("expires_in", datetime(2027, 1, 15), r"expires_in .*without a time zone"),  # noqa: DTZ001
        ("expires_at", timedelta(hours=1), r"expires_at is a lifetime, not a moment"),
        ("expires_at", "1h", r"expires_at is a lifetime, not a moment"),
        ("expires_at", True, r"expires_at is true or false"),
        ("expires_in", False, r"expires_in is true or false"),
        ("expires_at", math.nan, r"expires_at is a number that is not a time"),
        ("expires_in", Decimal("sNaN"), r"expires_in is a number that is not a time"),
        ("expires_in", math.inf, r"expires_in is a number that is not a time"),
        ("expires_at", -1, r"expires_at is a number that is not a time: it is negative"),
        ("issued_at", 10**400, r"issued_at is a number that is not a time"),
        ("expires_at", "", r"expires_at is an empty text"),
        ("expires_in", " ", r"expires_in is an empty text"),
        ("expires_at", [MOMENT], r"expires_at is a list"),
        ("expires_in", {"seconds": 1}, r"expires_in is an object"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(name: str, value: object, message: str) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=message):
        Token("a", "r", **given)


@pytest.mark.parametrize("value", OF_OTHER_CLASSES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", ["expires_in", "expires_at", "issued_at"])
def test_values_of_other_classes_are_refused(name: str, value: object) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=f"^{name} is ") as caught:
        Token("a", "r", **given)
    assert "secret" not in str(caught.value)


def test_the_error_shows_neither_the_value_nor_a_token() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Token("secret-access", "secret-refresh", expires_at="secret-refresh")
    assert "secret" not in str(caught.value)
    frame = caught.value.__traceback__
    while frame is not None:
        if frame.tb_frame.f_globals["__name__"].startswith("onerefresh."):
            assert "secret" not in repr(frame.tb_frame.f_locals)
        frame = frame.tb_next
    assert "secret" not in repr(caught.value.fresh().__dict__)
