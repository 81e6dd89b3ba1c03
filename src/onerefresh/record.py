"""The record of one credential, and its legal transitions: state in, decision out.

    IDLE(g)    ── claim ──►         LEASED(g, attempt)
    LEASED(g)  ── commit ──►        IDLE(g+1)       also from DEAD(g) and IDLE(g), whoever holds the lease
    LEASED(g)  ── release ──►       IDLE(g, failure)
    LEASED(g)  ── take over ──►     LEASED(g, another attempt)
    LEASED(g)  ── invalid_grant ──► DEAD(g)
    LEASED(g)  ── doubtful ──►      IDLE(g, failure)          asked again after a pause, and by `retry()`
    DEAD(g)    ── retry ──►         IDLE(g, failure)
    any        ── log in ──►        IDLE(g+1), new family
    any        ── log out ──►       EMPTY(g+1)

Nothing here reads a clock, a store or a socket.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from onerefresh.policy import FOR_GOOD, backoff, doubt_pause, refusal_pause
from onerefresh.token import Token
from onerefresh.verdict import Meaning, Verdict

__all__ = [
    "Attempt",
    "Entry",
    "Failure",
    "Grant",
    "IllegalTransition",
    "Probation",
    "Record",
    "State",
    "claimed",
    "committed",
    "died",
    "forgotten",
    "founded",
    "has_gone_on_from",
    "includes",
    "logged_out",
    "may_commit",
    "released",
    "replay_reported",
    "restored",
    "retried",
    "saved",
    "vanished",
    "went_back",
]

HISTORY = 8
RECOVERY = "recovery-"
"""How the id of a recovery lease begins."""
FAMILIES = 32
"""So many sessions are remembered: the first token of an older one would count as a new login."""
PRINTS = 8
"""So many different clients ask at once about what another one was refused; the next ones wait for the pause."""


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
class Attempt:
    """One claim. `ttl`: seconds after which it is over; `era` and `at`: when it began, on the store's own clock.

    `proof`: what the holder's kernel would release if it died (or None). `disputed`: an earlier attempt at this
    generation was not proven dead, and may still commit. `origin`: the state to which a release returns. `guess`: the
    store had lost the record, or may have gone back, so that the refresh token may be one that was used up before.

    A *recovery lease* is an attempt with `guess` under which nothing is sent: it keeps a token that was brought back
    from being sent before whoever holds a newer one has brought that one back. Whoever takes over from it guesses.
    """

    id: str
    grant: Grant
    ttl: float
    era: str | None = None
    at: float = 0.0
    proof: str | None = None
    disputed: bool = False
    origin: State = State.IDLE
    guess: bool = False
    unknown: Mapping[str, object] = _unknown()

    @property
    def is_recovery(self) -> bool:
        """Whether it is a recovery lease: nothing is sent under it."""
        return self.id.startswith(RECOVERY)


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failure at this generation, remembered for everybody.

    `count`: failures in a row. Nothing is sent until `delay` seconds after `at` (seconds since the epoch; a machine
    whose clock is far off waits at most `delay`). `ambiguous`: the refresh token may have been spent. `disputed`: by an
    attempt that may still come back and commit. `refused`: the access token had been refused, so it does not serve
    either once the session is dead, or doubtful. `doubts`: doubtful refusals at this generation; with ``meaning``
    ``DEAD`` and some of them, the session is not dead, but doubtful. `prints`: of the clients that were refused.
    """

    meaning: Meaning
    detail: str
    count: int
    at: float
    delay: float
    ambiguous: bool = False
    disputed: bool = False
    refused: bool = False
    challenge: str | None = None
    doubts: int = 0
    prints: tuple[str, ...] = ()
    unknown: Mapping[str, object] = _unknown()

    @property
    def is_doubtful(self) -> bool:
        """Whether the last refusal may mean that the client is wrong, rather than that the session is over."""
        return self.meaning is Meaning.DEAD and self.doubts > 0

    @property
    def is_for_good(self) -> bool:
        """Whether nothing is sent until a login, or until somebody says `retry()`."""
        return self.delay >= FOR_GOOD

    @property
    def may_be_the_clients(self) -> bool:
        """Whether another client may have more luck, and is to ask at once: once for each, and a few of them."""
        return (self.is_doubtful or self.meaning.of_the_client) and not self.is_for_good and len(self.prints) < PRINTS

    def is_news_to(self, client: str) -> bool:
        """Whether the client with this print was not among those that were refused."""
        return self.may_be_the_clients and bool(client) and client not in self.prints

    def remaining(self, now: float) -> float:
        """Seconds until the token endpoint may be asked again."""
        return min(max(self.at + self.delay - now, 0.0), self.delay)

    def verdict(self, now: float) -> Verdict:
        """What those are told who ask during the delay."""
        meaning = Meaning.DOUBTFUL if self.is_doubtful else self.meaning
        return Verdict(meaning, self.detail, self.remaining(now) or None, self.challenge)


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
class Entry:
    """One line of the record's short history. `more`: what a newer version wrote behind it."""

    generation: int
    at: float
    what: str
    more: tuple[object, ...] = field(default=(), repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class Record:
    """All that is known of one credential. `families`: digests of its seeds and logins, the present one last.

    `by`: the attempt that committed the present generation. `owner`: the refresher's identity, where it has one.
    `unsaved`: the host's ``save`` has not taken this token yet.

    `unknown` outlives every transition, a login and a logout too.
    """

    families: tuple[str, ...]
    generation: int
    state: State
    token: Token | None = None
    attempt: Attempt | None = None
    failure: Failure | None = None
    probation: Probation | None = None
    by: str | None = None
    owner: str | None = None
    unsaved: bool = False
    history: tuple[Entry, ...] = ()
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


def _noted(record: Record, what: str, at: float) -> tuple[Entry, ...]:
    return (*record.history, Entry(record.generation, at, what))[-HISTORY:]


def founded(
    record: Record | None,
    token: Token,
    *,
    now: float,
    owner: str | None,
    what: str,
    unsaved: bool = False,
    seed: str | None = None,
    recovery: Attempt | None = None,
) -> Record:
    """A seed or a login: the first generation of a new family, numbered on from the old one.

    `seed`: the family of the seed that whoever logs in brings; it is no news afterwards. `recovery`: the recovery lease
    of a seed that may have been used up, where the store may have lost what came of it.
    """
    family = token.seed_fingerprint()
    families = tuple(known for known in (record.families if record else ()) if known != family)
    if seed is not None and seed not in (family, *families):
        families = (*families, seed)
    generation = (record.generation if record else 0) + 1
    new = Record(
        families=(*families, family)[-FAMILIES:],
        generation=generation,
        state=State.IDLE if recovery is None else State.LEASED,
        token=token.numbered(family, generation),
        attempt=recovery,
        owner=owner,
        unsaved=unsaved,
        history=record.history if record else (),
        unknown=record.unknown if record else {},
    )
    return replace(new, history=_noted(new, what, now))


def vanished(families: Iterable[str], generation: int, *, owner: str | None) -> Record:
    """What a record must have been that the store has lost altogether: one without its token, to be written anew.

    Never a logout: that leaves an emptied record behind.
    """
    distinct = tuple(dict.fromkeys(family for family in families if family))
    return Record(families=distinct[-FAMILIES:], generation=generation, state=State.IDLE, owner=owner)


def forgotten(record: Record, generation: int) -> Record:
    """What a record must have been that the store took back to an older generation: its token is to be written anew."""
    return replace(record, generation=generation, state=State.IDLE, token=None, attempt=None, failure=None, by=None)


def restored(
    record: Record, token: Token, *, now: float, recovery: Attempt | None = None, unsaved: bool = False
) -> Record:
    """`token`, the newest that this process knows of its family, in the place of an older generation.

    `recovery`: the lease that keeps it from being sent until others have brought back what they know; None where nobody
    else can know a newer one.
    """
    state = State.IDLE if recovery is None else State.LEASED
    new = replace(
        record,
        generation=token.generation,
        state=state,
        token=token,
        attempt=recovery,
        failure=None,
        by=None,
        unsaved=unsaved,
    )
    return replace(new, history=_noted(new, "restored", now))


def claimed(record: Record | None, attempt: Attempt, *, owner: str | None) -> Record:
    """The durable intent to send. Legal unless logged out; the caller knows that an older attempt is over."""
    if record is None:
        record = Record(families=(), generation=0, state=State.EMPTY)
    if attempt.grant is Grant.REFRESH and (record.state in (State.EMPTY, State.DEAD) or record.token is None):
        raise IllegalTransition(f"a refresh cannot be claimed from {record.state}")
    before = record.attempt if record.state is State.LEASED else None
    guess = attempt.guess or (before is not None and before.guess)
    return replace(
        record,
        state=State.LEASED,
        attempt=replace(attempt, origin=before.origin if before else record.state, guess=guess),
        owner=record.owner or owner,
    )


def may_commit(record: Record | None, family: str, generation: int) -> bool:
    """Whether a token that was issued for this family and generation is the one that must be saved now.

    It does not matter whose lease it is, nor whether the generation was thought dead: a late holder has the only
    refresh token that lives.
    """
    if record is None or record.identity != (family, generation):
        return False
    return not record.is_logged_out


def went_back(record: Record, family: str, generation: int) -> bool:
    """Whether the store forgot this generation, so that it may be brought back. A logout is final."""
    return record.family == family and record.generation < generation and not record.is_logged_out


def has_gone_on_from(record: Record, token: Token) -> bool:
    """Whether the present session began with this token, which is used up by now, or about to be."""
    if record.token is None or record.family != token.seed_fingerprint():
        return False
    return record.state is State.LEASED or record.token.seed_fingerprint() != record.family


def committed(
    record: Record,
    token: Token,
    *,
    by: str,
    grant: Grant,
    now: float,
    refused: bool,
    unsaved: bool = False,
    repeated: bool = False,
) -> Record:
    """The next generation. `refused`: the API had refused the old token, which is why this one was asked for.

    `repeated`: it may be older than it looks. What was refreshed on that account earns no further refresh.
    """
    generation, before = record.generation + 1, record.probation
    repeated = repeated and not (before is not None and before.repeated and before.holds(now))
    families = record.families
    if grant is Grant.OBTAIN:
        family = token.seed_fingerprint()
        families = (*(known for known in families if known != family), family)[-FAMILIES:]
    refusals = record.probation.refusals if record.probation else 0
    new = replace(
        record,
        families=families,
        generation=generation,
        state=State.IDLE,
        token=token.numbered(families[-1], generation),
        attempt=None,
        failure=None,
        probation=Probation(refusals, now, refusal_pause(refusals), by_refusal=refused, repeated=repeated),
        by=by,
        unsaved=unsaved,
    )
    return replace(new, history=_noted(new, grant.value, now))


def released(
    record: Record,
    verdict: Verdict | None,
    *,
    now: float,
    spread: float,
    sends: int = 1,
    refused: bool = False,
    doubtful: bool = False,
    client: str = "",
    pause: float | None = None,
) -> Record:
    """The lease is given back; with a verdict, its failure after so many sends is remembered.

    `spread`: a random number in [0, 1), for jitter. `refused`: the API had refused the access token.
    `doubtful`: one of the sends, or the attempt that was taken over, may have spent the refresh token. `client`: the
    print of who asked. `pause`: seconds until it may be asked again, where they do not follow from the verdict.
    """
    if record.state is not State.LEASED or record.attempt is None:
        raise IllegalTransition(f"nothing to release in {record.state}")
    back = replace(record, state=record.attempt.origin, attempt=None)
    if verdict is None:
        return back
    count = (record.failure.count if record.failure else 0) + sends
    failure = _failure(record, verdict, count, 0.0, now, refused=refused)
    if pause is None and failure.is_doubtful:
        pause = doubt_pause(failure.doubts, spread, verdict.retry_after)
    delay = backoff(count, spread, verdict.retry_after) if pause is None else pause
    failure = replace(failure, delay=delay, ambiguous=failure.ambiguous or doubtful)
    if failure.is_news_to(client):
        failure = replace(failure, prints=(*failure.prints, client))
    return replace(back, failure=failure)


def died(record: Record, verdict: Verdict, *, now: float, refused: bool) -> Record:
    """A proven `invalid_grant`. The token is kept: a late commit may still revive it."""
    if record.state is not State.LEASED:
        raise IllegalTransition(f"{record.state} cannot die")
    count = (record.failure.count if record.failure else 0) + 1
    failure = _failure(record, verdict, count, 0.0, now, refused=refused)
    dead = replace(record, state=State.DEAD, attempt=None, failure=replace(failure, doubts=0, prints=()))
    return replace(dead, history=_noted(dead, "dead", now))


def _failure(record: Record, verdict: Verdict, count: int, delay: float, now: float, *, refused: bool) -> Failure:
    before, attempt = record.failure, record.attempt
    is_doubtful = verdict.meaning is Meaning.DOUBTFUL
    return Failure(
        meaning=Meaning.DEAD if is_doubtful else verdict.meaning,
        detail=verdict.detail,
        count=count,
        at=now,
        delay=delay,
        ambiguous=verdict.meaning.may_have_spent or (before is not None and before.ambiguous),
        disputed=(attempt is not None and attempt.disputed) or (before is not None and before.disputed),
        refused=refused or (before is not None and before.refused),
        challenge=verdict.challenge,
        doubts=(before.doubts if before is not None else 0) + is_doubtful,
        prints=before.prints if before is not None else (),
    )


def retried(record: Record, *, now: float) -> Record:
    """The same, as if nothing had been refused yet: the next who needs a token asks at once.

    What may have spent the refresh token is still known: whoever says so takes it upon himself.
    """
    failure = record.failure
    if record.state is State.LEASED or failure is None:
        return record
    is_dead = record.state is State.DEAD and record.token is not None
    asked = replace(failure, count=0, at=now, delay=0.0, doubts=0, prints=())
    again = replace(record, state=State.IDLE if is_dead else record.state, failure=asked)
    return replace(again, history=_noted(again, "retry", now))


def logged_out(record: Record | None, *, now: float, seed: str | None = None) -> Record:
    """Final: a renewal in flight finds its generation gone. The families are remembered, the tokens are not.

    `seed`: the family of the seed that whoever logs out brings; it is no news afterwards.
    """
    base = record or Record(families=(), generation=0, state=State.EMPTY)
    families = base.families
    if seed is not None and seed not in families:
        families = (*families[:-1], seed, *families[-1:])[-FAMILIES:]
    new = Record(
        families=families,
        generation=base.generation + 1,
        state=State.EMPTY,
        owner=base.owner,
        history=base.history,
        unknown=base.unknown,
    )
    return replace(new, history=_noted(new, "logout", now))


def includes(record: Record | None, new: Record) -> bool:
    """Whether the write of `new` was applied: `record` is it, or what came of it since."""
    return record is not None and new.history[-1] in record.history


def replay_reported(record: Record, *, accepted: bool, now: float) -> Record:
    """How the API took a replay with the present token: accepted ends the probation, refused doubles it."""
    if accepted:
        return replace(record, probation=None)
    before = record.probation
    refusals, repeated, unknown = (before.refusals, before.repeated, before.unknown) if before else (0, False, {})
    delay = refusal_pause(refusals + 1)
    probation = Probation(refusals + 1, now, delay, True, reported=True, repeated=repeated, unknown=unknown)
    return replace(record, probation=probation)  # with what is unknown: it is the same one, of the same generation


def saved(record: Record) -> Record:
    """The host has saved the present token."""
    return replace(record, unsaved=False)
