"""What becomes of the present generation without an attempt: a replay is reported, or a person asks for a retry."""

from __future__ import annotations

from dataclasses import replace

from onerefresh.damping import Targets
from onerefresh.policy import refusal_pause
from onerefresh.record import Probation, Record, State
from onerefresh.store_clock import Clock

__all__ = ["replay_reported", "retried", "saved"]


def retried(record: Record, *, now: float, stamp: tuple[object, ...] = ()) -> Record:
    """The record as if nothing had been refused or refreshed yet: the next caller that needs a token asks at once.

    What may have spent the refresh token is still known; the person who calls `retry()` takes that risk.
    """
    failure, lease = record.failure, record.lease
    is_claimed = record.state is State.LEASED and not (lease is not None and lease.is_recovery)
    if is_claimed or (failure is None and record.floor is None):
        return record  # an attempt is under way; under a recovery lease there is none, and that lease stays
    is_dead = record.state is State.DEAD and record.token is not None
    asked = replace(failure, count=0, at=now, delay=0.0, doubts=0, prints=()) if failure is not None else None
    again = replace(record, state=State.IDLE if is_dead else record.state, failure=asked, floor=None, targets=None)
    return again.noted("retry", now, stamp)


def replay_reported(
    record: Record, *, accepted: bool, now: float, target: str = "", clock: Clock | None = None
) -> Record:
    """The record after a replay with the present token: accepted ends the probation, refused doubles it.

    `target`: the print of the target that was called, where it is known. The probation does not end where another one
    has refused a replay lately: what this target accepts says nothing of that one.
    """
    clock, targets = clock or (None, now), record.own_targets
    if accepted:
        targets = targets.accepting(target, clock) if targets is not None else None
        ends = not target or targets is None or not targets.refused
        return replace(record, probation=None if ends else record.probation, targets=targets)
    before = record.probation
    refusals, repeated, unknown = (before.refusals, before.repeated, before.unknown) if before else (0, False, {})
    delay = refusal_pause(refusals + 1)
    probation = Probation(refusals + 1, now, delay, True, reported=True, repeated=repeated, unknown=unknown)
    probation = probation.dated(clock)
    if target:
        targets = (targets or Targets(record.family, clock[0])).refusing(target, delay, clock)
    return replace(record, probation=probation, targets=targets)  # `unknown` stays: the generation is the same


def saved(record: Record) -> Record:
    """The record after the host application has saved the present token."""
    return replace(record, unsaved=False)
