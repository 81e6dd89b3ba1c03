"""Who claimed when, who has watched it since, and whether a takeover was in time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulator.broken import Broken
from tests.simulator.excuses import NOTICING, Excuse
from tests.simulator.faults import What
from tests.simulator.scenario import HTTP_TIMEOUT

from onerefresh.events import Event, Kind
from onerefresh.policy import PATIENCE
from onerefresh.record import Grant, Lease, Record
from onerefresh.renewal.world import Loaded
from onerefresh.token import Token

if TYPE_CHECKING:
    from tests.simulator.tasks import Task
    from tests.simulator.world import World

__all__ = ["Claim", "Claims"]

MOMENT = 0.05
"""Seconds from a look to the write that follows it."""
_KEEPS_WAITERS = frozenset({What.STORE_DOWN, What.NO_WAKE, What.PAUSE_AFTER, What.PAUSE_BEFORE})


@dataclass(slots=True)
class Claim:
    """What is known of an attempt: who made it when, who has been watching it since when."""

    task: Task
    born: float
    ttl: float
    token: Token | None
    generation: int
    death_proof: str | None
    clock_epoch: str | None  # of the store's clock, by which it is dated
    boots: int
    contested: bool  # one that has become too old to send is left to run out
    known: Token | None  # the newest token that its process knew
    outdated: bool  # dated by a clock that was set before the claim was written
    born_here: float  # as `born`, on the monotonic clock of its machine
    found_epoch: str | None  # of the clock by which the lease that it found there was dated
    sent: bool = False
    goes_back: bool = False  # its process has asked to put it back, and could not tell that it was over
    watchers: dict[Task, float] = field(default_factory=dict)


class Claims:
    """All the claims of one run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._claims: dict[str, Claim] = {}
        self._abandoned: set[str] = set()
        self._recovery: dict[str, float] = {}  # when each recovery lease was written
        self._locked: set[str] = set()  # the claims that were asked for under their host's lock

    def named(self, attempt: str) -> Claim | None:
        return self._claims.get(attempt)

    def of(self, task: Task) -> Claim | None:
        """The one under which it sends, or that it has made last."""
        return self._claims.get(task.attempt or "")

    def told(self, task: Task, event: Event) -> None:
        """Nobody waits for a claim of his own of which he had not heard, and under which nothing was sent."""
        if event.kind is Kind.SENT:
            task.attempt = event.attempt  # perhaps one that was applied late: it has named another in vain since
        claim = self._claims.get(event.attempt or "")
        if claim is None:
            return
        claim.sent = claim.sent or event.kind is Kind.SENT
        own = claim.task is task and event.attempt in self._abandoned and claim.death_proof is None
        if event.kind is Kind.WAITING and own and not claim.sent and not claim.contested:
            raise Broken("a renewal knows its own claim", f"{task} waits for {event.attempt}, which is its own")

    def forget_watchers(self) -> None:
        """The store went back: whoever finds an earlier attempt there begins to watch it anew."""
        for claim in self._claims.values():
            claim.watchers.clear()

    def asked(self, lease: Lease | None, writer: Task) -> None:
        """`writer` asks for a write, and may be stopped before the store applies it.

        No process can look at a clock between the two. The store applies the write only if nobody else has written
        since the record was read, so nobody else has claimed meanwhile.
        """
        if lease is not None and writer.process.host.holder is writer:
            self._locked.add(lease.id)  # the write may be applied when the lock is gone
        claim = self._claims.get(lease.id) if lease is not None else None
        if claim is not None and claim.task.process is writer.process:
            claim.goes_back = not self._is_over_there(claim)

    def made(self, lease: Lease, other: Lease | None, after: Record, writer: Task) -> None:
        """`writer` has claimed; `other`: the lease that was there."""
        self._judge_recovery(lease, other, writer)
        claim = self._claims.get(other.id) if other is not None and other.id != lease.id else None
        abandoned = other is not None and other.id in self._abandoned
        if claim is not None and claim.task is not writer and not abandoned and not lease.is_recovery:
            self._taken_over(claim, writer, self._world.timeline.now, has_lock=lease.id in self._locked)
        if (again := self._claims.get(lease.id)) is not None:  # the store had lost it: others watch it anew
            again.watchers.clear()
            if lease.is_recovery and again.clock_epoch is None:  # it begins: it is dated from now on
                again.clock_epoch, again.outdated = lease.clock_epoch, self._is_outdated(lease, writer)
            return
        self._claims[lease.id] = Claim(
            writer,
            writer.named_at,
            lease.ttl,
            after.token,
            after.generation,
            lease.death_proof,
            lease.clock_epoch,
            writer.process.host.boots,
            lease.contested,
            self._world.known_to(writer),
            self._is_outdated(lease, writer),
            self._born_here(lease, writer),
            other.clock_epoch if other is not None else None,
        )

    def _born_here(self, lease: Lease, writer: Task) -> float:
        """When it was made, on the monotonic clock of its machine, which stands still while the machine sleeps.

        Only the store's clock, by which the claim is dated, tells how long that was when the request is sent.
        """
        moment = self._world.moment(writer.process)
        if moment is None or moment.clock_epoch != lease.clock_epoch:
            return writer.named_here
        return writer.process.host.clock.monotonic() - (self._world.timeline.now - writer.named_at)

    def _is_outdated(self, lease: Lease, writer: Task) -> bool:
        """Whether it is dated by a clock that was set before it was written."""
        now = self._world.moment(writer.process)
        return lease.clock_epoch is not None and now is not None and now.clock_epoch != lease.clock_epoch

    def _judge_recovery(self, lease: Lease, other: Lease | None, writer: Task) -> None:
        """Nothing may be sent before others had the time to restore what they know, since the lease is in the store."""
        now = self._world.timeline.now
        if lease.is_recovery:
            has_begun = other is None or not other.is_recovery or other.clock_epoch is not None
            since = now if has_begun or other is None else self._recovery.get(other.id, now)  # it was there already
            self._recovery.setdefault(lease.id, since)
        if lease.is_recovery or other is None or not other.is_recovery or lease.grant is not Grant.REFRESH:
            return
        again = self._claims.get(lease.id)
        if again is not None and again.task.process is writer.process and again.goes_back:
            return  # of a request that was on its way when its process asked for this write
        if What.REBOOT in self._world.judge.happened_kinds:
            return  # it ended with its machine's boot, and all who knew more with it
        written_at = self._recovery.get(other.id, -math.inf)
        if written_at > self._world.store_clock_set_at and now - written_at < other.ttl - MOMENT:
            raise Broken(
                "others have their time to restore what they know",
                f"{writer} claimed {now - written_at:.1f} s after a recovery lease of {other.ttl:.0f} s was written",
            )

    def _is_over_there(self, claim: Claim) -> bool:
        """Whether its process can tell that the claim is over: by the store's clock, or by that of its machine.

        The machine's clock stands still while the machine sleeps, and the request goes on when it wakes. A wall clock
        that tells of the sleep may as well have been set, and must not let others send the same refresh token.
        """
        process, now = claim.task.process, self._world.timeline.now
        moment = self._world.moment(process)
        is_dated = moment is not None and moment.clock_epoch == claim.clock_epoch
        here = process.host.clock.monotonic() - claim.born_here
        return (max(here, now - claim.born) if is_dated else here) >= claim.ttl

    def is_overtaken(self, attempt: str | None) -> bool:
        """Whether its process has learned of another session since."""
        claim = self._claims.get(attempt or "")
        known = self._world.known_to(claim.task) if claim is not None else None
        if claim is None or claim.token is None or known is None or known.family == claim.token.family:
            return False
        return claim.known is None or claim.known.identity != known.identity

    def answers_a_namesake(self, before: Record, after: Record, issued_for: str) -> bool:
        """Whether a late answer comes to a token of which the store has lost every trace since it was claimed.

        Generations were numbered anew from an earlier token of the same session, so that another has its name now.
        """
        claim = self._claims.get(after.committed_by or "")
        spent = claim.token if claim is not None else None
        if claim is None or spent is None or spent.refresh_token is None or spent.identity != before.identity:
            return False
        forgotten = self._world.judge.unordered and claim.born < self._world.judge.unordered_at
        return forgotten and spent.refresh_token.reveal() == issued_for

    def abandoned(self, task: Task) -> None:
        """It takes its claim for not applied: should it be applied later, nobody sends on its account."""
        if task.attempt is not None:
            self._abandoned.add(task.attempt)

    # A task knows itself whether its own attempt is over; a lock that somebody else can take was let go by its holder,
    # who was done with it, or by its kernel.

    def _taken_over(self, claim: Claim, by: Task, now: float, *, has_lock: bool) -> None:
        age = now - claim.born
        holder = claim.task
        same_host = by.process.host is holder.process.host
        same_boot = claim.boots == holder.process.host.boots
        if same_host and same_boot and claim.death_proof is not None and (holder.over or has_lock):
            self._taken_over_in_time(claim, by, now)
            return
        if same_host and not same_boot:
            return  # the machine was started anew
        if claim.outdated or (
            claim.clock_epoch is not None and claim.born < self._world.store_clock_set_at
        ):  # whoever has not seen that is misled by it
            self._world.judge.excuses.add(Excuse.OVERRUN, claim.token)
            return
        if age < claim.ttl - 0.01 and not self._world.judge.unordered:
            raise Broken(
                "nobody is taken over from within his time to live",
                f"{by} took over from {holder} after {age:.1f} of {claim.ttl:.0f} s",
            )
        world = self._world
        moment = world.moment(by.process)  # of another era than the claim where both do not go by one clock
        dated = claim.clock_epoch is not None and moment is not None and moment.clock_epoch == claim.clock_epoch
        over = (claim.born if dated else claim.watchers.get(by, now)) + claim.ttl
        if world.went_back_at > claim.born:  # whoever finds it there again watches it anew, where no clock tells more
            over = max(over, world.went_back_at + (0.0 if dated else claim.ttl))
        # Its own request was refused under a claim that the store has lost: it gave others time to commit first.
        refused_until = by.sent_until + HTTP_TIMEOUT if by.sent_until > claim.born else 0.0
        # A look that was due while its process was stopped begins when the process goes on.
        waited = now - max(over, by.began, by.sent_until, by.process.resumes_at, min(refused_until, now))
        if waited > NOTICING + PATIENCE and not by.disturbed:
            raise Broken("an outage is over with its lease", f"{by} waited for {waited:.1f} s more behind {holder}")

    def _taken_over_in_time(self, claim: Claim, by: Task, now: float) -> None:
        """A death that the kernel proves is noticed at once by those who wait on that host."""
        since = max(claim.task.ended_at, by.began)
        undisturbed = not by.disturbed and not any(
            fault.what in _KEEPS_WAITERS for fault in self._world.judge.struck_faults
        )
        if undisturbed and claim.task.crashed and now - since > NOTICING + PATIENCE:
            raise Broken("a proven death holds nobody up", f"{by} waited for {now - since:.1f} s")

    def loaded(self, task: Task, loaded: Loaded) -> None:
        record = loaded.record
        if record is None or record.lease is None or task.disturbed:
            return
        claim = self._claims.get(record.lease.id)
        if claim is not None and claim.task is not task:
            claim.watchers.setdefault(task, self._world.timeline.now)

    def somebody_watched(self, generation: int, spent: float) -> bool:
        """Whether somebody was waiting for that attempt from its beginning and was never kept from taking over."""
        claims = [claim for claim in self._claims.values() if claim.generation == generation]
        return any(
            since <= spent + NOTICING and not watcher.disturbed and not watcher.over
            for claim in claims
            for watcher, since in claim.watchers.items()
        )
