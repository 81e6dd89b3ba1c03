"""A lost answer: when the same refresh token is sent again, which is the profile's to say, in every lease."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.driver import NEXT, Process, RotatingServer, World, failed, needy, refusing, seed, wish

from onerefresh import errors
from onerefresh.policy import FOR_GOOD, PROFILES, Profile, profile_named
from onerefresh.record import State
from onerefresh.renewal.effects import Send
from onerefresh.renewal.person import allow_again
from onerefresh.renewal.protocol import renew
from onerefresh.verdict import Meaning

LOST = failed(Meaning.NO_ANSWER, "the token request was sent and its answer was lost")
NEVER = Profile("theirs", resend="never")


@pytest.mark.parametrize(
    ("profile", "seconds"),
    [
        ("strict", 60.0),
        ("keycloak", 60.0),
        ("static", 0.0),
        ("google", 0.0),
        ("okta", 0.0),
        ("grace:30", 0.0),
        (Profile("theirs", resend=5), 5.0),
        (Profile("theirs", rotates=False, resend="never"), FOR_GOOD),
        (NEVER, FOR_GOOD),
    ],
)
def test_a_profile_says_when_what_was_lost_is_sent_again(profile: str | Profile, seconds: float) -> None:
    assert profile_named(profile).sends_again_after == seconds
    assert {known.sends_again_after for known in PROFILES.values()} == {0.0, 60.0}


@pytest.mark.parametrize("resend", [-1, float("inf"), float("nan"), True, "sometimes", [1]])
def test_a_resend_that_is_no_number_of_seconds_is_refused(resend: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="resend is a number of seconds or 'never'"):
        Profile("theirs", resend=resend)


@pytest.mark.parametrize("meaning", [Meaning.NO_ANSWER, Meaning.PROTOCOL])
def test_a_strict_server_is_not_asked_again_before_a_minute_is_over(meaning: Meaning) -> None:
    world = needy(None, failed(meaning), NEXT)
    refused = refusing(world)
    kind = type(failed(meaning).verdict.error())
    for moment in (0.0, 10.0, 59.0):
        world.now = moment
        assert type(world.fails(renew(wish(**refused)))) is kind
        assert len(world.sent) == 1
    world.now = 61.0
    assert world.run(renew(wish(**refused))).token.generation == 2


def test_seconds_count_from_the_request_on() -> None:
    def answers_late(world: World, effect: object) -> None:
        world.now += 10.0

    world = needy(None, LOST, NEXT)
    mine = Process(
        world, renew(wish(Profile("theirs", resend=12), **refusing(world))), faults={(Send, 1): answers_late}
    )
    assert mine.finish().token.generation == 2
    assert 12.0 <= world.now < 13.0


def test_a_token_that_still_serves_goes_on_serving_meanwhile() -> None:
    world = needy(seed(lives=3600.0), LOST)
    world.now = 3400.0
    assert isinstance(world.fails(renew(wish(ageing=True))), errors.RefreshOutcomeUnknown)
    assert world.run(renew(wish())).token.generation == 1


def test_never_means_not_before_somebody_says_so() -> None:
    world = needy(None, LOST, NEXT)
    refused = refusing(world)
    for moment in (0.0, 60.0, 10.0**7):
        world.now = moment
        error = world.fails(renew(wish(NEVER, **refused)))
        assert isinstance(error, errors.RefreshOutcomeUnknown)
        assert "is not sent again before retry() or a login" in str(error)
    assert (len(world.sent), world.present.state) == (1, State.IDLE)
    world.run(allow_again(wish(NEVER)))
    assert world.run(renew(wish(NEVER, **refused))).token.generation == 2


def test_never_binds_processes_of_another_profile_too() -> None:
    world = needy(None, LOST)
    refused = refusing(world)
    world.fails(renew(wish(NEVER, **refused)))
    world.now += 10.0**7
    assert isinstance(world.fails(renew(wish("static", **refused))), errors.RefreshOutcomeUnknown)


def test_a_login_ends_the_wait() -> None:
    world = needy(None, LOST)
    world.fails(renew(wish(NEVER, **refusing(world))))
    world.found_again(seed("other"))
    assert world.run(renew(wish(NEVER))).token.reveal() == "access-other"


def test_where_a_token_can_be_obtained_nobody_waits() -> None:
    world = needy(None, LOST, failed(Meaning.UNAVAILABLE, retry_after=60.0), NEXT)
    refused = refusing(world)
    world.fails(renew(wish(NEVER, **refused)))
    world.fails(renew(wish(NEVER, can_obtain=True, **refused)))
    world.now += 61.0
    found = world.run(renew(wish(NEVER, can_obtain=True, **refused))).token
    assert (found.generation, found.family) == (2, NEXT.seed_fingerprint())


@pytest.mark.parametrize("kind", ["revoke_family", "reject_only"])
def test_a_strict_server_that_processed_the_lost_request_sees_no_second_use(kind: str) -> None:
    """It was overloaded: the request took longer than its client waited."""
    server = RotatingServer(kind)
    world = needy(None)
    refused = refusing(world)
    server.answer(world.token)
    world.server = None
    world.answers = [LOST]
    for moment in range(0, 60, 5):
        world.now = float(moment)
        assert isinstance(world.fails(renew(wish(**refused))), errors.RefreshOutcomeUnknown)
    assert (server.reused, len(world.sent)) == (0, 1)
    world.server = server
    world.now = 61.0
    error = world.fails(renew(wish(**refused)))
    assert isinstance(error, errors.LoginRequired)
    assert "its answer was lost" in str(error)
