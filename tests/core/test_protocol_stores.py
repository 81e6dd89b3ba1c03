"""The renewal and a store that is down, that went back, or that holds somebody else's token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.core.driver import (
    NEXT,
    START,
    Process,
    World,
    does,
    failed,
    lost_and_not_applied,
    lost_but_applied,
    make_lease,
    make_request,
    needy,
    passes,
    refusing,
    seed,
    store_comes_back,
    store_goes_down,
    the_process_ends,
)
from tests.effects import (
    EFFECTS,
    Cas,
    Deliver,
    DropSpool,
    Effects,
    Knowing,
    Load,
    ReadSpool,
    Send,
    Sleep,
    Watch,
    knowing,
)

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.profile import Profile
from onerefresh.record import RECOVERY, Grant, Record, State
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.bring_back import bring_back, has_lost, lacks
from onerefresh.renewal.clocks import Instant, Sent
from onerefresh.renewal.commands import log_in
from onerefresh.renewal.recovery import settle
from onerefresh.renewal.renew import renew
from onerefresh.renewal.world import Spooled
from onerefresh.store import StoreTime
from onerefresh.token import Token
from onerefresh.verdict import FailureKind, Verdict

# --- The store goes down after the request was sent ---


def test_a_token_is_spooled_handed_out_and_committed_when_the_store_is_back() -> None:
    world = needy(None, NEXT)
    process = Process(
        world,
        renew(EFFECTS, make_request(**refusing(world))),
        faults={(Cas, 2): store_goes_down, (Cas, 5): store_comes_back},
    )
    process.until(Deliver)
    assert world.spools["host"].token.reveal() == "access-next"
    assert process.finish().token.generation == 2
    assert [outcome.token for outcome in process.published if isinstance(outcome, Outcome)] == [world.token]
    assert world.spools == {}
    assert world.kinds() == [Kind.CLAIMED, Kind.SENT, Kind.SPOOLED, Kind.REFRESHED]


def test_a_spooled_token_is_brought_back_by_the_next_renewal_on_this_host() -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    with pytest.raises(errors.StoreUnavailable):
        Process(world, renew(EFFECTS, make_request(**refused)), faults={(Cas, 2): store_goes_down}).finish()
    assert list(world.spools) == ["host"]
    world.down = False
    assert world.run(renew(EFFECTS, make_request(**refused))).token.reveal() == "access-next"
    assert (len(world.sent), world.spools, world.present.generation) == (1, {}, 2)
    assert world.kinds()[-1] is Kind.RESTORED


def test_a_spooled_token_that_was_refused_is_damped_like_any_other() -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    Process(world, renew(EFFECTS, make_request(**refused)), faults={(Cas, 2): store_goes_down}).until(Sleep, 2).crash()
    world.down = False
    world.run(renew(EFFECTS, make_request(**refused)))
    probation = world.present.probation
    assert probation is not None
    assert probation.by_refusal


def test_where_the_spool_cannot_be_written_either_the_callers_are_told_and_it_goes_on_trying() -> None:
    world = needy(None, NEXT)
    world.spool_is_writable = False
    process = Process(
        world,
        renew(EFFECTS, make_request(**refusing(world))),
        faults={(Cas, 2): store_goes_down, (Cas, 20): store_comes_back},
    )
    assert process.finish().token.generation == world.present.generation == 2
    assert all(isinstance(told, errors.StoreUnavailable) for told in process.published)
    assert process.published
    assert Kind.UNSAVED in world.kinds()
    assert len(world.sent) == 1


def test_an_interpreter_that_ends_with_an_unsaved_token_says_that_it_is_lost() -> None:
    world = needy(None, NEXT)
    world.spool_is_writable = False
    faults = {(Cas, 2): store_goes_down, (Sleep, 1): the_process_ends}
    assert isinstance(
        world.fails(renew(EFFECTS, make_request(**refusing(world))), faults=faults), errors.CredentialClosed
    )
    assert "lost" in world.events[-1].detail


def test_an_interpreter_that_ends_leaves_the_token_in_the_spool() -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    faults = {(Cas, 2): store_goes_down, (Sleep, 1): the_process_ends}
    assert isinstance(world.fails(renew(EFFECTS, make_request(**refused)), faults=faults), errors.CredentialClosed)
    world.down = False
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2


@pytest.mark.parametrize(
    ("family", "generation"),
    [pytest.param("another family", 1, id="family"), pytest.param("", 0, id="generation before")],
)
def test_a_spooled_token_of_another_session_is_deleted(family: str, generation: int) -> None:
    world = needy()
    world.spools["host"] = Spooled(
        family or world.present.family, generation, "old", Grant.REFRESH, refused=False, token=NEXT
    )
    assert world.run(renew(EFFECTS, make_request())).token.reveal() == "access-seed"
    assert (world.spools, world.present.generation) == ({}, 1)


def test_a_spooled_token_of_a_later_generation_repairs_a_store_that_went_back() -> None:
    world = needy()
    world.spools["host"] = Spooled(world.present.family, 2, "old", Grant.REFRESH, refused=False, token=NEXT)
    assert world.run(renew(EFFECTS, make_request())).token.reveal() == "access-next"
    assert (world.spools, world.present.generation, world.sent) == ({}, 3, [])


def test_a_spooled_token_is_not_deleted_on_the_word_of_an_older_record() -> None:
    world = needy()
    stale = Process(world, renew(EFFECTS, make_request())).until(ReadSpool)
    family = world.present.family
    world.put(replace(world.present, generation=2, token=Token("access-2", "refresh-2").numbered(family, 2)))
    world.spools["host"] = Spooled(family, 2, "new", Grant.REFRESH, refused=False, token=NEXT)
    assert stale.finish().token.reveal() == "access-next"
    assert (world.spools, world.present.generation) == ({}, 3)


def test_a_spooled_token_does_not_undo_a_logout() -> None:
    world = needy()
    world.spools["host"] = Spooled(world.present.family, 1, "old", Grant.REFRESH, refused=False, token=NEXT)
    world.put(records.logged_out(world.record, now=world.wall))
    assert isinstance(world.fails(renew(EFFECTS, make_request())), errors.LoginRequired)
    assert (world.spools, world.present.state) == ({}, State.EMPTY)


@pytest.mark.parametrize("grant", list(Grant))
@pytest.mark.parametrize("refresh_token", ["refresh-next", None])
def test_a_spooled_token_that_the_store_has_lost_is_not_sent_before_others_had_time_to_restore_a_newer_one(
    grant: Grant, refresh_token: str | None
) -> None:
    """The entry may be old: its write was applied, its process died, and others have refreshed the token since."""
    world = needy()
    token, families = Token("access-next", refresh_token, expires_in=60.0, issued_at=START), world.present.families
    entry = Spooled(families[-1], 1, "old", grant, refused=False, token=token, families=families)
    world.spools["host"] = entry
    world.put(None)
    request = make_request(can_obtain=True)
    assert world.run(renew(knowing(recovery=5.0, may_go_back=True), request)).token.reveal() == "access-next"
    assert world.spools == {}
    lease = world.present.lease
    assert (lease is not None and lease.is_recovery) == (grant is Grant.REFRESH or refresh_token is not None)


@pytest.mark.parametrize("fault", [lost_but_applied, lost_and_not_applied])
def test_a_spooled_token_is_committed_once_where_an_answer_of_the_store_is_lost(fault: Any) -> None:
    world = needy()
    world.spools["host"] = Spooled(world.present.family, 1, "old", Grant.REFRESH, refused=False, token=NEXT)
    process = Process(world, renew(EFFECTS, make_request()), faults={(Cas, 1): fault})
    assert process.finish().token.generation == 2
    assert process.seen[DropSpool] >= 1
    assert (world.spools, world.sent) == ({}, [])


def test_a_spool_waits_where_the_store_cannot_be_written() -> None:
    world = needy()
    spooled = Spooled(world.present.family, 1, "old", Grant.REFRESH, refused=False, token=NEXT)
    world.spools["host"] = spooled
    error = world.fails(renew(EFFECTS, make_request()), faults={(Cas, 1): store_goes_down})
    assert isinstance(error, errors.StoreUnavailable)
    assert world.spools == {"host": spooled}


def test_a_failure_is_told_although_the_store_is_down_when_the_lease_is_given_back() -> None:
    world = needy(None, failed(FailureKind.CLIENT_REJECTED))
    error = world.fails(renew(EFFECTS, make_request(**refusing(world))), faults={(Cas, 2): store_goes_down})
    assert isinstance(error, errors.ClientRejected)


def test_invalid_grant_is_told_although_the_store_is_down() -> None:
    world = needy(None, failed(FailureKind.DEAD, "invalid_grant"))
    error = world.fails(renew(EFFECTS, make_request(**refusing(world))), faults={(Cas, 2): store_goes_down})
    assert isinstance(error, errors.LoginRequired)
    assert "invalid_grant" in str(error)


@pytest.mark.parametrize("kind", [FailureKind.UNAVAILABLE, FailureKind.SERVER_ERROR])
def test_an_outage_of_everything_ends_with_an_error(kind: FailureKind) -> None:
    world = needy(None, *[failed(kind)] * 30)
    error = world.fails(renew(EFFECTS, make_request(**refusing(world))), faults={(Cas, 2): store_goes_down})
    assert isinstance(error, (errors.StoreUnavailable, errors.RefreshUnavailable))


# --- A store that went back, and other people's seeds ---


def generation(world: World, number: int) -> Token:
    """The store is at generation `number`; its token."""
    while world.present.generation < number:
        world.commit_by(world.lease(), Token(f"access-{world.present.generation + 1}", "refresh"))
    return world.token


def test_a_store_that_went_back_is_repaired_by_who_knows_a_newer_generation() -> None:
    world = needy()
    old = world.present
    newest = generation(world, 3)
    world.put(old)
    assert world.run(renew(knowing(newest=newest), make_request())).token == newest
    assert (world.token, world.sent) == (newest, [])
    assert world.kinds() == [Kind.RESTORED]


class Learning(Knowing):
    def learn(self, record: Record, skew: float) -> None:
        self.knows(newest=record.token)


@pytest.mark.parametrize("waits", ["for another process", "after a failure"])
def test_what_a_renewal_has_read_is_brought_back_where_the_store_loses_it_while_the_renewal_waits(waits: str) -> None:
    """It forgot what it had read, and said that the session was over, as the older record did."""
    world = needy(None, NEXT)
    dead = Verdict(FailureKind.DEAD, "invalid_grant")
    world.lease()
    before = records.died(world.present, dead, now=world.wall, refused=True)
    generation(world, 2)
    world.now += 60.0
    world.lease()
    if waits == "after a failure":
        down = Verdict(FailureKind.UNAVAILABLE, "down")
        world.put(records.released(world.present, down, now=world.wall, jitter=0.5))
    renewal = Process(world, renew(Effects(Learning()), make_request(**refusing(world)))).until(Watch)
    world.put(before)
    assert renewal.finish().token.generation == 3


def test_a_repair_never_crosses_families() -> None:
    world = needy()
    newest = generation(world, 3)
    world.put(None)
    world.starts(seed("another person"))
    assert world.run(renew(knowing(newest=newest), make_request())).token.reveal() == "access-another person"
    assert world.present.generation == 1


@pytest.mark.parametrize("lost", ["the claim", "the record"])
def test_a_claim_that_the_store_lost_comes_back(lost: str) -> None:
    world = needy()
    before, known = world.present, world.token
    world.lease()
    leased, sent = world.present, Sent(world.present, world.now)
    world.put(before if lost == "the claim" else None)
    assert world.run(bring_back(knowing(newest=known, sent=sent), make_request()))
    assert world.present == leased


@pytest.mark.parametrize("clock_epoch", ["boot", None])
@pytest.mark.parametrize("by", ["this process", "another one"])
def test_a_claim_that_was_lost_in_a_takeover_comes_back_over_the_lease_before_it(
    by: str, clock_epoch: str | None
) -> None:
    """Those who watch that lease would take over from it, and send what is on its way."""
    world = needy()
    world.clock_epoch = clock_epoch
    known = world.token
    world.lease(make_lease("first", clock_epoch=clock_epoch))
    first = world.present
    world.now += 300.0
    leased = records.claimed(first, make_lease("second", clock_epoch=clock_epoch, at=world.now), owner=None)
    sent = Sent(leased, world.now)
    if by == "another one":
        world.put(first)
        world.lease(make_lease("third", clock_epoch=clock_epoch, at=world.now))
    else:
        world.put(first)
    assert world.run(bring_back(knowing(newest=known, sent=sent), make_request())) is (by == "this process")
    assert (world.present == leased) is (by == "this process")


@pytest.mark.parametrize("lost", ["the claim", "the record", "the record, which others restored"])
def test_the_claim_of_a_token_that_is_obtained_for_a_session_that_is_over_comes_back(lost: str) -> None:
    """Others obtained one, too; or sent the refresh token that this process knows to be of no use."""
    world = needy(seed(lives=1.0, at=0.0), failed(FailureKind.DEAD))
    known, request, recovery = world.token, make_request(can_obtain=True), 5.0
    sending = Process(world, renew(knowing(recovery=recovery), request)).until(Send, 2).pending
    assert isinstance(sending, Send)
    assert sending.grant is Grant.OBTAIN
    assert sending.claim is not None
    leased, lease = world.present, world.present.lease
    assert lease is not None
    world.put(replace(leased, state=lease.origin, lease=None) if lost == "the claim" else None)
    if lost == "the record, which others restored":
        assert world.run(bring_back(knowing(newest=known, recovery=recovery), make_request()))
    mine = knowing(newest=known, recovery=recovery, sent=sending.claim)
    assert world.run(has_lost(mine, request))
    assert world.run(bring_back(mine, request))
    assert world.present == leased


@pytest.mark.parametrize("clock_epoch", ["boot", None])
@pytest.mark.parametrize("then", ["released", "taken over"])
def test_a_claim_comes_back_over_each_lease_that_the_store_s_clock_shows_to_be_earlier(
    then: str, clock_epoch: str | None
) -> None:
    world = needy()
    known, world.clock_epoch = world.token, clock_epoch
    world.lease()
    first = world.present
    if then == "released":
        verdict = Verdict(FailureKind.UNAVAILABLE, "no connection")
        world.put(records.released(first, verdict, now=world.wall, jitter=0.0))
        world.now += 1.0
    else:
        world.now += 300.0
        world.lease(make_lease("second", clock_epoch=clock_epoch, at=world.now))
        world.now += 300.0
    world.lease(make_lease("third", clock_epoch=clock_epoch, at=world.now))
    leased, sent = world.present, Sent(world.present, world.now)
    world.put(first)
    mine, comes = knowing(newest=known, sent=sent), clock_epoch is not None  # else it may be that of another attempt
    assert world.run(has_lost(mine, make_request())) == comes
    assert world.run(bring_back(mine, make_request())) == comes
    assert (world.present == leased) == comes


def test_a_claim_that_was_applied_late_comes_back_over_the_lease_before_it() -> None:
    """It is read from the store, which does not say over which lease it was made."""
    world = needy(seed(lives=1.0, at=0.0))
    world.lease(make_lease("first", clock_epoch=world.clock_epoch))
    first, known = world.present, world.token
    world.now += 301.0
    process = Process(world, renew(EFFECTS, make_request()), faults={(Cas, 1): lost_and_not_applied})
    claim = process.until(Cas).pending
    assert isinstance(claim, Cas)
    process.until(Load, 2)  # it has looked once, and does not find its claim
    world.cas(claim.expected, claim.record)
    sending = process.until(Send).pending
    assert isinstance(sending, Send)
    assert sending.claim is not None
    world.put(first)
    assert world.run(bring_back(knowing(newest=known, sent=sending.claim), make_request()))
    assert world.present == claim.record


@pytest.mark.parametrize("before", ["the failure", "a loss", "retry()"])
def test_a_claim_comes_back_where_the_store_went_back_behind_what_had_preceded_it(before: str) -> None:
    """A process that does not know of it would send beside the request that is on its way."""
    world = needy()
    if before == "retry()":
        world.lease()
        verdict = Verdict(FailureKind.UNAVAILABLE, "no connection")
        world.put(records.released(world.present, verdict, now=world.wall, jitter=0.0))
    earlier, known = world.present, world.token
    if before == "the failure":
        world.lease()
        verdict = Verdict(FailureKind.UNAVAILABLE, "no connection")
        world.put(records.released(world.present, verdict, now=world.wall, jitter=0.0))
    elif before == "a loss":
        world.put(records.restored(world.present, known, now=world.wall))
    else:
        world.put(records.retried(world.present, now=world.wall))
    world.lease()
    leased, sent = world.present, Sent(world.present, world.now)
    world.put(earlier)
    mine, comes = knowing(newest=known, sent=sent), before != "retry()"  # what was refused may be later than the claim
    assert world.run(has_lost(mine, make_request())) == comes
    assert world.run(bring_back(mine, make_request())) == comes
    assert (world.present == leased) == comes


@pytest.mark.parametrize("lasts", [19.0, 21.0])
@pytest.mark.parametrize("by", ["another process", "this one"])
def test_a_claim_cuts_no_recovery_lease_short(by: str, lasts: float) -> None:
    """One that was over, or nearly, was put over it: the next process sent at once, and had no reason to wait."""
    world = needy()
    known, recovery = world.token, 20.0
    world.lease(make_lease(clock_epoch=world.clock_epoch, at=world.now - 300.0 + lasts))
    sent = Sent(world.present, world.now)
    world.put(None)
    if by == "another process":
        assert world.run(bring_back(knowing(newest=known, recovery=recovery), make_request()))
    mine, asked = knowing(newest=known, recovery=recovery, sent=sent), make_request()
    assert world.run(bring_back(mine, asked)) == (by == "this one" or lasts > recovery)
    assert world.present.lease is not None
    assert world.present.lease.is_recovery == (lasts < recovery)
    assert not world.run(bring_back(mine, asked))
    assert not world.run(has_lost(mine, asked))


@pytest.mark.parametrize(("age", "comes"), [(299.0, True), (301.0, False)])
@pytest.mark.parametrize("lost", ["the claim", "nothing"])
def test_a_claim_that_is_over_by_its_own_clock_holds_nobody_up_once_more(lost: str, age: float, *, comes: bool) -> None:
    """Where the store's clock tells nothing, others would watch it for its whole time to live."""
    world = needy()
    world.clock_epoch = None
    before, known = world.present, world.token
    world.lease()
    sent = Sent(world.present, world.now)
    if lost == "the claim":
        world.put(before)
    else:  # and whoever waited for it lets others bring back first what they know
        world.run(settle(knowing(recovery=0.5), world.load(), make_request(), contested=True))
    world.now += age
    assert world.run(bring_back(knowing(newest=known, recovery=0.5, sent=sent), make_request())) == comes
    assert known == world.token


def test_a_claim_comes_back_over_a_recovery_lease_of_which_no_clock_tells_the_end() -> None:
    """Each look took the recovery lease for one that had just begun, and left it: it ended first, and others sent."""
    world = needy(None, NEXT)
    world.clock_epoch = None
    before, known = world.present, world.token
    world.lease(make_lease(ttl=30.0))
    leased, sent = world.present, Sent(world.present, world.now)
    world.now += 6.0
    world.put(before)
    world.run(settle(knowing(recovery=20.0), world.load(), make_request(), contested=False))
    others = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Watch)
    world.now += 12.0  # 12 s of the claim are left, and 8 s of the recovery lease
    mine = knowing(newest=known, recovery=20.0, sent=sent)
    assert world.run(has_lost(mine, make_request()))
    assert world.run(bring_back(mine, make_request()))
    assert world.present == leased
    assert not world.run(has_lost(mine, make_request()))
    others.until(Send)
    assert world.now >= 30.0


@pytest.mark.parametrize(("age", "comes"), [(29.0, True), (31.0, False)])
def test_a_claim_comes_back_with_a_lost_record_where_the_store_has_no_clock(age: float, *, comes: bool) -> None:
    """Others watch it for its whole time to live, longer than a recovery lease, of which no look knows the end."""
    world = needy()
    world.clock_epoch = None
    known = world.token
    world.lease(make_lease(ttl=30.0))
    mine = knowing(newest=known, recovery=20.0, sent=Sent(world.present, world.now))
    world.put(None)
    world.now += age
    assert world.run(bring_back(mine, make_request()))
    assert world.present.lease is not None
    assert world.present.lease.is_recovery != comes
    assert not world.run(has_lost(mine, make_request()))


@pytest.mark.parametrize(
    ("claimed_in", "recovered_in", "seen_in", "comes"),
    [
        ("A", "A", "A", False),  # its 20 s are over later than the claim's 30 s
        ("A", "B", "B", False),  # another server dates the recovery lease
        ("A", "A", "B", True),
        ("A", "B", "A", True),  # the clock was set, and another process has an era of its own since
        ("A", None, "A", True),
        (None, "A", None, True),
        (None, None, None, True),
    ],
)
def test_a_recovery_lease_stays_only_where_a_clock_shows_that_it_ends_later(
    claimed_in: str | None, recovered_in: str | None, seen_in: str | None, *, comes: bool
) -> None:
    world = needy()
    known = world.token
    world.lease(make_lease(ttl=30.0, clock_epoch=claimed_in, at=100.0))
    sent = Sent(world.present, since=0.0)
    world.lease(make_lease(f"{RECOVERY}1", ttl=20.0, clock_epoch=recovered_in, at=115.0, guess=True))

    def at(seconds: float) -> Instant:
        shared = StoreTime(seen_in, 100.0 + seconds) if seen_in is not None else None
        return Instant(0.0, seconds, shared, 0.0)

    assert lacks(world.present, sent, known, at(29.0)) == comes
    assert not lacks(world.present, sent, known, at(31.0))


def test_a_claim_that_is_over_comes_back_where_nothing_else_was_lost() -> None:
    """It holds nobody up, and whoever takes over knows that its holder may yet come with an answer."""
    world = needy(None, NEXT)
    before, known = world.present, world.token
    world.lease(make_lease(clock_epoch=world.clock_epoch, at=world.now - 301.0))
    sent = Sent(world.present, world.now)
    world.put(before)
    assert world.run(bring_back(knowing(newest=known, recovery=20.0, sent=sent), make_request()))
    process = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Send)
    assert world.present.lease is not None
    assert (world.present.lease.contested, world.now) == (True, 0.0)
    assert process.finish().token.generation == 2


def test_a_claim_does_not_come_back_over_what_an_older_copy_was_renewed_to() -> None:
    """A server with a grace period repeats itself: two tokens have one number, and the present one stays."""
    world = needy()
    before, known = world.present, generation(world, 2)
    world.lease()
    sent = Sent(world.present, world.now)
    world.put(before)
    world.commit_by(world.lease(), Token("access-repeated", "refresh-repeated"))
    repeated = world.present
    assert not world.run(bring_back(knowing(newest=known, sent=sent), make_request()))
    assert world.present == repeated


@pytest.mark.parametrize("then", ["refused", "retried"])
def test_a_claim_does_not_come_back_where_others_have_taken_over_since(then: str) -> None:
    """A refresher that never returns outlives its lease: the look took what others wrote since for a loss."""
    world = needy()
    known = world.token
    world.lease()
    sent = Sent(world.present, world.now)
    world.lease(make_lease("later"))
    world.put(records.released(world.present, Verdict(FailureKind.UNAVAILABLE, "down"), now=world.wall, jitter=0.5))
    if then == "retried":
        world.put(records.retried(world.present, now=world.wall))
    since = world.present
    assert not world.run(bring_back(knowing(newest=known, sent=sent), make_request()))
    assert world.present == since


def test_nor_where_others_could_have_taken_over_before_the_store_lost_it() -> None:
    """Its refresher has not returned. A claim that is over would cut short the recovery lease in its place."""
    world = needy()
    known = world.token
    world.lease()
    sent = Sent(world.present, world.now)
    world.now += world.present.lease.ttl  # type: ignore[union-attr]  # just leased
    world.put(None)
    assert world.run(bring_back(knowing(newest=known, recovery=5.0, sent=sent), make_request()))
    assert world.present.lease is not None
    assert world.present.lease.is_recovery


@pytest.mark.parametrize("late", ["its process was stopped", "it is a second one"])
def test_nor_where_the_request_was_sent_long_after_the_claim(late: str) -> None:
    """The time to live of the claim was counted from its request, and so the look put it back when it was over."""
    world = needy(None, failed(FailureKind.SERVER_ERROR), NEXT)
    world.clock_epoch = None
    known, request = world.token, make_request(**refusing(world))
    requests, stopped = (1, Cas) if late == "its process was stopped" else (2, Sleep)
    process = Process(world, renew(EFFECTS, request), faults={(stopped, 1): passes(100.0)}).until(Send, requests)
    assert isinstance(process.pending, Send)
    mine = knowing(newest=known, recovery=0.5, sent=process.pending.claim)
    world.run(settle(knowing(recovery=0.5), world.load(), make_request(), contested=True))
    world.now += 190.0
    assert world.run(has_lost(mine, make_request()))
    world.now += 15.0
    assert not world.run(bring_back(mine, make_request()))
    assert world.present.lease is not None
    assert world.present.lease.is_recovery


@pytest.mark.parametrize("before", [None, FailureKind.SERVER_ERROR, FailureKind.NO_ANSWER])
@pytest.mark.parametrize(("age", "comes"), [(199.0, True), (201.0, False)])
def test_nor_where_a_clock_has_shown_that_its_machine_slept_before_the_request(
    age: float, before: FailureKind | None, *, comes: bool
) -> None:
    """Its own clock had stood still, and the store's clock, by which the claim was over, was gone with the record.

    `before`: the end of another request before this one.
    """
    world = needy(None, failed(before or FailureKind.SERVER_ERROR), NEXT)
    known, request = world.token, make_request(Profile("strict", resend=0), **refusing(world))

    def sleeps(world: World) -> None:
        world.store_clock_is_off += 100.0
        world.wall_is_off += 100.0

    process = Process(world, renew(EFFECTS, request), faults={(Cas, 1): does(sleeps)}).until(Send)
    world.clock_epoch, began = None, world.now
    if before is not None:
        process.until(Send)
    assert isinstance(process.pending, Send)
    mine = knowing(newest=known, recovery=5.0, sent=process.pending.claim)
    world.put(None)
    world.now = began + age
    assert world.run(bring_back(mine, make_request()))
    assert world.present.lease is not None
    assert world.present.lease.is_recovery != comes


def test_a_late_answer_is_taken_for_a_repeated_one() -> None:
    """Whoever took over has perhaps sent the same request, and a server with a grace period repeats itself."""
    world = needy()
    world.lease()
    world.lease(make_lease("later"))
    world.put(records.committed(world.present, NEXT, by="other", grant=Grant.REFRESH, now=world.wall, refused=False))
    assert world.present.probation is not None
    assert world.present.probation.repeated


@pytest.mark.parametrize("since", ["another login", "a refusal"])
def test_a_late_answer_is_saved_where_somebody_has_logged_in_once_more_with_the_token_that_it_was_asked_with(
    since: str,
) -> None:
    """It was thrown away: the session had another number, and its refresh token was used up."""
    world = needy(None, NEXT)
    first = world.token
    renewal = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Cas, 2)
    if since == "another login":
        world.logs_in(seed("of another session"))
    else:
        dead = Verdict(FailureKind.DEAD, "invalid_grant")
        world.put(records.died(world.present, dead, now=world.wall, refused=True))
    assert world.run(log_in(EFFECTS, first, make_request())).token.generation == world.present.generation
    family, generation = world.present.identity
    assert renewal.finish().token.reveal() == "access-next"
    assert world.token.refresh_token == NEXT.refresh_token
    assert world.present.identity == (family, generation + 1)
    assert Kind.ORPHANED not in world.kinds()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Token("access-next", None), id="no other refresh token"),
        pytest.param(Token("access-next", "refresh-seed"), id="the same refresh token"),
    ],
)
def test_a_late_answer_that_brings_no_other_refresh_token_changes_no_login(answer: Token) -> None:
    world = needy(None, answer)
    first = world.token
    renewal = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Cas, 2)
    world.logs_in(seed("of another session"))
    world.run(log_in(EFFECTS, first, make_request()))
    since = world.present
    renewal.finish()
    assert world.present == since
    assert Kind.ORPHANED in world.kinds()


def test_a_late_answer_does_not_replace_what_a_refresh_with_the_same_token_has_brought() -> None:
    """Some servers give another refresh token only now and then."""
    world = needy(None, NEXT)
    renewal = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Cas, 2)
    world.commit_by(make_lease("later"), Token("access-later", "refresh-seed"))
    since = world.present
    renewal.finish()
    assert world.present == since
    assert Kind.ORPHANED in world.kinds()


def test_what_was_obtained_late_changes_no_login() -> None:
    """It was asked for with nothing of the session's."""
    dead = Verdict(FailureKind.DEAD, "invalid_grant")
    world = needy(None, NEXT)
    first = world.token
    world.lease()
    world.put(records.died(world.present, dead, now=world.wall, refused=True))
    renewal = Process(world, renew(EFFECTS, make_request(can_obtain=True, **refusing(world)))).until(Cas, 2)
    world.logs_in(seed("of another session"))
    world.run(log_in(EFFECTS, first, make_request()))
    since = world.present
    renewal.finish()
    assert world.present == since


def test_a_store_that_is_newer_than_this_process_is_adopted() -> None:
    world = needy()
    old = world.token
    generation(world, 3)
    assert world.run(renew(knowing(newest=old), make_request())).token.generation == 3


@pytest.mark.parametrize("fault", [lost_but_applied, lost_and_not_applied, does(lambda world: world.lease())])
def test_a_repair_that_is_disturbed_is_made_all_the_same(fault: Any) -> None:
    world = needy()
    old = world.present
    newest = generation(world, 3)
    world.put(old)
    assert world.run(renew(knowing(newest=newest), make_request()), faults={(Cas, 1): fault}).token == newest


def test_the_same_seed_is_ignored() -> None:
    world = needy()
    generation(world, 2)
    assert world.run(renew(EFFECTS, make_request(seed=seed()))).token.generation == 2
    assert world.events == []


def test_another_seed_is_ignored_while_the_session_lives_and_that_is_said_once() -> None:
    world = needy(None, failed(FailureKind.UNAVAILABLE), failed(FailureKind.UNAVAILABLE), NEXT)
    assert world.run(renew(EFFECTS, make_request(seed=seed("new"), **refusing(world)))).token.reveal() == "access-next"
    assert world.kinds().count(Kind.SEED_IGNORED) == 1
    world.run(renew(EFFECTS, make_request(seed=seed("new"), seed_reported=True)))
    assert world.kinds().count(Kind.SEED_IGNORED) == 1


def test_another_seed_heals_a_dead_session() -> None:
    world = needy(None, failed(FailureKind.DEAD))
    world.fails(renew(EFFECTS, make_request(**refusing(world))))
    token = world.run(renew(EFFECTS, make_request(seed=seed("new")))).token
    assert (token.reveal(), token.generation) == ("access-new", 2)


def test_another_seed_after_a_logout_is_a_login_and_the_old_one_is_not() -> None:
    world = needy()
    world.put(records.logged_out(world.record, now=world.wall))
    assert isinstance(world.fails(renew(EFFECTS, make_request(seed=seed()))), errors.LoginRequired)
    assert world.run(renew(EFFECTS, make_request(seed=seed("new")))).token.generation == 3


def test_the_seed_of_an_earlier_session_is_not_news() -> None:
    world = needy(None, failed(FailureKind.DEAD))
    world.logs_in(seed("second"))
    world.fails(renew(EFFECTS, make_request(**refusing(world))))
    assert isinstance(world.fails(renew(EFFECTS, make_request(seed=seed()))), errors.LoginRequired)


def test_the_token_of_another_client_is_refused() -> None:
    world = needy(owner="client a at https://one.example")
    error = world.fails(renew(EFFECTS, make_request(owner="client b at https://one.example", **refusing(world))))
    assert isinstance(error, errors.ConfigurationError)
    assert "client a" in str(error)
    assert world.sent == []


def test_a_logged_out_name_may_be_given_to_another_client() -> None:
    world = needy(owner="client a")
    world.put(records.logged_out(world.record, now=world.wall))
    assert world.run(renew(EFFECTS, make_request(owner="client b", seed=seed("b")))).token.reveal() == "access-b"
    assert world.present.owner == "client b"


# --- A store that has lost the record altogether ---


def test_a_vanished_record_is_founded_again_by_whoever_knows_a_newer_token() -> None:
    world = World([failed(FailureKind.DEAD, "spent long ago")])
    first = world.starts()
    world.commit_by(world.lease(), NEXT)
    known = world.token
    world.put(None)
    assert world.run(renew(knowing(newest=known), make_request(seed=seed()))).token == known
    assert (world.present.identity, world.sent) == ((first.family, 2), [])
    assert world.kinds() == [Kind.RESTORED]


def test_the_seed_of_a_vanished_record_stays_known_after_a_login() -> None:
    world = World()
    world.starts()
    known = world.logs_in(Token("access-login", "refresh-login", issued_at=world.wall, expires_in=3600))
    world.put(None)
    world.run(renew(knowing(newest=known), make_request(seed=seed())))
    assert world.present.families == (seed().seed_fingerprint(), known.family)
    assert Kind.SEED_IGNORED not in world.kinds()


def test_a_new_token_whose_record_vanished_meanwhile_is_saved() -> None:
    world = needy(None, NEXT)
    family = world.present.family
    faults = {(Cas, 2): does(lambda world: world.put(None))}
    assert world.run(renew(EFFECTS, make_request(**refusing(world))), faults=faults).token.generation == 2
    assert (world.present.identity, len(world.sent)) == ((family, 2), 1)


@pytest.mark.parametrize("knew", [True, False])
def test_a_new_token_does_not_take_the_place_of_a_login_whose_record_vanished(*, knew: bool) -> None:
    """Somebody logged in in this process while it waited for the answer."""
    world = needy(None, NEXT)
    first = world.token
    memory = Knowing(newest=first if knew else None)

    def log_in_and_lose(world: World) -> None:
        login = Token("access-login", "refresh-login", issued_at=world.wall, expires_in=3600)
        memory.knows(newest=world.logs_in(login))
        world.put(None)

    asked = make_request(refused=first.identity, seed=seed())
    assert (
        world.run(renew(Effects(memory), asked), faults={(Cas, 2): does(log_in_and_lose)}).token.reveal()
        == "access-login"
    )
    assert world.token.reveal() == "access-login"


def test_a_token_that_was_obtained_is_saved_although_its_record_vanished() -> None:
    """What this process learned meanwhile is the token in the place of which it was obtained."""
    world = needy(None, NEXT)
    memory = Knowing()

    def lose(world: World) -> None:
        memory.knows(newest=world.token)
        world.put(None)

    asked = make_request(**refusing(world), can_obtain=True)
    world.put(replace(world.present, token=replace(world.token, refresh_token=None)))
    assert world.run(renew(Effects(memory), asked), faults={(Cas, 2): does(lose)}).token.reveal() == "access-next"


def test_a_spooled_token_whose_record_vanished_is_saved() -> None:
    world = needy()
    entry = Spooled(world.present.family, 1, "old", Grant.REFRESH, refused=False, token=NEXT)
    world.spools["host"] = entry
    world.put(None)
    assert world.run(renew(EFFECTS, make_request(seed=seed()))).token.reveal() == "access-next"
    assert (world.present.identity, world.spools) == ((entry.family, 2), {})


def test_a_spooled_token_does_not_come_before_the_first_token_of_another_session() -> None:
    world = needy()
    world.spools["host"] = Spooled(world.present.family, 1, "old", Grant.REFRESH, refused=False, token=NEXT)
    world.put(None)
    assert world.run(renew(EFFECTS, make_request(seed=seed("another")))).token.reveal() == "access-another"
    assert world.spools == {}


def test_a_spooled_token_of_before_a_login_does_not_come_back_where_the_record_vanished() -> None:
    world = needy()
    world.spools["host"] = Spooled(world.present.family, 1, "old", Grant.REFRESH, refused=False, token=NEXT)
    known = world.logs_in(Token("access-login", "refresh-login", issued_at=world.wall, expires_in=3600))
    world.put(None)
    assert world.run(renew(knowing(newest=known), make_request(seed=seed()))).token == known
    assert (world.present.identity, world.spools) == (known.identity, {})


def test_a_spooled_token_of_a_login_comes_in_the_place_of_an_older_session_that_is_known() -> None:
    world = needy()
    known = world.token
    login = world.logs_in(Token("access-login", "refresh-login", issued_at=world.wall, expires_in=3600))
    world.spools["host"] = Spooled(login.family, 2, "new", Grant.REFRESH, refused=False, token=NEXT)
    world.put(None)
    assert world.run(renew(knowing(newest=known), make_request(seed=seed()))).token.reveal() == "access-next"
    assert (world.present.identity, world.spools) == ((login.family, 3), {})


def test_a_spooled_token_that_its_process_has_gone_on_from_is_not_written_into_an_empty_store() -> None:
    world = needy()
    world.spools["host"] = Spooled(world.present.family, 1, "old", Grant.REFRESH, refused=False, token=NEXT)
    known = NEXT.numbered(world.present.family, 4)
    world.put(None)
    assert world.run(renew(knowing(newest=known), make_request(seed=seed()))).token == known
    assert [entry.generation for entry in world.present.history] == [4]
    assert world.spools == {}


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_the_committer_brings_its_token_back_into_a_store_that_lost_the_record(looks: int) -> None:
    world, memory = needy(None, NEXT), Knowing(may_go_back=True)
    family = world.present.family
    token = world.run(renew(Effects(memory), make_request(**refusing(world)))).token
    memory.knows(newest=token)
    after = Process(world, world.left_to_do.pop())
    after.until(Sleep, looks + 1)
    world.put(None)
    after.finish()
    assert (world.present.identity, world.kinds()[-1]) == ((family, 2), Kind.RESTORED)


def test_the_committer_does_not_bring_back_a_token_that_its_process_has_gone_on_from() -> None:
    """A store that has lost everything would take the spent one, and whoever refreshes next ends the session."""
    world = needy(None, NEXT)
    memory = Knowing(newest=world.token, may_go_back=True)
    world.run(renew(Effects(memory), make_request(**refusing(world))))
    memory.knows(newest=NEXT.numbered(world.present.family, 3))
    after = Process(world, world.left_to_do.pop()).until(Sleep)
    world.put(None)
    after.finish()
    assert (after.seen[Sleep], world.body) == (1, None)


def test_the_committer_looks_no_further_where_somebody_has_gone_on() -> None:
    world, memory = needy(None, NEXT), Knowing(may_go_back=True)
    memory.knows(newest=world.run(renew(Effects(memory), make_request(**refusing(world)))).token)
    after = Process(world, world.left_to_do.pop()).until(Sleep)
    world.commit_by(world.lease(), Token("access-later", "refresh-later"))
    after.finish()
    assert (after.seen[Sleep], world.present.generation) == (1, 3)
