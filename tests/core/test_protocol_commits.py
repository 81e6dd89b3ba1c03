"""The renewal when its answer is there: late, lost and disputed commits, also over other people's leases."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.driver import (
    NEXT,
    Process,
    World,
    does,
    failed,
    lost_and_not_applied,
    lost_but_applied,
    make_request,
    needy,
    refusing,
    seed,
)
from tests.effects import EFFECTS, Cas, Effect, ReadSpool, Send, Watch, knowing

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.record import Grant, State
from onerefresh.renewal import commands
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.bring_back import bring_back
from onerefresh.renewal.renew import renew
from onerefresh.renewal.revocation import LoggedOut
from onerefresh.renewal.world import Spooled
from onerefresh.token import Token
from onerefresh.verdict import FailureKind


def taken_over(world: World, holder: Process[Outcome]) -> Process[Outcome]:
    """`holder` is thought lost: another process has taken its attempt over and is about to send."""
    world.held_by = None if world.held_by is holder else world.held_by
    return Process(world, renew(EFFECTS, make_request(refused=world.present.identity))).until(Send)


def paused_holder(world: World) -> Process[Outcome]:
    """A process that has the new token, and stops right before it commits it."""
    return Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Cas, 2)


def test_a_late_holder_commits_over_the_lease_of_another() -> None:
    world = needy(None, NEXT, failed(FailureKind.DEAD, "invalid_grant"))
    late = paused_holder(world)
    other = taken_over(world, late)
    assert late.finish().token.generation == 2
    assert other.finish().token.reveal() == "access-next"
    assert world.present.state is State.IDLE
    assert Kind.DEAD not in world.kinds()


def test_invalid_grant_waits_for_the_commit_of_an_attempt_that_may_still_come() -> None:
    world = needy(None, NEXT, failed(FailureKind.DEAD, "invalid_grant"))
    late = paused_holder(world)
    other = taken_over(world, late).until(Watch, 2)
    assert world.present.state is State.LEASED
    late.finish()
    assert other.finish().token.generation == 2


def test_invalid_grant_without_a_dispute_is_proven_at_once() -> None:
    world = needy(None, failed(FailureKind.DEAD))
    process = Process(world, renew(EFFECTS, make_request(**refusing(world))))
    with pytest.raises(errors.LoginRequired):
        process.finish()
    assert Watch not in process.seen


def test_invalid_grant_after_a_proven_death_is_proven_at_once() -> None:
    world = needy(None, failed(FailureKind.DEAD))
    refused = refusing(world)
    Process(world, renew(EFFECTS, make_request(**refused)), death_proof="flock 1").until(Send).crash()
    before = world.now
    world.fails(renew(EFFECTS, make_request(**refused)), death_proof="flock 1")
    assert world.present.state is State.DEAD
    assert world.now - before < 5.0


def test_a_late_commit_revives_a_session_that_was_thought_dead() -> None:
    world = needy(None, NEXT, failed(FailureKind.DEAD, "invalid_grant"))
    late = paused_holder(world)
    with pytest.raises(errors.LoginRequired, match="its process had disappeared"):
        taken_over(world, late).finish()
    assert world.present.state is State.DEAD
    assert late.finish().token.generation == 2
    assert world.run(renew(EFFECTS, make_request())).token.reveal() == "access-next"
    assert world.record is not None
    assert world.record.state is State.IDLE


def test_a_revived_session_that_dies_after_all_has_a_reason() -> None:
    world = needy(None, NEXT, failed(FailureKind.DEAD, "invalid_grant"), failed(FailureKind.DEAD, "invalid_grant"))
    late = paused_holder(world)
    with pytest.raises(errors.LoginRequired):
        taken_over(world, late).finish()
    late.finish()
    world.now += 60.0
    error = world.fails(renew(EFFECTS, make_request(**refusing(world))))
    assert "a late answer had restored it" in str(error)


def test_a_late_commit_comes_after_the_release_of_another() -> None:
    world = needy(None, NEXT, failed(FailureKind.REQUEST_REJECTED))
    late = paused_holder(world)
    with pytest.raises(errors.RequestRejected):
        taken_over(world, late).finish()
    assert world.present.state is State.IDLE
    assert late.finish().token.generation == world.present.generation == 2
    assert world.present.failure is None


def test_a_dispute_outlives_the_release_of_the_lease_that_began_it() -> None:
    """Whoever claims after a released takeover may still be overtaken by the first holder's commit."""
    world = needy(None, NEXT, failed(FailureKind.REQUEST_REJECTED), failed(FailureKind.DEAD))
    late = paused_holder(world)
    with pytest.raises(errors.RequestRejected):
        taken_over(world, late).finish()
    world.now += 60.0
    third = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Watch)
    assert world.present.state is State.LEASED
    late.finish()
    assert third.finish().token.generation == 2


def test_a_token_that_comes_after_a_logout_is_not_saved() -> None:
    world = needy(None, NEXT)
    late = paused_holder(world)
    world.put(records.logged_out(world.record, now=world.wall))
    with pytest.raises(errors.LoginRequired, match="logged out"):
        late.finish()
    assert (world.present.state, world.present.token) == (State.EMPTY, None)
    assert Kind.ORPHANED in world.kinds()


def test_a_token_that_comes_after_a_login_is_not_saved() -> None:
    world = needy(None, NEXT)
    late = paused_holder(world)
    world.logs_in(seed("another person"))
    assert late.finish().token.reveal() == "access-another person"
    assert world.token.reveal() == "access-another person"
    assert Kind.ORPHANED in world.kinds()


def test_it_is_saved_where_the_login_was_with_the_token_that_was_sent_for_it() -> None:
    """That token's refresh token is used up: the late answer has the only one that lives."""
    world = needy(None, NEXT)
    late = paused_holder(world)
    world.logs_in(seed("seed"))
    assert late.finish().token.reveal() == "access-next"
    assert world.token.refresh_token == NEXT.refresh_token
    assert Kind.ORPHANED not in world.kinds()


def test_a_commit_whose_answer_was_lost_but_that_was_applied_counts_once() -> None:
    world = needy(None, NEXT)
    outcome = world.run(renew(EFFECTS, make_request(**refusing(world))), faults={(Cas, 2): lost_but_applied})
    assert outcome.token.generation == world.present.generation == 2
    assert len(world.sent) == 1
    assert Kind.ORPHANED not in world.kinds()


def test_a_commit_that_was_lost_is_made_again() -> None:
    world = needy(None, NEXT)
    faults = {(Cas, 2): lost_and_not_applied, (Cas, 3): lost_and_not_applied}
    assert world.run(renew(EFFECTS, make_request(**refusing(world))), faults=faults).token.generation == 2
    assert len(world.sent) == 1


def test_a_lost_commit_that_others_have_built_upon_is_left_alone() -> None:
    world = needy(None, NEXT)

    def go_on(world: World) -> None:
        world.commit_by(world.lease(), Token("access-third", "refresh-third"))

    def lost_then_built_upon(world: World, effect: Any) -> None:
        try:
            lost_but_applied(world, effect)
        finally:
            go_on(world)

    faults = {(Cas, 2): lost_then_built_upon}
    assert world.run(renew(EFFECTS, make_request(**refusing(world))), faults=faults).token.generation == 3
    assert world.token.reveal() == "access-third"


def test_a_commit_of_an_obtained_token_begins_a_new_family() -> None:
    world = needy(None, failed(FailureKind.DEAD), NEXT)
    token = world.run(renew(EFFECTS, make_request(can_obtain=True, **refusing(world)))).token
    assert token.family == NEXT.seed_fingerprint() == world.present.family
    assert token.generation == 2


def test_an_obtained_token_is_saved_where_another_process_has_begun_anew_since_the_store_lost_the_record() -> None:
    """It is the only one that works. The session with which the other process has begun is spent."""
    world = needy(None, failed(FailureKind.DEAD), Token("access-obtained", "refresh-obtained"))
    world.commit_by(world.lease(), Token("access-over", "refresh-over", expires_at=world.wall))
    obtaining = renew(EFFECTS, make_request(can_obtain=True))
    holder = Process(world, obtaining).until(Send, 2)
    holder.until(Cas)
    world.put(None)
    world.run(renew(EFFECTS, make_request(seed=seed())), host="another")
    assert world.present.generation == 1
    assert holder.finish().token.reveal() == "access-obtained"
    assert world.present.generation == 3


# --- A logout that is faster ---


@pytest.mark.parametrize(
    ("revocation", "told"), [("", [Kind.ORPHANED, Kind.REVOKED]), ("no", [Kind.ORPHANED, Kind.NOT_REVOKED])]
)
def test_a_new_token_that_a_logout_overtook_is_revoked_and_never_saved(revocation: str, told: list[Kind]) -> None:
    world = needy(None, NEXT)
    world.revocation = revocation
    faults = {(Cas, 2): does(lambda world: world.put(records.logged_out(world.record, now=world.wall)))}
    error = world.fails(renew(EFFECTS, make_request(**refusing(world))), faults=faults)
    assert isinstance(error, errors.LoginRequired)
    assert ([token.reveal() for token in world.revoked], world.present.token) == (["access-next"], None)
    assert world.kinds()[-2:] == told


def test_a_new_token_that_a_login_overtook_is_not_revoked() -> None:
    world = needy(None, NEXT)
    faults = {(Cas, 2): does(lambda world: world.logs_in(seed("another")))}
    assert world.run(renew(EFFECTS, make_request(**refusing(world))), faults=faults).token.reveal() == "access-another"
    assert world.revoked == []


def test_a_logout_revokes_what_was_stored_and_what_was_spooled() -> None:
    world = needy()
    world.spools["host"] = Spooled(world.present.family, 1, "old", Grant.REFRESH, refused=False, token=NEXT)
    assert world.run(commands.log_out(EFFECTS, make_request())) == LoggedOut("revoked")
    assert [token.reveal() for token in world.revoked] == ["access-seed", "access-next"]
    assert world.kinds() == [Kind.LOGGED_OUT, Kind.REVOKED, Kind.REVOKED]


@pytest.mark.parametrize(
    ("revocation", "told"),
    [
        ("", LoggedOut("revoked")),
        (None, LoggedOut("no_endpoint")),
        ("it answered 503", LoggedOut("not_confirmed", "it answered 503")),
    ],
)
def test_a_logout_says_what_became_of_the_token_at_the_server(revocation: str | None, told: LoggedOut) -> None:
    world = needy()
    world.revocation = revocation
    assert world.run(commands.log_out(EFFECTS, make_request())) == told
    assert world.run(commands.log_out(EFFECTS, make_request())) == LoggedOut("no_token")


def test_a_logout_does_not_ask_the_server_of_another_client() -> None:
    world = needy(owner="https://other/token")
    told = world.run(commands.log_out(EFFECTS, make_request(owner="https://mine/token")))
    assert (told.revocation, "belongs to another https://other/token" in told.detail) == ("not_confirmed", True)
    assert not world.revoked


def test_a_spooled_token_that_a_logout_elsewhere_overtook_is_revoked() -> None:
    world = needy()
    world.spools["host"] = Spooled(world.present.family, 1, "old", Grant.REFRESH, refused=False, token=NEXT)
    world.put(records.logged_out(world.record, now=world.wall))
    world.fails(renew(EFFECTS, make_request()))
    assert ([token.reveal() for token in world.revoked], world.spools) == (["access-next"], {})


def test_a_look_leaves_the_token_that_a_logout_overtook_to_a_renewal_which_can_revoke_it() -> None:
    """The look dropped it: the server kept a session that everybody here had left."""
    world = needy()
    known = world.token
    world.spools["host"] = Spooled(world.present.family, 1, "old", Grant.REFRESH, refused=False, token=NEXT)
    world.put(records.logged_out(world.record, now=world.wall))
    assert not world.run(bring_back(knowing(newest=known), make_request(can_revoke=False)))
    assert (world.revoked, list(world.spools)) == ([], ["host"])
    world.fails(renew(EFFECTS, make_request()))
    assert ([token.reveal() for token in world.revoked], world.spools) == (["access-next"], {})


def test_a_logout_leaves_the_spooled_token_of_a_login_that_came_since() -> None:
    world = needy()
    world.spools["host"] = Spooled("a later family", 7, "later", Grant.REFRESH, refused=False, token=NEXT)
    world.run(commands.log_out(EFFECTS, make_request()))
    assert [token.reveal() for token in world.revoked] == ["access-seed"]
    assert list(world.spools) == ["host"]


def test_a_logout_revokes_although_an_entry_of_the_spool_cannot_be_read() -> None:
    """It raised after the record was emptied: the server kept the session, and nobody heard of the logout."""

    def unreadable(world: World, effect: Effect[Any]) -> None:
        raise errors.StoreUnavailable("the file a1.json cannot be read")

    world = needy()
    revoked = world.token
    world.run(commands.log_out(EFFECTS, make_request()), faults={(ReadSpool, 1): unreadable})
    assert world.present.is_logged_out
    assert world.revoked == [revoked]
    said = next(event for event in world.events if event.kind is Kind.LOGGED_OUT)
    assert "a1.json" in said.detail


@pytest.mark.parametrize("lost", ["the claim alone, and an old copy came back", "the whole record"])
def test_what_is_committed_over_a_loss_serves_and_is_not_sent_before_others_had_their_time(lost: str) -> None:
    """A machine that sleeps through a loss commits to what it finds: others may have gone on from there."""
    world = needy(None, NEXT)
    known = world.token
    late = Process(world, renew(knowing(recovery=20.0), make_request(**refusing(world)))).until(Cas, 2)
    world.put(None)
    if lost != "the whole record":
        assert world.run(bring_back(knowing(newest=known, recovery=20.0), make_request()))
    assert late.finish().token.reveal() == "access-next"
    assert world.token.reveal() == "access-next"
    assert world.present.state is State.LEASED
    assert world.present.lease is not None
    assert world.present.lease.is_recovery
