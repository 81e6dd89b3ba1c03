"""Committing a token: writing it over the generation it was issued for, by its attempt or from the spool."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from onerefresh import succession
from onerefresh import transitions as records
from onerefresh.events import Reason
from onerefresh.policy import FIRST_DELAY
from onerefresh.record import FAMILIES, Grant, Lease, Record
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.known import Known
from onerefresh.renewal.recovery_lease import recovery_lease, write_under
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.token_clocks import clock_of, kept_clock
from onerefresh.renewal.world import Loaded, Spooled, World

LONGEST_REST = 5.0
"""Most seconds between two tries to commit; see `longest_rest`."""


def longest_rest(request: RenewalRequest) -> float:
    """Most seconds between two tries to commit.

    Other processes wait for a late commit for as long as a token request may take, before they believe `invalid_grant`.
    The pause is shorter than that.
    """
    return min(LONGEST_REST, max(request.http_timeout / 2.0, FIRST_DELAY))


async def commit_into(
    world: World, loaded: Loaded, entry: Spooled, request: RenewalRequest, reason: Reason | None = None
) -> Record | None:
    """Write the token over the generation that it was issued for; None where that generation is gone.

    `reason`: why it was refreshed, where that is known.
    """
    record = loaded.record
    is_lost = record is None or is_before(record, entry)
    if is_lost and has_overtaken(await world.known(), entry, request.known):
        return None  # the store has lost what this process has learned since
    if record is None:
        record = lost_record(entry.family, entry.generation, request, entry.owner)
        record = knowing_too(record, (*entry.earlier, entry.family))
    elif is_lost:
        record = records.forgotten(knowing_too(record, (*entry.earlier, entry.family)), entry.generation)
    if record.committed_by == entry.attempt:
        return record  # an earlier write of this attempt was applied although its answer was lost
    if not succession.may_commit(record, entry.family, entry.generation):
        return None
    new = next_of(record, entry, request, await world.now(), reason)
    # Where the store has lost writes, others may know a newer token: the new refresh token is not sent yet.
    spends, recovery = entry.grant is Grant.REFRESH, None
    if is_lost and (spends or entry.token.refresh_token is not None):
        recovery = await recovery_lease(world)
    lease = recovery.lease if recovery is not None else in_recovery(record) if spends else None
    new = records.claimed(new, lease, owner=None) if lease is not None else new
    await write_under(world, loaded.version, new, recovery)
    return new


def knowing_too(record: Record, families: Iterable[str]) -> Record:
    """`record`, which also knows these sessions: they end with the present one."""
    named = tuple(filter(None, families))
    others = tuple(known for known in record.families if known not in named)
    return replace(record, families=(*others, *named)[-FAMILIES:])


def is_before(record: Record, entry: Spooled) -> bool:
    """Whether the store has gone back behind the session or the generation that the entry was issued for.

    A record of an earlier session is older, also after refreshes: a process with an old ``token=`` has begun with it,
    because the store had lost the record, or the store has gone back behind a login. Only a login in it that may have
    come after the entry is a person's word.
    """
    issued_at = entry.token.issued_at
    begun_by_a_process = all(past.what != "login" or past.at < issued_at for past in record.history)
    return succession.rolled_back(record, entry.family, entry.generation, entry.earlier if begun_by_a_process else ())


def in_recovery(record: Record) -> Lease | None:
    """The record's recovery lease, whether it is over or not; None where it has none."""
    return record.lease if record.lease is not None and record.lease.is_recovery else None


def next_of(
    record: Record, entry: Spooled, request: RenewalRequest, now: Instant, reason: Reason | None = None
) -> Record:
    """`record` as it is once the token is committed to it."""
    before, generation = record.token, record.generation + 1
    if entry.useless and before is not None and before.access_token == entry.token.access_token:
        token_clock = kept_clock(record)
    else:
        token_clock = clock_of(entry.token, generation, now, request.machine)
    return records.committed(
        record,
        entry.token,
        by=entry.attempt,
        grant=entry.grant,
        now=now.wall,
        refused=entry.refused,
        unsaved=request.host_saves,
        repeated=entry.repeated,
        useless=entry.useless,
        jitter=now.jitter,
        clock=now.clock,
        token_clock=token_clock,
        stamp=request.stamp(reason),
    )


def has_overtaken(known: Known, entry: Spooled, before: Known) -> bool:
    """Whether this process has learned of what comes after the token since it knew `before`, when the renewal claimed.

    That is a login, a logout or a newer token.
    """
    if known.newest is before.newest:
        return False
    is_another = known.newest is None or known.newest.identity != (entry.family, entry.generation)
    return is_another and known.outdates(entry.as_next())


def lost_record(family: str, generation: int, request: RenewalRequest, owner: str | None = None) -> Record:
    """A stand-in for the record that the store has lost.

    It names the family of the seed, so that the seed's spent refresh token is not sent again.
    """
    seed = request.seed.seed_fingerprint() if request.seed is not None else ""
    families = (seed, family) if seed != family else (family,)
    return records.lost_record(families, generation, owner=owner or request.known.owner or request.signs)
