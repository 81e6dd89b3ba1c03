"""A process is stopped right before it restores a lost record, and meanwhile others restore it and it is lost again."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.driver import (
    NEXT,
    Process,
    World,
    does,
    lost_but_applied,
    make_lease,
    make_request,
    needy,
    refusing,
    store_goes_down,
)
from tests.effects import EFFECTS, Cas, ReportLoss, Send, knowing

from onerefresh import transitions as records
from onerefresh.record import Lease, State
from onerefresh.renewal.bring_back import bring_back
from onerefresh.renewal.clocks import Sent
from onerefresh.renewal.recovery import settle
from onerefresh.renewal.renew import renew

RECOVERY = 20.0
STOPPED = 34.0


def lease_of(world: World) -> Lease:
    found = world.present.lease
    assert found is not None
    return found


def restoring(world: World) -> Process[Any]:
    """It knows the token of the record."""
    return Process(world, renew(knowing(newest=world.token, recovery=RECOVERY), make_request(**refusing(world))))


def beginning(world: World) -> Process[Any]:
    """It was given the token of the record, and knows no other."""
    asked = make_request(seed=world.token, **refusing(world))
    return Process(world, renew(knowing(recovery=RECOVERY, may_go_back=True), asked))


def saving(world: World) -> Process[Any]:
    """It has the answer to a request, for a record that is gone."""
    renewal = renew(knowing(newest=world.token, recovery=RECOVERY), make_request(**refusing(world)))
    process = Process(world, renewal).until(Send)
    process.faults = {(Cas, 2): does(lambda world: world.put(None))}
    process.until(Cas)
    process.step()  # it conflicts
    return process


def looking(world: World) -> Process[Any]:
    """It waits for an answer, and its look finds the record gone."""
    known = world.token
    world.lease(make_lease(ttl=30.0, clock_epoch=world.clock_epoch, at=world.now))
    sent = Sent(world.present, world.now)
    return Process(world, bring_back(knowing(newest=known, recovery=RECOVERY, sent=sent), make_request()))


def settling(world: World) -> Process[Any]:
    """It finds the record on another server than before."""
    return Process(world, settle(knowing(recovery=RECOVERY), world.load(), make_request(), contested=False))


FOUNDERS = [restoring, beginning, saving, looking, settling]


@pytest.mark.parametrize("clock_epoch", ["boot", None])
@pytest.mark.parametrize("founder", FOUNDERS)
def test_a_process_that_was_stopped_before_it_restored_a_record_leaves_others_their_time(
    founder: Any, clock_epoch: str | None
) -> None:
    """The lease was dated before the write, and was over at once. Nobody noted that the store had lost it once more."""
    world = needy(None, NEXT, NEXT)
    world.clock_epoch = clock_epoch
    stopped = founder(world)
    if founder is not settling:
        world.put(None)
    stopped.until(Cas)
    world.now += STOPPED
    losses, written_at = world.losses, world.now
    stopped.until_over_or(Cas, 2)  # it has written, and not begun the lease
    assert world.present.state is State.LEASED
    others = Process(world, renew(knowing(newest=world.token, recovery=RECOVERY), make_request(**refusing(world))))
    others.until(Send)
    assert world.now - written_at >= RECOVERY
    assert world.losses > losses


@pytest.mark.parametrize("founder", [restoring, beginning])
def test_a_lease_begins_when_it_is_known_to_be_there(founder: Any) -> None:
    world = needy(None, NEXT)
    process = founder(world)
    world.put(None)
    process.until(Cas)
    world.now += 1.0
    process.until(Cas)
    unbegun = lease_of(world)
    assert (unbegun.clock_epoch, unbegun.noted) == (None, "")
    process.step()
    assert lease_of(world).id == unbegun.id
    assert (lease_of(world).at, lease_of(world).noted, world.losses) == (world.now, "note:1", 1)
    process.until(Send)
    assert RECOVERY <= world.now - 1.0 <= RECOVERY + 2.0


def test_a_late_process_notes_the_loss_once_more_and_lets_another_lease_begin() -> None:
    world = needy(None, NEXT)
    process = restoring(world)
    world.put(None)
    process.until(Cas)
    world.now += STOPPED
    process.until(Cas)
    unbegun = lease_of(world)
    process.step()
    assert lease_of(world).id != unbegun.id
    assert (lease_of(world).at, lease_of(world).noted, world.losses) == (world.now, "note:2", 2)


@pytest.mark.parametrize("then", ["it dies", "its write is not heard of", "the store is down"])
def test_whoever_waits_lets_a_lease_begin_whose_process_does_not(then: str) -> None:
    """Else those that live for less than its time to live would watch it for ever."""
    world = needy(None, NEXT)
    process = restoring(world)
    known = world.token
    world.put(None)
    if then == "its write is not heard of":
        process.faults = {(Cas, 1): lost_but_applied}
        process.until(Cas)
        process.step()
    else:
        process.until(Cas, 2)
        process.faults = {(Cas, 2): store_goes_down} if then == "the store is down" else {}
        if process.faults:
            process.step()
    process.crash()
    world.down = False
    assert lease_of(world).clock_epoch is None
    visitor = Process(world, renew(knowing(newest=known, recovery=RECOVERY), make_request(**refusing(world))))
    visitor.until(ReportLoss).until(Cas)
    visitor.step()
    assert (lease_of(world).clock_epoch, lease_of(world).at, lease_of(world).noted) == ("boot", world.now, "note:2")
    visitor.crash()
    world.now += RECOVERY
    assert world.run(renew(EFFECTS, make_request(**refusing(world)))).token.generation == 2


def test_a_lease_that_others_have_replaced_does_not_begin() -> None:
    world = needy(None, NEXT)
    process = restoring(world)
    world.put(None)
    process.until(Cas, 2)
    world.put(records.logged_out(world.record, now=world.wall))
    process.step()
    assert world.present.is_logged_out
