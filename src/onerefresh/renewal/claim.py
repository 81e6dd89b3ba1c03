"""The claim: the write after which this process alone may send the refresh token."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import NamedTuple

from onerefresh import transitions as records
from onerefresh.damping import Ruling
from onerefresh.events import Kind
from onerefresh.record import Grant, Lease, Record, State
from onerefresh.renewal.attempt import Attempt, Outcome
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.decide import ruling
from onerefresh.renewal.reports import report, tell
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.send import run_attempt
from onerefresh.renewal.world import Loaded, World
from onerefresh.store import AdvisoryLock, Conflict, StoreOutcomeUnknown

__all__ = ["Unconfirmed", "claim_and_send", "is_contested", "is_own", "is_proof"]


class Unconfirmed(NamedTuple):
    """A claim whose write had an unknown outcome: its `lease`, and when it was `born`."""

    lease: Lease
    born: Instant


def is_contested(record: Record | None, *, proven_dead: bool) -> bool:
    """Whether an earlier attempt at this generation may still come back and commit."""
    if record is None:
        return False
    if record.state is State.LEASED and record.lease is not None:
        return record.lease.contested or not proven_dead
    return record.failure is not None and record.failure.contested


async def claim_and_send(
    world: World,
    loaded: Loaded,
    lease: Lease,
    request: RenewalRequest,
    born: Instant,
    *,
    unconfirmed: dict[str, Unconfirmed],
) -> Outcome | None:
    """Claim, send and commit; None: look at the record again.

    A claim whose write outcome stays unknown is added to `unconfirmed`.
    """
    token = loaded.record.token if loaded.record else None
    lease = replace(
        lease,
        ttl=request.profile.time_to_live(token, born.wall - request.skew, request.http_timeout),
        clock_epoch=born.shared.clock_epoch if born.shared else None,
        at=born.shared.seconds if born.shared else 0.0,
    )
    before = loaded.record
    if before is not None and request.owner and (request.adopts or before.state is State.EMPTY):
        before = replace(before, owner=request.owner)
    if before is not None and request.owner and before.owner is None and lease.grant is Grant.REFRESH:
        message = f"its record does not name an owner, and is treated as belonging to the {request.owner}"
        await report(world, Kind.UNOWNED, request, before, message)  # once, since the claim records the owner
    is_let_through = (
        before is not None
        and request.refused == before.identity
        and ruling(before, request, born.wall, born.clock) is Ruling.IS_LET_THROUGH
    )
    leased = records.claimed(
        before,
        lease,
        owner=request.signs if before is None else request.owner,
        let_through_at=born.clock if is_let_through else None,
    )
    assert leased.lease is not None
    lease = leased.lease
    try:
        version = await world.cas(loaded.version, leased)
    except Conflict:
        return None
    except StoreOutcomeUnknown:
        again = await world.load()
        if again.record is None or again.record.lease is None or again.record.lease.id != lease.id:
            unconfirmed[lease.id] = Unconfirmed(lease, born)
            return None
        version = again.version or ""
    before_it = loaded.record.lease if loaded.record is not None and loaded.record.state is State.LEASED else None
    attempt = Attempt(world, request, leased, version, lease=lease, born=born, taken_from=before_it)
    await tell(attempt, Kind.CLAIMED if before_it is None else Kind.TAKEN_OVER)
    return await run_attempt(attempt)


def is_proof(lock: AdvisoryLock | None, lease: Lease | None) -> bool:
    """Whether holding `lock` proves that the holder of `lease` is dead.

    The holder kept this very lock until its attempt was settled. While the record still has the lease, only the kernel
    can have released the lock, when the holder died.
    """
    return (
        lease is not None
        and lock is not None
        and lock.death_proof is not None
        and lock.death_proof == lease.death_proof
    )


def is_own(lease: Lease, unconfirmed: Container[str]) -> bool:
    """Whether `lease` is a claim of this renewal that was applied with an unknown outcome: nothing was sent under it.

    A claim with a death proof is not continued: other processes could have found its lock free since.
    """
    return lease.id in unconfirmed and lease.death_proof is None
