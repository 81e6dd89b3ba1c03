"""A lost answer: when the same refresh token is sent again, which is the profile's to say, in every lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.core.driver import NEXT, Process, RotatingServer, World, failed, make_request, needy, refusing, seed
from tests.effects import EFFECTS, Send, Watch

from onerefresh import errors
from onerefresh.policy import FOR_GOOD
from onerefresh.profile import PROFILES, Profile, profile_named
from onerefresh.record import State
from onerefresh.renewal.commands import allow_again
from onerefresh.renewal.renew import renew
from onerefresh.token import Token
from onerefresh.verdict import FailureKind

LOST = failed(FailureKind.NO_ANSWER, "the token request was sent and its answer was lost")
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
    with pytest.raises(errors.ConfigurationError, match="resend must be a number of seconds or 'never'"):
        Profile("theirs", resend=resend)


@pytest.mark.parametrize("kind", [FailureKind.NO_ANSWER, FailureKind.PROTOCOL])
def test_a_strict_server_is_not_asked_again_before_a_minute_is_over(kind: FailureKind) -> None:
    world = needy(None, failed(kind), NEXT)
    refused = refusing(world)
    error_type = type(failed(kind).verdict.error())
    for moment in (0.0, 10.0, 59.0):
        world.now = moment
        assert type(world.fails(renew(EFFECTS, make_request(**refused)))) is error_type
        assert len(world.sent) == 1
    world.now = 61.0
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2


def wall_clock_is_set(world: World, seconds: float) -> None:
    world.wall_is_off = seconds


def store_clock_is_set(world: World, seconds: float) -> None:
    world.store_clock_is_off = seconds


@pytest.mark.parametrize("seconds", [100.0, 3600.0])
@pytest.mark.parametrize("is_set", [wall_clock_is_set, store_clock_is_set])
@pytest.mark.parametrize("during", ["the request", "the pause"])
def test_nor_where_a_clock_was_set_forward(is_set: Callable[[World, float], None], during: str, seconds: float) -> None:
    """Who saw the answer being lost, or read of it, knows how long ago that was."""
    world = needy(None, LOST, NEXT)
    sender = Process(world, renew(EFFECTS, request := make_request(**refusing(world)))).until(Send)
    if during == "the request":
        sender.step()
        is_set(world, seconds)
    with pytest.raises(errors.RefreshOutcomeUnknown):
        sender.finish()
    world.fails(renew(EFFECTS, other := make_request(**refusing(world))))
    if during == "the pause":
        is_set(world, seconds)
    for moment in (1.0, 55.0):
        world.now = moment
        for asks in (request, other):
            world.fails(renew(EFFECTS, asks))
            assert len(world.sent) == 1
    world.now = 61.0
    assert world.run(renew(EFFECTS, request)).token.generation == 2


@pytest.mark.parametrize("ahead", [70.0, 3600.0])
@pytest.mark.parametrize("knows", ["the store's clock", "what it has watched"])
def test_nor_by_a_machine_whose_clock_is_ahead(knows: str, ahead: float) -> None:
    """It took the failure for an old one: the server was still at work on the request, and got it once more."""
    world = needy(None, LOST, NEXT)
    asks = make_request(**refusing(world))
    if knows == "what it has watched":
        world.clock_epoch = None
    sender = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Send)
    other = Process(world, renew(EFFECTS, asks))
    if knows == "what it has watched":
        other.until(Watch, 2)
    world.now += 5.0
    with pytest.raises(errors.RefreshOutcomeUnknown):
        sender.finish()
    world.wall_is_off = ahead
    with pytest.raises(errors.RefreshOutcomeUnknown):
        other.finish()
    for moment in (20.0, 50.0):
        world.now = moment
        world.fails(renew(EFFECTS, asks))
        assert len(world.sent) == 1
    world.now = 70.0
    assert world.run(renew(EFFECTS, asks)).token.generation == 2


def test_a_store_s_clock_that_is_set_forward_does_not_end_the_wait_of_those_who_come_later() -> None:
    world = needy(None, LOST)
    world.fails(renew(EFFECTS, make_request(**refusing(world))))
    store_clock_is_set(world, 3600.0)
    world.now = 50.0
    world.fails(renew(EFFECTS, make_request(**refusing(world))))
    assert len(world.sent) == 1


def test_seconds_count_from_the_request_on() -> None:
    def answers_late(world: World, effect: object) -> None:
        world.now += 10.0

    world = needy(None, LOST, NEXT)
    mine = Process(
        world,
        renew(EFFECTS, make_request(Profile("theirs", resend=12), **refusing(world))),
        faults={(Send, 1): answers_late},
    )
    assert mine.finish().token.generation == 2
    assert 12.0 <= world.now < 13.0


def test_a_token_that_still_serves_goes_on_serving_meanwhile() -> None:
    world = needy(seed(lives=3600.0), LOST)
    world.now = 3400.0
    assert isinstance(world.fails(renew(EFFECTS, make_request(background=True))), errors.RefreshOutcomeUnknown)
    assert world.run(renew(EFFECTS, make_request())).token.generation == 1


def test_never_means_not_before_somebody_says_so() -> None:
    world = needy(None, LOST, NEXT)
    refused = refusing(world)
    for moment in (0.0, 60.0, 10.0**7):
        world.now = moment
        error = world.fails(renew(EFFECTS, make_request(NEVER, **refused)))
        assert isinstance(error, errors.RefreshOutcomeUnknown)
        assert "is not sent again before retry() or a login" in str(error)
    assert (len(world.sent), world.present.state) == (1, State.IDLE)
    world.run(allow_again(EFFECTS, make_request(NEVER)))
    assert world.run(renew(EFFECTS, make_request(NEVER, **refused))).token.generation == 2


def test_never_binds_processes_of_another_profile_too() -> None:
    world = needy(None, LOST)
    refused = refusing(world)
    world.fails(renew(EFFECTS, make_request(NEVER, **refused)))
    world.now += 10.0**7
    assert isinstance(world.fails(renew(EFFECTS, make_request("static", **refused))), errors.RefreshOutcomeUnknown)


def test_a_login_ends_the_wait() -> None:
    world = needy(None, LOST)
    world.fails(renew(EFFECTS, make_request(NEVER, **refusing(world))))
    world.logs_in(seed("other"))
    assert world.run(renew(EFFECTS, make_request(NEVER))).token.reveal() == "access-other"


def test_where_a_token_can_be_obtained_nobody_waits() -> None:
    world = needy(None, LOST, failed(FailureKind.UNAVAILABLE, retry_after=60.0), NEXT)
    refused = refusing(world)
    world.fails(renew(EFFECTS, make_request(NEVER, **refused)))
    world.fails(renew(EFFECTS, make_request(NEVER, can_obtain=True, **refused)))
    world.now += 61.0
    found = world.run(renew(EFFECTS, make_request(NEVER, can_obtain=True, **refused))).token
    assert (found.generation, found.family) == (2, NEXT.seed_fingerprint())


@pytest.mark.parametrize("error_type", ["revoke_family", "reject_only"])
def test_a_strict_server_that_processed_the_lost_request_sees_no_second_use(error_type: str) -> None:
    """It was overloaded: the request took longer than its client waited."""
    server = RotatingServer(error_type)
    world = needy(None)
    refused = refusing(world)
    server.answer(world.token)
    world.server = None
    world.answers = [LOST]
    for moment in range(0, 60, 5):
        world.now = float(moment)
        assert isinstance(world.fails(renew(EFFECTS, make_request(**refused))), errors.RefreshOutcomeUnknown)
    assert (server.reused, len(world.sent)) == (0, 1)
    world.server = server
    world.now = 61.0
    error = world.fails(renew(EFFECTS, make_request(**refused)))
    assert isinstance(error, errors.LoginRequired)
    assert "its answer was lost" in str(error)


# --- Two profiles side by side: two versions of a program, say ---


def later(world: World, seconds: float, profile: str | Profile, **options: Any) -> errors.OnerefreshError | Token:
    """What a process of that profile gets so many seconds later."""
    world.now += seconds
    refused = {"refused": ("", 0)} if world.present.token is None else {"refused": (world.present.family, 1)}
    try:
        return world.run(renew(EFFECTS, make_request(profile, **{**refused, **options}))).token
    except errors.OnerefreshError as error:
        return error


def test_what_another_profile_has_lost_waits_for_ones_own_time() -> None:
    world = needy(None, LOST, NEXT)
    later(world, 0.0, Profile("theirs", resend=8))
    assert isinstance(later(world, 9.0, "strict"), errors.RefreshOutcomeUnknown)
    assert isinstance(later(world, 45.0, "strict"), errors.RefreshOutcomeUnknown)
    assert len(world.sent) == 1
    assert isinstance(later(world, 7.0, "strict"), Token)


@pytest.mark.parametrize("kind", [FailureKind.NO_ANSWER, FailureKind.PROTOCOL])
def test_what_another_profile_has_lost_is_never_sent_where_ones_own_says_so(kind: FailureKind) -> None:
    world = needy(None, failed(kind, "lost"), NEXT)
    later(world, 0.0, Profile("theirs", resend=8))
    error = later(world, 10.0**7, NEVER)
    assert "is not sent again before retry() or a login" in str(error)
    assert len(world.sent) == 1
    world.run(allow_again(EFFECTS, make_request(NEVER)))
    assert isinstance(later(world, 0.0, NEVER), Token)


def test_nor_where_another_profile_has_failed_once_more_since() -> None:
    world = needy(None, LOST, failed(FailureKind.UNAVAILABLE, retry_after=20.0), NEXT)
    later(world, 0.0, Profile("theirs", resend=8))
    later(world, 9.0, Profile("theirs", resend=8))
    assert len(world.sent) == 2
    assert "is not sent again before retry() or a login" in str(later(world, 100.0, NEVER))
    assert len(world.sent) == 2


def test_after_a_retry_an_answer_that_nothing_was_done_is_followed_as_usual() -> None:
    world = needy(None, LOST, failed(FailureKind.UNAVAILABLE, retry_after=20.0), NEXT)
    later(world, 0.0, NEVER)
    world.run(allow_again(EFFECTS, make_request(NEVER)))
    assert isinstance(later(world, 0.0, NEVER), errors.RefreshUnavailable)
    assert isinstance(later(world, 21.0, NEVER), Token)


def test_where_a_token_can_be_obtained_another_profile_is_no_hindrance() -> None:
    world = needy(None, LOST, NEXT)
    later(world, 0.0, Profile("theirs", resend=8))
    found = later(world, 9.0, NEVER, can_obtain=True)
    assert isinstance(found, Token)
    assert found.family == NEXT.seed_fingerprint()


def test_seconds_of_one_profile_do_not_add_up() -> None:
    """Whoever lost the answer was stopped for a while before it could note that."""

    def answers_late(world: World, effect: object) -> None:
        world.now += 9.0

    world = needy(None, LOST, NEXT)
    mine = Process(world, renew(EFFECTS, make_request(**refusing(world))), faults={(Send, 1): answers_late})
    with pytest.raises(errors.RefreshOutcomeUnknown):
        mine.finish()
    assert isinstance(later(world, 52.0, "strict"), Token)
