"""When a token ages and ends, how long to back off, how long a lease lasts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerefresh import ConfigurationError, Profile, Token
from onerefresh.policy import DETECTION, HTTP_TIMEOUT, backoff, due_at, refusal_pause, thresholds
from onerefresh.profile import LONGEST_LEASE, PROFILES, SHORTEST_LEASE, profile_named

START = 1_800_000_000.0
SPREADS = st.floats(0.0, 1.0, exclude_max=True)


def living(seconds: float | None) -> Token:
    return Token("a", expires_in=seconds, issued_at=START)


@pytest.mark.parametrize(
    ("lives", "ages_after", "ends_after"),
    [
        (1.0, 0.5, 0.8),
        (2.0, 1.0, 1.6),
        (10.0, 5.0, 8.0),
        (20.0, 15.0, 18.0),
        (60.0, 48.0, 58.0),
        (100.0, 80.0, 98.0),
        (150.0, 120.0, 147.0),
        (300.0, 240.0, 295.0),
        (3600.0, 3300.0, 3595.0),
        (86_400.0, 86_100.0, 86_395.0),
        (0.0, 0.0, 0.0),
    ],
)
def test_the_windows_scale_with_the_life_of_a_token(lives: float, ages_after: float, ends_after: float) -> None:
    found = thresholds(living(lives), 0.0)
    assert found.refresh_at - START == pytest.approx(ages_after, abs=0.001)
    assert found.unusable_at - START == pytest.approx(ends_after, abs=0.001)


def test_a_token_whose_expiry_is_not_known_never_ages() -> None:
    found = thresholds(living(None), 0.5)
    assert (found.refresh_at, found.unusable_at) == (math.inf, math.inf)


@given(st.floats(0.001, 10**7), SPREADS)
def test_a_token_is_used_for_most_of_its_life_and_not_after_it(lives: float, jitter: float) -> None:
    found, calm = thresholds(living(lives), jitter), thresholds(living(lives), 0.0)
    rounding = 1e-6
    assert START + 0.5 * lives - rounding <= calm.refresh_at <= found.refresh_at <= found.unusable_at <= START + lives
    assert found.unusable_at >= START + 0.8 * lives - rounding


@given(st.floats(0.001, 10**7), SPREADS)
def test_a_token_ends_two_seconds_early_where_its_life_allows_and_ages_twice_as_early(
    lives: float, jitter: float
) -> None:
    found, expires_at = thresholds(living(lives), jitter), START + lives
    margin, rounding = expires_at - found.unusable_at, 1e-6
    assert margin >= min(2.0, 0.2 * lives) - rounding, "servers count whole seconds, and calls travel"
    assert margin <= 5.0 + rounding
    assert expires_at - found.refresh_at >= 2.0 * margin - rounding


def test_processes_spread_their_refreshes() -> None:
    assert len({thresholds(living(3600.0), jitter / 10).refresh_at for jitter in range(10)}) == 10


def test_a_token_that_had_expired_when_it_came_is_over() -> None:
    found = thresholds(Token("a", expires_at=START - 10.0, issued_at=START), 0.0)
    assert found.refresh_at <= found.unusable_at <= START


# --- Pauses ---


@pytest.mark.parametrize(
    ("failures", "delay"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (10, 256.0), (11, 300.0), (10**9, 300.0)]
)
def test_the_pause_doubles_up_to_five_minutes(failures: int, delay: float) -> None:
    assert backoff(failures, 0.0) == delay


@given(st.integers(1, 100), SPREADS)
def test_jitter_only_lengthens_a_pause_a_little(failures: int, jitter: float) -> None:
    assert backoff(failures, 0.0) <= backoff(failures, jitter) <= backoff(failures, 0.0) * 1.2


@pytest.mark.parametrize(
    ("retry_after", "delay"), [(None, 0.5), (0.0, 0.5), (0.1, 0.5), (60.0, 60.0), (10.0**9, 3600.0), (math.inf, 3600.0)]
)
def test_the_server_may_ask_for_a_longer_pause_but_not_for_days(retry_after: float | None, delay: float) -> None:
    assert backoff(1, 0.0, retry_after) == delay


@pytest.mark.parametrize(
    ("refused", "pause"), [(0, 10.0), (1, 10.0), (2, 20.0), (3, 40.0), (6, 320.0), (7, 600.0), (10**9, 600.0)]
)
def test_each_refused_replay_doubles_the_pause(refused: int, pause: float) -> None:
    assert refusal_pause(refused) == pause


# --- Leases ---


@pytest.mark.parametrize(
    ("profile", "serves_for", "ttl"),
    [
        pytest.param("strict", 100.0, 100.0, id="as long as the access token still serves"),
        pytest.param("strict", 1.0, 30.0, id="at least half a minute"),
        pytest.param("strict", -50.0, 30.0, id="the access token has expired"),
        pytest.param("strict", 9999.0, 300.0, id="at most five minutes"),
        pytest.param("strict", None, 300.0, id="nobody knows how long it serves"),
        pytest.param("static", 9999.0, 30.0, id="a server that does not rotate"),
        pytest.param("okta", 9999.0, 18.0, id="within a grace window of half a minute"),
        pytest.param("xero", 9999.0, 30.0, id="within a long grace window"),
        pytest.param("grace:5", 9999.0, 300.0, id="a grace window too small to help counts as none"),
    ],
)
def test_the_time_to_live_is_a_property_of_the_server(profile: str, serves_for: float | None, ttl: float) -> None:
    token = Token("a", expires_at=None if serves_for is None else START + serves_for, issued_at=START)
    assert profile_named(profile).time_to_live(token, START, HTTP_TIMEOUT) == ttl


@given(st.floats(0.0, 10**5), st.floats(0.05, 120.0), st.one_of(st.none(), st.floats(-1000.0, 10**5)), st.booleans())
def test_a_lease_leaves_room_for_a_request_and_a_grace_window_for_a_second_one(
    grace: float, http_timeout: float, serves_for: float | None, rotates: bool
) -> None:
    token = Token("a", expires_at=None if serves_for is None else START + serves_for, issued_at=START)
    profile = Profile("any", grace=grace, rotates=rotates)
    ttl = profile.time_to_live(token, START, http_timeout)
    strict = Profile("strict").time_to_live(token, START, http_timeout)
    assert ttl > http_timeout, "else nothing could ever be sent"
    if rotates and ttl != strict:
        assert ttl + DETECTION + http_timeout <= grace + 1e-6
    if rotates and ttl == strict:
        assert SHORTEST_LEASE <= ttl <= max(LONGEST_LEASE, 2.5 * http_timeout)


# --- Profiles ---


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_profile_has_its_name(name: str) -> None:
    assert profile_named(name).name == name


def test_a_profile_may_be_made_by_hand() -> None:
    mine = Profile("mine", grace=7.0)
    assert profile_named(mine) is mine
    assert profile_named("grace:30").grace == 30.0
    assert profile_named("grace:0.5").grace == 0.5


@pytest.mark.parametrize("name", ["", "nobody", "grace", "grace:", "grace:soon", "grace:-1", "grace:nan", "grace:inf"])
def test_an_unknown_profile_is_told_with_those_that_there_are(name: str) -> None:
    with pytest.raises(ConfigurationError, match="strict"):
        profile_named(name)


@pytest.mark.parametrize(
    ("lives", "within", "due"),
    [
        (3600.0, 600.0, 3000.0),  # so long before its end
        (3600.0, 0.0, 3600.0),
        (3600.0, 3600.0, 360.0),  # and never in the first tenth of its life
        (300.0, 600.0, 30.0),
        (0.0, 600.0, 0.0),
    ],
)
def test_when_a_token_is_due_for_who_looks_ahead(lives: float, within: float, due: float) -> None:
    token = Token("access", issued_at=1000.0, expires_at=1000.0 + lives)
    assert due_at(token, within) == pytest.approx(1000.0 + due)


@given(st.floats(0.001, 10**7), SPREADS)
def test_a_token_that_ages_is_due_for_who_looks_as_far_ahead(lives: float, jitter: float) -> None:
    ages_at = thresholds(living(lives), jitter).refresh_at
    assert due_at(living(lives), START + lives - ages_at) == pytest.approx(ages_at, rel=0.0, abs=1e-3)


def test_a_token_whose_end_nobody_knows_is_never_due() -> None:
    assert due_at(Token("access"), 600.0) == math.inf
