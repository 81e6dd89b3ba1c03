"""A request that is refused when others have taken over proves nothing: one of them may have spent the token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.core.driver import NEXT, START, Process, World, failed, make_lease, make_request, needy, seed
from tests.effects import EFFECTS, Cas, Load, Send, Watch, knowing

from onerefresh import LoginRequired, RefreshOutcomeUnknown, StoreUnavailable
from onerefresh import transitions as records
from onerefresh.failure import Failure
from onerefresh.policy import FOR_GOOD
from onerefresh.record import Grant, Lease, Record, State
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.renew import renew
from onerefresh.renewal.request import RenewalRequest
from onerefresh.verdict import FailureKind, Verdict

REFUSED = pytest.mark.parametrize("kind", [FailureKind.DEAD, FailureKind.DOUBTFUL], ids=str)


def sending(kind: FailureKind, **others: Any) -> tuple[Process[Outcome], World, RenewalRequest]:
    """A renewal that was stopped right before a request, which will be refused."""
    world = needy(seed(lives=1.0, at=0.0), failed(kind))
    request = make_request(**others)
    return Process(world, renew(EFFECTS, request)).until(Send), world, request


def late(kind: FailureKind = FailureKind.DEAD) -> tuple[Process[Outcome], World, RenewalRequest, Lease]:
    """The same, where another attempt has the lease by now."""
    process, world, request = sending(kind)
    return process, world, request, world.lease()


def overtaken(world: World, verdict: Verdict, *, pause: float) -> tuple[Process[Outcome], RenewalRequest, Record]:
    """A renewal whose machine sleeps before its request; others take over and fail meanwhile, as the record says."""
    request = make_request()
    mine = Process(world, renew(EFFECTS, request)).until(Send)
    world.now += 400.0
    world.lease(make_lease(clock_epoch=world.clock_epoch, at=world.now))
    lost = verdict.kind is FailureKind.NO_ANSWER
    theirs = records.released(world.present, verdict, now=world.wall, jitter=0.5, lost=lost, pause=pause)
    world.put(theirs)
    return mine, request, theirs


def finds_the_store_down(process: Process[Outcome], world: World) -> None:
    """The store is down from now on, and the renewal ends with that instead of the refusal."""
    world.down = True
    with pytest.raises(StoreUnavailable):
        process.finish()


def is_told_later(world: World, request: RenewalRequest, other: Lease) -> None:
    """The store is back, and the next renewal of the same process waits for the others and gets their token."""
    world.down = False
    later = Process(world, renew(EFFECTS, request)).until(Load)
    world.commit_by(other, NEXT)
    assert later.finish().token.generation == 2
    assert len(world.sent) == 1


@REFUSED
def test_its_process_waits_for_the_others_and_gets_their_token(kind: FailureKind) -> None:
    process, world, _, other = late(kind)
    process.until(Load, 2)  # it has found that the lease is another's, and looks again
    world.commit_by(other, NEXT)
    outcome = process.finish()
    assert outcome.token.generation == 2
    assert len(world.sent) == 1


@REFUSED
def test_where_the_lease_of_the_others_is_over_too_it_asks_before_it_says_anything(kind: FailureKind) -> None:
    process, world, _ = sending(kind)
    other = world.lease(make_lease(clock_epoch=world.clock_epoch, at=world.now, ttl=30.0))
    world.answers.append(failed(FailureKind.DEAD))
    world.now += 60.0
    process.until(Send).until(Watch)  # it has taken over and was refused again
    world.commit_by(other, NEXT)
    assert process.finish().token.generation == 2


@REFUSED
@pytest.mark.parametrize("loads", [1, 2])
def test_where_the_store_goes_down_nobody_is_told_that_the_session_is_over(kind: FailureKind, loads: int) -> None:
    """Before it can read whose lease it is, or right after that."""
    process, world, request, other = late(kind)
    process.until(Load)
    if loads > 1:
        process.until(Load)
    finds_the_store_down(process, world)
    is_told_later(world, request, other)


@REFUSED
def test_nor_where_it_is_down_before_the_first_write_and_the_lease_is_over(kind: FailureKind) -> None:
    process, world, request = sending(kind)
    world.now += 400.0
    other = world.lease()
    finds_the_store_down(process, world)
    is_told_later(world, request, other)


@REFUSED
def test_nor_where_the_store_has_lost_the_record_since_the_lease_was_over(kind: FailureKind) -> None:
    world = needy(seed(lives=1.0, at=0.0), failed(kind))
    known = knowing(newest=world.token, recovery=5.0, may_go_back=True)
    mine = Process(world, renew(known, make_request())).until(Send)
    world.now += 400.0
    other = world.lease()
    world.commit_by(other, NEXT)
    newest = world.present
    world.put(None)
    mine.until(Watch)  # it has restored its own copy, and gives others the time to restore theirs
    assert world.present.state is State.LEASED
    world.put(newest)
    assert mine.finish().token.generation == 2


@REFUSED
def test_nor_where_a_token_is_obtained_without_a_refresh_token(kind: FailureKind) -> None:
    world = needy(replace(seed(lives=1.0, at=0.0), refresh_token=None), failed(kind))
    process = Process(world, renew(EFFECTS, make_request(can_obtain=True))).until(Send)
    world.lease(make_lease(grant=Grant.OBTAIN, clock_epoch=world.clock_epoch, at=world.now))
    process.until(Load)
    finds_the_store_down(process, world)


@REFUSED
def test_a_store_that_goes_back_to_the_claim_does_not_get_the_refusal_after_all(kind: FailureKind) -> None:
    """Others would read it while the newer token is not restored yet."""
    process, world, request = sending(kind)
    claim = world.present
    other = world.lease()
    process.until(Load)
    world.commit_by(other, NEXT)
    newest = process.finish().token
    world.put(claim)
    mine = Process(world, renew(knowing(newest=newest, recovery=5.0, may_go_back=True), request))
    while not mine.is_over:
        mine.step()
        assert world.present.state is not State.DEAD
        assert world.present.failure is None


@pytest.mark.parametrize("before", ["nothing", "an answer that was lost"])
def test_the_pause_after_their_lost_answer_binds_whoever_was_overtaken_and_has_reached_nobody(before: str) -> None:
    """It had looked at their failure before its own came: an unreachable endpoint, with a pause of less than a second.

    The machine had slept between its claim and its request.
    """
    world = needy(seed(lives=1.0, at=0.0), failed(FailureKind.UNAVAILABLE), NEXT)
    if before != "nothing":
        lost = Failure(FailureKind.NO_ANSWER, before, 1, START - 100.0, 60.0, maybe_spent=True, lost=True)
        world.put(replace(world.present, failure=lost))
    mine, request, theirs = overtaken(world, Verdict(FailureKind.NO_ANSWER, "no answer came back"), pause=120.0)
    request.sightings.remember(theirs)  # a look in the background, or another renewal of this process
    with pytest.raises(RefreshOutcomeUnknown, match="no answer came back"):
        mine.finish()
    assert len(world.sent) == 1
    assert world.present == theirs


@pytest.mark.parametrize(
    ("kind", "pause"),
    [
        pytest.param(FailureKind.DOUBTFUL, FOR_GOOD, id="refused: not sent again"),
        pytest.param(FailureKind.NO_ANSWER, 120.0, id="lost, and a profile that waits for longer"),
    ],
)
def test_what_others_have_noted_binds_whoever_was_overtaken_and_has_lost_its_own_answer(
    kind: FailureKind, pause: float
) -> None:
    """Its own end came after theirs, but says less: the pause after it was over sooner."""
    world = needy(seed(lives=1.0, at=0.0), failed(FailureKind.NO_ANSWER), NEXT)
    mine, request, theirs = overtaken(world, Verdict(kind, "theirs"), pause=pause)
    request.sightings.remember(theirs)
    told = pytest.raises((LoginRequired, RefreshOutcomeUnknown), match="theirs")
    with told:
        mine.finish()
    world.now += 100.0
    with told:
        world.run(renew(EFFECTS, request))
    assert len(world.sent) == 1
    assert world.present == theirs


@REFUSED
def test_a_store_that_shows_the_lease_again_that_was_taken_over_explains_no_refusal(kind: FailureKind) -> None:
    """It was taken for an attempt that had overtaken this one: the refused token was sent once more."""
    world = needy(seed(lives=1.0, at=0.0), failed(kind), NEXT)
    world.lease(make_lease("first", clock_epoch=world.clock_epoch))
    first = world.present
    world.now += 301.0
    process = Process(world, renew(EFFECTS, make_request())).until(Send).until(Cas)
    world.put(first)
    with pytest.raises(LoginRequired):
        process.finish()
    assert len(world.sent) == 1
