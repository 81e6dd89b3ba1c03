"""Doubtful is not dead: what a refusal in words that also fit a wrong client does to the record, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.driver import NEXT, Process, World, failed, make_lease, make_request, needy, passes, refusing, seed
from tests.effects import EFFECTS, Send, knowing

from onerefresh import errors
from onerefresh.events import Kind
from onerefresh.failure import PRINTS, Failure
from onerefresh.record import Grant, State
from onerefresh.record_text import decode, encode
from onerefresh.renewal.bring_back import bring_back
from onerefresh.renewal.renew import renew
from onerefresh.renewal.request import print_of
from onerefresh.renewal.sightings import Sightings
from onerefresh.token import Token
from onerefresh.verdict import FailureKind

DOUBT = failed(FailureKind.DOUBTFUL, "the token endpoint answered 401")


def doubted(world: World, **others: Any) -> errors.LoginRequired:
    error = world.fails(renew(EFFECTS, make_request(**others)))
    assert isinstance(error, errors.LoginRequired)
    assert not error.proven
    return error


def failure_of(world: World) -> Failure:
    found = world.present.failure
    assert found is not None
    return found


def client(name: str) -> dict[str, Any]:
    return {"client": lambda: name}


def test_a_doubtful_refusal_names_both_readings_and_what_to_try() -> None:
    world = needy(None, DOUBT)
    error = doubted(world, **refusing(world))
    assert error.message == (
        "the token endpoint answered 401: either the session is over, or the client settings or the refresher are "
        "wrong: log in again, or correct them and call retry()"
    )
    assert (error.credential, error.generation) == ("acme", 1)


def test_a_doubtful_refusal_leaves_the_session_alive_in_the_record() -> None:
    world = needy(None, DOUBT)
    doubted(world, **refusing(world))
    assert (world.present.state, world.token.reveal_refresh_token()) == (State.IDLE, "refresh-seed")
    assert (failure_of(world).kind, failure_of(world).doubts) == (FailureKind.DEAD, 1)
    assert Kind.DEAD not in world.kinds()


def test_it_is_asked_again_after_half_a_minute_doubled_to_six_hours_whoever_asks() -> None:
    world, pauses = needy(None, *[DOUBT] * 12, NEXT), []
    refused = refusing(world)
    for sends in range(1, 13):
        doubted(world, **refused)
        pauses.append(failure_of(world).delay)
        world.now += failure_of(world).delay - 1.0
        doubted(world, **refused)  # another process: it knows no more than the record
        assert len(world.sent) == sends
        world.now += 1.0
    assert pauses == [min(30.0 * 2**n, 21_600.0) for n in range(12)]
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2
    assert world.present.failure is None


def test_a_token_that_still_serves_goes_on_serving() -> None:
    world = needy(seed(lives=3600.0), DOUBT)
    world.now = 3400.0
    assert world.run(renew(EFFECTS, make_request(background=True))).token.generation == 1
    assert world.run(renew(EFFECTS, make_request())).token.generation == 1
    assert len(world.sent) == 1


def test_a_token_that_was_refused_does_not_serve() -> None:
    world = needy(seed(lives=3600.0), DOUBT)
    doubted(world, **refusing(world))
    doubted(world)
    assert len(world.sent) == 1


def test_an_outage_in_between_does_not_begin_the_count_anew() -> None:
    world = needy(None, DOUBT, failed(FailureKind.CLIENT_REJECTED), DOUBT)
    refused = refusing(world)
    for _ in range(3):
        world.fails(renew(EFFECTS, make_request(**refused)))
        world.now += failure_of(world).delay
    assert (failure_of(world).doubts, failure_of(world).delay) == (2, 60.0)


def test_a_proven_end_after_a_doubtful_one_is_dead_for_good() -> None:
    world = needy(None, DOUBT, failed(FailureKind.DEAD, "invalid_grant"))
    refused = refusing(world)
    doubted(world, **refused)
    world.now += 30.0
    error = world.fails(renew(EFFECTS, make_request(**refused)))
    assert isinstance(error, errors.LoginRequired)
    assert error.proven
    assert (world.present.state, failure_of(world).doubts) == (State.DEAD, 0)


def test_a_login_heals_it_at_once() -> None:
    world = needy(None, DOUBT)
    doubted(world, **refusing(world))
    world.logs_in(seed("other"))
    assert world.run(renew(EFFECTS, make_request())).token.reveal() == "access-other"


def test_a_new_first_token_is_a_login() -> None:
    world = needy(None, DOUBT)
    doubted(world, **refusing(world))
    assert world.run(renew(EFFECTS, make_request(seed=seed("other")))).token.reveal() == "access-other"
    assert Kind.SEED_IGNORED not in world.kinds()


def test_where_a_token_can_be_obtained_it_is_obtained_at_once() -> None:
    world = needy(None, DOUBT, NEXT)
    assert world.run(renew(EFFECTS, make_request(can_obtain=True, **refusing(world)))).token.generation == 2
    assert world.present.failure is None


def test_an_obtain_that_is_refused_as_well_rests_like_the_refresh() -> None:
    world = needy(None, DOUBT, DOUBT, DOUBT)
    refused = refusing(world)
    doubted(world, can_obtain=True, **refused)
    assert (len(world.sent), failure_of(world).delay) == (2, 60.0)
    doubted(world, can_obtain=True, **refused)
    assert len(world.sent) == 2


# --- Another client ---


@pytest.mark.parametrize("kind", [FailureKind.DOUBTFUL, FailureKind.CLIENT_REJECTED, FailureKind.REQUEST_REJECTED])
def test_another_client_asks_at_once_and_once(kind: FailureKind) -> None:
    world = needy(None, *[failed(kind)] * 3)
    refused = refusing(world)
    for name, sends in (("old", 1), ("old", 1), ("new", 2), ("old", 2), ("new", 2), ("newest", 3), ("new", 3)):
        world.fails(renew(EFFECTS, make_request(**client(name), **refused)))
        assert len(world.sent) == sends


def test_the_corrected_client_heals_what_the_wrong_one_was_refused() -> None:
    world = needy(None, DOUBT, NEXT)
    refused = refusing(world)
    doubted(world, **client("wrong"), **refused)
    assert world.run(renew(EFFECTS, make_request(**client("right"), **refused))).token.generation == 2


def test_a_client_that_was_not_refused_itself_is_not_noted() -> None:
    world = needy(None, failed(FailureKind.REFRESHER), failed(FailureKind.CLIENT_REJECTED), NEXT)
    refused = refusing(world)
    world.fails(renew(EFFECTS, make_request(**client("right"), **refused)))
    world.now += failure_of(world).delay
    world.fails(renew(EFFECTS, make_request(**client("wrong"), **refused)))
    assert world.run(renew(EFFECTS, make_request(**client("right"), **refused))).token.generation == 2


def test_only_a_few_clients_ask_at_once() -> None:
    world = needy(None, *[DOUBT] * PRINTS)
    refused = refusing(world)
    for number in range(PRINTS + 5):
        doubted(world, **client(f"each time another one {number}"), **refused)
    assert len(world.sent) == PRINTS


def test_a_print_is_short_and_differs_from_one_session_to_the_next() -> None:
    assert len(print_of("family", "client")) == 8
    assert print_of("family", "client") != print_of("other", "client")
    assert print_of("family", "") == ""


def test_an_outage_is_not_asked_at_once_by_another_client() -> None:
    world = needy(None, failed(FailureKind.UNAVAILABLE, retry_after=60.0))
    refused = refusing(world)
    world.fails(renew(EFFECTS, make_request(**client("old"), **refused)))
    world.fails(renew(EFFECTS, make_request(**client("new"), **refused)))
    assert len(world.sent) == 1


# --- Where the refresh token may be spent already ---


def is_not_asked_again(world: World, sends: int) -> None:
    refused = refusing(world)
    for _ in range(3):
        world.now += 10**7
        assert "may have spent the refresh token" in doubted(world, **client("another"), **refused).message
    assert len(world.sent) == sends


def test_after_a_lost_answer_it_is_not_asked_again() -> None:
    world = needy(None, failed(FailureKind.NO_ANSWER), DOUBT)
    doubted(world, profile="grace:60", **refusing(world))
    is_not_asked_again(world, 2)


def test_after_errors_of_the_server_it_is_asked_again() -> None:
    world = needy(None, *[failed(FailureKind.SERVER_ERROR)] * 4, DOUBT, NEXT)
    refused = refusing(world)
    doubted(world, **refused)
    assert (len(world.sent), failure_of(world).delay) == (5, 30.0)
    world.now += 30.0
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2


def test_an_outage_in_between_does_not_hide_a_lost_answer() -> None:
    world = needy(None, failed(FailureKind.NO_ANSWER), *[failed(FailureKind.UNAVAILABLE)] * 2, DOUBT)
    doubted(world, profile="grace:60", **refusing(world))
    is_not_asked_again(world, 4)


def test_where_refresh_tokens_are_not_rotated_none_is_spent_and_it_is_asked_again() -> None:
    world = needy(None, failed(FailureKind.NO_ANSWER), DOUBT, NEXT)
    refused = refusing(world)
    doubted(world, profile="static", **refused)
    assert (len(world.sent), failure_of(world).delay) == (2, 30.0)
    world.now += 30.0
    assert world.run(renew(EFFECTS, make_request(profile="static", **refused))).token.generation == 2


def test_after_an_earlier_failure_that_may_have_spent_it_is_not_asked_again() -> None:
    world = needy(None, failed(FailureKind.PROTOCOL), DOUBT)
    world.fails(renew(EFFECTS, make_request(**refusing(world))))
    world.now += 60.0
    doubted(world, **refusing(world))
    is_not_asked_again(world, 2)


def test_after_a_takeover_it_is_not_asked_again() -> None:
    world = needy(None, DOUBT)
    world.lease(make_lease(ttl=30.0, clock_epoch=world.clock_epoch, at=0.0))
    world.now = 31.0
    doubted(world, **refusing(world))
    is_not_asked_again(world, 1)


def test_a_late_commit_of_the_other_one_is_waited_for_first() -> None:
    world = needy(None, DOUBT)
    other = world.lease(make_lease(ttl=30.0, clock_epoch=world.clock_epoch, at=0.0))
    world.now = 31.0
    mine = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Send)
    mine.step()
    world.commit_by(other, Token("access-late", "refresh-late"))
    assert mine.finish().token.reveal() == "access-late"


@pytest.mark.parametrize("kind", [FailureKind.DOUBTFUL, FailureKind.DEAD])
@pytest.mark.parametrize("lost", ["the record", "the claim", "and brought back by others"])
def test_a_loss_is_no_late_commit_and_what_was_refused_is_not_sent_again(lost: str, kind: FailureKind) -> None:
    world = needy(None, failed(kind, "it said no"), NEXT)
    before, known = world.present, world.token
    world.lease(make_lease(ttl=30.0, clock_epoch=world.clock_epoch, at=0.0))
    world.now = 31.0
    knows = knowing(newest=known, recovery=5.0)
    mine = Process(world, renew(knows, make_request(sightings=Sightings(), **refusing(world)))).until(Send)
    mine.step()
    world.put(before if lost == "the claim" else None)
    if lost == "and brought back by others":
        world.run(bring_back(knows, make_request()))
    with pytest.raises(errors.LoginRequired) as told:
        mine.finish()
    assert told.value.proven is (kind is FailureKind.DEAD)
    assert len(world.sent) == 1


def test_a_process_that_was_paused_for_long_forgets_nothing() -> None:
    world = needy(None, DOUBT)
    mine = Process(world, renew(EFFECTS, make_request(**refusing(world))), faults={(Send, 1): passes(400.0)})
    with pytest.raises(errors.LoginRequired):
        mine.finish()
    assert world.present.state is State.IDLE


# --- In the store ---


def test_the_record_is_written_so_that_an_older_version_asks_again() -> None:
    world = needy(None, DOUBT)
    doubted(world, **client("mine"), **refusing(world))
    text = encode(world.present)
    assert '"state":"idle"' in text
    assert '"meaning":"dead"' in text
    again = decode(text, "acme")
    assert again == world.present
    assert again.failure is not None
    assert again.failure.prints == (print_of(again.family, "mine"),)


def test_a_takeover_that_is_refused_in_doubtful_words_keeps_what_it_may_not_do() -> None:
    world = needy(None, DOUBT)
    world.lease(make_lease(grant=Grant.REFRESH, ttl=30.0, clock_epoch=world.clock_epoch, at=0.0))
    world.now = 31.0
    doubted(world, **refusing(world))
    assert failure_of(world).is_for_good
    assert failure_of(world).verdict(world.wall).kind is FailureKind.DOUBTFUL
