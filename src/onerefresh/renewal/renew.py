"""One renewal: load the record, claim it, send the token request, commit the answer.

The record in the store is the only truth. It changes by compare-and-swap alone, on the version that was loaded, so all
processes that share the store agree on the order of its changes. What a process has in memory only helps it to decide
what to do with the record.

1. *Load.* If the record has a token that serves the request, that token is the outcome, and nothing is sent.
2. *Claim before sending.* The claim writes a lease into the record. The write proves that the store can be written at
   this moment, and tells other processes that the refresh token is about to be spent. After a conflict the renewal
   loads again.
3. *Send*, but only while the attempt is young enough for the answer to arrive within the lease.
4. *Commit, whatever it takes.* A server that rotates has invalidated the old refresh token by now, so the answer holds
   the only one that works. It is committed as long as family and generation match, even if another attempt holds the
   lease by then or the session was declared dead. While the store is down, the token goes into a spool file on this
   host, is then handed out, and the write is tried again.

Leases let one process send at a time, and bound the wait for a process that has vanished. A lease is over when the
store's clock says so, or when a waiting process has watched it for its whole time to live on its own monotonic clock.
A wall clock lets nobody send; it can only keep back an attempt that seems too old. On the same host a released lock
proves that the holder is dead, and others take over at once. After a takeover without that proof the lease is
*contested*: the earlier attempt may still commit. `invalid_grant` then proves nothing yet, and the record is watched
for as long as a token request may take before the session is declared dead.

A store that lost writes gets the newest known token back under a *recovery lease*. Nothing is sent under it, so that
processes with a still newer token have time to restore that one.

Locks, wake-ups and clocks are hints. They save time, and no rule's correctness depends on them. `decide` chooses each
step without side effects; this file performs it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from onerefresh import errors
from onerefresh.events import Facts, Kind, Reason
from onerefresh.policy import DETECTION
from onerefresh.record import Grant, Lease, Record, State
from onerefresh.renewal.attempt import Attempt, Outcome
from onerefresh.renewal.claim import Unconfirmed, claim_and_send, is_contested, is_own, is_proof
from onerefresh.renewal.clocks import Instant, most_age
from onerefresh.renewal.decide import bound, decide, in_use, is_news
from onerefresh.renewal.host_save import save_with_host
from onerefresh.renewal.period_watch import PeriodWatch
from onerefresh.renewal.recovery import recalled, repair, replay_spool, settle, start_session
from onerefresh.renewal.recovery_lease import Takeover, begin, is_begun
from onerefresh.renewal.reports import MOST_ROUNDS, report, unsettled
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.send import run_attempt
from onerefresh.renewal.steps import Claim, Fail, HostSave, Pause, Repair, Settle, StartSession, Use, Wait, WrongSeed
from onerefresh.renewal.token_clocks import skew_here
from onerefresh.renewal.world import Loaded, World
from onerefresh.store import AdvisoryLock

__all__ = ["Outcome", "renew"]

QUEUE_TRIES = 3
"""How many times a renewal queues for the store's lock before it claims without it."""
UNDER_WAY = "its own request is still in progress: the refresher has not returned, and retry() would send a second one"
QUICK = 0.05
"""Seconds for which a loaded record counts as current. Loading it again would take as long as the claim itself."""


async def renew(world: World, request: RenewalRequest) -> Outcome:
    """Return a token that satisfies `request`.

    Raises an `OnerefreshError` that says who must act.
    """
    if request.gives_way:
        # The delay is short and a caller is about to wait, so the interpreter's exit may wait for it, too.
        await world.sleep(
            request.gives_way,
            holds_the_exit=True,
            why="it waits a moment so that the process that refreshed last can go first",
        )
    return await _Renewal(world, request).run()


class _Look(NamedTuple):
    """One look at the record.

    * `loaded`: what the store holds, with what this process knows better.
    * `now`: the time of the look.
    * `record`: the record as this process understands it, with its dates and pauses adjusted.
    * `lease`: the record's lease, or None if the record is not leased.
    * `skew`: seconds by which this machine's clock is ahead of the clock of the record's token.
    """

    loaded: Loaded
    now: Instant
    record: Record | None
    lease: Lease | None
    skew: float

    @property
    def identity(self) -> tuple[str, int]:
        """Family and generation of the record's token; an empty family and 0 without a record."""
        return self.record.identity if self.record is not None else ("", 0)


class _Renewal:
    """One renewal: it looks at the record and performs the decided step, until there is a token or an error.

    * `lock`: the store's lock while this renewal holds it; `queued`: how often another process held it.
    * `prepared`: whether the refresher has been prepared.
    * `awaited`: the id of the attempt that this renewal has made or waited for.
    * `unconfirmed`: our claims whose write outcome is unknown, by lease id. If one turns out to have been applied, the
      renewal continues under it.
    * `rounds`: looks since the last wait.
    """

    def __init__(self, world: World, request: RenewalRequest) -> None:
        self.world, self.request = world, request
        self.watch, self.takeover = PeriodWatch(), Takeover(world)
        self.lock: AdvisoryLock | None = None
        self.queued, self.prepared, self.seed_reported = 0, False, request.seed_reported
        self.awaited = ""
        self.unconfirmed: dict[str, Unconfirmed] = {}
        self.rounds = 0

    async def run(self) -> Outcome:
        """Look and act until there is a token; raise the error that ends the renewal."""
        while True:
            self.rounds += 1
            if self.rounds > MOST_ROUNDS:
                await self.world.leave()
                raise unsettled().about(self.request.key)
            look = await self.look()
            if look is None:
                continue
            if look.record and look.lease and is_own(look.lease, self.unconfirmed):
                outcome = await self.continue_under(look.lease, look.record, look)
            else:
                outcome = await self.decide(look)
            if outcome is not None:
                return outcome

    async def look(self) -> _Look | None:
        """Read the record once everything spooled on this host is in it; None: read again."""
        loaded = await self.world.load()
        self.request = self.request.knowing(await self.world.known())
        if await replay_spool(self.world, self.request):
            return None
        known = await recalled(self.world, loaded, self.request)
        if known is None:
            return None
        now = await self.world.now()
        record = bound(self.request.sightings.dated(known.record, now, self.watch.began), self.request)
        lease = record.lease if record and record.state is State.LEASED else None
        return _Look(known, now, record, lease, skew_here(record, now, self.request.machine, self.request.skew))

    async def continue_under(self, lease: Lease, record: Record, look: _Look) -> Outcome | None:
        """Send under a claim of this renewal that was applied although its outcome was unknown."""
        if await self.world.queue():
            return None  # the wait for a turn took time: the loaded record may be stale
        self.awaited = lease.id
        lease, born = self.unconfirmed.pop(lease.id)  # this one says which lease it took over
        request, leased = self.request._replace(skew=look.skew), replace(record, lease=lease)
        version = look.loaded.version or ""
        return await run_attempt(Attempt(self.world, request, leased, version, lease=lease, born=born))

    async def decide(self, look: _Look) -> Outcome | None:
        """Decide what to do about the record, and do it; None: look again."""
        world, request, record, lease, now = self.world, self.request, look.record, look.lease, look.now
        left = self.watch.left(lease, now) if lease else 0.0
        proven_dead = is_proof(self.lock, lease)
        await self.report_seed(record)
        recovery = request.known.recovery if request.known.may_go_back else 0.0
        decision = decide(
            record,
            request,
            now.wall,
            lease_over=proven_dead or left <= 0.0,
            is_unsettled=request.sightings.is_unsettled(now, recovery, record),
            clock=now.clock,
            was_awaited=record is not None and bool(self.awaited) and record.committed_by == self.awaited,
            skew=look.skew,
        )
        if record is not None and isinstance(decision, (Wait, Pause)):
            await world.learn(record, look.skew)  # the store may lose it meanwhile, and nobody else may know it
        match decision:
            case Use():
                return await self.use(decision, record, look.skew)
            case Fail(error):
                await world.leave()
                is_ours = not isinstance(error, WrongSeed) and not (record and request.is_foreign(record.owner))
                if record is not None and record.moved_to is None and is_ours:
                    await world.learn(record, look.skew)
                raise error.about(request.key, record.generation if record else None)
            case HostSave(token):
                try:
                    await save_with_host(world, look.loaded, token)
                except errors.SaveFailed:
                    await world.deliver(None, unsaved=token)  # no caller gets it, and no renewal spends the one before
                    raise
            case StartSession(seed):
                await start_session(world, look.loaded, seed, request)
            case Repair(token):
                await repair(world, look.loaded, token, request)
            case Settle():
                sent_nothing = proven_dead or (lease is not None and lease.is_recovery)
                await settle(world, look.loaded, request, contested=is_contested(record, proven_dead=sent_nothing))
            case Pause(seconds):
                await self.wait(look, seconds, f"no request is sent to the token endpoint for another {seconds:.1f} s")
            case Wait(other) if record is not None and not is_begun(other, now):
                await begin(world, look.loaded.version, record)
            case Wait(other):
                await self.wait_for(other, look, left)
            case Claim() if await world.is_under_way(look.identity):
                await self.wait(look, DETECTION, UNDER_WAY)
            case Claim(grant):
                return await self.claim(grant, look, proven_dead=proven_dead)
        return None

    async def report_seed(self, record: Record | None) -> None:
        """Report once that ``token=`` is ignored because another session is in use."""
        if self.seed_reported or record is None or not in_use(record):
            return
        if is_news(self.request.seed, record, self.request):
            self.seed_reported = True
            message = "token= is ignored: the store has another token, which is in use"
            await report(self.world, Kind.SEED_IGNORED, self.request, record, message)

    async def use(self, found: Use, record: Record | None, skew: float) -> Outcome:
        """Return the record's token. `skew`: that of its clock."""
        request, newest = self.request, self.request.known.newest
        await self.world.leave()
        if found.why and request.sightings.is_new(found.token.identity):
            facts = Facts(reason=Reason.REFUSED)
            await report(self.world, Kind.REFUSAL_DAMPED, request, record, found.why, facts=facts)
        if newest is not None and newest.identity != found.token.identity:
            await report(self.world, Kind.ADOPTED, request, record)
        earlier = record.families[:-1] if record else ()
        is_news = request.refused_at is not None and request.refused_at.is_news
        return Outcome(
            found.token, found.retry_after, found.damped, found.probation, earlier=earlier, is_news=is_news, skew=skew
        )

    async def wait(self, look: _Look, seconds: float, why: str) -> None:
        """Release the lock and the turn, then wait for a change of the record."""
        await self.release()
        await self.world.watch(look.loaded.version, seconds, why)

    async def release(self) -> None:
        """Release the lock and the turn before a wait."""
        await self.world.leave()
        self.lock, self.rounds = None, 0

    async def wait_for(self, other: Lease, look: _Look, left: float) -> None:
        """Wait until the lease of another attempt is over, or the death of its process is proven."""
        if self.lock is None and other.death_proof is not None:
            self.lock = await self.world.enter()
            if self.lock is not None:
                return  # look again under the lock: the lease may be another one by now
        await self.release()
        if self.awaited != other.id:
            self.awaited = other.id
            whom = "a process that has a newer token" if other.is_recovery else "another process"
            message = f"at most {left:.1f} s for {whom}"
            facts = Facts(reason=self.request.reason(look.record))
            await report(self.world, Kind.WAITING, self.request, look.record, message, attempt=other.id, facts=facts)
        what = "another process is refreshing it, for at most"
        if other.is_recovery:
            what = "the store may have lost a newer token, and a process that has it can restore it for"
        await self.world.watch(look.loaded.version, left, f"{what} {left:.1f} s more")

    async def claim(self, grant: Grant, look: _Look, *, proven_dead: bool) -> Outcome | None:
        """Claim and send, with the store's lock and a turn where they are available; None: look again."""
        world, lease = self.world, look.lease
        is_guess = lease is not None and lease.is_recovery and grant is Grant.REFRESH
        if lease and is_guess and not await self.takeover.is_due(look.loaded, lease):
            await world.leave()
            self.lock, self.rounds = None, 0 if self.takeover.has_waited else self.rounds
            return None
        if await world.queue():
            self.rounds = 0
            return None  # queue before the claim, which would age meanwhile; the loaded record may be stale
        if not await self.is_ready(look):
            return None
        contested = is_contested(look.record, proven_dead=proven_dead)
        self.awaited = await world.new_id()
        death_proof = self.lock.death_proof if self.lock else None
        mine = Lease(self.awaited, grant, 0.0, death_proof=death_proof, contested=contested)
        request = self.request._replace(skew=look.skew)
        outcome = await claim_and_send(world, look.loaded, mine, request, look.now, unconfirmed=self.unconfirmed)
        await world.leave()
        self.lock = None
        return outcome

    async def is_ready(self, look: _Look) -> bool:
        """Take the lock and let the refresher prepare; False: look at the record again."""
        world = self.world
        if self.lock is None and self.queued < QUEUE_TRIES:
            self.lock = await world.enter()
            if self.lock is None and look.lease is not None:
                self.queued = QUEUE_TRIES  # the lease's holder makes no progress: do not queue behind it
            elif self.lock is None:
                self.queued += 1
                await world.watch(look.loaded.version, DETECTION, "other callers on this host are about to refresh it")
                return False
            elif self.prepared:
                return False  # the record was loaded before the lock was taken: it may be stale
        if self.prepared:
            return True
        await world.prepare()  # under the lock: of all processes in the queue, only the first needs it
        self.prepared = True
        is_new = most_age(look.now, await world.now()) <= QUICK
        return is_new and (self.lock is None or self.lock.death_proof is None)  # else the loaded record may be stale
