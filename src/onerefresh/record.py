"""The record of one credential, and its states; `onerefresh.transitions` has each transition.

    IDLE(g)    ── claim ──►         LEASED(g, lease)
    LEASED(g)  ── commit ──►        IDLE(g+1)       also from DEAD(g) and IDLE(g), under any lease
    LEASED(g)  ── release ──►       IDLE(g, failure)
    LEASED(g)  ── take over ──►     LEASED(g, another lease)
    LEASED(g)  ── invalid_grant ──► DEAD(g)
    LEASED(g)  ── doubtful ──►      IDLE(g, failure)          asked again after a pause, and by `retry()`
    none, older ── restore ──►      LEASED(g, recovery lease) nothing is sent under it
    DEAD(g)    ── retry ──►         IDLE(g, failure)
    any        ── log in ──►        IDLE(g+1), new family
    any        ── log out ──►       EMPTY(g+1)
    not leased ── move ──►          EMPTY(g)                  to another store, where it goes on

Here `g` is the generation. Nothing here reads a clock, a store or a socket.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from onerefresh.damping import Targets
from onerefresh.failure import Failure
from onerefresh.redaction import plain
from onerefresh.refresh_rate import Floor
from onerefresh.store_clock import Clock
from onerefresh.this_process import named
from onerefresh.token import Token
from onerefresh.unknown_fields import unknown_fields

__all__ = ["Entry", "Grant", "IllegalTransition", "Lease", "Probation", "Record", "State", "TokenClock", "spent_now"]

HISTORY = 8
MOVED = "moved to "
"""How the last entry of the history begins where a record was moved to another store; the store's name follows."""
RECOVERY = "recovery-"
"""The prefix of a recovery lease's id."""
FAMILIES = 32
"""How many sessions are remembered. The first token of an older one would count as a new login."""
SPENT = 16
"""How many spent refresh tokens are remembered, beside the first one of the present session."""


class IllegalTransition(AssertionError):
    """A transition that the diagram does not have: a defect of this library."""


class State(enum.StrEnum):
    """The states of a record; the module's diagram has the transitions."""

    EMPTY = "empty"
    IDLE = "idle"
    LEASED = "leased"
    DEAD = "dead"


class Grant(enum.StrEnum):
    """What an attempt spends: the refresh token, or (``obtain=``) something other than this credential's token."""

    REFRESH = "refresh"
    OBTAIN = "obtain"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one attempt to send until its `ttl`, in seconds, is over. A claim writes the lease.

    * `clock_epoch`, `at`: when it began, on the store's own clock.
    * `death_proof`: the lock that the kernel would release if the holder died, or None.
    * `contested`: an earlier attempt at this generation was not proven dead, and may still commit.
    * `origin`: the state to which a release returns.
    * `guess`: the store had lost the record, or may have gone back, so the refresh token may be one that was spent
      before.

    A *recovery lease* has `guess`, and nothing is sent under it. It keeps a restored token from being sent before a
    process that knows a newer one has restored that. The attempt that takes it over has `guess`, too.

    * `noted`: the mark of the note of losses that named the record when this lease began; empty where that is not
      known.
    * `again`: how many recovery leases came before this one because the note did not name the record.
    * `taken_from`: the id of the lease that this one took over, or empty. Only the process that claimed knows it.
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
    taken_from: str = field(default="", compare=False)
    unknown: Mapping[str, object] = unknown_fields()

    @property
    def is_recovery(self) -> bool:
        """Whether it is a recovery lease: nothing is sent under it."""
        return self.id.startswith(RECOVERY)


@dataclass(frozen=True, slots=True)
class Probation:
    """A refreshed token that is not proven yet. Until `delay` seconds after `at`, a refusal of it refreshes nothing.

    * `refusals`: refused replays in a row, over generations.
    * `by_refusal`: a refusal caused the refresh, so only an accepted replay proves the token.
    * `reported`: a replay with this generation was refused.
    * `repeated`: the request was sent again, or taken over, so the server may have repeated an older answer. A refusal
      then refreshes at once.
    * `clock_epoch`, `clock_at`: as `at`, by the store's own clock, where it has one.
    """

    refusals: int
    at: float
    delay: float
    by_refusal: bool
    reported: bool = False
    repeated: bool = False
    clock_epoch: str | None = None
    clock_at: float = 0.0
    unknown: Mapping[str, object] = unknown_fields()

    def holds(self, now: float) -> bool:
        """Whether the delay is not over yet."""
        return min(self.at + self.delay - now, self.delay) > 0.0

    def dated(self, clock: Clock | None) -> Probation:
        """The same, which begins now, by the store's clock as well, where it has one."""
        clock_epoch, at = clock or (None, 0.0)
        return self if clock_epoch is None else replace(self, clock_epoch=clock_epoch, clock_at=at)


@dataclass(frozen=True, slots=True)
class TokenClock:
    """The clock by which the token of this `generation` is dated: that of its server, as far as the answer showed it.

    * `machine`, `skew`: the machine that got the token, and how far its own clock was ahead, in seconds; an empty name
      and 0 where the answer did not show that, so that the token is dated by the clock of that machine.
    * `clock_epoch`, `ahead`: how far the store's clock of this epoch was ahead; None where the store has no clock.
    """

    generation: int
    machine: str
    skew: float
    clock_epoch: str | None = None
    ahead: float = 0.0
    unknown: Mapping[str, object] = unknown_fields()


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the record's short history.

    `more`: the further elements, as they are stored: the machine and the number of the process that wrote the entry,
    why it refreshed the token, and what a newer version added. Earlier versions wrote none of them.
    """

    generation: int
    at: float
    what: str
    more: tuple[object, ...] = field(default=(), repr=False, hash=False)

    @property
    def process(self) -> str | None:
        """The process that wrote the entry, such as ``"web-3:4711"``; None where that is not known."""
        machine, number, *_ = (*self.more, None, None)
        if not isinstance(machine, str) or not isinstance(number, int) or isinstance(number, bool):
            return None
        return named(plain(machine), number)

    @property
    def reason(self) -> str | None:
        """Why the token was refreshed, as in `onerefresh.events.Reason`; None where that is not known."""
        found = self.more[2] if len(self.more) > 2 else None
        return plain(found) if isinstance(found, str) and found else None


def spent_now(earlier: tuple[str, ...], present: Token | None, before: Token | None = None) -> tuple[str, ...]:
    """Digests of spent refresh tokens, where `present` takes the place of `before`, which was traded in for it.

    `earlier`: those that were spent before. A server may give the same refresh token again: that one is not spent.
    """
    digests = [
        token.refresh_token.fingerprint() if token is not None and token.refresh_token else ""
        for token in (before, present)
    ]
    spent = dict.fromkeys((*earlier, digests[0]))
    return tuple(digest for digest in spent if digest not in ("", digests[1]))[-SPENT:]


@dataclass(frozen=True, slots=True)
class Record:
    """All that is known of one credential.

    * `families`: digests of its seeds and logins, the present one last.
    * `committed_by`: the attempt that committed the present generation.
    * `owner`: the refresher's identity, where it has one.
    * `unsaved`: the host application's ``save`` has not taken this token yet.
    * `floor`: how often the token was refreshed lately.
    * `spent`: digests of refresh tokens that were traded in for others, the last one at the end; see `traded`.
    * `targets`: what is remembered of the targets of the API, of the session that it names.
    * `token_clock`: by which clock the token is dated, where that is known.

    `unknown` outlives every transition, also a login and a logout.
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
    spent: tuple[str, ...] = ()
    targets: Targets | None = None
    token_clock: TokenClock | None = None
    unknown: Mapping[str, object] = unknown_fields()

    @property
    def family(self) -> str:
        """The family of the present session; empty where there was none yet."""
        return self.families[-1] if self.families else ""

    @property
    def is_logged_out(self) -> bool:
        """Whether a logout, or a move to another store, has ended its use here; False where it was never filled."""
        return self.state is State.EMPTY and self.generation > 0

    @property
    def moved_to(self) -> str | None:
        """The name of the store to which the session was moved; None where it was not moved.

        Nobody uses the record here any more. It has a token as long as the other store may not have it yet.
        """
        last = self.history[-1].what if self.history and self.state is State.EMPTY else ""
        return last.removeprefix(MOVED) if last.startswith(MOVED) else None

    @property
    def identity(self) -> tuple[str, int]:
        """Family and generation of the record."""
        return (self.family, self.generation)

    @property
    def traded(self) -> tuple[str, ...]:
        """Digests of the refresh tokens that are known to be spent, with the first one of the present session."""
        refresh = self.token.refresh_token if self.token is not None else None
        if refresh is None or refresh.fingerprint() == self.family:
            return self.spent
        return (*self.spent, self.family)

    def has_spent(self, token: Token) -> bool:
        """Whether the refresh token of `token` was traded in for another one, as far as is remembered."""
        refresh, present = token.refresh_token, self.token.refresh_token if self.token is not None else None
        return refresh is not None and refresh != present and refresh.fingerprint() in self.traded

    @property
    def own_targets(self) -> Targets | None:
        """What is remembered of the targets of the present session. Earlier versions keep that of others."""
        return self.targets if self.targets is not None and self.targets.family == self.family else None

    def noted(self, what: str, at: float, stamp: tuple[object, ...] = ()) -> Record:
        """The same with one more entry in its history. `stamp`: the entry's `more`: which process wrote it, and why."""
        return replace(self, history=(*self.history, Entry(self.generation, at, what, stamp))[-HISTORY:])

    @property
    def clock_epoch(self) -> str | None:
        """The epoch of the store's clock in which it was claimed or refreshed last; None where that is not known."""
        if self.lease is not None:
            return self.lease.clock_epoch
        return self.floor.clock_epoch if self.floor is not None and self.floor.generation == self.generation else None

    def rest(self, clock: Clock) -> float:
        """Seconds until the token may be refreshed, as far as its earlier refreshes tell."""
        if self.floor is None or self.token is None:
            return 0.0
        return self.floor.rest(self.generation, self.token, clock)
