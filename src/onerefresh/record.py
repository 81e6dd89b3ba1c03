"""The record of one credential, and the states that it goes through; `onerefresh.transitions` has each step.

    IDLE(g)    ── claim ──►         LEASED(g, lease)
    LEASED(g)  ── commit ──►        IDLE(g+1)       also from DEAD(g) and IDLE(g), whoever holds the lease
    LEASED(g)  ── release ──►       IDLE(g, failure)
    LEASED(g)  ── take over ──►     LEASED(g, another lease)
    LEASED(g)  ── invalid_grant ──► DEAD(g)
    LEASED(g)  ── doubtful ──►      IDLE(g, failure)          asked again after a pause, and by `retry()`
    none, older ── restore ──►      LEASED(g, recovery lease) nothing is sent under it
    DEAD(g)    ── retry ──►         IDLE(g, failure)
    any        ── log in ──►        IDLE(g+1), new family
    any        ── log out ──►       EMPTY(g+1)

Nothing here reads a clock, a store or a socket.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from onerefresh import policy
from onerefresh.policy import BUDGET_TIME, FOR_GOOD, half_life
from onerefresh.token import Token
from onerefresh.verdict import FailureKind, Verdict

__all__ = [
    "Clock",
    "Entry",
    "Failure",
    "Floor",
    "Grant",
    "IllegalTransition",
    "Lease",
    "Probation",
    "Record",
    "State",
]

HISTORY = 8
RECOVERY = "recovery-"
"""How the id of a recovery lease begins."""
FAMILIES = 32
"""So many sessions are remembered: the first token of an older one would count as a new login."""
MOMENT = 0.001
"""Seconds that nobody waits for: a clock may not even show them."""
PRINTS = 8
"""So many different clients ask at once about what another one was refused; the next ones wait for the pause."""


Clock: TypeAlias = tuple[str | None, float]
"""The era of the store's own clock, and what it says; or None and seconds since the epoch, where it has none."""


def _unknown() -> Any:
    """The attribute `unknown` of each object that is stored: what a newer version stored with it, by its stored name.

    It is kept as long as its object is, and written back.
    """
    return field(default_factory=dict, repr=False, hash=False)


class IllegalTransition(AssertionError):
    """A transition that the diagram does not have: a defect of this library."""


class State(enum.StrEnum):
    EMPTY = "empty"
    IDLE = "idle"
    LEASED = "leased"
    DEAD = "dead"


class Grant(enum.StrEnum):
    """What an attempt spends: the refresh token, or (``obtain=``) something else than this credential's token."""

    REFRESH = "refresh"
    OBTAIN = "obtain"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one attempt to send, until its `ttl` in seconds is over; a lease is written by a claim.

    `clock_epoch` and `at`: when it began, on the store's own clock. `death_proof`: what the holder's kernel would
    release if the holder died (or None). `contested`: an earlier attempt at this generation was not proven dead, and
    may still commit. `origin`: the state to which a release returns. `guess`: the store had lost the record, or may
    have gone back, so that the refresh token may be one that was used up before.

    A *recovery lease* has `guess`, and nothing is sent under it: it keeps a token that was brought back from being sent
    before a process that knows a newer token has brought that one back. The attempt that takes over from it guesses.
    `noted`: the mark of the note of losses that had named the record when this lease began; empty where that is not
    known. `again`: how many recovery leases there were before this one because the note did not name the record.
    """

    id: str
    grant: Grant
    ttl: float
    clock_epoch: str | None = None
    at: float = 0.0
    death_proof: str | None = None
    contested: bool = False
    origin: State = State.IDLE
    guess: bool = False
    noted: str = ""
    again: int = 0
    unknown: Mapping[str, object] = _unknown()

    @property
    def is_recovery(self) -> bool:
        """Whether it is a recovery lease: nothing is sent under it."""
        return self.id.startswith(RECOVERY)


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failure at this generation, remembered for all who share the credential.

    `count`: failures in a row. Nothing is sent until `delay` seconds after `at` (seconds since the epoch; a machine
    whose clock is far off waits at most `delay`). `maybe_spent`: the refresh token may have been spent. `contested`: an
    attempt that may still come back and commit was under way. `refused`: the API had refused the access token, so that
    token does not serve either once the session is dead, or doubtful. `doubts`: doubtful refusals at this generation;
    with ``kind`` ``DEAD`` and some of them, the session is not dead, but doubtful. `prints`: of the clients that
    were refused. `lost`: the answer to a request at this generation was lost.
    """

    kind: FailureKind
    detail: str
    count: int
    at: float
    delay: float
    maybe_spent: bool = False
    contested: bool = False
    refused: bool = False
    challenge: str | None = None
    doubts: int = 0
    prints: tuple[str, ...] = ()
    lost: bool = False
    unknown: Mapping[str, object] = _unknown()

    @property
    def is_doubtful(self) -> bool:
        """Whether the last refusal may mean that the client is wrong, rather than that the session is over."""
        return self.kind is FailureKind.DEAD and self.doubts > 0

    @property
    def is_for_good(self) -> bool:
        """Whether nothing is sent until a login, or until somebody says `retry()`."""
        return self.delay >= FOR_GOOD

    @property
    def may_be_the_clients(self) -> bool:
        """Whether another client may have more luck, and is to ask at once: once for each, and a few of them."""
        return (self.is_doubtful or self.kind.of_the_client) and not self.is_for_good and len(self.prints) < PRINTS

    def is_news_to(self, client: str) -> bool:
        """Whether the client with this print was not among those that were refused."""
        return self.may_be_the_clients and bool(client) and client not in self.prints

    def remaining(self, now: float) -> float:
        """Seconds until the token endpoint may be asked again."""
        return min(max(self.at + self.delay - now, 0.0), self.delay)

    def verdict(self, now: float) -> Verdict:
        """What those are told who ask during the delay."""
        kind = FailureKind.DOUBTFUL if self.is_doubtful else self.kind
        return Verdict(kind, self.detail, self.remaining(now) or None, self.challenge)


@dataclass(frozen=True, slots=True)
class Probation:
    """A refreshed token that has yet to prove itself: until `delay` seconds after `at` its refusal refreshes nothing.

    `refusals`: refused replays in a row, over generations. `by_refusal`: the refresh was asked for by a refusal, so
    that only an accepted replay is a proof. `reported`: a replay with this generation was refused. `repeated`: the
    request was sent again, or taken over, so the server may have repeated an older answer: a refusal refreshes at once.
    """

    refusals: int
    at: float
    delay: float
    by_refusal: bool
    reported: bool = False
    repeated: bool = False
    unknown: Mapping[str, object] = _unknown()

    def holds(self, now: float) -> bool:
        return min(self.at + self.delay - now, self.delay) > 0.0


@dataclass(frozen=True, slots=True)
class Floor:
    """How often the token was refreshed of late, so that a server or an API is not asked for one with each call.

    `generation`: the last one that a refresh has brought; `at`: when that was begun. `early`: when the last ones were
    begun that came early, less than half a token's life after the one before. Seconds by the store's clock of this
    `clock_epoch`, so that it holds for all machines; by wall clocks where that is None.
    """

    generation: int
    at: float
    clock_epoch: str | None = None
    early: tuple[float, ...] = ()
    unknown: Mapping[str, object] = _unknown()

    def after(self, generation: int, clock: Clock, *, early: bool) -> Floor:
        """The same after one more refresh, which was begun at that time."""
        clock_epoch, now = clock
        early_ones = [at for at in self.early if clock_epoch == self.clock_epoch and _since(at, now) < BUDGET_TIME]
        early_ones += [now] if early else []
        lately = tuple(early_ones[-policy.EARLY_REFRESHES :])
        return replace(self, generation=generation, at=now, clock_epoch=clock_epoch, early=lately)

    def is_early(self, generation: int, token: Token, clock: Clock) -> bool:
        """Whether a refresh of `token`, which is of this generation, comes early at that time."""
        return self._half_life_left(generation, token, clock) > 0.0

    def rest(self, generation: int, token: Token, clock: Clock) -> float:
        """Seconds until `token`, which is of this generation, may be refreshed. Never longer than twice the budget's
        time: a clock that was set locks nobody out.
        """
        (clock_epoch, now), most = clock, policy.EARLY_REFRESHES
        lately = sorted(_since(at, now) for at in self.early) if clock_epoch == self.clock_epoch else []
        if len(lately) < most or lately[most - 1] >= BUDGET_TIME:
            return 0.0
        left = min(self._half_life_left(generation, token, clock), BUDGET_TIME - lately[most - 1])
        return left if left > MOMENT else 0.0

    def is_of_late(self, generation: int, clock: Clock) -> bool:
        """Whether a refresh brought this generation within the last minute."""
        clock_epoch, now = clock
        return (generation, clock_epoch) == (self.generation, self.clock_epoch) and _since(self.at, now) < BUDGET_TIME

    def _half_life_left(self, generation: int, token: Token, clock: Clock) -> float:
        clock_epoch, now = clock
        if generation != self.generation or clock_epoch != self.clock_epoch:
            return 0.0  # an earlier version, a login or a repair has brought it, or the store's clock is another one
        return max(half_life(token) - _since(self.at, now), 0.0)


def _since(at: float, now: float) -> float:
    """Seconds since then. A moment that is far ahead is one of a clock that was set since, and says nothing."""
    return math.inf if at - now > BUDGET_TIME else max(now - at, 0.0)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the record's short history. `more`: what a newer version wrote behind it."""

    generation: int
    at: float
    what: str
    more: tuple[object, ...] = field(default=(), repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class Record:
    """All that is known of one credential. `families`: digests of its seeds and logins, the present one last.

    `committed_by`: the attempt that committed the present generation. `owner`: the refresher's identity, where it has
    one. `unsaved`: the host's ``save`` has not taken this token yet. `floor`: how often it was refreshed of late.

    `unknown` outlives every transition, a login and a logout too.
    """

    families: tuple[str, ...]
    generation: int
    state: State
    token: Token | None = None
    lease: Lease | None = None
    failure: Failure | None = None
    probation: Probation | None = None
    committed_by: str | None = None
    owner: str | None = None
    unsaved: bool = False
    history: tuple[Entry, ...] = ()
    floor: Floor | None = None
    unknown: Mapping[str, object] = _unknown()

    @property
    def family(self) -> str:
        return self.families[-1] if self.families else ""

    @property
    def is_logged_out(self) -> bool:
        """Emptied by a logout, rather than never filled."""
        return self.state is State.EMPTY and self.generation > 0

    @property
    def identity(self) -> tuple[str, int]:
        return (self.family, self.generation)

    def rest(self, clock: Clock) -> float:
        """Seconds until it may be refreshed, as far as its earlier refreshes tell."""
        if self.floor is None or self.token is None:
            return 0.0
        return self.floor.rest(self.generation, self.token, clock)
