"""When a process first saw a failure, and what it knows of a lost answer that later failures do not mention."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from onerefresh.failure import Failure
from onerefresh.record import Entry, Probation, Record, State
from onerefresh.renewal.clocks import Instant

MOST = 8
"""How many lost answers are remembered."""
_ON_DEMAND = frozenset({"login", "retry"})
"""Entries of the history after which a refresh token may be sent although it may be spent."""


class Sight(NamedTuple):
    """The first sight of a date, by the wall clock and by the process's own monotonic clock.

    `age`: seconds between the date and the first sight, at most: by the clock that showed the shortest time.
    """

    date: float
    wall: float
    monotonic: float
    age: float

    def latest(self, now: Instant) -> float:
        """The date, or the first sight if that was earlier: another machine's clock may be ahead."""
        return min(self.date, now.wall - (now.monotonic - self.monotonic))

    def earliest(self, now: Instant) -> float:
        """The date as it appeared at the first sight: the wall clock may have been set forward since."""
        return now.wall - self.age - (now.monotonic - self.monotonic)


class Loss(NamedTuple):
    """A lost answer at a generation, and its first sight. `history`: the record's at that time."""

    identity: tuple[str, int]
    failure: Failure
    sight: Sight
    history: tuple[Entry, ...]


def name_of(failure: Failure) -> object:
    """What tells a failure from others at the same generation."""
    return failure.at, failure.count, failure.kind


def by_store(dated: Failure | Probation, now: Instant) -> float:
    """When it was, as the store's clock tells, by this machine's; endless where that clock does not tell.

    A machine whose clock is ahead, or was set back since, dates what it notes in the future of others. A process that
    lives for one call sees it for the first time, every time.
    """
    if now.shared is None or now.shared.clock_epoch != dated.clock_epoch:
        return math.inf
    return now.wall - max(now.shared.seconds - dated.clock_at, 0.0)


def dated_by_store(record: Record, now: Instant) -> Record:
    """`record` with its failure dated by the store's clock, for whoever reads it once."""
    failure = record.failure
    if failure is None or (at := by_store(failure, now)) >= failure.at:
        return record
    return replace(record, failure=replace(failure, at=at))


def age_of(failure: Failure, now: Instant, since: float | None) -> float:
    """Seconds since a failure that this process sees for the first time, by the clock that shows the shortest time.

    Other clocks may be ahead, or may have been set forward. A date in the future says nothing where the store's clock
    tells.
    """
    age, shown = now.wall - failure.at, now.wall - by_store(failure, now)
    if shown >= 0.0:
        age = min(age, shown) if age >= 0.0 else shown
    age = max(age, 0.0)
    return age if since is None else min(age, now.monotonic - since)


def knowing(failure: Failure, before: Failure) -> Failure:
    """`failure` with what `before` says of the refresh token: the writer of `failure` may not have known it."""
    if (before.maybe_spent, before.lost) in ((failure.maybe_spent, failure.lost), (False, False)):
        return failure
    return replace(failure, maybe_spent=failure.maybe_spent or before.maybe_spent, lost=failure.lost or before.lost)


def noting(lost: tuple[Loss, ...], record: Record, sight: Sight) -> tuple[Loss, ...]:
    """`lost` with the lost answer that `record` shows, if it is another one. `sight`: its first sight."""
    failure = record.failure
    if failure is None or not failure.kind.is_lost:
        return lost
    if any((loss.identity, name_of(loss.failure)) == (record.identity, name_of(failure)) for loss in lost):
        return lost
    return (*lost, Loss(record.identity, failure, sight, record.history))[-MOST:]


def resting(record: Record, lost: tuple[Loss, ...], now: Instant) -> Record:
    """`record` with the last lost answer at its generation, until the pause after it is over or somebody calls `retry`.

    The record's own failure may come from a process that did not know of the lost answer, because the store had lost it
    or a clock was wrong.
    """
    failure, lease = record.failure, record.lease
    if failure is None or failure.count == 0 or State.DEAD in (record.state, lease.origin if lease else None):
        return record
    for loss in lost:
        is_cancelled = any(entry.what in _ON_DEMAND and entry not in loss.history for entry in record.history)
        if loss.identity != record.identity or is_cancelled:
            continue
        at = max(loss.sight.latest(now), loss.sight.earliest(now))
        known = replace(
            loss.failure,
            at=at,
            contested=failure.contested or loss.failure.contested,
            refused=failure.refused or loss.failure.refused,
            doubts=failure.doubts,
            prints=failure.prints,
        )
        left, rest = known.remaining(now.wall), failure.remaining(now.wall)
        # What is never sent again need not keep `obtain` waiting, but the pause of the later failure does.
        is_longer = rest <= 0.0 if known.is_for_good else left > rest
        if left > 0.0 and (failure.may_be_the_clients or is_longer):
            failure = known
    return record if failure is record.failure else replace(record, failure=failure)
