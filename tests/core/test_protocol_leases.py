"""The renewal and other attempts: claims, gates, waiting, taking over."""

from __future__ import annotations

from dataclasses import replace
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
    make_lease,
    make_request,
    needy,
    passes,
    refusing,
    seed,
    store_goes_down,
)
from tests.effects import EFFECTS, Cas, Leave, Load, NewId, Prepare, Queue, Send, Sleep, Watch

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.renewal.renew import renew
from onerefresh.store import StoreOutcomeUnknown
from onerefresh.verdict import FailureKind

# --- Claims ---


def test_a_conflict_at_the_claim_adopts_what_is_there_and_sends_nothing() -> None:
    world = needy()

    def overtaken(world: World) -> None:
        world.commit_by(world.lease(), NEXT)

    assert (
        world.run(renew(EFFECTS, make_request(**refusing(world))), faults={(Cas, 1): does(overtaken)}).token.generation
        == 2
    )
    assert world.sent == []


def test_a_claim_whose_answer_was_lost_but_that_was_applied_goes_on() -> None:
    world = needy(None, NEXT)
    assert (
        world.run(renew(EFFECTS, make_request(**refusing(world))), faults={(Cas, 1): lost_but_applied}).token.generation
        == 2
    )
    assert len(world.sent) == 1


def test_a_claim_that_was_lost_is_made_again() -> None:
    world = needy(None, NEXT)
    assert (
        world.run(
            renew(EFFECTS, make_request(**refusing(world))), faults={(Cas, 1): lost_and_not_applied}
        ).token.generation
        == 2
    )
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    ("death_proof", "seconds", "loads"),
    [(None, 0.0, 1), (None, 1.0, 2), ("flock", 0.0, 2)],
    ids=["prepared at once", "prepared slowly", "with a lock"],
)
def test_what_was_loaded_just_now_is_not_loaded_again_before_the_claim(
    death_proof: str | None, seconds: float, loads: int
) -> None:
    world = needy(None, NEXT)
    process = Process(
        world,
        renew(EFFECTS, make_request(**refusing(world))),
        death_proof=death_proof,
        faults={(Prepare, 1): passes(seconds)},
    )
    assert process.until(Cas).seen[Load] == loads
    assert process.finish().token.generation == 2


def applied_after_the_next_look(death_proof: str | None, *, looks: int = 2) -> tuple[World, Process[Any]]:
    """A renewal whose claim is lost, and is applied when it has looked in vain whether it was."""
    world = needy(None, NEXT)
    late: list[Cas] = []

    def lost(world: World, effect: Any) -> None:
        late.append(effect)
        raise StoreOutcomeUnknown("the request is on its way")

    def arrives(world: World, effect: Any) -> None:
        world.cas(late[0].expected, late[0].record)

    process = Process(
        world, renew(EFFECTS, make_request(**refusing(world))), death_proof=death_proof, faults={(Cas, 1): lost}
    )
    process.until(Cas).step()
    process.until(Load, looks)
    process.faults[(Load, process.seen[Load] + 1)] = arrives
    return world, process


def test_a_claim_that_is_applied_late_is_known_as_ones_own() -> None:
    world, process = applied_after_the_next_look(None)
    assert process.finish().token.generation == 2
    assert (len(world.sent), process.seen[Cas], process.seen.get(Watch, 0)) == (1, 2, 0)


def test_who_goes_on_with_such_a_claim_takes_a_turn_again() -> None:
    _, process = applied_after_the_next_look(None, looks=1)
    process.until(Send)
    kinds = [type(effect) for effect in process.trace]
    assert Queue in kinds[len(kinds) - kinds[::-1].index(Leave) :]


def test_a_claim_that_is_applied_late_with_a_lock_that_was_let_go_is_claimed_anew() -> None:
    world, process = applied_after_the_next_look("flock")
    assert process.finish().token.generation == 2
    assert (len(world.sent), process.seen[Cas], process.seen.get(Watch, 0)) == (1, 3, 0)
    assert world.kinds()[0] is Kind.TAKEN_OVER


@pytest.mark.parametrize("fault", [lost_but_applied, lost_and_not_applied])
def test_a_lost_claim_in_a_store_that_is_then_down_sends_nothing(fault: Any) -> None:
    world = needy(None, NEXT)

    def lost_then_down(world: World, effect: Any) -> None:
        try:
            fault(world, effect)
        finally:
            world.down = True

    faults = {(Cas, 1): lost_then_down}
    assert isinstance(
        world.fails(renew(EFFECTS, make_request(**refusing(world))), faults=faults), errors.StoreUnavailable
    )
    assert world.sent == []


@pytest.mark.parametrize("effect", [Load, Cas])
def test_nothing_is_sent_while_the_store_is_down(effect: Any) -> None:
    world = needy(None, NEXT)
    error = world.fails(renew(EFFECTS, make_request(**refusing(world))), faults={(effect, 1): store_goes_down})
    assert isinstance(error, errors.StoreUnavailable)
    assert world.sent == []


def test_an_attempt_that_became_too_old_does_not_send_and_is_made_again() -> None:
    world = needy(None, NEXT)
    process = Process(world, renew(EFFECTS, make_request(**refusing(world))), faults={(Cas, 1): passes(400.0)})
    assert process.finish().token.generation == 2
    assert (len(world.sent), process.seen[NewId]) == (1, 2)


def test_an_attempt_leaves_room_for_the_timeout_of_its_request() -> None:
    world = needy(seed(lives=3600.0), NEXT)
    world.now = 3600.0  # expired: the time to live is the shortest, 30 s
    young = Process(world, renew(EFFECTS, make_request()), faults={(Cas, 1): passes(19.9)})
    young.finish()
    assert young.seen[NewId] == 1
    world = needy(seed(lives=3600.0), NEXT)
    world.now = 3600.0
    old = Process(world, renew(EFFECTS, make_request()), faults={(Cas, 1): passes(20.1)})
    old.finish()
    assert old.seen[NewId] == 2


def test_an_attempt_that_became_too_old_between_two_sends_gives_its_lease_back() -> None:
    world = needy(None, failed(FailureKind.SERVER_ERROR), NEXT)
    process = Process(world, renew(EFFECTS, make_request(**refusing(world))), faults={(Sleep, 1): passes(400.0)})
    assert process.finish().token.generation == 2
    assert process.seen[NewId] == 2


# --- Somebody else's lease ---


def test_a_lease_is_waited_for_and_its_commit_adopted() -> None:
    world = needy()
    refused = refusing(world)
    other = world.lease()
    faults = {(Watch, 5): does(lambda world: world.commit_by(other, NEXT))}
    assert world.run(renew(EFFECTS, make_request(**refused)), faults=faults).token.generation == 2
    assert world.sent == []
    assert world.kinds() == [Kind.WAITING]


def test_waiting_is_told_once_for_each_attempt() -> None:
    world = needy()
    refused = refusing(world)
    other = world.lease(make_lease("one", clock_epoch="boot"))

    def another(world: World) -> None:
        world.put(records.released(world.present, None, now=world.wall, jitter=0.0))
        world.lease(make_lease("two", clock_epoch="boot"))

    faults = {
        (Watch, 3): does(another),
        (Watch, 6): does(lambda world: world.commit_by(replace(other, id="two"), NEXT)),
    }
    world.run(renew(EFFECTS, make_request(**refused)), faults=faults)
    assert [event.attempt for event in world.events] == ["one", "two"]


def test_a_lease_is_taken_over_when_it_was_watched_for_its_time_to_live() -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    world.clock_epoch = None  # no clock of the store's: only this process's own
    world.lease(make_lease(ttl=40.0, clock_epoch=None))
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2
    assert 40.0 <= world.now <= 42.0
    assert world.kinds() == [Kind.WAITING, Kind.TAKEN_OVER, Kind.SENT, Kind.REFRESHED]


def test_a_short_lived_process_takes_over_by_the_clock_of_the_store() -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    world.lease(make_lease(ttl=40.0, clock_epoch="boot", at=0.0))
    world.now = 39.0
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2
    assert 40.0 <= world.now <= 41.0


def test_an_attempt_from_before_a_restart_of_the_machine_is_over() -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    world.lease(make_lease(clock_epoch="the boot before", at=0.0))
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2
    assert world.now < 1.0


def test_a_wall_clock_that_jumps_takes_no_lease_over() -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    world.clock_epoch = None
    world.lease(make_lease(ttl=300.0, clock_epoch=None))
    waiting = Process(world, renew(EFFECTS, make_request(**refused))).until(Watch, 3)
    world.wall_is_off = 10.0**6
    waiting.until(Watch, 3)
    assert world.sent == []
    assert world.kinds() == [Kind.WAITING]
    waiting.crash()


def test_a_holder_proven_dead_is_taken_over_at_once() -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    Process(world, renew(EFFECTS, make_request(**refused)), death_proof="flock 1").until(Send).crash()
    assert world.run(renew(EFFECTS, make_request(**refused)), death_proof="flock 1").token.generation == 2
    assert world.now < 5.0
    assert Kind.TAKEN_OVER in world.kinds()


def test_a_login_that_a_proven_death_cost_says_so_although_who_took_over_was_told_to_wait() -> None:
    world = needy(None, failed(FailureKind.UNAVAILABLE, "answered 429", retry_after=50.0), failed(FailureKind.DEAD))
    refused = refusing(world)
    Process(world, renew(EFFECTS, make_request(**refused)), death_proof="flock 1").until(Send).crash()
    assert isinstance(
        world.fails(renew(EFFECTS, make_request(**refused)), death_proof="flock 1"), errors.RefreshUnavailable
    )
    world.now += 60.0
    assert "may have spent" in str(world.fails(renew(EFFECTS, make_request(**refused)), death_proof="flock 1"))


def test_a_login_that_a_proven_death_cost_says_so_although_who_took_over_was_too_old_to_send() -> None:
    world = needy(None, failed(FailureKind.DEAD))
    refused = refusing(world)
    Process(world, renew(EFFECTS, make_request(**refused)), death_proof="flock 1").until(Send).crash()
    error = world.fails(
        renew(EFFECTS, make_request(**refused)), death_proof="flock 1", faults={(Cas, 1): passes(400.0)}
    )
    assert "was taken over" in str(error)
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    ("holder", "waiter"),
    [
        pytest.param(None, "flock 1", id="the holder held nothing"),
        pytest.param("flock 1", "flock 2", id="the lock file is another one"),
        pytest.param("flock 1", None, id="the waiter's hold proves nothing"),
    ],
)
def test_a_hold_that_proves_nothing_waits_for_the_time_to_live(holder: str | None, waiter: str | None) -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    Process(world, renew(EFFECTS, make_request(**refused)), death_proof=holder).until(Send).crash()
    assert world.run(renew(EFFECTS, make_request(**refused)), death_proof=waiter).token.generation == 2
    assert world.now >= 299.0


def test_a_living_holder_is_waited_for_although_others_want_its_hold() -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    holder = Process(world, renew(EFFECTS, make_request(**refused)), death_proof="flock 1").until(Send)
    waiter = Process(world, renew(EFFECTS, make_request(**refused)), death_proof="flock 1").until(Watch, 5)
    holder.finish()
    assert waiter.finish().token.generation == 2
    assert len(world.sent) == 1


def test_those_who_wait_for_a_hold_send_nothing_when_it_is_free_at_last() -> None:
    world = needy(None, NEXT)
    refused = refusing(world)
    holder = Process(world, renew(EFFECTS, make_request(**refused))).until(Cas)
    queued = Process(world, renew(EFFECTS, make_request(**refused))).until(Watch)
    holder.finish()
    assert queued.finish().token.generation == 2
    assert len(world.sent) == 1


def test_a_request_is_not_sent_once_more_where_the_look_before_it_has_taken_too_long() -> None:
    """The age was checked before that look: others had taken over, and both sent the same refresh token."""
    world = needy(None, failed(FailureKind.SERVER_ERROR, "503"), NEXT)
    process = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Sleep)
    process.faults = {(Load, process.seen[Load] + 1): passes(1_000.0)}
    assert process.finish().token.generation == 2
    assert [type(effect) for effect in process.trace if isinstance(effect, (Cas, Send))] == [
        *(Cas, Send, Cas),  # its lease is given back, since it is too old
        *(Cas, Send, Cas),
    ]
