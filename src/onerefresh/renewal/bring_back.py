"""Comparing the store with this process's memory outside a renewal, and restoring what the store has lost."""

from __future__ import annotations

from collections.abc import Container

from onerefresh import succession
from onerefresh.events import Kind
from onerefresh.record import Grant, Record, State
from onerefresh.renewal.clocks import Instant, Sent, is_dated, left_of
from onerefresh.renewal.known import Known
from onerefresh.renewal.recovery import recalled, repair, replay_spool
from onerefresh.renewal.recovery_lease import Noted
from onerefresh.renewal.reports import MOST_ROUNDS, report, unsettled
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.world import Loaded, World
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.token import Token

BRING_BACK_TRIES = 3
"""How many times the comparison is tried while the record keeps changing."""


async def has_lost(world: World, request: RenewalRequest) -> bool:
    """Whether the store has lost what this process knows. Raises `StoreUnavailable`."""
    record, now, known = (await world.load()).record, await world.now(), await world.known()
    if known.newest is None:
        return record is not None and request.sightings.end_of(record, knows_a_session=False) is not None
    return is_lost(record, known.newest, known.earlier) or lacks(record, known.sent, known.newest, now)


async def bring_back(world: World, request: RenewalRequest, noted: Noted | None = None) -> bool:
    """Restore what this process knows where the store has lost it; whether the store had lost anything.

    Raises `StoreUnavailable`, also where the outcome of the restoring write is unknown. `noted`: as for
    `recovery_lease`.

    A claim of this process whose request is not answered yet is restored as it was: without it, other processes would
    send the same refresh token, or an older one, before the answer arrives. Where the record is lost, too, that is
    restored first, with a recovery lease that gives processes with a newer token time to restore it. The claim then
    replaces this lease, unless the claim is seen to end sooner. A claim that is written into an empty store, and late,
    would be over at once.
    """
    request = request.knowing(await world.known())
    for _ in range(MOST_ROUNDS):
        if not await replay_spool(world, request):
            break
    has_restored = False
    for _ in range(BRING_BACK_TRIES):
        found, now = await recalled(world, await world.load(), request), await world.now()
        request.sightings.sees(now)
        request = request.knowing(known := await world.known())  # asked again: the claim may be answered by now
        if found is None:
            continue
        newest, sent = known.newest, known.sent
        if newest is None:
            return has_restored
        if sent is not None and lacks(found.record, sent, newest, now) and _is_next(found.record, sent, known, now):
            if await _claim_again(world, found, sent.record, request):
                return True
        elif not is_lost(found.record, newest, known.earlier):
            return has_restored
        elif await repair(world, found, newest, request, noted=noted):
            if sent is None:
                return True
            has_restored = True
    if has_restored:
        return True
    raise unsettled().about(request.key)


def is_lost(record: Record | None, known: Token, earlier: Container[str] = ()) -> bool:
    """Whether the store has forgotten a token that this process knows. Neither a logout nor another login is a loss.

    `earlier`: the families of the sessions before the present one, as this process knows them.
    """
    return record is None or succession.rolled_back(record, known.family, known.generation, earlier)


def lacks(record: Record | None, sent: Sent | None, known: Token, now: Instant) -> bool:
    """Whether the claim of `sent` must be restored because the store has lost it.

    A recovery lease stays where the store's clock shows that it lasts longer, because the claim would cut it short.
    Without such a clock it may be nearly over for those who have watched it, and then they would send the refresh token
    of the claim: that is on its way for certain, and a newer token is only possible. A claim that is over is not
    restored where other processes could not see that it is over and would wait for it once more.
    """
    leased = sent.record if sent is not None else None
    if sent is None or leased is None or leased.lease is None or not is_gone(record, leased, known):
        return False
    if record is None or succession.rolled_back(record, *leased.identity):
        return True
    left = sent.left(now)
    if record.lease is None:
        return left > 0.0 or left_of(leased.lease, now) <= 0.0
    return left >= left_of(record.lease, now) or (left > 0.0 and not is_dated(record.lease, now))


def is_gone(record: Record | None, leased: Record, known: Token) -> bool:
    """Whether the store has lost the claim `leased`, and nobody has claimed anew or renewed an older copy since.

    It may show an earlier lease again, such as the one that the claim took over.
    """
    if leased.identity != known.identity:
        return False
    if record is None or succession.rolled_back(record, *leased.identity):
        return True
    if record.identity != leased.identity or record.token != leased.token or leased.lease is None:
        return False
    if record.lease is None:  # a record from before the claim, unless another attempt took over and was refused
        is_from_before = not record.history or succession.includes(leased, record)
        # A token is obtained only for a session that is over, which others may not know who restored the record.
        is_over = record.state is State.DEAD and leased.lease.grant is Grant.OBTAIN
        return (is_over or is_from_before) and _failures(record) <= _failures(leased)
    # Any other lease is that of an attempt that has taken over.
    return record.lease.is_recovery or succession.is_earlier(record.lease, leased.lease)


def _is_next(record: Record | None, sent: Sent, known: Known, now: Instant) -> bool:
    """Whether to restore the claim now, rather than the token first, where the store has lost both.

    Where no other process can know a newer token, there is no recovery lease.
    """
    is_there = record is not None and record.identity == sent.record.identity
    return is_there or (known.recovery <= 0.0 and sent.left(now) >= 0.0)


def _failures(record: Record) -> int:
    return record.failure.count if record.failure is not None else 0


async def _claim_again(world: World, loaded: Loaded, leased: Record, request: RenewalRequest) -> bool:
    try:
        version = await world.cas(loaded.version, leased)
    except (Conflict, StoreOutcomeUnknown):
        return False
    # The request may have ended meanwhile without a note in the record. Then nobody would release the claim.
    if await recalled(world, Loaded(version, leased), request) == Loaded(version, leased):
        await report(
            world, Kind.RESTORED, request, leased, "the store had lost the claim of a request that is in progress"
        )
    return True
