"""One renewal: load, claim, send, commit.

Truth is one record per credential, changed only by compare-and-swap. Holds, wake-ups and clocks are hints: they save
time, and no rule's correctness rests on them.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from onerefresh import errors
from onerefresh.events import Kind
from onerefresh.policy import DETECTION
from onerefresh.record import Grant, Lease, Record, State
from onerefresh.renewal.attempt import Attempt, Outcome
from onerefresh.renewal.claim import claim_and_send, is_contested
from onerefresh.renewal.clocks import Instant, age, left_of
from onerefresh.renewal.decide import (
    Claim,
    Fail,
    HostSave,
    Pause,
    Repair,
    Settle,
    StartSession,
    Use,
    Wait,
    bound,
    decide,
    in_use,
    is_news,
)
from onerefresh.renewal.host_save import save_with_host
from onerefresh.renewal.recovery import recalled, repair, replay_spool, settle, start_session
from onerefresh.renewal.recovery_lease import Takeover
from onerefresh.renewal.reports import MOST_ROUNDS, report, unsettled
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.send import run_attempt
from onerefresh.renewal.world import Loaded, World
from onerefresh.store import AdvisoryLock

__all__ = ["Outcome", "renew"]

QUEUE_TRIES = 3
UNDER_WAY = "its own request is under way: the refresher has not returned, and retry() would send beside it"
QUICK = 0.05
"""Seconds for which what was loaded is as good as new: a load more would take a store as long as the claim itself."""


@dataclass(slots=True)
class PeriodWatch:
    """A period that somebody else began, here the last lease seen, and since when this renewal has watched it.

    It is over by the store's clock, or by this process's monotonic clock once it was watched for its full length: so
    a store without a clock, or with one that was set, holds nobody up for longer than that.
    """

    watched: str | None = None
    since: float = 0.0

    def left(self, lease: Lease, now: Instant) -> float:
        """Seconds until `lease` is over, by whichever clock says so first."""
        if lease.id != self.watched:
            self.watched, self.since = lease.id, now.monotonic
        return min(lease.ttl - (now.monotonic - self.since), left_of(lease, now))


async def renew(world: World, request: RenewalRequest) -> Outcome:
    """A token that satisfies `request`.

    Raises an `OnerefreshError` that says who must act.
    """
    if request.gives_way:
        # It is short, and somebody is about to wait.
        await world.sleep(request.gives_way, holds_the_exit=True, why="it lets who refreshed the last time go first")
    return await _Renewal(world, request).run()


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the record has found, `now`: the record as this process understands it, and its lease."""

    loaded: Loaded
    now: Instant
    record: Record | None
    lease: Lease | None

    @property
    def identity(self) -> tuple[str, int]:
        """Of the record's token."""
        return self.record.identity if self.record is not None else ("", 0)


class _Renewal:
    """One renewal: it looks at the record and does what is decided, until that brings a token.

    `lock`: the store's hold, while this renewal has it. `queued`: how often it found others at it. `awaited`: the
    attempt that it has made, or waited for. `unconfirmed`: its claims whose write has no known outcome, each with its
    time: where one was applied, it continues under that. `rounds`: looks since it last waited.
    """

    def __init__(self, world: World, request: RenewalRequest) -> None:
        self.world, self.request = world, request
        self.watch, self.takeover = PeriodWatch(), Takeover(world)
        self.lock: AdvisoryLock | None = None
        self.queued, self.prepared, self.seed_reported = 0, False, request.seed_reported
        self.awaited = ""
        self.unconfirmed: dict[str, Instant] = {}
        self.rounds = 0

    async def run(self) -> Outcome:
        """Go on until there is a token, or an error."""
        while True:
            self.rounds += 1
            if self.rounds > MOST_ROUNDS:
                await self.world.leave()
                raise unsettled().about(self.request.key)
            look = await self.look()
            if look is None:
                continue
            if look.record and look.lease and _is_own(look.lease, self.unconfirmed):
                outcome = await self.continue_under(look.lease, look.record, look)
            else:
                outcome = await self.decide(look)
            if outcome is not None:
                return outcome

    async def look(self) -> _Look | None:
        """Read the record, once what this host has spooled is in it. None: read it again."""
        loaded = await self.world.load()
        self.request = self.request.knowing(await self.world.known())
        if await replay_spool(self.world, self.request):
            return None
        known = await recalled(self.world, loaded, self.request)
        if known is None:
            return None
        now = await self.world.now()
        record = bound(self.request.sightings.dated(known.record, now), self.request)
        return _Look(known, now, record, record.lease if record and record.state is State.LEASED else None)

    async def continue_under(self, lease: Lease, record: Record, look: _Look) -> Outcome | None:
        """Send under a claim of its own that was applied although nobody knew."""
        if await self.world.queue():
            return None  # what was loaded before may be old
        self.awaited = lease.id
        born = self.unconfirmed.pop(lease.id)
        return await run_attempt(Attempt(self.world, self.request, record, look.loaded.version or "", lease, born))

    async def decide(self, look: _Look) -> Outcome | None:
        """Do what is to be done about the record. None: look again."""
        world, request, record, lease, now = self.world, self.request, look.record, look.lease, look.now
        left = self.watch.left(lease, now) if lease else 0.0
        proven_dead = _is_proof(self.lock, lease)
        await self.report_seed(record)
        decision = decide(
            record,
            request,
            now.wall,
            lease_over=proven_dead or left <= 0.0,
            is_unsettled=request.sightings.is_unsettled(
                now, request.known.recovery if request.known.may_go_back else 0.0
            ),
            clock=now.clock,
            was_awaited=record is not None and bool(self.awaited) and record.committed_by == self.awaited,
        )
        match decision:
            case Use():
                return await self.use(decision, record)
            case Fail(error):
                await world.leave()
                if record is not None and not request.is_foreign(record.owner):
                    await world.learn(record)
                raise error.about(request.key, record.generation if record else None)
            case HostSave(token):
                try:
                    await save_with_host(world, look.loaded, token)
                except errors.SaveFailed:
                    await world.deliver(None, unsaved=token)  # nobody is given it, and nobody spends the one before it
                    raise
            case StartSession(seed):
                await start_session(world, look.loaded, seed, request)
            case Repair(token):
                await repair(world, look.loaded, token, request)
            case Settle():
                sent_nothing = proven_dead or (lease is not None and lease.is_recovery)
                await settle(world, look.loaded, request, contested=is_contested(record, proven_dead=sent_nothing))
            case Pause(seconds):
                await self.wait(look, seconds, f"the token endpoint is left alone for {seconds:.1f} s more")
            case Wait(other):
                await self.wait_for(other, look, left)
            case Claim() if await world.is_under_way(look.identity):
                await self.wait(look, DETECTION, UNDER_WAY)
            case Claim(grant):
                return await self.claim(grant, look, proven_dead=proven_dead)
        return None

    async def report_seed(self, record: Record | None) -> None:
        """Say once that ``token=`` is ignored."""
        if self.seed_reported or record is None or not in_use(record):
            return
        if is_news(self.request.seed, record, self.request):
            self.seed_reported = True
            message = "token= is another one than the store's, which is in use"
            await report(self.world, Kind.SEED_IGNORED, self.request, record, message)

    async def use(self, found: Use, record: Record | None) -> Outcome:
        """The record's token serves."""
        request, newest = self.request, self.request.known.newest
        await self.world.leave()
        if found.why and request.sightings.is_new(found.token.identity):
            await report(self.world, Kind.REFUSAL_DAMPED, request, record, found.why)
        if newest is not None and newest.identity != found.token.identity:
            await report(self.world, Kind.ADOPTED, request, record)
        earlier = record.families[:-1] if record else ()
        return Outcome(found.token, found.retry_after, found.damped, found.probation, earlier=earlier)

    async def wait(self, look: _Look, seconds: float, why: str) -> None:
        """Wait for a change of the record, holding nothing meanwhile."""
        await self.let_go()
        await self.world.watch(look.loaded.version, seconds, why)

    async def let_go(self) -> None:
        """Release the lock, before a wait."""
        await self.world.leave()
        self.lock, self.rounds = None, 0

    async def wait_for(self, other: Lease, look: _Look, left: float) -> None:
        """Wait until another attempt's lease is over, or it is proven that its process is dead."""
        if self.lock is None and other.death_proof is not None:
            self.lock = await self.world.enter()
            if self.lock is not None:
                return  # look again with the lock: is it still this attempt?
        await self.let_go()
        if self.awaited != other.id:
            self.awaited = other.id
            whom = "whoever knows a newer token" if other.is_recovery else "another process"
            message = f"at most {left:.1f} s for {whom}"
            await report(self.world, Kind.WAITING, self.request, look.record, message, attempt=other.id)
        what = "another process is at it, for at most"
        if other.is_recovery:
            what = "the store may have lost a newer token, and whoever knows it has"
        await self.world.watch(look.loaded.version, left, f"{what} {left:.1f} s more")

    async def claim(self, grant: Grant, look: _Look, *, proven_dead: bool) -> Outcome | None:
        """Claim and send, with the lock and a turn if they can be had. None: look again."""
        world, lease = self.world, look.lease
        is_guess = lease is not None and lease.is_recovery and grant is Grant.REFRESH
        if lease and is_guess and not await self.takeover.is_due(look.loaded, lease):
            await world.leave()
            self.lock, self.rounds = None, 0 if self.takeover.has_waited else self.rounds
            return None
        if await world.queue():
            self.rounds = 0
            return None  # before the claim, which would age in the queue; what was loaded before may be old
        if not await self.is_ready(look):
            return None
        contested = is_contested(look.record, proven_dead=proven_dead)
        self.awaited = await world.new_id()
        death_proof = self.lock.death_proof if self.lock else None
        mine = Lease(self.awaited, grant, 0.0, death_proof=death_proof, contested=contested)
        outcome = await claim_and_send(world, look.loaded, mine, self.request, look.now, unconfirmed=self.unconfirmed)
        await world.leave()
        self.lock = None
        return outcome

    async def is_ready(self, look: _Look) -> bool:
        """Take the lock, and let the refresher prepare; False where the record has to be looked at again."""
        world = self.world
        if self.lock is None and self.queued < QUEUE_TRIES:
            self.lock = await world.enter()
            if self.lock is None and look.lease is not None:
                self.queued = QUEUE_TRIES  # its holder stands still: there is no use in queueing behind it
            elif self.lock is None:
                self.queued += 1
                await world.watch(look.loaded.version, DETECTION, "others of this host are about to do it")
                return False
            elif self.prepared:
                return False  # what was loaded before the lock may be old
        if self.prepared:
            return True
        await world.prepare()  # with the lock: of all who queue, only the first needs it
        self.prepared = True
        is_new = age(look.now, await world.now()) <= QUICK
        return is_new and (self.lock is None or self.lock.death_proof is None)  # else what was loaded may be old


def _is_proof(lock: AdvisoryLock | None, lease: Lease | None) -> bool:
    """Whether holding `lock` proves that the holder of `lease` is dead.

    It kept this very lock until its attempt was settled, so only its kernel can have released it.
    """
    return (
        lease is not None
        and lock is not None
        and lock.death_proof is not None
        and lock.death_proof == lease.death_proof
    )


def _is_own(lease: Lease, unconfirmed: Container[str]) -> bool:
    """Whether it is a claim of ours whose outcome was unknown, and which was applied: nothing was sent under it.

    One with a proof is not gone on with: others could have seen the lock free since.
    """
    return lease.id in unconfirmed and lease.death_proof is None
