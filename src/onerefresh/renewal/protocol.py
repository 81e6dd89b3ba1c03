"""One renewal: load, claim, send, commit.

Truth is one record per credential, changed only by compare-and-swap. Holds, wake-ups and clocks are hints: they save
time, and no rule's correctness rests on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from onerefresh import errors
from onerefresh import record as records
from onerefresh.events import Kind
from onerefresh.policy import DETECTION, PATIENCE, SENDS_IN_A_LEASE, backoff
from onerefresh.record import Attempt, Grant, Probation, Record, State
from onerefresh.renewal.decision import Claim, Fail, Found, Keep, Pause, Repair, Use, Wait, Wish, decide, is_news
from onerefresh.renewal.effects import (
    Afterwards,
    Cas,
    Drop,
    DropSpool,
    Instant,
    Load,
    Loaded,
    NewId,
    Now,
    Prepare,
    Publish,
    Send,
    Sleep,
    Spooled,
    Take,
    Turn,
    Watch,
    WriteSpool,
)
from onerefresh.renewal.saving import (
    COMMIT_TRIES_AFTER_SPOOLING,
    LONGEST_REST,
    MOST_ROUNDS,
    TRIES_BEFORE_EXIT,
    commit_into,
    found,
    keep,
    look_again,
    repair,
    replay_spool,
    revoke_if_logged_out,
    tell,
    unsettled,
)
from onerefresh.store import Conflict, Hold, StoreOutcomeUnknown
from onerefresh.token import Token
from onerefresh.verdict import Meaning, RefreshFailure, Verdict

QUEUE_TRIES = 3


@dataclass(slots=True)
class _Lease:
    """This renewal's view of other attempts: which one it watches, and since when by its own monotonic clock."""

    attempt: str | None = None
    since: float = 0.0

    def left(self, attempt: Attempt, now: Instant) -> float:
        """Seconds until `attempt` is over: by the store's own clock, or because this process watched it that long."""
        if attempt.id != self.attempt:
            self.attempt, self.since = attempt.id, now.monotonic
        watched = attempt.ttl - (now.monotonic - self.since)
        if now.shared is None or attempt.era is None:
            return watched
        if attempt.era != now.shared.era:
            return 0.0 if now.shared.mortal else watched
        return min(watched, attempt.ttl - (now.shared.seconds - attempt.at))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a renewal ended well.

    `ask_again`: seconds until a background renewal makes sense again. `damped`: the token was refused, and may not be
    refreshed again yet. `probation`: the token has yet to prove itself. `renewed`: by this very renewal.
    """

    token: Token
    ask_again: float = 0.0
    damped: bool = False
    probation: Probation | None = None
    renewed: bool = False


async def renew(wish: Wish) -> Outcome:
    """A token that satisfies `wish`.

    Raises an `OnerefreshError` that says who must act.
    """
    lease = _Lease()
    hold: Hold | None = None
    queued, prepared, seed_told, waiting_for = 0, False, wish.seed_told, ""
    unheard: dict[str, Instant] = {}  # claims of this renewal of which nobody told whether they were applied
    rounds = 0
    while True:
        rounds += 1
        if rounds > MOST_ROUNDS:
            await Drop()
            raise unsettled().about(wish.key)
        loaded = await Load()
        if await replay_spool(wish):
            continue
        now = await Now()
        record = wish.sightings.dated(loaded.record, now)
        attempt = record.attempt if record and record.state is State.LEASED else None
        if record and attempt and attempt.id in unheard and attempt.proof is None:
            # Applied late. With a proof it is not gone on with: others could have seen the lock free since.
            outcome = await _Spending(wish, record, loaded.version or "", attempt, unheard.pop(attempt.id)).run()
            if outcome is not None:
                return outcome
            continue
        left = lease.left(attempt, now) if attempt else 0.0
        proven_dead = _is_proof(hold, attempt)
        if record and not seed_told and record.state in (State.IDLE, State.LEASED) and is_news(wish.seed, record):
            seed_told = True
            await tell(Kind.SEED_IGNORED, wish, record, "token= is another one than the store's, which is in use")
        match decide(record, wish, now.wall, lease_over=proven_dead or left <= 0.0):
            case Use(token, ask_again, damped, probation):
                await Drop()
                return Outcome(token, ask_again, damped, probation)
            case Fail(error):
                await Drop()
                raise error.about(wish.key, record.generation if record else None)
            case Keep(token):
                await keep(loaded, token)
            case Found(seed):
                await found(loaded, seed, wish)
            case Repair(token):
                await repair(loaded, token, wish)
            case Pause(seconds):
                await Drop()
                hold, rounds = None, 0
                await Watch(loaded.version, seconds)
            case Wait(other):
                if hold is None and other.proof is not None:
                    hold = await Take()
                    if hold is not None:
                        continue  # look again with the hold in our hands: is it still this attempt?
                await Drop()
                hold, rounds = None, 0
                if waiting_for != other.id:
                    waiting_for = other.id
                    await tell(Kind.WAITING, wish, record, f"at most {left:.1f} s for another process", other.id)
                await Watch(loaded.version, left)
            case Claim(grant):
                if await Turn():
                    rounds = 0
                    continue  # before the claim, which would age in the queue; what was loaded before may be old
                if hold is None and queued < QUEUE_TRIES:
                    hold = await Take()
                    if hold is None and attempt is not None:
                        queued = QUEUE_TRIES  # its holder stands still: there is no use in queueing behind it
                    elif hold is None:
                        queued += 1
                        await Watch(loaded.version, DETECTION)
                        continue
                    elif prepared:
                        continue  # what was loaded before the hold may be old
                if not prepared:
                    await Prepare()  # with the hold: of all who queue, only the first needs it
                    prepared = True
                    continue  # and what was loaded before that may be old as well
                disputed = _is_disputed(record, proven_dead=proven_dead)
                outcome = await _attempt(loaded, grant, wish, now, unheard, hold=hold, disputed=disputed)
                await Drop()
                hold = None
                if outcome is not None:
                    return outcome


def _is_proof(hold: Hold | None, attempt: Attempt | None) -> bool:
    """Whether holding `hold` proves that the holder of `attempt` is dead.

    It kept this very hold until its attempt was settled, so only its kernel can have released it.
    """
    return attempt is not None and hold is not None and hold.proof is not None and hold.proof == attempt.proof


def _is_disputed(record: Record | None, *, proven_dead: bool) -> bool:
    """Whether an earlier attempt at this generation may still come back and commit."""
    if record is None:
        return False
    if record.state is State.LEASED and record.attempt is not None:
        return record.attempt.disputed or not proven_dead
    return record.failure is not None and record.failure.disputed


async def _attempt(
    loaded: Loaded,
    grant: Grant,
    wish: Wish,
    born: Instant,
    unheard: dict[str, Instant],
    *,
    hold: Hold | None,
    disputed: bool,
) -> Outcome | None:
    """Claim, send and commit. None: look at the record again."""
    token = loaded.record.token if loaded.record else None
    attempt = Attempt(
        id=await NewId(),
        grant=grant,
        ttl=wish.profile.time_to_live(token, born.wall, wish.http_timeout),
        era=born.shared.era if born.shared else None,
        at=born.shared.seconds if born.shared else 0.0,
        proof=hold.proof if hold else None,
        disputed=disputed,
    )
    leased = records.claimed(loaded.record, attempt, owner=wish.owner)
    try:
        version = await Cas(loaded.version, leased)
    except Conflict:
        return None
    except StoreOutcomeUnknown:
        again = await Load()
        if again.record is None or again.record.attempt is None or again.record.attempt.id != attempt.id:
            unheard[attempt.id] = born
            return None
        version = again.version or ""
    taken_over = loaded.record is not None and loaded.record.state is State.LEASED
    await tell(Kind.TAKEN_OVER if taken_over else Kind.CLAIMED, wish, leased, attempt=attempt.id)
    return await _Spending(wish, leased, version, attempt, born, taken_over).run()


def _age(born: Instant, now: Instant) -> float:
    """Seconds since `born`, by the clock that says more: a machine's own may stand still while the machine sleeps."""
    age = now.monotonic - born.monotonic
    if born.shared is None or now.shared is None or born.shared.era != now.shared.era:
        return age
    return max(age, now.shared.seconds - born.shared.seconds)


@dataclass(slots=True)
class _Spending:
    """The part of a renewal between its claim and its commit or release."""

    wish: Wish
    leased: Record
    version: str
    attempt: Attempt
    born: Instant
    taken_over: bool = False
    sends: int = 0
    lost: int = 0
    doubtful: str = ""
    cause: BaseException | None = field(default=None, repr=False)

    @property
    def refused(self) -> bool:
        """Whether the API had refused the token that is being renewed."""
        return self.wish.refused == self.leased.identity

    async def run(self) -> Outcome | None:
        failures = self.leased.failure.count if self.leased.failure else 0
        verdict: Verdict | None = None
        while _age(self.born, now := await Now()) + self.wish.http_timeout <= self.attempt.ttl:
            self.sends += 1
            await tell(Kind.SENT, self.wish, self.leased, attempt=self.attempt.id)
            try:
                answer = await Send(self.attempt.grant, self.leased.token, self.attempt.ttl)
            except RefreshFailure as failure:
                verdict, self.cause = failure.verdict, failure.__cause__
            else:
                return await self._commit(answer)
            await tell(Kind.FAILED, self.wish, self.leased, verdict.detail, self.attempt.id)
            self.lost += verdict.meaning is Meaning.NO_ANSWER
            if verdict.meaning.may_have_spent:
                self.doubtful = verdict.detail
            delay = backoff(failures + self.sends, now.spread, verdict.retry_after)
            if delay > PATIENCE or not self._may_send_again(verdict):
                break
            try:
                await Sleep(delay)
            except errors.CredentialClosed:
                break
        # Where the loop ended by itself, this attempt is too old to send: another may think it over before the
        # answer is here.
        if verdict is not None and verdict.meaning is Meaning.DEAD and self.attempt.grant is Grant.REFRESH:
            return await self._dead(verdict)
        return await self._release(verdict)

    def _may_send_again(self, verdict: Verdict) -> bool:
        """Within the lease, nobody else can spend this refresh token: a lost answer may be asked for once more."""
        if not verdict.repeatable:
            return False
        if verdict.meaning is Meaning.SERVER_ERROR:
            return self.sends < SENDS_IN_A_LEASE
        return verdict.meaning is Meaning.NO_ANSWER and self.lost < 2

    async def _release(self, verdict: Verdict | None) -> Outcome | None:
        """Give the lease back, remembering the failure. The callers are told now, or wait a little and try again."""
        if verdict is not None and verdict.meaning is Meaning.DEAD:
            verdict = replace(verdict, detail=f"no token could be obtained: {verdict.detail}")
        if verdict is None and self.attempt.disputed:
            return None  # too old to send: it runs out, rather than let the others forget the dispute
        now = await Now()
        back = records.released(
            self.leased,
            verdict,
            now=now.wall,
            spread=now.spread,
            sends=self.sends,
            refused=self.refused,
            doubtful=bool(self.doubtful),
        )
        try:
            if not await self._settle(back):
                return None
        except errors.StoreUnavailable:
            if verdict is None:
                raise
            # The lease runs out by itself; what the token endpoint said matters more to the callers.
        if verdict is None or verdict.meaning in (Meaning.UNAVAILABLE, Meaning.SERVER_ERROR):
            return None
        raise verdict.error().about(self.wish.key, self.leased.generation) from self.cause

    async def _dead(self, verdict: Verdict) -> Outcome | None:
        """`invalid_grant` proves nothing while another attempt may have spent this generation: wait for its commit."""
        if self.attempt.disputed and await self._someone_commits():
            return None
        said = verdict.detail
        if self.lost:
            said += ", after the answer to an earlier request was lost on its way"
        elif self.doubtful:
            said += f"; before that: {self.doubtful}"
        elif self.leased.failure is not None and self.leased.failure.meaning.may_have_spent:
            said += f"; before that: {self.leased.failure.detail}"
        elif self.leased.failure is not None and self.leased.failure.ambiguous:
            said += ", after an earlier request whose answer never came"
        elif self.taken_over or self.attempt.disputed:
            said += ", after the attempt of a process that vanished had been taken over"
        verdict = replace(verdict, detail=said)
        dead = records.died(self.leased, verdict, now=(await Now()).wall, refused=self.refused)
        try:
            if not await self._settle(dead):
                return None
        except errors.StoreUnavailable:
            if self.wish.ageing:
                raise  # nobody waits, and the access token still serves
            raise verdict.error().about(self.wish.key, self.leased.generation) from self.cause
        await tell(Kind.DEAD, self.wish, dead, said, self.attempt.id)
        return None

    async def _settle(self, ended: Record) -> bool:
        """Write how this attempt ended, over its own lease; whether the record says so now."""
        version = self.version
        for _ in range(MOST_ROUNDS):
            try:
                await Cas(version, ended)
            except Conflict:
                return False
            except StoreOutcomeUnknown:
                loaded = await Load()
                attempt = loaded.record.attempt if loaded.record else None
                if attempt is None or attempt.id != self.attempt.id:
                    return loaded.record == ended
                version = loaded.version or ""  # not applied: left alone, the lease would hold everybody up
            else:
                return True
        return False

    async def _someone_commits(self) -> bool:
        deadline = (await Now()).monotonic + self.wish.http_timeout
        while (left := deadline - (await Now()).monotonic) > 0:
            await Watch(self.version, left)
            if (await Load()).version != self.version:
                return True
        return False

    async def _commit(self, answer: Token) -> Outcome | None:
        """Save the new token, whatever it takes: nobody else has the refresh token that lives now."""
        token = answer.following(self.leased.token) if self.leased.token else answer
        family, generation = self.leased.identity
        entry = Spooled(family, generation, self.attempt.id, self.attempt.grant, self.refused, token)
        loaded = Loaded(self.version, self.leased)
        spooled, tries, conflicts = False, 0, 0
        while True:
            try:
                committed = await commit_into(loaded, entry, self.wish)
            except (Conflict, StoreOutcomeUnknown, errors.OnerefreshError) as error:
                conflicts = conflicts + 1 if isinstance(error, Conflict) else 0
                if 0 < conflicts <= MOST_ROUNDS:
                    loaded = await self._reload(loaded)
                    continue
                tries += 1
                spooled = spooled or await self._spool(entry, str(error))
                if spooled and tries > COMMIT_TRIES_AFTER_SPOOLING:
                    return None  # the next renewal on this host begins with the spool file
                await self._rest(tries, spooled=spooled)
                loaded = await self._reload(loaded)
                continue
            if spooled:
                await DropSpool(entry)
            if committed is None:
                await tell(Kind.ORPHANED, self.wish, loaded.record or self.leased, attempt=self.attempt.id)
                await Drop()  # the server may take its time
                await revoke_if_logged_out(loaded.record, token, self.wish)
            else:
                await tell(Kind.REFRESHED, self.wish, committed, attempt=self.attempt.id)
                if committed.token is not None and not committed.unsaved:
                    outcome = Outcome(committed.token, probation=committed.probation, renewed=True)
                    if self.wish.look_again:
                        await Afterwards(look_again(committed.token, self.attempt.ttl, self.wish))
                    return outcome
            return None

    async def _spool(self, entry: Spooled, why: str) -> bool:
        """The store is down: keep the token in a file, then hand it out. Where that fails too, say so and go on."""
        if await WriteSpool(entry):
            await tell(Kind.SPOOLED, self.wish, self.leased, why, self.attempt.id)
            await Publish(Outcome(entry.as_next(), renewed=True))
            return True
        await tell(Kind.UNSAVED, self.wish, self.leased, why, self.attempt.id)
        said = f"the new token could be saved neither in the store nor in the spool, and is tried again: {why}"
        await Publish(errors.StoreUnavailable(said, credential=self.wish.key, generation=self.leased.generation))
        return False

    async def _rest(self, tries: int, *, spooled: bool) -> None:
        try:
            # A token that is nowhere but here is worth that the interpreter waits for some more tries.
            rest = min(backoff(tries, (await Now()).spread), LONGEST_REST)
            await Sleep(rest, holds_the_exit=not spooled and tries <= TRIES_BEFORE_EXIT)
        except errors.CredentialClosed:
            if not spooled:
                await tell(Kind.UNSAVED, self.wish, self.leased, "the process ends and the new token is lost")
            raise

    async def _reload(self, loaded: Loaded) -> Loaded:
        try:
            return await Load()
        except errors.OnerefreshError:
            return loaded  # the next write will say so again
