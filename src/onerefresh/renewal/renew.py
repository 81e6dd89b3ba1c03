"""One renewal: load, claim, send, commit.

Truth is one record per credential, changed only by compare-and-swap. Holds, wake-ups and clocks are hints: they save
time, and no rule's correctness rests on them.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.policy import DETECTION
from onerefresh.record import Grant, Lease, Record, State
from onerefresh.renewal.attempt import Attempt, Outcome
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
from onerefresh.store import AdvisoryLock, Conflict, StoreOutcomeUnknown

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
    watch, takeover = PeriodWatch(), Takeover(world)
    hold: AdvisoryLock | None = None
    queued, prepared, seed_reported = 0, False, request.seed_reported
    awaited = ""  # the attempt that this renewal has made, or waited for
    unconfirmed: dict[
        str, Instant
    ] = {}  # our claims whose outcome is unknown, with the time of each: where one was applied, we continue under it
    rounds = 0
    if request.gives_way:
        # It is short, and somebody is about to wait.
        await world.sleep(request.gives_way, holds_the_exit=True, why="it lets who refreshed the last time go first")
    while True:
        rounds += 1
        if rounds > MOST_ROUNDS:
            await world.leave()
            raise unsettled().about(request.key)
        loaded = await world.load()
        request = request.knowing(await world.known())
        if await replay_spool(world, request):
            continue
        known = await recalled(world, loaded, request)
        if known is None:
            continue
        loaded, now = known, await world.now()
        record = bound(request.sightings.dated(loaded.record, now), request)
        lease = record.lease if record and record.state is State.LEASED else None
        if record and lease and _is_own(lease, unconfirmed):
            if await world.queue():
                continue  # what was loaded before may be old
            awaited = lease.id
            outcome = await run_attempt(
                Attempt(world, request, record, loaded.version or "", lease, unconfirmed.pop(lease.id))
            )
            if outcome is not None:
                return outcome
            continue
        left = watch.left(lease, now) if lease else 0.0
        proven_dead = _is_proof(hold, lease)
        if record and not seed_reported and in_use(record) and is_news(request.seed, record, request):
            seed_reported = True
            await report(
                world, Kind.SEED_IGNORED, request, record, "token= is another one than the store's, which is in use"
            )
        is_unsettled = request.sightings.is_unsettled(now, request.known.recovery if request.known.may_go_back else 0.0)
        is_over = proven_dead or left <= 0.0
        was_awaited = record is not None and bool(awaited) and record.committed_by == awaited
        match decide(
            record,
            request,
            now.wall,
            lease_over=is_over,
            is_unsettled=is_unsettled,
            clock=now.clock,
            was_awaited=was_awaited,
        ):
            case Use(token, retry_after, damped, probation, why):
                await world.leave()
                if why and request.sightings.is_new(token.identity):
                    await report(world, Kind.REFUSAL_DAMPED, request, record, why)
                newest = request.known.newest
                if newest is not None and newest.identity != token.identity:
                    await report(world, Kind.ADOPTED, request, record)
                return Outcome(token, retry_after, damped, probation, earlier=record.families[:-1] if record else ())
            case Fail(error):
                await world.leave()
                if record is not None and not request.is_foreign(record.owner):
                    await world.learn(record)
                raise error.about(request.key, record.generation if record else None)
            case HostSave(token):
                try:
                    await save_with_host(world, loaded, token)
                except errors.SaveFailed:
                    await world.deliver(None, unsaved=token)  # nobody is given it, and nobody spends the one before it
                    raise
            case StartSession(seed):
                await start_session(world, loaded, seed, request)
            case Repair(token):
                await repair(world, loaded, token, request)
            case Settle():
                sent_nothing = proven_dead or (lease is not None and lease.is_recovery)
                await settle(world, loaded, request, contested=_is_contested(record, proven_dead=sent_nothing))
            case Pause(seconds):
                await world.leave()
                hold, rounds = None, 0
                await world.watch(loaded.version, seconds, f"the token endpoint is left alone for {seconds:.1f} s more")
            case Wait(other):
                if hold is None and other.death_proof is not None:
                    hold = await world.enter()
                    if hold is not None:
                        continue  # look again with the hold in our hands: is it still this attempt?
                await world.leave()
                hold, rounds = None, 0
                if awaited != other.id:
                    awaited = other.id
                    whom = "whoever knows a newer token" if other.is_recovery else "another process"
                    await report(
                        world, Kind.WAITING, request, record, f"at most {left:.1f} s for {whom}", attempt=other.id
                    )
                what = "another process is at it, for at most"
                if other.is_recovery:
                    what = "the store may have lost a newer token, and whoever knows it has"
                await world.watch(loaded.version, left, f"{what} {left:.1f} s more")
            case Claim() if await world.is_under_way(record.identity if record is not None else ("", 0)):
                await world.leave()
                hold, rounds = None, 0
                await world.watch(loaded.version, DETECTION, UNDER_WAY)
            case Claim(grant):
                is_guess = lease is not None and lease.is_recovery and grant is Grant.REFRESH
                if lease and is_guess and not await takeover.is_due(loaded, lease, request):
                    await world.leave()
                    hold, rounds = None, 0 if takeover.has_waited else rounds
                    continue
                if await world.queue():
                    rounds = 0
                    continue  # before the claim, which would age in the queue; what was loaded before may be old
                if hold is None and queued < QUEUE_TRIES:
                    hold = await world.enter()
                    if hold is None and lease is not None:
                        queued = QUEUE_TRIES  # its holder stands still: there is no use in queueing behind it
                    elif hold is None:
                        queued += 1
                        await world.watch(loaded.version, DETECTION, "others of this host are about to do it")
                        continue
                    elif prepared:
                        continue  # what was loaded before the hold may be old
                if not prepared:
                    await world.prepare()  # with the hold: of all who queue, only the first needs it
                    prepared = True
                    if age(now, await world.now()) > QUICK or (hold is not None and hold.death_proof is not None):
                        continue  # and what was loaded before that may be old as well
                contested = _is_contested(record, proven_dead=proven_dead)
                awaited = await world.new_id()
                death_proof = hold.death_proof if hold else None
                mine = Lease(awaited, grant, 0.0, death_proof=death_proof, contested=contested)
                outcome = await _attempt(world, loaded, mine, request, now, unconfirmed=unconfirmed)
                await world.leave()
                hold = None
                if outcome is not None:
                    return outcome


def _is_proof(hold: AdvisoryLock | None, lease: Lease | None) -> bool:
    """Whether holding `hold` proves that the holder of `lease` is dead.

    It kept this very hold until its attempt was settled, so only its kernel can have released it.
    """
    return (
        lease is not None
        and hold is not None
        and hold.death_proof is not None
        and hold.death_proof == lease.death_proof
    )


def _is_own(lease: Lease, unconfirmed: Container[str]) -> bool:
    """Whether it is a claim of ours whose outcome was unknown, and which was applied: nothing was sent under it.

    One with a proof is not gone on with: others could have seen the lock free since.
    """
    return lease.id in unconfirmed and lease.death_proof is None


def _is_contested(record: Record | None, *, proven_dead: bool) -> bool:
    """Whether an earlier attempt at this generation may still come back and commit."""
    if record is None:
        return False
    if record.state is State.LEASED and record.lease is not None:
        return record.lease.contested or not proven_dead
    return record.failure is not None and record.failure.contested


async def _attempt(
    world: World,
    loaded: Loaded,
    lease: Lease,
    request: RenewalRequest,
    born: Instant,
    *,
    unconfirmed: dict[str, Instant],
) -> Outcome | None:
    """Claim, send and commit. None: look at the record again."""
    token = loaded.record.token if loaded.record else None
    lease = replace(
        lease,
        ttl=request.profile.time_to_live(token, born.wall, request.http_timeout),
        clock_epoch=born.shared.clock_epoch if born.shared else None,
        at=born.shared.seconds if born.shared else 0.0,
    )
    before = loaded.record
    if before is not None and request.owner and (request.adopts or before.state is State.EMPTY):
        before = replace(before, owner=request.owner)
    if before is not None and request.owner and before.owner is None and lease.grant is Grant.REFRESH:
        message = f"its record says nothing of an owner, and is taken for one of the {request.owner}"
        await report(world, Kind.UNOWNED, request, before, message)  # once: the claim names the owner
    leased = records.claimed(before, lease, owner=request.signs if before is None else request.owner)
    assert leased.lease is not None
    lease = leased.lease
    try:
        version = await world.cas(loaded.version, leased)
    except Conflict:
        return None
    except StoreOutcomeUnknown:
        again = await world.load()
        if again.record is None or again.record.lease is None or again.record.lease.id != lease.id:
            unconfirmed[lease.id] = born
            return None
        version = again.version or ""
    before_it = loaded.record.lease if loaded.record is not None and loaded.record.state is State.LEASED else None
    await report(world, Kind.CLAIMED if before_it is None else Kind.TAKEN_OVER, request, leased, attempt=lease.id)
    return await run_attempt(Attempt(world, request, leased, version, lease, born, before_it))
