"""An answer that a server may have repeated: its access token may be old, so a refusal refreshes once more."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import ANY

import pytest
from tests.core.driver import Process, World, failed, make_lease, make_request, needy, refusing, seed, store_goes_down
from tests.effects import EFFECTS, Cas, Send, Sleep, WriteSpool

from onerefresh import Credential, Token
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.record import Probation
from onerefresh.record_text import decode, encode
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.commands import log_in, report_replay
from onerefresh.renewal.renew import renew
from onerefresh.secret import Secret
from onerefresh.testing import AuthServer
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict


def fresh(number: int) -> Token:
    return Token(f"access-{number}", f"refresh-{number}")


def probation(world: World) -> Probation:
    found = world.present.probation
    assert found is not None
    return found


def refresh_refused(world: World) -> Token:
    return world.run(renew(EFFECTS, make_request("grace:60", **refusing(world)))).token


@pytest.mark.parametrize("kind", [FailureKind.NO_ANSWER, FailureKind.SERVER_ERROR])
def test_after_a_request_that_was_sent_again_a_refusal_refreshes_once_more(kind: FailureKind) -> None:
    world = needy(None, failed(kind), fresh(2), fresh(3), fresh(4))
    assert refresh_refused(world).generation == 2
    assert probation(world).repeated
    assert refresh_refused(world).generation == 3
    assert not probation(world).repeated
    assert refresh_refused(world).generation == 3
    assert len(world.sent) == 3


def test_after_a_takeover_a_refusal_refreshes_once_more() -> None:
    world = needy(None, fresh(2), fresh(3))
    world.lease(make_lease(ttl=30.0, clock_epoch=world.clock_epoch, at=0.0))
    world.now = 31.0
    assert refresh_refused(world).generation == 2
    assert refresh_refused(world).generation == 3
    assert refresh_refused(world).generation == 3


def test_after_an_earlier_attempt_that_may_have_got_the_answer_too() -> None:
    world = needy(None, failed(FailureKind.PROTOCOL), fresh(2), fresh(3))
    world.fails(renew(EFFECTS, make_request("grace:60", **refusing(world))))
    world.now += 60.0
    assert refresh_refused(world).generation == 2
    assert refresh_refused(world).generation == 3
    assert refresh_refused(world).generation == 3


def test_what_a_repeated_answer_earned_earns_no_more_even_if_it_was_repeated_itself() -> None:
    world = needy(None, failed(FailureKind.NO_ANSWER), fresh(2), failed(FailureKind.NO_ANSWER), fresh(3))
    assert refresh_refused(world).generation == 2
    assert refresh_refused(world).generation == 3
    assert refresh_refused(world).generation == 3
    assert len(world.sent) == 4


def test_a_refused_replay_leaves_it_to_the_next_call() -> None:
    world = needy(None, failed(FailureKind.NO_ANSWER), fresh(2), fresh(3))
    refresh_refused(world)
    world.run(report_replay(EFFECTS, world.present.identity, make_request(), accepted=False))
    assert probation(world).reported
    assert refresh_refused(world).generation == 3


def test_a_single_request_earns_nothing() -> None:
    world = needy(None, fresh(2))
    assert refresh_refused(world).generation == 2
    assert refresh_refused(world).generation == 2


def test_it_is_in_the_record() -> None:
    world = needy(None, failed(FailureKind.NO_ANSWER), fresh(2))
    mine = Process(world, renew(EFFECTS, make_request("grace:60", **refusing(world)))).until(Send)
    mine.finish()
    assert decode(encode(world.present), "acme") == world.present


def test_the_refusal_of_an_older_token_that_a_grace_server_repeated_reaches_no_caller() -> None:
    with AuthServer(mode="grace", grace=60.0) as server:
        login = TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)
        with Credential("acme", login, token=server.issue(), profile="grace:60") as credential:
            server.lose_next_answer()
            second = credential.token(refused=credential.token())
            assert server.counters.reissues == 1
            server.revoke_access()  # it was old already
            credential.replayed(second, accepted=False)
            third = credential.token(refused=second)
            assert (second.generation, third.generation) == (2, 3)
            credential.replayed(third, accepted=False)
            assert credential.token(refused=third) == third
            assert server.counters.refreshes == 2


@pytest.mark.parametrize("lost", [True, False])
def test_who_is_given_a_spooled_token_knows_what_its_record_will_say(lost: bool) -> None:
    """Its refusal was damped for a second in the process that had spooled it, although it may be an older one."""
    world = needy(None, *([failed(FailureKind.NO_ANSWER)] if lost else []), fresh(2))
    world.logs_in(seed("of another session"))
    renewal = Process(
        world, renew(EFFECTS, make_request("grace:60", **refusing(world))), faults={(Cas, 2): store_goes_down}
    )
    renewal.until(WriteSpool).until(Sleep)
    (told,) = renewal.published
    world.down = False
    renewal.finish()
    assert isinstance(told, Outcome)
    assert told.token == world.token
    assert told.probation == replace(probation(world), at=ANY, clock_at=ANY)
    assert told.probation is not None
    assert told.probation.repeated is lost
    assert told.earlier == world.present.families[:-1] != ()


def test_who_logs_in_with_the_token_of_the_present_session_knows_what_its_record_says() -> None:
    world = needy(None, failed(FailureKind.NO_ANSWER), fresh(2))
    refresh_refused(world)
    assert world.run(log_in(EFFECTS, world.token, make_request())).probation == probation(world)


def test_the_sessions_before_are_known_beside_an_access_token_that_is_of_no_use() -> None:
    kept = Secret("refresh-2")
    world = needy(None, RefreshFailure(Verdict(FailureKind.UNUSABLE, "no header can carry it", kept=kept)))
    world.logs_in(seed("of another session", lives=30.0))
    world.now = 25.0
    outcome = world.run(renew(EFFECTS, make_request(background=True)))
    assert outcome.token.refresh_token == kept
    assert outcome.earlier == world.present.families[:-1] != ()
