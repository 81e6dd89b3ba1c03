"""The end of an attempt that has brought no token: what is remembered of it, and which error its callers get.

Others go by the record. So whatever a failed request may have done to the refresh token is written there before the
lease is given back.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.policy import FOR_GOOD, backoff
from onerefresh.record import Grant, Record
from onerefresh.renewal.attempt import Attempt, Outcome
from onerefresh.renewal.bring_back import is_gone
from onerefresh.renewal.causes import cause_of, sent_late
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.decide import NOT_AGAIN
from onerefresh.renewal.recovery import end_later
from onerefresh.renewal.reports import MOST_ROUNDS, report
from onerefresh.renewal.world import NotSent, Unsent
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.verdict import FailureKind, Verdict


async def release(attempt: Attempt, verdict: Verdict | None) -> Outcome | None:
    """Give the lease back, remembering the failure. The callers get an error now, or wait a little and try again."""
    if verdict is not None and verdict.kind in (FailureKind.DEAD, FailureKind.DOUBTFUL):
        verdict = replace(verdict, detail=f"no token could be obtained: {verdict.detail}")
    if verdict is None and (attempt.lease.contested or attempt.taken_over):
        return None  # too old to send: it runs out, rather than let the others forget the attempt before it
    now, pause = await attempt.world.now(), None
    if verdict is not None and verdict.kind.is_lost and attempt.lease.grant is Grant.REFRESH:
        verdict, pause = _after_a_loss(attempt, verdict, now)
    back = _back(attempt, verdict, now, pause)
    try:
        if not await _settle(attempt, back):
            return None
    except errors.StoreUnavailable:
        if verdict is None:
            raise
        # The lease runs out by itself; what the token endpoint said matters more to the callers.
    if verdict is None or verdict.kind in (FailureKind.UNAVAILABLE, FailureKind.SERVER_ERROR):
        return None
    raise verdict.error().about(attempt.request.key, attempt.leased.generation) from attempt.cause


async def unsent(attempt: Attempt, failure: Unsent) -> NotSent:
    """Give the lease back: the next renewal begins at once, as if this one had never been."""
    message = failure.verdict.detail
    back = records.unsent(attempt.leased, message, now=(await attempt.world.now()).wall, taken_over=attempt.taken_over)
    with contextlib.suppress(errors.StoreUnavailable):  # it is noted later
        await _settle(attempt, back)
    return NotSent(message, credential=attempt.request.key, generation=attempt.leased.generation)


async def doubtful_end(attempt: Attempt, verdict: Verdict) -> Outcome | None:
    """A refusal that may be the client's fault: remembered, and asked again unless the token may be spent."""
    if attempt.lease.contested and await _someone_commits(attempt):
        return None
    now, pause = await attempt.world.now(), None
    if attempt.request.can_obtain:
        pause = 0.0  # the next token comes from elsewhere, at once
    elif attempt.was_lost and attempt.request.profile.rotates:
        why = "after a request that may have spent the refresh token"
        if attempt.lease.guess and not attempt.follows_another:
            why = "and the store may have lost a newer token"
        message = f"{verdict.detail}, {why}: it is not sent again"
        verdict, pause = replace(verdict, detail=message), FOR_GOOD
    try:
        await _settle(attempt, _back(attempt, verdict, now, pause))
    except errors.StoreUnavailable:
        if attempt.request.background:
            raise  # nobody waits, and the access token still serves
        raise verdict.error().about(attempt.request.key, attempt.leased.generation) from attempt.cause
    return None  # the record says what follows


async def dead(attempt: Attempt, verdict: Verdict) -> Outcome | None:
    """`invalid_grant` proves nothing while another attempt may have spent this generation: wait for its commit."""
    if attempt.lease.contested and await _someone_commits(attempt):
        return None
    message = verdict.detail
    if attempt.lost_answers:
        message += ", after the answer to an earlier request was lost on its way"
    elif attempt.why_maybe_spent:
        message += f"; before that: {attempt.why_maybe_spent}"
    else:
        message += cause_of(attempt.leased, follows_another=attempt.follows_another)
    verdict = replace(verdict, detail=message)
    dead = records.died(attempt.leased, verdict, now=(await attempt.world.now()).wall, refused=attempt.refused)
    try:
        if not await _settle(attempt, dead):
            await _note_that_it_was_late(attempt)
            return None
    except errors.StoreUnavailable:
        if attempt.request.background:
            raise  # nobody waits, and the access token still serves
        raise verdict.error().about(attempt.request.key, attempt.leased.generation) from attempt.cause
    await report(attempt.world, Kind.DEAD, attempt.request, dead, message, attempt=attempt.lease.id)
    return None


def _back(attempt: Attempt, verdict: Verdict | None, now: Instant, pause: float | None = None) -> Record:
    return records.released(
        attempt.leased,
        verdict,
        now=now.wall,
        jitter=now.jitter,
        sends=attempt.sends,
        refused=attempt.refused,
        maybe_spent=bool(attempt.why_maybe_spent) or attempt.taken_over,
        lost=attempt.lost,
        client=attempt.client,
        pause=pause,
    )


def _after_a_loss(attempt: Attempt, verdict: Verdict, now: Instant) -> tuple[Verdict, float | None]:
    """What is said of a lost answer, and when the same refresh token may be sent again."""
    if attempt.request.profile.sends_again_after >= FOR_GOOD:
        return replace(verdict, detail=f"{verdict.detail}; {NOT_AGAIN}"), FOR_GOOD
    count = (attempt.leased.failure.count if attempt.leased.failure else 0) + attempt.sends
    return verdict, max(backoff(count, now.jitter, verdict.retry_after), attempt.rest)


async def _note_that_it_was_late(attempt: Attempt) -> None:
    """Where others have gone on from this attempt: its request came late, which explains an end of the session."""
    with contextlib.suppress(Conflict, StoreOutcomeUnknown, errors.StoreUnavailable):
        loaded, now = await attempt.world.load(), await attempt.world.now()
        noted = sent_late(loaded.record, attempt.leased, now=now.wall)
        if noted is not None:
            await attempt.world.cas(loaded.version, noted)


async def _settle(attempt: Attempt, ended: Record) -> bool:
    """Write how this attempt ended, over its own lease; whether the record says so now. Raises `StoreUnavailable`.

    This process goes by it whatever becomes of the write.
    """
    attempt.request.sightings.ends(attempt.lease, ended)
    try:
        return await _written(attempt, ended)
    except errors.StoreUnavailable:
        await attempt.world.defer(end_later(attempt.world, attempt.lease, attempt.request))
        raise


async def _written(attempt: Attempt, ended: Record) -> bool:
    version = attempt.version
    for _ in range(MOST_ROUNDS):
        try:
            await attempt.world.cas(version, ended)
        except (Conflict, StoreOutcomeUnknown):
            loaded = await attempt.world.load()
            if loaded.record is None or not attempt.is_mine(loaded):
                return loaded.record == ended
            # Not applied: left alone, the lease would hold everybody up. Somebody may have consented meanwhile.
            version, ended = loaded.version or "", replace(ended, owner=loaded.record.owner)
        else:
            return True
    return False


async def _someone_commits(attempt: Attempt) -> bool:
    """Whether somebody goes on from here: not where the store loses this attempt, or gets an old copy back."""
    why, token = "it was refused, and another process may yet save a new token", attempt.leased.token
    version, until = attempt.version, (await attempt.world.now()).monotonic + attempt.request.http_timeout
    while (left := until - (await attempt.world.now()).monotonic) > 0:
        if version:
            await attempt.world.watch(version, left, why)
        else:
            await attempt.world.sleep(min(left, 1.0), why=why)
        loaded = await attempt.world.load()
        if not attempt.is_mine(loaded) and (token is None or not is_gone(loaded.record, attempt.leased, token)):
            return True
        version = loaded.version or ""
    return False
