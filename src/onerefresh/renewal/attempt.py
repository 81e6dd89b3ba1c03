"""One attempt, from its claim to its end: send a request, then commit the answer or give the lease back.

From its request on, an attempt may hold the only refresh token that is still valid, so it does not give up before that
token is saved.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.policy import FOR_GOOD, PATIENCE, SENDS_IN_A_LEASE, backoff, windows
from onerefresh.record import Grant, Lease, Probation, Record
from onerefresh.renewal.causes import sent_late, told_by
from onerefresh.renewal.decision import NOT_AGAIN, Wish
from onerefresh.renewal.saving import (
    COMMIT_TRIES_AFTER_SPOOLING,
    LONGEST_REST,
    MOST_ROUNDS,
    TRIES_BEFORE_EXIT,
    commit_into,
    end_later,
    is_gone,
    longest_rest,
    look_again,
    next_of,
    replay_later,
    revoke_if_logged_out,
    tell,
)
from onerefresh.renewal.world import Instant, Loaded, NotSent, Spooled, Unsent, World, age
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.token import Token
from onerefresh.verdict import Meaning, RefreshFailure, Verdict

__all__ = ["Attempt", "Outcome", "age"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a renewal ended well.

    `ask_again`: seconds until a background renewal makes sense again. `damped`: the token was refused, and may not be
    refreshed again yet. `probation`: the token has yet to prove itself. `renewed`: by this very renewal, or login.
    `earlier`: the families of sessions that came before this one, as far as the record says.
    """

    token: Token
    ask_again: float = 0.0
    damped: bool = False
    probation: Probation | None = None
    renewed: bool = False
    earlier: tuple[str, ...] = ()

    @classmethod
    def brought(cls, record: Record, token: Token, ask_again: float = 0.0) -> Outcome:
        """What a renewal or a login has brought into `record`, or is about to."""
        return cls(token, ask_again, probation=record.probation, renewed=True, earlier=record.families[:-1])


@dataclass(slots=True)
class Attempt:
    """One attempt: while its lease lasts, nobody else sends."""

    world: World
    wish: Wish
    leased: Record
    version: str
    lease: Lease
    born: Instant
    taken_over: bool = False
    sends: int = 0
    lost: int = 0
    unheard: bool = False
    doubtful: str = ""
    client: str = ""
    rest: float = 0.0
    cause: BaseException | None = field(default=None, repr=False)

    @property
    def refused(self) -> bool:
        """Whether the API had refused the token that is being renewed."""
        return self.wish.refused == self.leased.identity

    async def run(self) -> Outcome | None:
        failures = self.leased.failure.count if self.leased.failure else 0
        self.client = self.wish.print_for(self.leased)  # now: a refused secret may be another one afterwards
        verdict: Verdict | None = None
        while age(self.born, now := await self.world.now()) + self.wish.http_timeout <= self.lease.ttl:
            if self.sends and not await self._still_holds():
                break
            self.sends, sent = self.sends + 1, now
            await tell(self.world, Kind.SENT, self.wish, self.leased, attempt=self.lease.id)
            try:
                answer = await self.world.send(self.lease.grant, self.leased.token, self.lease.ttl)
            except Unsent as failure:
                self.sends -= 1
                await tell(
                    self.world, Kind.FAILED, self.wish, self.leased, failure.verdict.detail, attempt=self.lease.id
                )
                if verdict is None:
                    raise await self._unsent(failure) from failure.__cause__
                break  # what became of the request before it counts
            except RefreshFailure as failure:
                verdict, self.cause = failure.verdict, failure.__cause__
            else:
                return await self._commit(answer)
            await tell(self.world, Kind.FAILED, self.wish, self.leased, verdict.detail, attempt=self.lease.id)
            if (rest := self._rest_of(verdict, now)) is not None:
                return await self._commit(rest, verdict.detail)
            self.lost += verdict.meaning is Meaning.NO_ANSWER
            if verdict.meaning.may_have_spent:
                self.doubtful = verdict.detail
            delay = backoff(failures + self.sends, now.spread, verdict.retry_after)
            self.unheard = self.unheard or verdict.meaning.is_lost
            if verdict.meaning.is_lost:
                self.rest = self.wish.profile.sends_again_after - age(sent, await self.world.now())
                delay = max(delay, self.rest)
            if delay > PATIENCE or not self._may_send_again(verdict):
                break
            try:
                await self.world.sleep(
                    delay, why=f"its last request failed, and the next one follows within {delay:.1f} s"
                )
            except errors.CredentialClosed:
                break
        # Where the loop ended by itself, this attempt is too old to send: another may think it over before the
        # answer is here.
        if verdict is not None and self.lease.grant is Grant.REFRESH:
            if verdict.meaning is Meaning.DEAD:
                return await self._dead(verdict)
            if verdict.meaning is Meaning.DOUBTFUL:
                return await self._doubtful_end(verdict)
        return await self._release(verdict)

    def _rest_of(self, verdict: Verdict, now: Instant) -> Token | None:
        """What is kept of an answer whose access token is of no use: its refresh token, beside the access token before.

        That one goes on serving where it still does. None where nothing is to be kept.
        """
        before = self.leased.token
        if verdict.kept is None or before is None or self.lease.grant is not Grant.REFRESH:
            return None
        failure = self.leased.failure
        is_over = self.refused or (failure is not None and failure.refused)
        ends_at = before.expires_at
        if is_over:
            ends_at = now.wall if ends_at is None else min(ends_at, now.wall)
        return replace(before, refresh_token=verdict.kept, expires_at=ends_at, unknown={})

    async def _still_holds(self) -> bool:
        """Whether the record still has this attempt's lease, so that the same refresh token may be sent once more.

        Somebody may have brought back a newer token meanwhile, which the store had lost when this attempt claimed.
        """
        try:
            loaded = await self.world.load()
        except errors.StoreUnavailable:
            return False
        return self._is_mine(loaded)

    def _is_mine(self, loaded: Loaded) -> bool:
        """Whether the record has this attempt's lease: the look in the background may have written it once more."""
        lease = loaded.record.lease if loaded.record else None
        return lease is not None and lease.id == self.lease.id

    def _may_send_again(self, verdict: Verdict) -> bool:
        """Within the lease, nobody else can spend this refresh token: a lost answer may be asked for once more."""
        if not verdict.repeatable:
            return False
        if verdict.meaning is Meaning.SERVER_ERROR:
            return self.sends < SENDS_IN_A_LEASE
        return verdict.meaning is Meaning.NO_ANSWER and self.lost < 2

    async def _release(self, verdict: Verdict | None) -> Outcome | None:
        """Give the lease back, remembering the failure. The callers are told now, or wait a little and try again."""
        if verdict is not None and verdict.meaning in (Meaning.DEAD, Meaning.DOUBTFUL):
            verdict = replace(verdict, detail=f"no token could be obtained: {verdict.detail}")
        if verdict is None and (self.lease.disputed or self.taken_over):
            return None  # too old to send: it runs out, rather than let the others forget the attempt before it
        now, pause = await self.world.now(), None
        if verdict is not None and verdict.meaning.is_lost and self.lease.grant is Grant.REFRESH:
            verdict, pause = self._after_a_loss(verdict, now)
        back = self._back(verdict, now, pause)
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

    async def _unsent(self, failure: Unsent) -> NotSent:
        """Give the lease back: the next renewal begins at once, as if this one had never been."""
        said = failure.verdict.detail
        back = records.unsent(self.leased, said, now=(await self.world.now()).wall, taken_over=self.taken_over)
        with contextlib.suppress(errors.StoreUnavailable):  # it is noted later
            await self._settle(back)
        return NotSent(said, credential=self.wish.key, generation=self.leased.generation)

    def _back(self, verdict: Verdict | None, now: Instant, pause: float | None = None) -> Record:
        return records.released(
            self.leased,
            verdict,
            now=now.wall,
            spread=now.spread,
            sends=self.sends,
            refused=self.refused,
            doubtful=bool(self.doubtful) or self.taken_over,
            lost=self.unheard,
            client=self.client,
            pause=pause,
        )

    @property
    def _may_be_spent(self) -> bool:
        """Whether another request than the last one may have spent the refresh token, and got the same answer."""
        before = self.leased.failure
        earlier = before is not None and (before.ambiguous or before.disputed)
        return bool(self.doubtful) or self.taken_over or self.lease.disputed or self.lease.guess or earlier

    @property
    def _was_lost(self) -> bool:
        """Whether the answer to an earlier request was lost, as far as is known. A server error was an answer."""
        before = self.leased.failure
        earlier = before is not None and (before.lost or before.disputed)
        return self.unheard or self.taken_over or self.lease.disputed or self.lease.guess or earlier

    def _after_a_loss(self, verdict: Verdict, now: Instant) -> tuple[Verdict, float | None]:
        """What is said of a lost answer, and when the same refresh token may be sent again."""
        if self.wish.profile.sends_again_after >= FOR_GOOD:
            return replace(verdict, detail=f"{verdict.detail}; {NOT_AGAIN}"), FOR_GOOD
        count = (self.leased.failure.count if self.leased.failure else 0) + self.sends
        return verdict, max(backoff(count, now.spread, verdict.retry_after), self.rest)

    async def _doubtful_end(self, verdict: Verdict) -> Outcome | None:
        """A refusal that may be the client's fault: remembered, and asked again unless the token may be spent."""
        if self.lease.disputed and await self._someone_commits():
            return None
        now, pause = await self.world.now(), None
        if self.wish.can_obtain:
            pause = 0.0  # the next token comes from elsewhere, at once
        elif self._was_lost and self.wish.profile.rotates:
            why = "after a request that may have spent the refresh token"
            if self.lease.guess:
                why = "and the store may have lost a newer token"
            said = f"{verdict.detail}, {why}: it is not sent again"
            verdict, pause = replace(verdict, detail=said), FOR_GOOD
        try:
            await self._settle(self._back(verdict, now, pause))
        except errors.StoreUnavailable:
            if self.wish.ageing:
                raise  # nobody waits, and the access token still serves
            raise verdict.error().about(self.wish.key, self.leased.generation) from self.cause
        return None  # the record says what follows

    async def _dead(self, verdict: Verdict) -> Outcome | None:
        """`invalid_grant` proves nothing while another attempt may have spent this generation: wait for its commit."""
        if self.lease.disputed and await self._someone_commits():
            return None
        said = verdict.detail
        if self.lost:
            said += ", after the answer to an earlier request was lost on its way"
        elif self.doubtful:
            said += f"; before that: {self.doubtful}"
        else:
            said += told_by(self.leased, taken_over=self.taken_over)
        verdict = replace(verdict, detail=said)
        dead = records.died(self.leased, verdict, now=(await self.world.now()).wall, refused=self.refused)
        try:
            if not await self._settle(dead):
                await self._note_that_it_was_late()
                return None
        except errors.StoreUnavailable:
            if self.wish.ageing:
                raise  # nobody waits, and the access token still serves
            raise verdict.error().about(self.wish.key, self.leased.generation) from self.cause
        await tell(self.world, Kind.DEAD, self.wish, dead, said, attempt=self.lease.id)
        return None

    async def _note_that_it_was_late(self) -> None:
        """Where others have gone on from this attempt: its request came late, which explains an end of the session."""
        with contextlib.suppress(Conflict, StoreOutcomeUnknown, errors.StoreUnavailable):
            loaded, now = await self.world.load(), await self.world.now()
            noted = sent_late(loaded.record, self.leased, now=now.wall)
            if noted is not None:
                await self.world.cas(loaded.version, noted)

    async def _settle(self, ended: Record) -> bool:
        """Write how this attempt ended, over its own lease; whether the record says so now. Raises `StoreUnavailable`.

        This process goes by it whatever becomes of the write.
        """
        self.wish.sightings.ends(self.lease, ended)
        try:
            return await self._written(ended)
        except errors.StoreUnavailable:
            await self.world.defer(end_later(self.world, self.lease, self.wish))
            raise

    async def _written(self, ended: Record) -> bool:
        version = self.version
        for _ in range(MOST_ROUNDS):
            try:
                await self.world.cas(version, ended)
            except (Conflict, StoreOutcomeUnknown):
                loaded = await self.world.load()
                if loaded.record is None or not self._is_mine(loaded):
                    return loaded.record == ended
                # Not applied: left alone, the lease would hold everybody up. Somebody may have consented meanwhile.
                version, ended = loaded.version or "", replace(ended, owner=loaded.record.owner)
            else:
                return True
        return False

    async def _someone_commits(self) -> bool:
        """Whether somebody goes on from here: not where the store loses this attempt, or gets an old copy back."""
        why, token = "it was refused, and another process may yet save a new token", self.leased.token
        version, until = self.version, (await self.world.now()).monotonic + self.wish.http_timeout
        while (left := until - (await self.world.now()).monotonic) > 0:
            if version:
                await self.world.watch(version, left, why)
            else:
                await self.world.sleep(min(left, 1.0), why=why)
            loaded = await self.world.load()
            if not self._is_mine(loaded) and (token is None or not is_gone(loaded.record, self.leased, token)):
                return True
            version = loaded.version or ""
        return False

    async def _commit(self, answer: Token, useless: str = "") -> Outcome | None:
        """Save the new token, whatever it takes: nobody else has the refresh token that lives now.

        `useless`: why its access token is of no use, so that the one before stands in its place.
        """
        token = answer.following(self.leased.token) if self.leased.token else answer
        entry = Spooled(
            *self.leased.identity,
            self.lease.id,
            self.lease.grant,
            self.refused,
            token,
            repeated=self.sends > 1 or self._may_be_spent,
            useless=useless,
            owner=self.leased.owner,
        )
        loaded = Loaded(self.version, self.leased)
        in_a_file, spooled, tries, conflicts = False, False, 0, 0
        while True:
            try:
                committed = await commit_into(self.world, loaded, entry, self.wish)
            except (Conflict, StoreOutcomeUnknown, errors.OnerefreshError) as error:
                conflicts = conflicts + 1 if isinstance(error, Conflict) else 0
                if 0 < conflicts <= MOST_ROUNDS:
                    loaded = await self._reload(loaded)
                    continue
                tries += 1
                if tries == 1 and isinstance(error, StoreOutcomeUnknown):
                    in_a_file = await self.world.write_spool(entry)  # nobody is told yet: it may have been applied
                    loaded = await self._reload(loaded)
                    continue
                spooled = spooled or await self._spool(entry, str(error))
                if spooled and tries > COMMIT_TRIES_AFTER_SPOOLING * LONGEST_REST / longest_rest(self.wish):
                    await self.world.defer(
                        replay_later(self.world, self.wish)
                    )  # or the next renewal on this host, which begins with it
                    return None
                await self._rest(tries, spooled=spooled)
                loaded = await self._reload(loaded)
                continue
            again = records.begun_again(loaded.record, self.leased, token) if committed is None else None
            if again is not None and again != (entry.family, entry.generation):
                entry = replace(entry, family=again[0], generation=again[1])
                continue
            if spooled or in_a_file:
                await self.world.drop_spool(entry)
            if committed is None:
                await tell(self.world, Kind.ORPHANED, self.wish, loaded.record or self.leased, attempt=self.lease.id)
                await self.world.leave()  # the server may take its time
                await revoke_if_logged_out(self.world, loaded.record, token, self.wish)
            else:
                await tell(self.world, Kind.REFRESHED, self.wish, committed, attempt=self.lease.id)
                is_saved = committed.token is not None and not committed.unsaved
                if committed.token is not None and is_saved and self.wish.look_again():
                    await self.world.defer(look_again(self.world, committed.token, self.lease.ttl, self.wish))
                if useless:
                    return await self._after_a_useless_answer(committed)
                if committed.token is not None and is_saved:
                    return Outcome.brought(committed, committed.token)
            return None

    async def _after_a_useless_answer(self, committed: Record) -> Outcome | None:
        """The old access token where it still serves, now with the new refresh token; else the callers are told.

        So are those who wanted one that lives longer.
        """
        token, failure, now = committed.token, committed.failure, await self.world.now()
        assert token is not None
        assert failure is not None
        await self.world.deliver(None, unsaved=token)  # from now on this process knows it, whatever the callers get
        if committed.unsaved:
            return None  # the host saves it first, and then the record says what follows
        is_enough = self.wish.within is None and not failure.refused
        if is_enough and now.wall < windows(token, self.wish.spread).ends_at:
            return Outcome.brought(committed, token, failure.delay)
        raise failure.verdict(now.wall).error().about(self.wish.key, committed.generation) from self.cause

    async def _spool(self, entry: Spooled, why: str) -> bool:
        """The store is down: keep the token in a file, then hand it out. Where that fails too, say so and go on."""
        if await self.world.write_spool(entry):
            await tell(self.world, Kind.SPOOLED, self.wish, self.leased, why, attempt=self.lease.id)
            if entry.useless:
                useless = errors.RefreshProtocolError(entry.useless)
                await self.world.deliver(useless.about(self.wish.key, self.leased.generation), unsaved=entry.as_next())
            else:
                ahead = next_of(self.leased, entry, self.wish, await self.world.now())
                await self.world.deliver(Outcome.brought(ahead, entry.as_next()))
            return True
        await tell(self.world, Kind.UNSAVED, self.wish, self.leased, why, attempt=self.lease.id)
        said = f"the new token could be saved neither in the store nor in the spool, and is tried again: {why}"
        error = errors.StoreUnavailable(said, credential=self.wish.key, generation=self.leased.generation)
        await self.world.deliver(error, unsaved=entry.as_next())
        return False

    async def _rest(self, tries: int, *, spooled: bool) -> None:
        try:
            # A token that is nowhere but here is worth that the interpreter waits for some more tries.
            rest = min(backoff(tries, (await self.world.now()).spread), longest_rest(self.wish))
            why = "its answer is here, and the store cannot be written"
            await self.world.sleep(rest, why=why, holds_the_exit=not spooled and tries <= TRIES_BEFORE_EXIT)
        except errors.CredentialClosed:
            if not spooled:
                await tell(
                    self.world, Kind.UNSAVED, self.wish, self.leased, "the process ends and the new token is lost"
                )
            raise

    async def _reload(self, loaded: Loaded) -> Loaded:
        try:
            return await self.world.load()
        except errors.OnerefreshError:
            return loaded  # the next write will say so again
