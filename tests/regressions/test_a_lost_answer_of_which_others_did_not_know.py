"""A process knows that its answer was lost, and finds the failure of another one that did not know of it.

The store had lost the failure, or the other machine's clock made it an old one. The process took the later failure for
the whole truth, and sent the refresh token again while the server may have been at work on its request.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.driver import NEXT, World, failed, make_request, needy, refusing
from tests.effects import EFFECTS

from onerefresh import errors
from onerefresh.profile import Profile
from onerefresh.renewal.commands import allow_again
from onerefresh.renewal.renew import renew
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.sightings import Sightings
from onerefresh.verdict import FailureKind

LOST = failed(FailureKind.NO_ANSWER, "the token request was sent and its answer was lost")
DOWN = failed(FailureKind.UNAVAILABLE, "the token endpoint cannot be reached", retry_after=20.0)
REJECTED = failed(FailureKind.CLIENT_REJECTED, "invalid_client", retry_after=100.0)
DOUBT = failed(FailureKind.DOUBTFUL, "the token endpoint answered 401")
NEVER = Profile("theirs", resend="never")


def asks(world: World, memory: Sightings, profile: str | Profile = "strict", **others: Any) -> RenewalRequest:
    """What a process asks for, time after time: `memory` is what it has seen."""
    return make_request(profile, sightings=memory, **{**refusing(world), **others})


def lost_by_one_and_failed_by_another(theirs: Any, profile: str | Profile = "strict") -> tuple[World, Sightings]:
    """The store is restored from a backup after the first failure."""
    world, mine = needy(None, LOST, theirs, NEXT), Sightings()
    before = world.present
    world.fails(renew(EFFECTS, asks(world, mine, profile)))
    world.put(before)
    world.now += 1.0
    world.fails(renew(EFFECTS, asks(world, Sightings(), profile, client=lambda: "theirs")))
    assert len(world.sent) == 2
    return world, mine


@pytest.mark.parametrize("theirs", [DOWN, REJECTED, DOUBT], ids=str)
def test_the_pause_after_a_lost_answer_lasts(theirs: Any) -> None:
    world, mine = lost_by_one_and_failed_by_another(theirs)
    for moment in (2.0, 30.0, 59.0):
        world.now = moment
        error = world.fails(renew(EFFECTS, asks(world, mine, client=lambda: "mine")))
        assert isinstance(error, errors.RefreshOutcomeUnknown)
    assert len(world.sent) == 2
    world.now = 70.0 if theirs is not REJECTED else 102.0
    assert world.run(renew(EFFECTS, asks(world, mine))).token.generation == 2


def test_also_on_the_machine_that_sent_where_another_clock_made_it_an_old_failure() -> None:
    world, mine, other = needy(None, LOST, REJECTED), Sightings(), Sightings()
    world.clock_epoch = None
    world.fails(renew(EFFECTS, asks(world, mine)))
    world.now, world.wall_is_off = 1.0, 90.0
    world.fails(renew(EFFECTS, asks(world, other, client=lambda: "theirs")))
    assert len(world.sent) == 2
    world.now, world.wall_is_off = 3.0, 0.0
    error = world.fails(renew(EFFECTS, asks(world, mine, client=lambda: "mine")))
    assert isinstance(error, errors.RefreshOutcomeUnknown)
    assert len(world.sent) == 2


def test_what_is_never_sent_again_is_not_sent_after_the_pause_of_another_failure() -> None:
    world, mine = lost_by_one_and_failed_by_another(DOWN, NEVER)
    world.now += 10.0**7
    assert "is not sent again before retry() or a login" in str(world.fails(renew(EFFECTS, asks(world, mine, NEVER))))
    assert len(world.sent) == 2


def test_that_the_refresh_token_may_be_spent_is_not_forgotten() -> None:
    world, mine = lost_by_one_and_failed_by_another(DOWN)
    world.answers = [failed(FailureKind.DEAD, "invalid_grant")]
    world.now = 70.0
    error = world.fails(renew(EFFECTS, asks(world, mine)))
    assert isinstance(error, errors.LoginRequired)
    assert "may have spent the refresh token" in str(error)


@pytest.mark.parametrize("theirs", [[], [DOWN]], ids=["nobody", "another one"])
def test_a_retry_in_another_process_ends_it(theirs: list[Any]) -> None:
    world, mine = lost_by_one_and_failed_by_another(DOWN)
    world.answers = [*theirs, NEXT]
    world.run(allow_again(EFFECTS, make_request()))
    if theirs:
        world.fails(renew(EFFECTS, asks(world, Sightings())))
    world.now = 25.0
    assert world.run(renew(EFFECTS, asks(world, mine))).token.generation == 2
