"""How a request ended cannot be noted, or the store loses it later: the process that knows it goes by it all the same.

Processes here are renewals with the same `Sightings`: what one process remembers of the records that it has seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.core.driver import (
    NEXT,
    Process,
    World,
    failed,
    make_lease,
    make_request,
    needy,
    refusing,
    seed,
    store_goes_down,
)
from tests.effects import EFFECTS, Cas, Effects, Knowing, Load

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.policy import FOR_GOOD
from onerefresh.profile import Profile
from onerefresh.record import Record, State
from onerefresh.renewal.bring_back import bring_back
from onerefresh.renewal.clocks import Sent
from onerefresh.renewal.commands import allow_again, log_in
from onerefresh.renewal.renew import renew
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.sightings import Sightings
from onerefresh.verdict import FailureKind

LOST = failed(FailureKind.NO_ANSWER, "the token request was sent and its answer was lost")
DOUBT = failed(FailureKind.DOUBTFUL, "the token endpoint answered 401")
DEAD = failed(FailureKind.DEAD, "invalid_grant")
NEVER = Profile("theirs", resend="never")
ENDS = [(NEVER, LOST), ("strict", LOST), ("strict", DOUBT), ("strict", DEAD), ("static", DOUBT)]


class OneProcess:
    """What one process asks for, time after time."""

    def __init__(self, world: World, profile: str | Profile = "strict") -> None:
        self.world, self._profile = world, profile
        self._memory = Sightings()
        self.memory = Knowing(newest=world.token, recovery=5.0, may_go_back=True)
        self._token = world.token

    def request(self, **others: Any) -> RenewalRequest:
        return make_request(self._profile, **{"sightings": self._memory, **others})

    def fails(self, **options: Any) -> errors.OnerefreshError:
        return self.world.fails(renew(Effects(self.memory), self.request(refused=self._token.identity)), **options)


def emptied(world: World, before: Record) -> None:
    world.put(None)


def went_back(world: World, before: Record) -> None:
    world.put(before)


def brought_back_by_another(world: World, before: Record) -> None:
    """One that had never seen the failure."""
    recovery = make_lease("recovery-theirs", ttl=5.0, clock_epoch=world.clock_epoch, at=world.now, guess=True)
    world.put(records.restored(replace(before, token=None), before.token or seed(), now=world.wall, recovery=recovery))


@pytest.mark.parametrize(("profile", "end"), ENDS, ids=str)
def test_it_cannot_be_noted_and_the_same_process_sends_nothing_again(profile: str | Profile, end: Any) -> None:
    world = needy(None, end)
    mine = OneProcess(world, profile)
    said = mine.fails(faults={(Cas, 2): store_goes_down})
    world.down = False
    assert world.present.state is State.LEASED
    assert type(mine.fails()) is type(said)
    assert len(world.sent) == 1
    assert world.present.state in (State.IDLE, State.DEAD)  # others are told


@pytest.mark.parametrize("since", [emptied, went_back, brought_back_by_another])
@pytest.mark.parametrize(("profile", "end"), ENDS, ids=str)
def test_it_was_noted_and_the_store_lost_it(
    profile: str | Profile, end: Any, since: Callable[[World, Record], None]
) -> None:
    world = needy(None, end)
    mine, before = OneProcess(world, profile), world.present
    said = mine.fails()
    since(world, before)
    for _ in range(2):
        assert type(mine.fails()) is type(said)
    assert len(world.sent) == 1


def test_whoever_has_only_read_it_remembers_it_too() -> None:
    world = needy(None, LOST)
    mine, other = OneProcess(world, NEVER), OneProcess(world, NEVER)
    mine.fails()
    other.fails()
    emptied(world, world.present)
    assert isinstance(other.fails(), errors.RefreshOutcomeUnknown)
    assert len(world.sent) == 1
    assert world.present.failure is not None
    assert world.present.failure.is_for_good  # and those who had never seen it are told


def test_a_look_brings_it_back_with_the_token() -> None:
    world = needy(None, LOST)
    mine = OneProcess(world, NEVER)
    mine.fails()
    emptied(world, world.present)
    assert world.run(bring_back(Effects(mine.memory), mine.request()))
    assert world.present.failure is not None
    assert world.present.failure.is_for_good
    assert isinstance(OneProcess(world, NEVER).fails(), errors.RefreshOutcomeUnknown)


def test_what_cannot_be_noted_is_noted_later_without_anybody_asking() -> None:
    world = needy(None, LOST)
    OneProcess(world, NEVER).fails(faults={(Cas, 2): store_goes_down})
    world.down = False
    for rest in world.left_to_do:
        world.run(rest)
    assert world.present.state is State.IDLE
    assert world.present.failure is not None
    assert world.present.failure.delay == FOR_GOOD


def test_what_is_to_be_noted_later_is_left_where_somebody_has_claimed() -> None:
    world = needy(None, LOST)
    OneProcess(world, NEVER).fails(faults={(Cas, 2): store_goes_down})
    world.down = False
    other = world.lease()
    for rest in world.left_to_do:
        world.run(rest)
    assert world.present.lease is not None
    assert world.present.lease.id == other.id


def test_pauses_after_doubtful_answers_grow_although_none_can_be_noted() -> None:
    world = needy(None, *[DOUBT] * 5)
    mine, sent_at = OneProcess(world), []
    while world.now < 400.0:
        before = len(world.sent)
        mine.fails(faults={(Cas, count): store_goes_down for count in (2, 3)})
        world.down = False
        if len(world.sent) > before:
            sent_at.append(world.now)
        world.now += 1.0
    pauses = [after - before for before, after in itertools.pairwise(sent_at)]
    assert len(pauses) >= 3
    assert all(after > 1.5 * before for before, after in itertools.pairwise(pauses)), pauses


@pytest.mark.parametrize("end", [LOST, DOUBT, DEAD], ids=str)
@pytest.mark.parametrize("since", [None, emptied, brought_back_by_another])
def test_retry_asks_again_whatever_is_remembered(since: Callable[[World, Record], None] | None, end: Any) -> None:
    world = needy(None, end, NEXT)
    mine, before = OneProcess(world, NEVER), world.present
    mine.fails()
    if since is not None:
        since(world, before)
        mine.fails()
    assert world.run(allow_again(Effects(mine.memory), mine.request())) is not None
    assert world.run(renew(Effects(mine.memory), mine.request(refused=before.identity))).token.generation == 2


def test_a_retry_in_another_process_counts_for_this_one() -> None:
    world = needy(None, LOST, NEXT)
    mine = OneProcess(world, NEVER)
    mine.fails()
    world.run(allow_again(EFFECTS, make_request(NEVER)))
    assert world.run(renew(Effects(mine.memory), mine.request(**refusing(world)))).token.generation == 2


def test_a_session_that_was_found_dead_is_brought_back_as_dead_and_a_new_one_begins() -> None:
    world = needy(None, DEAD)
    mine = OneProcess(world)
    mine.fails()
    emptied(world, world.present)
    mine.fails()
    assert world.present.state is State.DEAD
    assert world.run(renew(EFFECTS, make_request(seed=seed("new")))).token.reveal() == "access-new"


def test_a_login_with_the_same_token_in_another_process_begins_anew() -> None:
    """The store was emptied, and somebody knows that the session lives."""
    world = needy(None, LOST, NEXT)
    mine = OneProcess(world, NEVER)
    mine.fails()
    world.put(None)
    world.now += 1.0
    world.run(log_in(EFFECTS, seed(), make_request(NEVER)))
    assert world.run(renew(Effects(mine.memory), mine.request(**refusing(world)))).token.generation == 2


# --- A look beside a request that is answered meanwhile ---


def claimed_and_lost(end: Any) -> tuple[World, OneProcess, Process[Any]]:
    """A request is about to be sent, and its claim is lost."""
    world = needy(seed(), end)
    mine = OneProcess(world)
    request = Process(world, renew(Effects(mine.memory), mine.request(refused=world.present.identity)))
    while world.present.lease is None:
        request.step()
    return world, mine, request


def finished(request: Process[Any]) -> None:
    with pytest.raises(errors.OnerefreshError):
        request.finish()


@pytest.mark.parametrize("end", [LOST, DOUBT, DEAD], ids=str)
@pytest.mark.parametrize("then", [Load, Cas])
def test_a_look_leaves_no_claim_behind_whose_request_is_over(then: Any, end: Any) -> None:
    """It is answered between any two steps of the look."""
    world, mine, request = claimed_and_lost(end)
    mine.memory.knows(sent=Sent(world.present, world.now))
    world.put(None)
    look = Process(world, bring_back(Effects(mine.memory), mine.request())).until(then)
    if then is Load:
        look.step()
    mine.memory.knows(sent=None)
    finished(request)
    look.finish()
    record = world.present
    assert record.lease is None or record.lease.is_recovery, record
    assert record.failure is not None


def test_a_look_puts_the_claim_back_while_the_request_is_on_its_way() -> None:
    world, mine, request = claimed_and_lost(DOUBT)
    leased = world.present
    world.put(None)
    mine.memory.knows(sent=Sent(leased, world.now))
    assert world.run(bring_back(Effects(mine.memory), mine.request()))
    assert world.present == leased
    finished(request)
    assert world.present.state is State.IDLE
