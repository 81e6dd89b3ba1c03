"""Who takes a recovery lease over has made sure that those who know a newer token could know of the loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.core.driver import NEXT, Process, World, make_request, seed
from tests.effects import Cas, Effect, Effects, Load, ReadNote, ReportLoss, Send, knowing

from onerefresh import errors
from onerefresh.record import State
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.recovery_lease import LONGEST_COMPARING
from onerefresh.renewal.renew import renew
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.sightings import Sightings
from onerefresh.renewal.world import NO_NOTE
from onerefresh.store import Conflict

RECOVERY = 5.0


def emptied() -> tuple[World, RenewalRequest, Effects]:
    """A store that has lost the record, and what a process wishes that knows generation 1, which the API refused."""
    world = World(answers=[NEXT])
    known = world.starts(seed())
    world.put(None)
    mine = knowing(newest=known, recovery=RECOVERY, may_go_back=True)
    return world, make_request(refused=known.identity), mine


def order(process: Process[Any], *kinds: type[Effect[Any]]) -> list[str]:
    return [type(effect).__name__ for effect in process.trace if isinstance(effect, kinds)]


def test_the_note_is_written_before_the_lease() -> None:
    """Before, a process that died in between left a lease of which nobody else knew."""
    world, asked, mine = emptied()
    process = Process(world, renew(mine, asked))
    process.until(Cas)
    assert (order(process, ReportLoss, Cas), world.losses) == (["ReportLoss"], 1)
    assert process.finish().token.generation == 2
    assert order(process, ReportLoss, Send) == ["ReportLoss", "Send"]
    assert world.now == pytest.approx(RECOVERY)


def test_where_the_loss_could_not_be_noted_it_is_noted_before_the_lease_is_taken_over() -> None:
    """Before, the old copy was sent when the lease was over, and nobody else had heard of the loss."""
    world, asked, mine = emptied()
    world.can_note = False
    process = Process(world, renew(mine, asked)).until(ReadNote)
    assert (world.present.lease is not None and world.present.lease.noted, world.losses) == ("", 0)
    world.can_note = True
    process.until(Send)
    assert world.losses == 1
    assert world.now == pytest.approx(2 * RECOVERY)
    assert process.finish().token.generation == 2


def test_whoever_finds_a_lease_that_another_process_left_without_a_note_notes_the_loss() -> None:
    world, asked, mine = emptied()
    Process(world, renew(mine, asked)).until(Load, 2).crash()
    assert world.present.lease is not None
    world.put(replace(world.present, lease=replace(world.present.lease, noted="")))  # an earlier version's
    world.losses = 0
    other = Process(world, renew(mine, asked._replace(sightings=Sightings())), host="other").until(Send)
    assert world.losses == 1
    assert world.now == pytest.approx(2 * RECOVERY)
    assert other.finish().token.generation == 2


def test_so_it_does_where_the_store_has_lost_the_note() -> None:
    world, asked, mine = emptied()
    process = Process(world, renew(mine, asked)).until(ReadNote)
    world.losses = 0
    process.until(Send)
    assert world.losses == 1
    assert world.now == pytest.approx(2 * RECOVERY)


def test_a_loss_that_can_never_be_noted_holds_nobody_up_for_good() -> None:
    world, asked, mine = emptied()
    world.can_note = False
    process = Process(world, renew(mine, asked))
    assert process.finish().token.generation == 2
    assert world.now == pytest.approx(3 * RECOVERY)


def test_a_store_that_can_hold_no_note_is_waited_for_once() -> None:
    world, asked, mine = emptied()
    world.can_note, world.unnoted = False, NO_NOTE
    assert world.run(renew(mine, asked)).token.generation == 2
    assert world.now == pytest.approx(RECOVERY)


def test_a_note_that_cannot_be_read_holds_nobody_up_for_good() -> None:
    def unread(world: World, effect: Effect[Any]) -> None:
        raise errors.StoreUnavailable("for the note alone")

    world, asked, mine = emptied()
    process = Process(world, renew(mine, asked), faults={(ReadNote, count): unread for count in range(1, 10)})
    assert process.finish().token.generation == 2
    assert len(order(process, ReadNote)) == 3


def test_a_store_that_always_says_conflict_ends_in_an_error() -> None:
    def conflict(world: World, effect: Effect[Any]) -> None:
        if isinstance(effect, Cas) and effect.record.lease is not None and effect.record.lease.again:
            raise Conflict("always")

    world, asked, mine = emptied()
    world.can_note = False
    process = Process(world, renew(mine, asked), faults={(Cas, count): conflict for count in range(1, 200)})
    with pytest.raises(errors.StoreUnavailable, match="changes faster"):
        process.finish()


# --- Those who are still comparing ---


def until_sent(process: Process[Outcome], world: World) -> float:
    process.until(Send)
    return world.now


def test_while_another_process_is_still_comparing_the_lease_is_not_taken_over() -> None:
    """Before, a process that knew of more losses than it could bring back within the lease was overtaken."""
    world, asked, mine = emptied()
    world.comparing = {"other": 1}
    process = Process(world, renew(mine, asked))
    for beat in range(2, 6):
        process.until(ReadNote)
        assert world.present.state is State.LEASED
        world.comparing = {"other": beat}
    world.comparing = {}
    assert until_sent(process, world) == pytest.approx(RECOVERY + 3.0)


def test_one_that_died_meanwhile_is_waited_for_shortly() -> None:
    world, asked, mine = emptied()
    world.comparing = {"other": 1}
    assert until_sent(Process(world, renew(mine, asked)), world) == pytest.approx(2 * RECOVERY)


def test_and_no_caller_waits_for_longer_than_callers_do() -> None:
    world, asked, mine = emptied()
    process = Process(world, renew(mine, asked))
    for beat in range(1, 100):
        process.until_over_or(ReadNote, 1)
        if process.is_over:
            break
        world.comparing = {"other": beat}
    assert world.sent
    assert world.now <= RECOVERY + LONGEST_COMPARING + 1.0


def test_a_newer_token_ends_the_waiting() -> None:
    world, asked, mine = emptied()
    world.comparing = {"other": 1}
    process = Process(world, renew(mine, asked)).until(ReadNote, 2)
    newer = replace(world.token, generation=2, access_token=NEXT.access_token, refresh_token=NEXT.refresh_token)
    world.put(replace(world.present, generation=2, state=State.IDLE, lease=None, token=newer))
    assert process.finish().token.generation == 2
    assert not world.sent
