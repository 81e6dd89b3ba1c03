"""The end of an attempt without a token: what the record remembers of it, and which error its callers get.

Other processes act on the record. So whatever a failed request may have done to the refresh token is written there
before the lease is released.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.policy import FOR_GOOD, backoff
from onerefresh.record import Grant, Lease, Record
from onerefresh.renewal.attempt import Attempt, Outcome
from onerefresh.renewal.bring_back import is_gone
from onerefresh.renewal.causes import cause_of, sent_late
from onerefresh.renewal.clocks import Instant, most_age
from onerefresh.renewal.decide import NOT_AGAIN
from onerefresh.renewal.recovery import end_later
from onerefresh.renewal.reports import MOST_ROUNDS, tell
from onerefresh.renewal.sightings import REFUSALS
from onerefresh.renewal.world import NotSent, Unsent
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.verdict import FailureKind, Verdict


async def release(attempt: Attempt, verdict: Verdict | None) -> Outcome | None:
    """Release the lease and remember the failure.

    Raises the error for the callers, or returns None where the renewal waits a little and tries again.
    """
    if verdict is not None and verdict.kind in REFUSALS:
        verdict = replace(verdict, detail=f"no token could be obtained: {verdict.detail}")
    if verdict is None and (attempt.lease.contested or attempt.taken_over):
        return None  # too old to send: the lease runs out, since a release would make others forget the earlier attempt
    now, pause = await attempt.world.now(), None
    if verdict is not None and verdict.kind.is_lost and attempt.lease.grant is Grant.REFRESH:
        verdict, pause = _after_a_loss(attempt, verdict, now)
    back, is_refusal = _back(attempt, verdict, now, pause), verdict is not None and verdict.kind in REFUSALS
    attempt.request.sightings.dated(back, now)  # seen now: a clock that is set later makes the pause no shorter
    try:
        if not await _settle(attempt, back, is_refusal=is_refusal):
            return None
    except errors.StoreUnavailable:
        if verdict is None or (is_refusal and attempt.overtaken):
            raise
        # The lease runs out by itself; the token endpoint's answer matters more to the callers.
    if verdict is None or verdict.kind in (FailureKind.UNAVAILABLE, FailureKind.SERVER_ERROR):
        return None
    raise verdict.error().about(attempt.request.key, attempt.leased.generation) from attempt.cause


async def unsent(attempt: Attempt, failure: Unsent) -> NotSent:
    """Release the lease as if the attempt had never been, so that the next renewal begins at once.

    Returns the error for the callers.
    """
    message = failure.verdict.detail
    back = records.unsent(attempt.leased, message, now=(await attempt.world.now()).wall, taken_over=attempt.taken_over)
    with contextlib.suppress(errors.StoreUnavailable):  # a background task notes it later
        await _settle(attempt, back)
    return NotSent(message, credential=attempt.request.key, generation=attempt.leased.generation)


async def doubtful_end(attempt: Attempt, verdict: Verdict) -> Outcome | None:
    """Remember a refusal that may be the client's fault.

    The token endpoint is asked again after a pause, unless the refresh token may be spent.
    """
    if attempt.lease.contested and await _someone_commits(attempt):
        return None
    now, pause = await attempt.world.now(), None
    if attempt.request.can_obtain:
        pause = 0.0  # `obtain` gets the next token at once
    elif attempt.was_lost and attempt.request.profile.rotates:
        why = "after a request that may have spent the refresh token"
        if attempt.lease.guess and not attempt.follows_another:
            why = "and the store may have lost a newer token"
        message = f"{verdict.detail}, {why}: this refresh token is not sent again"
        verdict, pause = replace(verdict, detail=message), FOR_GOOD
    try:
        await _settle(attempt, _back(attempt, verdict, now, pause), is_refusal=True)
    except errors.StoreUnavailable:
        if attempt.request.background or attempt.overtaken:
            raise  # no caller waits, and the access token still serves; or the refusal proves nothing
        raise verdict.error().about(attempt.request.key, attempt.leased.generation) from attempt.cause
    return None  # the record decides what follows


async def dead(attempt: Attempt, verdict: Verdict) -> Outcome | None:
    """Declare the session dead, unless another attempt commits first.

    `invalid_grant` proves nothing while another attempt may have spent this generation, so its commit is awaited.
    """
    if attempt.lease.contested and await _someone_commits(attempt):
        return None
    message = verdict.detail
    if attempt.lost_answers:
        message += ", after the answer to an earlier request was lost"
    elif attempt.why_maybe_spent:
        message += f"; before that: {attempt.why_maybe_spent}"
    else:
        message += cause_of(attempt.leased, follows_another=attempt.follows_another)
    verdict = replace(verdict, detail=message)
    now, stamp = (await attempt.world.now()).wall, attempt.request.stamp(attempt.reason)
    dead = records.died(attempt.leased, verdict, now=now, refused=attempt.refused, stamp=stamp)
    try:
        if not await _settle(attempt, dead, is_refusal=True):
            await _note_that_it_was_late(attempt)
            return None
    except errors.StoreUnavailable:
        if attempt.request.background or attempt.overtaken:
            raise  # no caller waits, and the access token still serves; or the refusal proves nothing
        raise verdict.error().about(attempt.request.key, attempt.leased.generation) from attempt.cause
    await tell(attempt, Kind.DEAD, dead, message, verdict=verdict)
    return None


def _back(attempt: Attempt, verdict: Verdict | None, now: Instant, pause: float | None = None) -> Record:
    """The record after the lease is released with this verdict."""
    back = records.released(
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
    failure, shared = back.failure, now.shared
    if verdict is None or failure is None or shared is None:
        return back
    return replace(back, failure=replace(failure, clock_epoch=shared.clock_epoch, clock_at=shared.seconds))


def _after_a_loss(attempt: Attempt, verdict: Verdict, now: Instant) -> tuple[Verdict, float | None]:
    """The verdict for a lost answer, and the seconds until the same refresh token may be sent again."""
    if verdict.is_anothers or attempt.request.profile.sends_again_after >= FOR_GOOD:
        return replace(verdict, detail=f"{verdict.detail}; {NOT_AGAIN}"), FOR_GOOD
    count = (attempt.leased.failure.count if attempt.leased.failure else 0) + attempt.sends
    return verdict, max(backoff(count, now.jitter, verdict.retry_after), attempt.rest)


async def _note_that_it_was_late(attempt: Attempt) -> None:
    """Where others have already renewed, note that this request came late: it may explain the session's end."""
    with contextlib.suppress(Conflict, StoreOutcomeUnknown, errors.StoreUnavailable):
        loaded, now = await attempt.world.load(), await attempt.world.now()
        noted = sent_late(loaded.record, attempt.leased, now=now.wall)
        if noted is not None:
            await attempt.world.cas(loaded.version, noted)


async def _settle(attempt: Attempt, ended: Record, *, is_refusal: bool = False) -> bool:
    """Write how this attempt ended, over its own lease; whether the record says so now.

    Raises `StoreUnavailable`. This process acts on the end whether the write succeeds or not, unless another attempt
    has taken over: that one may have spent the refresh token, so that a refusal proves nothing, and it may have to wait
    for longer.
    """
    attempt.request.sightings.ends(attempt.lease, ended, attempt.leased.failure)
    try:
        if await _written(attempt, ended):
            return True
    except errors.StoreUnavailable:
        await attempt.world.defer(end_later(attempt.world, attempt.lease, attempt.request))
        if is_refusal:
            await _reconsider(attempt, ended)
        raise
    if is_refusal or not _may_have_spent(ended):
        await _reconsider(attempt, ended, attempt.lease if attempt.overtaken else None)
    return False


def _may_have_spent(ended: Record) -> bool:
    """Whether this end says that the refresh token may be spent, which others do not know."""
    failure = ended.failure
    return failure is not None and (failure.maybe_spent or failure.lost)


async def _reconsider(attempt: Attempt, ended: Record, lease: Lease | None = None) -> None:
    """Forget how this attempt has ended, if others have taken over, or may have: theirs is what counts by now.

    They may have where its lease is over and the store cannot be read, or has lost it. `lease`: as for
    `Sightings.retract`. What was known of this generation before the attempt is remembered again.
    """
    is_over = most_age(attempt.born, await attempt.world.now()) >= attempt.lease.ttl
    attempt.overtaken = attempt.overtaken or is_over
    if attempt.overtaken:
        attempt.request.sightings.retract(ended, lease)
        attempt.request.sightings.remember(attempt.leased)


async def _written(attempt: Attempt, ended: Record) -> bool:
    """As `_settle`. Sets `attempt.overtaken` as soon as that is known."""
    version = attempt.version
    for _ in range(MOST_ROUNDS):
        try:
            await attempt.world.cas(version, ended)
        except (Conflict, StoreOutcomeUnknown) as error:
            attempt.overtaken = attempt.overtaken or isinstance(error, Conflict)  # until the record says otherwise
            loaded = await attempt.world.load()
            attempt.overtaken = attempt.is_overtaken_in(loaded.record)
            if loaded.record is None or not attempt.is_mine(loaded):
                return loaded.record == ended
            # Not applied: a lease that stays would delay everybody. `adopt` may have changed the owner.
            version, ended = loaded.version or "", replace(ended, owner=loaded.record.owner)
        else:
            return True
    return False


async def _someone_commits(attempt: Attempt) -> bool:
    """Wait for another attempt to commit, for the time of one request; whether the record has moved on.

    A store that loses this attempt's lease, or returns to an old copy, has not moved on.
    """
    why, token = "it was refused, and another process may still save a new token", attempt.leased.token
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
