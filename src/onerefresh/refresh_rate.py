"""How often a token may be refreshed: a record counts the early refreshes, for all processes and machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from onerefresh import policy
from onerefresh.policy import BUDGET_TIME, half_life
from onerefresh.store_clock import Clock, since
from onerefresh.token import Token
from onerefresh.unknown_fields import unknown_fields

__all__ = ["Floor"]

MOMENT = 0.001
"""Seconds that are not worth a wait: a clock may not even show them."""


@dataclass(frozen=True, slots=True)
class Floor:
    """How often the token was refreshed lately. It keeps a server or an API from causing a refresh with each call.

    * `generation`: the last one that a refresh has brought; `at`: when that refresh was begun.
    * `early`: when the last early refreshes were begun, those less than half a token's life after the one before.

    Times are in seconds on the store's clock of this `clock_epoch`, so that they hold for all machines; on wall clocks
    where that is None.
    """

    generation: int
    at: float
    clock_epoch: str | None = None
    early: tuple[float, ...] = ()
    unknown: Mapping[str, object] = unknown_fields()

    def after(self, generation: int, clock: Clock, *, early: bool) -> Floor:
        """The same after one more refresh, which was begun at that time."""
        clock_epoch, now = clock
        early_ones = [at for at in self.early if clock_epoch == self.clock_epoch and _is_of_late(at, now)]
        early_ones += [now] if early else []
        lately = tuple(early_ones[-policy.EARLY_REFRESHES :])
        return replace(self, generation=generation, at=now, clock_epoch=clock_epoch, early=lately)

    def is_early(self, generation: int, token: Token, clock: Clock) -> bool:
        """Whether a refresh of `token`, which is of this generation, is early at that time."""
        return self._half_life_left(generation, token, clock) > 0.0

    def rest(self, generation: int, token: Token, clock: Clock) -> float:
        """Seconds until `token`, which is of this generation, may be refreshed.

        Never longer than twice the budget's time, so that a clock that was set locks nobody out.
        """
        (clock_epoch, now), most = clock, policy.EARLY_REFRESHES
        lately = sorted(since(at, now, BUDGET_TIME) for at in self.early) if clock_epoch == self.clock_epoch else []
        if len(lately) < most or lately[most - 1] >= BUDGET_TIME:
            return 0.0
        left = min(self._half_life_left(generation, token, clock), BUDGET_TIME - lately[most - 1])
        return left if left > MOMENT else 0.0

    def is_of_late(self, generation: int, clock: Clock) -> bool:
        """Whether a refresh brought this generation within the last minute."""
        clock_epoch, now = clock
        return (generation, clock_epoch) == (self.generation, self.clock_epoch) and _is_of_late(self.at, now)

    def _half_life_left(self, generation: int, token: Token, clock: Clock) -> float:
        clock_epoch, now = clock
        if generation != self.generation or clock_epoch != self.clock_epoch:
            return 0.0  # an earlier version, a login or a repair brought it, or the store's clock is another one
        return max(half_life(token) - since(self.at, now, BUDGET_TIME), 0.0)


def _is_of_late(at: float, now: float) -> bool:
    """Whether it was within the last minute."""
    return since(at, now, BUDGET_TIME) < BUDGET_TIME
