"""How a record changes by an attempt: the claim, and each end that the attempt may have."""

from __future__ import annotations

from dataclasses import replace

from onerefresh.damping import Targets
from onerefresh.failure import Failure
from onerefresh.policy import backoff, doubt_pause, refusal_pause
from onerefresh.record import FAMILIES, Grant, IllegalTransition, Lease, Probation, Record, State, TokenClock, spent_now
from onerefresh.refresh_rate import Floor
from onerefresh.store_clock import Clock
from onerefresh.token import Token
from onerefresh.verdict import FailureKind, Verdict

__all__ = ["claimed", "committed", "died", "released", "unsent"]


def claimed(record: Record | None, lease: Lease, *, owner: str | None, let_through_at: Clock | None = None) -> Record:
    """The durable intent to send. Legal unless logged out; the caller knows that any older attempt is over.

    `let_through_at`: the time, where a refusal is the reason that a target was allowed although others are damped.
    """
    if record is None:
        record = Record(families=(), generation=0, state=State.EMPTY)
    if lease.grant is Grant.REFRESH and (record.state in (State.EMPTY, State.DEAD) or record.token is None):
        raise IllegalTransition(f"a refresh cannot be claimed from {record.state}")
    before = record.lease if record.state is State.LEASED else None
    guess = lease.guess or (before is not None and before.guess)
    if let_through_at is not None:
        targets = record.own_targets or Targets(record.family, let_through_at[0])
        record = replace(record, targets=targets.letting_through(record.generation, let_through_at))
    return replace(
        record,
        state=State.LEASED,
        lease=replace(
            lease,
            origin=before.origin if before else record.state,
            guess=guess,
            taken_from=before.id if before else "",
        ),
        owner=record.owner or owner,
    )


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
    useless: str = "",
    jitter: float = 0.0,
    clock: Clock | None = None,
    token_clock: TokenClock | None = None,
    stamp: tuple[object, ...] = (),
) -> Record:
    """The next generation.

    * `by`, `grant`: the attempt, and what it spent.
    * `refused`: the API had refused the old token, which caused this refresh.
    * `repeated`: the server may have repeated an older answer, as may one that comes after others have taken over and
      perhaps sent the same token. What was refreshed for that reason earns no further refresh.
    * `useless`: why the answer's access token cannot be used, so that `token` has the new refresh token beside the old
      access token. The server is asked again after a pause.
    * `jitter`: a random number in [0, 1). `clock`: the clock by which refreshes are counted. `token_clock`: that by
      which the token is dated.
    """
    generation, before = record.generation + 1, record.probation
    is_late = grant is Grant.REFRESH and (record.lease is None or record.lease.id != by)
    repeated = (repeated or is_late) and not (before is not None and before.repeated and before.holds(now))
    families = record.families
    if grant is Grant.OBTAIN:
        family = token.seed_fingerprint()
        families = (*(known for known in families if known != family), family)[-FAMILIES:]
    refusals, targets = before.refusals if before else 0, record.own_targets
    delay = refusal_pause(max(refusals, targets.pressure(clock or (None, now)) if targets is not None else 0))
    probation: Probation | None = Probation(refusals, now, delay, refused, repeated=repeated).dated(clock)
    failure = None
    if useless:
        failed, probation = record.failure, before  # the probation is of the old access token, which stays
        count, was_refused = (failed.count, failed.refused) if failed is not None else (0, False)
        delay = backoff(count + 1, jitter)
        failure = Failure(FailureKind.UNUSABLE, useless, count + 1, now, delay, refused=refused or was_refused)
    new = replace(
        record,
        families=families,
        generation=generation,
        state=State.IDLE,
        token=token.numbered(families[-1], generation),
        lease=None,
        failure=failure,
        probation=probation,
        committed_by=by,
        unsaved=unsaved,
        targets=replace(targets, family=families[-1]) if targets is not None else None,
        floor=_counted(record, _begun(record, by, clock or (None, now))),
        spent=spent_now(record.spent, token, record.token)
        if grant is Grant.REFRESH
        else spent_now(record.traded, token),
        token_clock=token_clock,
    )
    return new.noted(grant.value, now, stamp)


def _begun(record: Record, by: str, now: Clock) -> Clock:
    """When the attempt `by` was begun, as far as the record tells; else `now`."""
    lease = record.lease
    if lease is None or lease.id != by or lease.clock_epoch is None or lease.clock_epoch != now[0]:
        return now
    return now[0], lease.at


def _counted(record: Record, clock: Clock) -> Floor:
    """How often the token was refreshed lately, with one more refresh."""
    generation, floor, token = record.generation + 1, record.floor, record.token
    if floor is None or token is None:
        return Floor(generation, clock[1], clock[0])
    return floor.after(generation, clock, early=floor.is_early(record.generation, token, clock))


def released(
    record: Record,
    verdict: Verdict | None,
    *,
    now: float,
    jitter: float,
    sends: int = 1,
    refused: bool = False,
    maybe_spent: bool = False,
    lost: bool = False,
    client: str = "",
    pause: float | None = None,
) -> Record:
    """The record after the lease is given back. With a verdict, the failure after so many sends is remembered.

    * `jitter`: a random number in [0, 1).
    * `refused`: the API had refused the access token.
    * `maybe_spent`: one of the sends, or the attempt that was taken over, may have spent the refresh token.
    * `lost`: the answer to one of them was lost.
    * `client`: the fingerprint of the client that asked.
    * `pause`: seconds until it may be asked again, where they do not follow from the verdict.
    """
    if record.state is not State.LEASED or record.lease is None:
        raise IllegalTransition(f"nothing to release in {record.state}")
    back = replace(record, state=record.lease.origin, lease=None)
    if verdict is None:
        return back
    count = (record.failure.count if record.failure else 0) + sends
    failure = _failure(record, verdict, count, 0.0, now, refused=refused)
    if pause is None and failure.is_doubtful:
        pause = doubt_pause(failure.doubts, jitter, verdict.retry_after)
    delay = backoff(count, jitter, verdict.retry_after) if pause is None else pause
    failure = replace(failure, delay=delay, maybe_spent=failure.maybe_spent or maybe_spent, lost=failure.lost or lost)
    if failure.is_news_to(client):
        failure = replace(failure, prints=(*failure.prints, client))
    return replace(back, failure=failure)


def unsent(record: Record, message: str, *, now: float, taken_over: bool) -> Record:
    """The record after a lease under which surely nothing was sent: the next attempt may follow at once.

    What was known of earlier attempts is still known. `message`: why nothing was sent.
    """
    back, lease, failure = released(record, None, now=now, jitter=0.0), record.lease, record.failure
    contested = lease is not None and lease.contested
    if not contested and not taken_over:
        return back
    failure = failure or Failure(FailureKind.UNAVAILABLE, message, 0, now, 0.0)
    maybe_spent = failure.maybe_spent or taken_over
    return replace(back, failure=replace(failure, maybe_spent=maybe_spent, contested=failure.contested or contested))


def died(record: Record, verdict: Verdict, *, now: float, refused: bool, stamp: tuple[object, ...] = ()) -> Record:
    """The record after a proven `invalid_grant`. The token is kept: a late commit may still revive it."""
    if record.state is not State.LEASED:
        raise IllegalTransition(f"{record.state} cannot die")
    count = (record.failure.count if record.failure else 0) + 1
    failure = _failure(record, verdict, count, 0.0, now, refused=refused)
    dead = replace(record, state=State.DEAD, lease=None, failure=replace(failure, doubts=0, prints=()))
    return dead.noted("dead", now, stamp)


def _failure(record: Record, verdict: Verdict, count: int, delay: float, now: float, *, refused: bool) -> Failure:
    before, lease = record.failure, record.lease
    is_doubtful = verdict.kind is FailureKind.DOUBTFUL
    return Failure(
        kind=FailureKind.DEAD if is_doubtful else verdict.kind,
        detail=verdict.detail,
        count=count,
        at=now,
        delay=delay,
        maybe_spent=verdict.kind.may_have_spent or (before is not None and before.maybe_spent),
        contested=(lease is not None and lease.contested) or (before is not None and before.contested),
        refused=refused or (before is not None and before.refused),
        challenge=verdict.challenge,
        doubts=(before.doubts if before is not None else 0) + is_doubtful,
        prints=before.prints if before is not None else (),
        lost=verdict.kind.is_lost or (before is not None and before.lost),
    )
