"""The renewal and what a token endpoint answers: whom it is told to, how long it is remembered, what is sent again."""

from __future__ import annotations

import pytest
from tests.core.driver import (
    NEXT,
    Process,
    failed,
    make_request,
    needy,
    refusing,
    seed,
)
from tests.effects import EFFECTS, NewId

from onerefresh import errors
from onerefresh.events import Kind
from onerefresh.profile import Profile
from onerefresh.record import State
from onerefresh.renewal.renew import renew
from onerefresh.verdict import FailureKind

AT_ONCE = Profile("strict", resend=0)
OF_THE_DEVELOPER = [
    (FailureKind.CLIENT_REJECTED, errors.ClientRejected),
    (FailureKind.REQUEST_REJECTED, errors.RequestRejected),
    (FailureKind.INTERACTION, errors.InteractionRequired),
    (FailureKind.CONFIGURATION, errors.ConfigurationError),
    (FailureKind.PROTOCOL, errors.RefreshProtocolError),
    (FailureKind.REFRESHER, errors.RefresherFailed),
]


@pytest.mark.parametrize(("kind", "error_type"), OF_THE_DEVELOPER)
def test_a_refusal_is_told_once_remembered_and_keeps_the_token(
    kind: FailureKind, error_type: type[errors.OnerefreshError]
) -> None:
    world = needy(None, failed(kind, "the reason"), NEXT)
    refused = refusing(world)
    error = world.fails(renew(EFFECTS, make_request(**refused)))
    assert type(error) is error_type
    assert "the reason" in str(error)
    assert (error.credential, error.generation) == ("acme", 1)
    assert world.present.state is State.IDLE
    assert world.token.reveal_refresh_token() == "refresh-seed"

    assert type(world.fails(renew(EFFECTS, make_request(**refused)))) is error_type
    assert len(world.sent) == 1

    world.now += 3600.0
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2


@pytest.mark.parametrize(("kind", "error_type"), OF_THE_DEVELOPER)
def test_the_pause_after_a_refusal_doubles(kind: FailureKind, error_type: type[errors.OnerefreshError]) -> None:
    world = needy(None, *[failed(kind)] * 20)
    refused, pauses = refusing(world), []
    for _ in range(12):
        assert type(world.fails(renew(EFFECTS, make_request(AT_ONCE, **refused)))) is error_type
        failure = world.present.failure
        assert failure is not None
        pauses.append(failure.delay)
        world.now += failure.delay
    assert len(world.sent) == 12
    assert pauses == [min(0.5 * 2**n, 300.0) for n in range(12)]


def test_invalid_grant_is_remembered_for_good_and_keeps_the_token() -> None:
    world = needy(None, failed(FailureKind.DEAD, "invalid_grant"))
    refused = refusing(world)
    for _ in range(3):
        error = world.fails(renew(EFFECTS, make_request(**refused)))
        assert isinstance(error, errors.LoginRequired)
        assert "invalid_grant" in str(error)
        world.now += 10**7
    assert len(world.sent) == 1
    assert world.present.state is State.DEAD
    assert world.token.reveal_refresh_token() == "refresh-seed"
    assert world.kinds() == [Kind.CLAIMED, Kind.SENT, Kind.FAILED, Kind.DEAD]


def test_a_dead_session_hands_its_access_token_out_for_as_long_as_it_serves() -> None:
    world = needy(seed(lives=3600.0), failed(FailureKind.DEAD))
    world.now = 3400.0
    outcome = world.run(renew(EFFECTS, make_request(background=True)))
    assert (outcome.token.generation, world.present.state) == (1, State.DEAD)
    assert world.run(renew(EFFECTS, make_request())).token.generation == 1
    world.now = 3599.0
    assert isinstance(world.fails(renew(EFFECTS, make_request())), errors.LoginRequired)
    assert len(world.sent) == 1


def test_a_dead_session_whose_access_token_was_refused_hands_nothing_out() -> None:
    world = needy(None, failed(FailureKind.DEAD))
    world.fails(renew(EFFECTS, make_request(**refusing(world))))
    assert isinstance(world.fails(renew(EFFECTS, make_request())), errors.LoginRequired)


def test_a_short_outage_fails_no_call() -> None:
    world = needy(None, *[failed(FailureKind.UNAVAILABLE)] * 3, NEXT)
    assert world.run(renew(EFFECTS, make_request(**refusing(world)))).token.generation == 2
    assert len(world.sent) == 4
    assert world.now == pytest.approx(0.5 + 1.0 + 2.0, abs=1.0)


def test_a_long_outage_is_told_with_the_time_to_wait_and_kept_from_the_endpoint() -> None:
    world = needy(None, *[failed(FailureKind.UNAVAILABLE, "503")] * 30)
    refused = refusing(world)
    error = world.fails(renew(EFFECTS, make_request(**refused)))
    assert isinstance(error, errors.RefreshUnavailable)
    assert error.retry_after is not None
    assert error.retry_after > 5.0
    sends = len(world.sent)
    assert sends <= 5
    world.fails(renew(EFFECTS, make_request(**refused)))
    assert len(world.sent) == sends
    assert world.present.state is State.IDLE


def test_retry_after_is_respected_by_everybody() -> None:
    world = needy(None, failed(FailureKind.UNAVAILABLE, "429", retry_after=60.0), NEXT)
    refused = refusing(world)
    for passed in (0.0, 30.0, 24.0):
        world.now += passed
        error = world.fails(renew(EFFECTS, make_request(**refused)))
        assert isinstance(error, errors.RefreshUnavailable)
        assert error.retry_after == pytest.approx(60.0 - world.now, abs=0.01)
    assert len(world.sent) == 1
    world.now += 2.0  # four seconds are left: a call waits through them
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2


def test_a_short_retry_after_is_waited_for() -> None:
    world = needy(None, failed(FailureKind.UNAVAILABLE, "429", retry_after=3.0), NEXT)
    assert world.run(renew(EFFECTS, make_request(**refusing(world)))).token.generation == 2
    assert world.now >= 3.0


def test_a_failing_server_is_asked_again_within_the_same_lease() -> None:
    world = needy(None, *[failed(FailureKind.SERVER_ERROR)] * 3, NEXT)
    process = Process(world, renew(EFFECTS, make_request(**refusing(world))))
    assert process.finish().token.generation == 2
    assert (len(world.sent), process.seen[NewId]) == (4, 1)
    assert 3.0 <= world.now <= 6.0


def test_a_server_that_goes_on_failing_is_reported_as_unavailable() -> None:
    world = needy(None, *[failed(FailureKind.SERVER_ERROR, "500")] * 30)
    error = world.fails(renew(EFFECTS, make_request(**refusing(world))))
    assert isinstance(error, errors.RefreshUnavailable)
    assert "500" in str(error)
    assert len(world.sent) <= 6
    failure = world.present.failure
    assert failure is not None
    assert failure.maybe_spent


def test_a_lost_answer_is_asked_for_once_more_within_the_lease() -> None:
    world = needy(None, failed(FailureKind.NO_ANSWER), NEXT)
    process = Process(world, renew(EFFECTS, make_request(AT_ONCE, **refusing(world))))
    assert process.finish().token.generation == 2
    assert (len(world.sent), process.seen[NewId]) == (2, 1)


def test_a_twice_lost_answer_is_one_clear_error_and_later_calls_send_nothing_yet() -> None:
    world = needy(None, failed(FailureKind.NO_ANSWER), failed(FailureKind.NO_ANSWER))
    refused = refusing(world)
    assert isinstance(world.fails(renew(EFFECTS, make_request(AT_ONCE, **refused))), errors.RefreshOutcomeUnknown)
    assert isinstance(world.fails(renew(EFFECTS, make_request(AT_ONCE, **refused))), errors.RefreshOutcomeUnknown)
    assert len(world.sent) == 2
    failure = world.present.failure
    assert failure is not None
    assert failure.maybe_spent


def test_what_cannot_be_repeated_is_sent_once() -> None:
    world = needy(None, failed(FailureKind.NO_ANSWER, "the loop is gone", repeatable=False))
    assert isinstance(
        world.fails(renew(EFFECTS, make_request(AT_ONCE, **refusing(world)))), errors.RefreshOutcomeUnknown
    )
    assert len(world.sent) == 1


def test_a_login_that_a_lost_answer_cost_says_so() -> None:
    world = needy(None, failed(FailureKind.NO_ANSWER), failed(FailureKind.DEAD, "invalid_grant"))
    error = world.fails(renew(EFFECTS, make_request(AT_ONCE, **refusing(world))))
    assert isinstance(error, errors.LoginRequired)
    assert "the answer to an earlier request was lost" in str(error)


def test_a_login_that_an_earlier_lease_cost_says_what_came_before() -> None:
    world = needy(None, failed(FailureKind.PROTOCOL, "200 without a token"), failed(FailureKind.DEAD, "invalid_grant"))
    refused = refusing(world)
    world.fails(renew(EFFECTS, make_request(**refused)))
    world.now += 60.0
    error = world.fails(renew(EFFECTS, make_request(**refused)))
    assert isinstance(error, errors.LoginRequired)
    assert "200 without a token" in str(error)


def test_a_failure_leaves_a_token_that_still_serves_in_use() -> None:
    world = needy(seed(lives=3600.0), failed(FailureKind.UNAVAILABLE, retry_after=60.0))
    world.now = 3400.0
    outcome = world.run(renew(EFFECTS, make_request(background=True)))
    assert outcome.token.generation == 1
    assert outcome.retry_after == pytest.approx(60.0, abs=0.01)
    assert world.run(renew(EFFECTS, make_request(background=True))).token.generation == 1
    assert len(world.sent) == 1


def test_the_exception_of_a_refresher_is_the_cause() -> None:
    broken = failed(FailureKind.REFRESHER)
    broken.__cause__ = KeyError("mine")
    world = needy(None, broken)
    error = world.fails(renew(EFFECTS, make_request(**refusing(world))))
    assert error.__cause__ is broken.__cause__
