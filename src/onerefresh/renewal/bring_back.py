"""Comparing the store with what this process knows, outside a renewal, and bringing back what the store has lost."""

from __future__ import annotations

from collections.abc import Container

from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.record import Record, State
from onerefresh.renewal.clocks import Instant, Sent, left_of
from onerefresh.renewal.known import Known
from onerefresh.renewal.recovery import recalled, repair, replay_spool
from onerefresh.renewal.reports import MOST_ROUNDS, report, unsettled
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.world import Loaded, World
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.token import Token

BRING_BACK_TRIES = 3


async def has_lost(world: World, request: RenewalRequest) -> bool:
    """Whether the store has lost what this process knows. Raises `StoreUnavailable`."""
    record, now, known = (await world.load()).record, await world.now(), await world.known()
    if known.newest is None:
        return record is not None and request.sightings.end_of(record, knows_a_session=False) is not None
    return is_lost(record, known.newest, known.earlier) or lacks(record, known.sent, known.newest, now)


async def bring_back(world: World, request: RenewalRequest, noted: str | None = None) -> bool:
    """Bring back what this process knows where the store has lost it; whether it had.

    Raises `StoreUnavailable`, also where it is not known whether that was done. `noted`: as for `recovery_lease`.
    The claim under which this process has sent the refresh token, and waits for the answer by now, comes back as it
    was: others would send the same refresh token, or an older one, before the answer is here. Where it is over sooner
    than a recovery lease, that one comes in its place: it lets those who know more have their time.
    """
    request = request.knowing(await world.known())
    for _ in range(MOST_ROUNDS):
        if not await replay_spool(world, request):
            break
    for _ in range(BRING_BACK_TRIES):
        found, now = await recalled(world, await world.load(), request), await world.now()
        request.sightings.sees(now)
        request = request.knowing(known := await world.known())  # asked only now: its claim may be answered since
        if found is None:
            continue
        newest, sent = known.newest, known.sent
        if newest is None:
            return False
        if sent is not None and lacks(found.record, sent, newest, now) and _outlasts(found.record, sent, known, now):
            if await _claim_again(world, found, sent.record, request):
                return True
        elif not is_lost(found.record, newest, known.earlier):
            return False
        elif await repair(world, found, newest, request, noted=noted):
            return True
    raise unsettled().about(request.key)


def is_lost(record: Record | None, known: Token, earlier: Container[str] = ()) -> bool:
    """Whether the store has forgotten a token that this process knows. A logout is no loss, nor is another login.

    `earlier`: the families of sessions that this process has gone on from.
    """
    return record is None or records.rolled_back(record, known.family, known.generation, earlier)


def lacks(record: Record | None, sent: Sent | None, known: Token, now: Instant) -> bool:
    """Whether the claim of `sent` is to come back, since the store has lost it.

    A recovery lease that lasts longer stays: the claim would cut it short. A claim that is over does not come back
    where others could not tell that, and would wait for it once more.
    """
    leased = sent.record if sent is not None else None
    if sent is None or leased is None or leased.lease is None or not is_gone(record, leased, known):
        return False
    if record is None or records.rolled_back(record, *leased.identity):
        return True
    if record.state is State.IDLE:
        return sent.left(now) > 0.0 or left_of(leased.lease, now) <= 0.0
    return record.lease is not None and sent.left(now) >= left_of(record.lease, now)


def is_gone(record: Record | None, leased: Record, known: Token) -> bool:
    """Whether the store has lost the claim `leased`, and nobody has claimed anew or renewed an older copy since."""
    if leased.identity != known.identity:
        return False
    if record is None or records.rolled_back(record, *leased.identity):
        return True
    if record.identity != leased.identity or record.token != leased.token:
        return False
    if record.state is State.IDLE:  # as before the claim, unless somebody took over and was refused
        return record.history == leased.history and _failures(record) == _failures(leased)
    return record.lease is not None and record.lease.is_recovery


def _outlasts(record: Record | None, sent: Sent, known: Known, now: Instant) -> bool:
    """Whether the claim is to come back, and not its token alone, where the store has lost that too."""
    is_there = record is not None and record.identity == sent.record.identity
    return is_there or sent.left(now) >= known.recovery


def _failures(record: Record) -> int:
    return record.failure.count if record.failure is not None else 0


async def _claim_again(world: World, loaded: Loaded, leased: Record, request: RenewalRequest) -> bool:
    try:
        version = await world.cas(loaded.version, leased)
    except (Conflict, StoreOutcomeUnknown):
        return False
    # Where its request was answered meanwhile, and that could not be noted: else the claim would be nobody's.
    if await recalled(world, Loaded(version, leased), request) == Loaded(version, leased):
        await report(
            world, Kind.RESTORED, request, leased, "the store had lost the claim of a request that is on its way"
        )
    return True
