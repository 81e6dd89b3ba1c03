"""Which refusal of a token causes a refresh while refusals are damped: it depends on the target that refused.

A *target* is the origin and the path of a request, without its query. An API may answer 401 for one of its targets
whatever token is sent, because the user has no right to it, for example. So after a refused replay the record damps
refusals for a while (`onerefresh.record.Probation`). But a target that has accepted the present token and refuses it
now has news: the token has ended, and every target would be refused from now on. Such a refusal refreshes the token at
once. A target may lie, too: behind it, one replica accepts the token and another one refuses it. So the record counts
such refreshes, and the pauses after them grow, for all targets.

Nothing here reads a clock, and no path is kept in clear: the record has prints, keyed with the credential's name.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from onerefresh.policy import LONGEST_PAUSE, refusal_pause
from onerefresh.store_clock import Clock, since
from onerefresh.unknown_fields import unknown_fields

__all__ = ["HANDFUL", "RefusedAt", "RefusedTarget", "Ruling", "Target", "Targets", "print_of", "rule"]

QUIET = 120.0
"""Seconds: a refusal that comes so long after the pause for the one before is not in a row with it.

A pause that is longer counts instead. Tokens that really end every few minutes are refreshed each time.
"""
HANDFUL = 8
"""How many targets are remembered: of those that refused a replay, by the record; of the others, by each process."""

Target: TypeAlias = tuple[str, str]
"""The origin and the path of a request, as it was sent."""


def print_of(target: Target, key: str) -> str:
    """The print by which the record of the credential `key` remembers a target: 16 hexadecimal digits."""
    said = "\0".join(target).encode("utf-8", "surrogatepass")
    named = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return hashlib.blake2b(said, digest_size=8, key=named).hexdigest()


class RefusedAt(NamedTuple):
    """Where a token was refused.

    * `target`: the target's print.
    * `is_news`: this target has accepted this very token before, in this process.
    """

    target: str
    is_news: bool = False


class Ruling(enum.Enum):
    """What a refusal of the present token does."""

    REFRESHES = enum.auto()
    IS_LET_THROUGH = enum.auto()  # it refreshes, too, and is counted, since other targets are known to refuse tokens
    IS_DAMPED = enum.auto()


class RefusedTarget(NamedTuple):
    """A target that has refused a replay: its print, when it did so, and for how many seconds that damps refusals."""

    target: str
    at: float
    delay: float


@dataclass(frozen=True, slots=True)
class Targets:
    """What a record remembers of the targets of its API. It applies to the session of this `family` alone.

    * `refused`: the last targets that have refused a replay, at most `HANDFUL` of them.
    * `generation`: the last one of which a refusal was let through; `at`: when; `count`: how many were, in a row.

    Times are in seconds on the store's clock of this `clock_epoch`, so that they hold for all machines; on wall clocks
    where that is None.
    """

    family: str
    clock_epoch: str | None = None
    refused: tuple[RefusedTarget, ...] = ()
    generation: int = 0
    count: int = 0
    at: float = 0.0
    unknown: Mapping[str, object] = unknown_fields()

    def present(self, clock: Clock) -> tuple[RefusedTarget, ...]:
        """Those that are not forgotten yet.

        A target is forgotten ten minutes after the time for which it damps refusals: what others are refused meanwhile
        puts off the next replay, which would show that it still refuses.
        """
        clock_epoch, now = clock
        if clock_epoch != self.clock_epoch:
            return ()
        return tuple([one for one in self.refused if since(one.at, now, LONGEST_PAUSE) < one.delay + LONGEST_PAUSE])

    def damps(self, target: str, clock: Clock) -> bool:
        """Whether this target has refused a replay only just now."""
        return any(
            one.target == target and since(one.at, clock[1], LONGEST_PAUSE) < one.delay for one in self.present(clock)
        )

    def in_a_row(self, clock: Clock) -> int:
        """How many refusals were let through in a row."""
        pause = refusal_pause(self.count)
        return self.count if self._since_the_last(clock) < pause + max(pause, QUIET) else 0

    def pressure(self, clock: Clock) -> int:
        """How many refusals in a row lengthen the pause after a refresh: none where no target is known to refuse."""
        return self.in_a_row(clock) if self.present(clock) else 0

    def allows(self, generation: int, clock: Clock) -> bool:
        """Whether a refusal of this generation may be let through at that time.

        What was let through before has not brought a token yet where the generation is still the same.
        """
        return generation == self.generation or self._since_the_last(clock) >= refusal_pause(self.count)

    def letting_through(self, generation: int, clock: Clock) -> Targets:
        """The same after a refusal of this generation was let through."""
        if generation == self.generation:
            return self
        count = self.in_a_row(clock) + 1
        return replace(self._by(clock), generation=generation, count=count, at=clock[1])

    def refusing(self, target: str, delay: float, clock: Clock) -> Targets:
        """The same after this target has refused a replay, which damps refusals for `delay` seconds."""
        others = [one for one in self.present(clock) if one.target != target]
        refused = (*others, RefusedTarget(target, clock[1], delay))[-HANDFUL:]
        return replace(self._by(clock), refused=refused)

    def accepting(self, target: str, clock: Clock) -> Targets:
        """The same after this target has accepted a replay. What is forgotten by now is left out."""
        return replace(self, refused=tuple([one for one in self.present(clock) if one.target != target]))

    def _since_the_last(self, clock: Clock) -> float:
        """Seconds since a refusal was let through; endless where there was none."""
        return since(self.at, clock[1], LONGEST_PAUSE) if self.count and clock[0] == self.clock_epoch else math.inf

    def _by(self, clock: Clock) -> Targets:
        """The same by this clock: times of another one mean nothing."""
        if clock[0] == self.clock_epoch:
            return self
        return replace(self, clock_epoch=clock[0], refused=(), generation=0, count=0, at=0.0)


def rule(
    where: RefusedAt | None,
    *,
    holds: bool,
    proven: bool,
    generation: int,
    targets: Targets | None,
    clock: Clock,
) -> Ruling:
    """What the refusal of the present token at `where` does. None: whoever reports it does not know its target.

    * `holds`: the record damps refusals now, those of a token that was just refreshed or that a replay was refused.
    * `proven`: the API has accepted the token in this process, wherever that was.
    * `generation`: the token's.
    * `targets`: what the record remembers of this session's targets.
    """
    is_known, is_news = targets is not None and bool(targets.present(clock)), where is not None and where.is_news
    if not holds and is_known and is_news:
        return Ruling.IS_LET_THROUGH
    if not holds:
        is_own = where is not None and targets is not None and targets.damps(where.target, clock)
        return Ruling.IS_DAMPED if is_own else Ruling.REFRESHES
    if proven and (where is None or not is_known):
        return Ruling.REFRESHES
    if is_news and (targets is None or targets.allows(generation, clock)):
        return Ruling.IS_LET_THROUGH
    return Ruling.IS_DAMPED
