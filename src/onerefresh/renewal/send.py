"""One attempt, from its claim to its end: send requests, then commit the answer or release the lease.

After its first request an attempt may hold the only refresh token that still works. So it does not give up before that
token is saved.
"""

from __future__ import annotations

from dataclasses import replace

from onerefresh import errors
from onerefresh.events import Kind
from onerefresh.policy import PATIENCE, SENDS_IN_A_LEASE, backoff
from onerefresh.record import Grant
from onerefresh.renewal.answer import commit_answer
from onerefresh.renewal.attempt import Attempt, Outcome
from onerefresh.renewal.clocks import Instant, Sent, age, most_age
from onerefresh.renewal.failed import dead, doubtful_end, release, unsent
from onerefresh.renewal.reports import tell
from onerefresh.renewal.strangers import judge_stranger
from onerefresh.renewal.world import Unsent
from onerefresh.token import Token
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

__all__ = ["run_attempt"]


async def run_attempt(attempt: Attempt) -> Outcome | None:
    """Send until there is an answer, or until no further request makes sense; then settle the attempt.

    Returns None where the record says what follows. Raises the error for the callers otherwise.
    """
    try:
        return await _run_to_its_end(attempt)
    finally:
        attempt.cause = None  # its traceback has frames that hold the attempt


async def _run_to_its_end(attempt: Attempt) -> Outcome | None:
    failures = attempt.leased.failure.count if attempt.leased.failure else 0
    # Taken before sending: a client secret that is refused may be replaced meanwhile.
    attempt.client = attempt.request.print_for(attempt.leased)
    verdict: Verdict | None = None
    claimed_at = attempt.born.monotonic
    await attempt.world.learn(attempt.leased, attempt.request.skew)
    while (now := await _may_send(attempt)) is not None:
        attempt.sends, sent = attempt.sends + 1, now
        await tell(attempt, Kind.SENT)
        try:
            claimed_at = min(claimed_at, now.monotonic - age(attempt.born, now))
            claim = Sent(attempt.leased, claimed_at)
            answer = await attempt.world.send(attempt.lease.grant, attempt.leased.token, attempt.lease.ttl, claim)
        except Unsent as failure:
            attempt.sends -= 1
            await tell(attempt, Kind.FAILED, detail=failure.verdict.detail, verdict=failure.verdict)
            if verdict is None:
                raise await unsent(attempt, failure) from failure.__cause__
            break  # the outcome of the request before this one counts
        except RefreshFailure as failure:
            verdict, attempt.cause = failure.verdict, failure.__cause__
            if verdict.kept is not None:
                verdict = judge_stranger(attempt, verdict.whose, verdict.kept) or verdict
        else:
            verdict, attempt.cause = judge_stranger(attempt, answer.whose, answer.refresh_token), None
            if verdict is None:
                return await commit_answer(attempt, answer)
        await tell(attempt, Kind.FAILED, detail=verdict.detail, verdict=verdict)
        if (rest := _rest_of(attempt, verdict, now)) is not None:
            return await commit_answer(attempt, rest, verdict.detail)
        attempt.lost_answers += verdict.kind is FailureKind.NO_ANSWER
        if verdict.kind.may_have_spent:
            attempt.why_maybe_spent = verdict.detail
        delay = backoff(failures + attempt.sends, now.jitter, verdict.retry_after)
        attempt.lost = attempt.lost or verdict.kind.is_lost
        if verdict.kind.is_lost:
            since = (await attempt.world.now()).monotonic - sent.monotonic  # the clock that nobody can set forward
            attempt.rest = attempt.request.profile.sends_again_after - since
            delay = max(delay, attempt.rest)
        if delay > PATIENCE or not _may_send_again(attempt, verdict):
            break
        try:
            await attempt.world.sleep(
                delay, why=f"its last request failed, and the next one follows within {delay:.1f} s"
            )
        except errors.CredentialClosed:
            break
    # If the loop ended by its condition, this attempt is too old to send: another process may consider it over
    # before the answer arrives.
    if verdict is not None and attempt.lease.grant is Grant.REFRESH:
        if verdict.kind is FailureKind.DEAD:
            return await dead(attempt, verdict)
        if verdict.kind is FailureKind.DOUBTFUL:
            return await doubtful_end(attempt, verdict)
    return await release(attempt, verdict)


def _rest_of(attempt: Attempt, verdict: Verdict, now: Instant) -> Token | None:
    """What is kept of an answer with a useless access token: its refresh token, beside the access token before it.

    The old access token stays in use where it still serves. None where there is nothing to keep.
    """
    before = attempt.leased.token
    if verdict.kept is None or before is None or attempt.lease.grant is not Grant.REFRESH:
        return None
    failure = attempt.leased.failure
    is_over = attempt.refused or (failure is not None and failure.refused)
    ends_at = before.expires_at
    if is_over:
        now_there = now.wall - attempt.request.skew
        ends_at = now_there if ends_at is None else min(ends_at, now_there)
    clock = attempt.leased.token_clock
    is_dated = clock is not None and clock.generation == attempt.leased.generation
    skew = attempt.request.skew if is_dated else None
    rest = replace(before, refresh_token=verdict.kept, expires_at=ends_at, clock_skew=skew, unknown={})
    return replace(rest, refresh_expires_at=None)  # that of the refresh token before it


async def _may_send(attempt: Attempt) -> Instant | None:
    """The time of sending; None if the attempt is too old, or the record no longer has its lease.

    The age is checked last: reading the record takes time, and the process may be stopped meanwhile.
    """
    if attempt.sends and not await _still_holds(attempt):
        return None
    now = await attempt.world.now()
    return now if most_age(attempt.born, now) + attempt.request.http_timeout <= attempt.lease.ttl else None


async def _still_holds(attempt: Attempt) -> bool:
    """Whether the record still has this attempt's lease, so that the same refresh token may be sent once more.

    Another process may have restored a newer token, which the store had lost when this attempt claimed.
    """
    try:
        loaded = await attempt.world.load()
    except errors.StoreUnavailable:
        return False
    return attempt.is_mine(loaded)


def _may_send_again(attempt: Attempt, verdict: Verdict) -> bool:
    """Whether the lease allows one more request: under it, no other process can spend this refresh token.

    A lost answer is asked for again once, a server error up to `SENDS_IN_A_LEASE` requests in total.
    """
    if not verdict.repeatable:
        return False
    if verdict.kind is FailureKind.SERVER_ERROR:
        return attempt.sends < SENDS_IN_A_LEASE
    return verdict.kind is FailureKind.NO_ANSWER and attempt.lost_answers < 2
