"""The renewal without trouble: when it renews, what it saves, how a record begins, and how refusals are damped."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.core.driver import (
    NEXT,
    START,
    Process,
    World,
    does,
    failed,
    make_request,
    needy,
    refusing,
    seed,
)
from tests.effects import EFFECTS, Cas, Send, Watch, knowing

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.profile import Profile
from onerefresh.record import Record, State
from onerefresh.renewal.renew import renew
from onerefresh.token import Token
from onerefresh.verdict import FailureKind

# --- Without faults ---


def test_a_refused_token_is_renewed_once_and_committed_as_the_next_generation() -> None:
    world = needy(None, NEXT)
    outcome = world.run(renew(EFFECTS, make_request(**refusing(world))))
    assert outcome.token.reveal() == "access-next"
    assert outcome.token.identity == (seed().seed_fingerprint(), 2)
    assert outcome.token == world.present.token
    assert world.present.state is State.IDLE
    assert world.kinds() == [Kind.CLAIMED, Kind.SENT, Kind.REFRESHED]
    assert [token.reveal() for token in world.sent if token] == ["access-seed"]


def test_the_claim_is_in_the_store_before_anything_is_sent() -> None:
    world = needy(None, NEXT)
    seen: list[Record] = []
    world.run(
        renew(EFFECTS, make_request(**refusing(world))),
        faults={(Send, 1): does(lambda world: seen.append(world.present))},
    )
    assert [(record.state, record.generation) for record in seen] == [(State.LEASED, 1)]


def test_the_answer_is_in_the_store_before_anybody_gets_it() -> None:
    world = needy(None, NEXT)
    process = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Cas, 2)
    assert world.present.generation == 1
    assert process.finish().token.generation == world.present.generation == 2


@pytest.mark.parametrize(
    ("lives", "now", "sends"),
    [
        pytest.param(3600.0, 0.0, 0, id="fresh"),
        pytest.param(3600.0, 3400.0, 0, id="ageing still serves those who wait"),
        pytest.param(3600.0, 3599.0, 1, id="about to end"),
        pytest.param(3600.0, 9999.0, 1, id="expired long ago"),
        pytest.param(2.0, 1.5, 0, id="a token of two seconds is used for most of its life"),
        pytest.param(2.0, 1.97, 1, id="a token of two seconds ends"),
        pytest.param(None, 10**9, 0, id="an unknown expiry serves until it is refused"),
    ],
)
def test_only_a_token_that_no_longer_serves_is_renewed(lives: float | None, now: float, sends: int) -> None:
    world = needy(seed(lives=lives), NEXT)
    world.now = now
    assert world.run(renew(EFFECTS, make_request())).token.generation == 1 + sends
    assert len(world.sent) == sends


def test_a_background_renewal_begins_when_the_token_ages() -> None:
    world = needy(seed(lives=3600.0), NEXT)
    world.now = 3400.0
    assert world.run(renew(EFFECTS, make_request(background=True))).token.generation == 2


def test_an_answer_without_a_refresh_token_keeps_the_old_one_and_the_scope() -> None:
    world = needy(replace(seed(), scope="read", extra={"account": "7"}), Token("access-next", extra={"tenant": "t"}))
    token = world.run(renew(EFFECTS, make_request(**refusing(world)))).token
    assert token.reveal_refresh_token() == "refresh-seed"
    assert token.scope == "read"
    assert dict(token.extra) == dict(world.token.extra) == {"account": "7", "tenant": "t"}


def test_the_same_access_token_text_is_a_new_generation_all_the_same() -> None:
    world = needy(None, Token("access-seed", "refresh-next"))
    refused = refusing(world)
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2
    assert len(world.sent) == 1


def test_a_newer_generation_in_the_store_is_adopted_and_nothing_is_sent() -> None:
    world = needy()
    refused = refusing(world)
    world.commit_by(world.lease(), NEXT)
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2
    assert world.sent == []


# --- Beginnings ---


def test_without_any_token_a_person_must_log_in() -> None:
    world = World()
    error = world.fails(renew(EFFECTS, make_request()))
    assert isinstance(error, errors.LoginRequired)
    assert error.credential == "acme"
    assert world.sent == []


def test_a_seed_founds_the_record_without_a_request() -> None:
    world = World()
    assert world.run(renew(EFFECTS, make_request(seed=seed()))).token.identity == (seed().seed_fingerprint(), 1)
    assert (world.sent, world.present.state) == ([], State.IDLE)


def test_a_seed_that_is_founded_twice_at_once_is_one_family() -> None:
    world = World()
    found = {(Cas, 1): does(lambda world: world.starts())}
    outcome = world.run(renew(EFFECTS, make_request(seed=seed())), faults=found)
    assert outcome.token == world.token
    assert world.present.generation == 1


def test_a_token_is_obtained_where_there_is_none() -> None:
    world = World([Token("access-obtained", "refresh-obtained")])
    outcome = world.run(renew(EFFECTS, make_request(can_obtain=True)))
    assert outcome.token.family == Token("access-obtained", "refresh-obtained").seed_fingerprint()
    assert (outcome.token.generation, world.sent) == (1, [None])


def test_a_token_without_refresh_token_is_obtained_anew_where_that_is_possible() -> None:
    world = needy(Token("access-seed"), NEXT)
    assert (
        world.run(renew(EFFECTS, make_request(can_obtain=True, **refusing(world)))).token.family
        == NEXT.seed_fingerprint()
    )


def test_a_dead_session_is_obtained_anew_where_that_is_possible() -> None:
    world = needy(None, failed(FailureKind.DEAD), NEXT)
    outcome = world.run(renew(EFFECTS, make_request(can_obtain=True, **refusing(world))))
    assert outcome.token.reveal() == "access-next"
    assert (world.present.state, len(world.sent)) == (State.IDLE, 2)


def test_what_was_logged_out_is_not_obtained_anew() -> None:
    world = needy()
    world.put(records.logged_out(world.record, now=START))
    assert isinstance(world.fails(renew(EFFECTS, make_request(can_obtain=True))), errors.LoginRequired)
    assert world.sent == []


# --- Damping ---


def test_the_refusal_of_a_token_that_was_just_refreshed_sends_nothing() -> None:
    world = needy(None, NEXT, NEXT)
    world.run(renew(EFFECTS, make_request(**refusing(world))))
    for _ in range(9):
        world.now += 1.0
        outcome = world.run(renew(EFFECTS, make_request(**refusing(world))))
        assert (outcome.damped, outcome.token.generation) == (True, 2)
    assert len(world.sent) == 1
    world.now += 2.0
    assert world.run(renew(EFFECTS, make_request(**refusing(world)))).token.generation == 3


def test_a_token_that_has_proven_itself_is_refreshed_when_it_is_refused() -> None:
    world = needy(None, NEXT, NEXT)
    world.run(renew(EFFECTS, make_request(**refusing(world))))
    outcome = world.run(renew(knowing(proven=world.present.identity), make_request(**refusing(world))))
    assert outcome.token.generation == 3


def test_a_damped_token_that_expires_is_refreshed() -> None:
    world = needy(None, Token("short", "refresh-2", expires_at=START + 5.0, issued_at=START), NEXT)
    world.run(renew(EFFECTS, make_request(**refusing(world))))
    world.now = 5.0
    assert world.run(renew(EFFECTS, make_request(**refusing(world)))).token.generation == 3


def test_with_a_grace_window_the_time_to_live_ends_before_it() -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    profile = Profile("thirty", grace=30.0)
    Process(world, renew(EFFECTS, make_request(profile, **refused))).until(Send).crash()
    found = world.present.lease
    assert found is not None
    assert found.ttl + 2.0 + 10.0 <= 30.0
    world.run(renew(EFFECTS, make_request(profile, **refused)))
    assert world.now + 10.0 < 30.0


# --- save= ---


def test_the_host_saves_before_anybody_gets_the_token() -> None:
    world = needy(None, NEXT)
    outcome = world.run(renew(EFFECTS, make_request(host_saves=True, **refusing(world))))
    assert world.kept == [outcome.token]
    assert not world.present.unsaved


def test_a_save_is_tried_again_and_the_refresh_is_not() -> None:
    world = needy(None, NEXT)
    world.save_failures = 2
    assert world.run(renew(EFFECTS, make_request(host_saves=True, **refusing(world)))).token.generation == 2
    assert (len(world.kept), len(world.sent)) == (1, 1)


def test_a_save_that_goes_on_failing_is_told_and_made_up_for_by_the_next_call() -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    world.save_failures = 3
    assert isinstance(world.fails(renew(EFFECTS, make_request(host_saves=True, **refused))), errors.SaveFailed)
    assert world.present.unsaved
    assert world.run(renew(EFFECTS, make_request(host_saves=True, **refused))).token.generation == 2
    assert (len(world.kept), len(world.sent)) == (1, 1)
    world.run(renew(EFFECTS, make_request(host_saves=True)))
    assert len(world.kept) == 1


# --- Ahead of time ---


def test_a_token_that_still_serves_is_renewed_for_who_looks_ahead() -> None:
    world = needy(seed(lives=3600.0, at=START - 3100.0), NEXT)
    outcome = world.run(renew(EFFECTS, make_request(background=True, within=600.0)))
    assert (outcome.token.reveal(), outcome.renewed) == ("access-next", True)


@pytest.mark.parametrize("within", [400.0, None])
def test_a_token_that_ends_behind_the_horizon_is_left_alone(within: float | None) -> None:
    world = needy(seed(lives=3600.0, at=START - 3100.0))
    outcome = world.run(renew(EFFECTS, make_request(background=True, within=within)))
    assert (outcome.token.reveal(), outcome.renewed, world.sent) == ("access-seed", False, [])


def test_a_token_that_ages_is_left_alone_where_the_horizon_is_nearer() -> None:
    world = needy(seed(lives=3600.0, at=START - 3400.0))
    outcome = world.run(renew(EFFECTS, make_request(background=True, within=100.0)))
    assert (outcome.token.reveal(), world.sent) == ("access-seed", [])


def test_what_somebody_else_renewed_meanwhile_is_adopted_by_who_looks_ahead() -> None:
    world = needy(seed(lives=3600.0, at=START - 3100.0))
    other = world.lease()

    def commits(world: World) -> None:
        world.commit_by(other, Token("access-other", "refresh-other", expires_in=3600.0, issued_at=world.wall))

    outcome = world.run(renew(EFFECTS, make_request(background=True, within=600.0)), faults={(Watch, 1): does(commits)})
    assert (outcome.token.reveal(), outcome.renewed, world.sent) == ("access-other", False, [])
