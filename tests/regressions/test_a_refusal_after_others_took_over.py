"""A request that is refused when others have taken over proves nothing: one of them may have spent the token."""

from __future__ import annotations

import pytest
from tests.core.driver import NEXT, Process, World, failed, make_request, needy, seed
from tests.effects import EFFECTS, Load, Send

from onerefresh import StoreUnavailable
from onerefresh.record import Lease
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.renew import renew
from onerefresh.renewal.request import RenewalRequest
from onerefresh.verdict import FailureKind


def late() -> tuple[Process[Outcome], World, RenewalRequest, Lease]:
    """A renewal that was stopped right before its request, and whose lease another attempt has by now."""
    world = needy(seed(lives=1.0, at=0.0), failed(FailureKind.DEAD))
    request = make_request()
    process = Process(world, renew(EFFECTS, request)).until(Send)
    return process, world, request, world.lease()


def test_its_process_waits_for_the_others_and_gets_their_token() -> None:
    process, world, _, other = late()
    process.until(Load, 3)  # it has found that the lease is another's, and looks again
    world.commit_by(other, NEXT)
    outcome = process.finish()
    assert outcome.token.generation == 2
    assert len(world.sent) == 1


def test_where_the_store_is_down_by_then_nobody_is_told_that_the_session_is_over() -> None:
    process, world, request, other = late()
    process.until(Load)  # the write of the refusal has failed
    process.until(Load)
    world.down = True
    with pytest.raises(StoreUnavailable):
        process.finish()
    world.down = False
    later = Process(world, renew(EFFECTS, request))
    later.until(Load)
    world.commit_by(other, NEXT)
    assert later.finish().token.generation == 2


def test_nor_where_it_goes_down_before_it_can_say_whose_lease_it_is() -> None:
    process, world, request, other = late()
    process.until(Load)  # the write of the refusal was in conflict with another one
    world.down = True
    with pytest.raises(StoreUnavailable):
        process.finish()
    world.down = False
    later = Process(world, renew(EFFECTS, request))
    later.until(Load)
    world.commit_by(other, NEXT)
    assert later.finish().token.generation == 2
