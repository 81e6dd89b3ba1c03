"""When a token ends, from all fields of an answer: which counts, and what is said where none is understood."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.expiry.test_values import ANY

from onerefresh.expiry import CAUTIOUS_LIFE, LATEST, LONGEST_LIFE, End, FieldKind, Reading, end_of, is_expiry, read
from onerefresh.expiry.names import ISSUED, ISSUED_ALONE, is_issue

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
HOUR, DAY = 3600.0, 86_400.0
SOON = "a text of 4 characters that is not a date, a number or a duration"


def fresh(answer: Mapping[str, object], **others: Any) -> float | None:
    found = end_of(answer, at=NOW, **others)
    assert found.odd == ""
    return found.expires_at


def kept(answer: Mapping[str, object], **others: Any) -> End:
    return end_of(answer, at=NOW, kept=True, **others)


# --- Names ---


@pytest.mark.parametrize(
    "name",
    [
        "expires_in", "expiresIn", "ExpiresIn", "expires-in", "EXPIRES_IN", "expire_in", "expireIn", "expires_in_sec",
        "expires_in_seconds", "expiresInSeconds", "token_expires_in", "access_token_expires_in", "accessTokenExpiresIn",
        "access_token_expire_in", "expires_after", "expires", "expire", "expiry", "expiration", "exp", "lease_duration",
        "lifetime", "token_ttl", "access_lifetime", ".expires", "valid_for", "expired_in", "expire_seconds",
        "expiry_seconds", "expiration_sec", "ttlSeconds", "ttl_in_seconds", "lifetimeInSeconds", "validity",
        "validity_time", "access_token_validity_seconds", "expiresAfterSeconds",
    ],
)  # fmt: skip
def test_names_of_a_lifetime(name: str) -> None:
    assert fresh({name: HOUR}) == NOW + HOUR
    assert is_expiry(name)


@pytest.mark.parametrize(
    "name", ["expires_in_ms", "expiresInMs", "expires_in_millis", "ExpiresInMilliseconds", "access_token_expires_in_ms"]
)
def test_names_of_a_lifetime_in_milliseconds(name: str) -> None:
    assert fresh({name: HOUR * 1000}) == NOW + HOUR
    assert fresh({name: str(int(HOUR * 1000))}) == NOW + HOUR


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        ("expires_in_minutes", 60, HOUR),
        ("expiresInMins", "60", HOUR),
        ("expiration_minutes", 60, HOUR),
        ("ttl_hours", 1, HOUR),
        ("expires_in_hours", 0.5, HOUR / 2),
        ("expires_in_days", 30, 30 * DAY),
        ("expiry_days", 365, 365 * DAY),
        ("expires_in_days", 10_000, 10_000 * DAY),
        ("expires_ms", 900_000, 900.0),
        ("expires_in_minutes", "1h", HOUR),
    ],
)
def test_a_unit_in_the_name(name: str, value: object, seconds: float) -> None:
    assert fresh({name: value}) == NOW + seconds
    assert kept({name: value, "obtained_at": NOW - 60}).expires_at == NOW - 60 + seconds


@pytest.mark.parametrize(
    "name",
    [
        "expires_at", "expiresAt", "ExpiresAt", "expire_at", "expireAt", "expires_on", "expiresOn", "expiry",
        "expiry_date", "expiryDate", "expiry_time", "expires", ".expires", "expiration", "Expiration", "expirationDate",
        "expiration_date", "expirationTime", "expiration_timestamp", "expireTime", "expire_time", "expires_time",
        "expires_ts", "exp", "token_expires_at", "tokenExpiresAt", "token_expiry", "tokenExpiry", "access_expires",
        "access_token_expires_at", "accessTokenExpiresAt", "accessTokenExpirationDate", "access_token_expiration",
        "access_expiration", "expires_at_ms", "expires_at_utc", "expires_in", "expire_in", "access_token_expire_in",
        "valid_until", "validUntil", "valid_to", "expires_date_time", "expired_at", "expiredAt", "expired_time",
        "expires_unix", "expiresAtUnix", "expires_at_epoch", "expires_epoch", "expiry_unix_timestamp",
        "expires_at_timestamp", "expires_at_epoch_ms", "expiry_date_utc", "valid_till",
    ],
)  # fmt: skip
def test_names_of_a_moment(name: str) -> None:
    for value in ((NOW + HOUR) * 1000, "2027-01-15T09:00:00Z", "Fri, 15 Jan 2027 09:00:00 GMT"):
        assert fresh({name: value}) == NOW + HOUR
        assert kept({name: value}).expires_at == NOW + HOUR
    assert is_expiry(name)
    if not name.endswith("ms"):
        assert fresh({name: NOW + HOUR}) == NOW + HOUR


@pytest.mark.parametrize(
    "name",
    [
        "", "in", "at", "expiress", "expires_by_default", "ext_expires_in", "extended_expires_on", "refresh_expires_in",
        "refresh_token_expires_at", "id_token_expires_in", "session_expires_at", "password_expires_at", "experience",
        "expired", "is_expired", "expired_s", "can_expire", "expert", "registrationExpiresAt", "expires_in" * 20,
        "access_token", "token", "ttl_x", "data_access_expiration_time", "session_expires",
        "x_refresh_token_expires_in", "client_secret_expires_at", "refreshTokenExpiresIn", "r1_expires_in",
        "code_expires_in", "not-before-policy",
    ],
)  # fmt: skip
def test_other_names_say_nothing_about_it(name: str) -> None:
    assert end_of({name: HOUR}, at=NOW) == End(None, NOW)
    assert not is_expiry(name)


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("refresh_token", "refresh_expires_in"),
        ("refresh_token", "refreshExpiresIn"),
        ("refresh_token", "refresh_token_expires_in"),
        ("refresh_token", "refresh_token_expire_in"),
        ("refresh_token", "x_refresh_token_expires_in"),
        ("refresh_token", "refreshTokenExpiresAt"),
        ("refresh_token", "refresh_expiration"),
        ("refresh_token", "re_expires_in"),
        ("id_token", "id_token_expires_in"),
        ("id_token", "idTokenExpiresAt"),
        ("id_token", "id_expires_in"),
        ("api_jwt", "api_jwt_expires_in"),
    ],
)
def test_other_tokens_have_ends_of_their_own(subject: str, name: str) -> None:
    assert fresh({name: HOUR, "expires_in": 60}, subject=subject) == NOW + HOUR
    assert fresh({name: HOUR, "expires_in": 60}) == NOW + 60
    assert fresh({name: "2027-01-15T09:00:00Z"}, subject=subject) == NOW + HOUR


# --- What real servers and programs write ---


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"expires_in": 3600, "ext_expires_in": 7200, "token_type": "Bearer"}, id="Entra"),
        pytest.param({"expires_in": "3599", "expires_on": "1800003600", "not_before": "1799999700"}, id="Azure IMDS"),
        pytest.param({"expires_on": "01/15/2027 09:00:00 +00:00"}, id="Azure App Service"),
        pytest.param({"expires_on": "1/15/2027 9:00:00 AM +00:00"}, id="Azure App Service, older"),
        pytest.param({"expiresOn": "2027-01-15 04:00:00.000000", "expires_on": 1800003600}, id="Azure's command"),
        pytest.param({"expires_on": "1800003600", "extended_expires_on": "1800009999", "cached_at": "1"}, id="MSAL"),
        pytest.param({"expiry": "2027-01-15T09:00:00.123456Z"}, id="google-auth"),
        pytest.param({"token_expiry": "2027-01-15T09:00:00Z"}, id="gcloud, oauth2client"),
        pytest.param({"expiry": "2027-01-15T10:00:00.123456789+01:00"}, id="Go"),
        pytest.param({"expiry_date": 1800003600000}, id="google-auth for Node"),
        pytest.param({"expireTime": "2027-01-15T09:00:00Z"}, id="Google IAM"),
        pytest.param({"expiresAt": "2027-01-15T09:00:00Z", "registrationExpiresAt": "2030-01-01"}, id="AWS SSO"),
        pytest.param({"expiresAt": "2027-01-15T09:00:00UTC"}, id="AWS SSO, older"),
        pytest.param({"Expiration": "2027-01-15T09:00:00Z"}, id="AWS STS"),
        pytest.param({"ExpiresIn": 3600, "TokenType": "Bearer"}, id="Cognito"),
        pytest.param({"expires_in": 3600, "expires_at": 1800003600}, id="Supabase, Strava"),
        pytest.param({"expires_in": 3600, "expires_at": 1800003600.123}, id="requests-oauthlib"),
        pytest.param({"expires_in": 3600, "created_at": 1799999999}, id="Doorkeeper, GitLab"),
        pytest.param({"expires_in": 3600000, "expires_in_sec": 3600}, id="Zoho"),
        pytest.param({"access_token_expire_in": 1800003600, "refresh_token_expire_in": 1900000000}, id="TikTok"),
        pytest.param({"expires_in_ms": 3600000}, id="Matrix"),
        pytest.param({"expires_in": 3600, ".expires": "Fri, 15 Jan 2027 09:00:00 GMT"}, id="OWIN"),
        pytest.param({"access_token_expiration": "2027-01-15T09:00:00Z"}, id="dj-rest-auth"),
        pytest.param({"accessTokenExpirationDate": "2027-01-15T09:00:00Z"}, id="react-native-app-auth"),
        pytest.param({"expires_in": 3600, "refresh_expires_in": 1800}, id="Keycloak"),
        pytest.param({"expire": 3600, "code": 0}, id="Feishu"),
        pytest.param({"expireIn": 3600}, id="DingTalk"),
        pytest.param({"expires": 3600}, id="Facebook, older"),
        pytest.param({"expiresIn": "1h"}, id="jsonwebtoken"),
        pytest.param({"expires_in": 1800003600}, id="a moment in the place of a lifetime"),
        pytest.param({"expires_in": 1800003600000}, id="a moment in milliseconds in the place of a lifetime"),
    ],
)  # fmt: skip
def test_answers_of_real_servers(answer: dict[str, object]) -> None:
    """Each of them ends in an hour."""
    now = end_of(answer, at=NOW)
    assert now.expires_at == pytest.approx(NOW + HOUR, abs=1.0)
    assert now.odd == ""
    assert kept(answer).expires_at == pytest.approx(NOW + HOUR, abs=1.0)


def test_directus_counts_milliseconds_which_its_jwt_tells() -> None:
    claims = {"iat": NOW, "exp": NOW + 900}
    assert fresh({"expires": 900_000}, claims=claims) == NOW + 900
    assert fresh({"expires": 900_000}, claims={"iat": NOW - DAY, "exp": NOW - DAY + 900}) == NOW + 900, "clocks differ"
    assert fresh({"expires_in": 3_600_000, "expires_at": NOW + HOUR}) == NOW + HOUR
    assert fresh({"expires": 900}, claims=claims) == NOW + 900
    assert fresh({"expires_in": 60}, claims=claims) == NOW + 60, "a shorter life is no unit"


@pytest.mark.parametrize("ahead", [3593, 3600, 3605])
def test_an_hour_is_no_3_6_seconds_where_the_clock_is_an_hour_ahead(ahead: int) -> None:
    """Daylight saving time and time zones make clocks wrong by whole hours."""
    end = NOW - ahead + HOUR
    assert fresh({"expires_in": 3600, "expires_at": end}) == NOW + HOUR
    assert fresh({"expires_in": "3600"}, claims={"exp": end}) == NOW + HOUR
    assert fresh({"expires_in": 3600, "expires_at": end}, claims={"exp": end}) == NOW + HOUR


@given(st.integers(1, 59_999), st.floats(NOW - DAY, NOW + DAY), st.booleans())
def test_no_moment_beside_it_makes_a_minute_of_seconds_one_of_milliseconds(life: int, end: float, is_jwt: bool) -> None:
    answer, claims = {"expires_in": life}, {"exp": end}
    assert fresh(answer if is_jwt else {**answer, "expires_at": end}, claims=claims if is_jwt else {}) == NOW + life


# --- Which statement counts ---


def test_a_fresh_answer_counts_from_now() -> None:
    assert fresh({"expires_in": 60, "expires_at": NOW + HOUR}) == NOW + 60
    assert fresh({"expires_in": 0, "expires_at": NOW + HOUR}) == NOW + HOUR
    assert fresh({"expires_at": 1}) == 1, "it is over"
    assert fresh({"expires_at": 3600}) == NOW + HOUR, "a lifetime in the place of a moment"
    assert fresh({"expires_in": 0}, claims={"exp": NOW + 60}) is None
    assert fresh({"expires_at": 0}, claims={"exp": NOW + 60}) == NOW + 60
    assert fresh({"expires_in": None}, claims={"exp": (NOW + 60) * 1000}) == NOW + 60
    assert fresh({}, claims={"exp": str(NOW + 60)}) == NOW + 60
    assert fresh({}, claims={"exp": 900, "iat": NOW - 100}) == NOW + 800, "a lifetime in the place of a moment"
    assert fresh({}) is None


@pytest.mark.parametrize(
    ("answer", "issued_at", "expires_at"),
    [
        pytest.param({"expires_in": HOUR, "expires_at": NOW - 10 * DAY}, NOW - 10 * DAY - HOUR, NOW - 10 * DAY, id="a"),
        pytest.param({"expires_in": HOUR, "obtained_at": NOW - 1800}, NOW - 1800, NOW + 1800, id="obtained_at"),
        pytest.param({"expires_in": HOUR, "created_at": NOW - 10 * DAY}, NOW - 10 * DAY, NOW - 10 * DAY + HOUR, id="b"),
        pytest.param({"expires_in": HOUR, "issued_at": str((NOW - 60) * 1000)}, NOW - 60, NOW + 3540, id="Salesforce"),
        pytest.param({"expires_in": HOUR, "last_refresh": "2027-01-15T07:59:00.123Z"}, NOW - 60, NOW + 3540, id="ISO"),
        pytest.param({"expires_in": HOUR, "created_at": "2027-01-15 07:59:00"}, NOW - 60, NOW + 3540, id="a database"),
        pytest.param({"expires_in": HOUR, "created_at": 1e9, "updated_at": NOW - 60}, NOW - 60, NOW + 3540, id="d"),
        pytest.param({"expires_in": HOUR, "created_at": NOW + DAY}, NOW, NOW + HOUR, id="in the future"),
        pytest.param({"expires_in": HOUR, "created_at": "long ago"}, NOW, NOW + HOUR, id="a moment that is none"),
        pytest.param({"expires_in": HOUR}, NOW, NOW + HOUR, id="nobody knows"),
        pytest.param({"expires": HOUR, "obtained_at": NOW - 1800}, NOW - 1800, NOW + 1800, id="expires"),
        pytest.param({"expires_in": (NOW - DAY)}, NOW, NOW - DAY, id="a moment that is over"),
        pytest.param({"expires_at": 1}, NOW, 1, id="over"),
    ],
)  # fmt: skip
def test_an_old_answer_counts_from_its_own_time(answer: dict[str, object], issued_at: float, expires_at: float) -> None:
    found = kept(answer)
    assert found.odd == ""
    assert (round(found.issued_at), round(found.expires_at or 0)) == (issued_at, expires_at)


@pytest.mark.parametrize(
    "name",
    [
        *ISSUED, *ISSUED_ALONE, "issuedAt", "createdAt", "obtainedAt", "cachedAt", ".issued", "tokenCreatedAt",
        "issue_time", "issued_on", "issue_date", "issuedTimestamp", "access_token_issued", "createTime", "created_ts",
        "creation_timestamp", "created_at_ms", "issued_at_utc", "fetch_time", "retrieved_at", "last_refresh",
        "last_refreshed_at", "last_updated", "lastModified", "access_token_stored_at", "token_obtained_at_unix",
        "renewed_at", "access_token_timestamp",
    ],
)  # fmt: skip
def test_names_of_the_moment_of_issue(name: str) -> None:
    assert is_issue(name)
    for value in (NOW - 60, str((NOW - 60) * 1000), "2027-01-15T07:59:00Z", "2027-01-15 07:59:00"):
        assert kept({"expires_in": HOUR, name: value}).issued_at == NOW - 60


@pytest.mark.parametrize(
    "name", ["at", "time", "date", "refresh", "refresh_token_issued", "user_created_at", "issuer", "not-before-policy"]
)
def test_other_names_say_nothing_about_it_either(name: str) -> None:
    assert not is_issue(name)
    assert kept({"expires_in": HOUR, name: NOW - 60}).issued_at == NOW


@pytest.mark.parametrize("value", [True, "alice", {"at": 1}, 1, -5, None, NOW + 60])
def test_what_is_no_moment_of_issue_does_not_count(value: object) -> None:
    assert kept({"expires_in": HOUR, "created": value}) == End(NOW + HOUR, NOW)


# --- What is not understood ---


def test_it_is_used_for_a_short_while_and_said() -> None:
    for answer in ({"expires_at": "soon"}, {"expires_in": "soon"}, {"expires": ["x"]}, {"expires_in": -5}):
        for found in (end_of(answer, at=NOW), kept(answer)):
            assert (found.expires_at, found.issued_at) == (NOW + CAUTIOUS_LIFE, NOW)
            assert found.odd.startswith(f"{next(iter(answer))} is ")
    assert end_of({"expires_at": "soon"}, at=NOW).odd == f"expires_at is {SOON}"
    assert end_of({}, at=NOW, claims={"exp": "soon"}) == End(NOW + CAUTIOUS_LIFE, NOW, f"the exp of its JWT is {SOON}")


def test_it_does_not_matter_where_another_field_is_understood() -> None:
    assert fresh({"expires_at": "soon", "expires_in": 60}) == NOW + 60
    assert fresh({"expires_in": "soon", "expires_at": NOW + 60}) == NOW + 60
    assert fresh({"expires_in": "soon"}, claims={"exp": NOW + 60}) == NOW + 60
    assert kept({"expires_at": "soon", "expires_in": 60, "created_at": NOW - 30}).expires_at == NOW + 30


def test_twenty_days_in_milliseconds_are_no_moment_that_was_over_before_the_answer_came() -> None:
    life = 20 * DAY
    assert fresh({"expires_in": life * 1000}) == NOW + life
    assert fresh({"expires": life * 1000}) == NOW + life
    assert fresh({"expires_in": NOW - HOUR}) == NOW - HOUR, "clocks differ"
    assert kept({"expires_in": life * 1000}).expires_at == life * 1000, "an old answer may have been over for years"


def test_an_old_lifetime_beside_a_moment_that_is_not_understood_is_no_new_one() -> None:
    found = kept({"expires_at": "soon", "expires_in": HOUR})
    assert found == End(NOW + CAUTIOUS_LIFE, NOW, f"expires_at is {SOON}")
    assert kept({"expires_at": "soon", "expires_in": 60}).expires_at == NOW + 60


def test_a_token_that_nobody_can_refresh_is_worth_more_than_the_caution() -> None:
    assert kept({"expires_at": "soon"}, renewable=False) == End(None, NOW, f"expires_at is {SOON}")
    assert kept({"expires_in": 1_576_799_999}, renewable=False).expires_at == NOW + 1_576_799_999
    assert kept({"expires_in": 1_576_799_999}).expires_at == NOW + 1_576_799.999


@pytest.mark.parametrize(
    ("text", "expires_at"),
    [
        ("2027-01-15T09:00:00", NOW + CAUTIOUS_LIFE),
        ("2027-01-15T08:01:00", NOW + 60),
        ("2027-01-15T07:00:00", NOW + CAUTIOUS_LIFE),
        ("2027-01-14T07:00:00", NOW - 25 * HOUR),
    ],
)
def test_a_moment_without_a_zone_is_used_cautiously(text: str, expires_at: float) -> None:
    for value in (text, datetime.fromisoformat(text)):
        found = kept({"expires_at": value})
        assert found.expires_at == expires_at
        assert found.odd == "expires_at is a date and time without a time zone"
    assert kept({"expires_at_utc": text}).odd == ""


def test_what_is_said_shows_no_value() -> None:
    for value in ("very-secret-text", ["very-secret-text"], {"very-secret-text": 1}, b"very-secret-text"):
        assert "secret" not in end_of({"expires_at": value}, at=NOW).odd


@pytest.mark.parametrize("name", ["expires\n_in", "\x1bexpires_in", "expires\u202e_in", "expires_in\x00\r\n"])
def test_what_is_said_is_one_plain_line_whatever_the_field_s_name(name: str) -> None:
    assert end_of({name: "soon"}, at=NOW).odd == f"expires_in is {SOON}"


# --- Any answer ---

NAMES = st.sampled_from(
    [
        "expires_in",
        "expires_at",
        "expires",
        "expiresInMs",
        "expiry",
        "created_at",
        "issued_at",
        "refresh_expires_in",
        "x",
    ]
)
CLAIMS = st.dictionaries(st.sampled_from(["exp", "iat"]), ANY)


@pytest.mark.seconds
@given(st.dictionaries(NAMES, ANY), CLAIMS, st.booleans(), st.booleans())
def test_any_answer_has_an_end_that_is_bounded(
    answer: dict[str, object], claims: dict[str, object], is_kept: bool, renewable: bool
) -> None:
    for subject in ("access_token", "refresh_token", "id_token"):
        found = end_of(answer, at=NOW, subject=subject, claims=claims, kept=is_kept, renewable=renewable)
        assert found.expires_at is None or 0.0 < found.expires_at <= max(LATEST, NOW + LONGEST_LIFE)
        assert found.issued_at <= NOW
        assert not renewable or not found.odd or (found.expires_at or 0) <= NOW + CAUTIOUS_LIFE


@pytest.mark.seconds
@given(st.dictionaries(NAMES.filter(is_expiry), ANY, min_size=1))
def test_what_is_stated_and_not_understood_never_lasts_for_ever(answer: dict[str, object]) -> None:
    found = end_of(answer, at=NOW)
    if found.expires_at is None:
        readings = [read(value, kind, at=NOW) for value in answer.values() for kind in FieldKind]
        assert all(each in (Reading(), Reading(is_zero=True)) for each in readings), "no field states one"
