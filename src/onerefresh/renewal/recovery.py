"""Adding what the record lacks: spooled tokens, tokens that the store has lost, and how an attempt ended."""

from __future__ import annotations

from onerefresh import errors, succession
from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.record import Grant, Lease
from onerefresh.renewal.commit import LONGEST_REST, commit_into, is_before, knowing_too, lost_record
from onerefresh.renewal.recovery_lease import Noted, recovery_lease, write_under
from onerefresh.renewal.reports import report
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.revocation import revoke_if_logged_out
from onerefresh.renewal.token_clocks import known_clock
from onerefresh.renewal.world import Loaded, Spooled, World
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.token import Token
from onerefresh.token_response import odd_expiry

LOOKS = (1.0, 10.0)
"""Seconds after a commit at which its process checks that the store still has it.

A last check follows half a time to live after the commit.
"""
LOOK_TRIES = 20
"""How often such a check is tried while the store is unreachable, or is written by others."""


async def replay_spool(world: World, request: RenewalRequest) -> bool:
    """Move a spooled token into the store before anything is decided; whether to read the record again."""
    entry = await world.read_spool()
    if entry is None:
        return False
    loaded = await world.load()  # again: a record that was read before the entry may be older than the entry
    record = loaded.record
    if record is not None and record.moved_to is not None:
        return False  # left to whoever moves credentials from here: the other store has to get it
    if record is None and _is_outdated(entry, request):
        await world.drop_spool(entry)
        return True
    is_lost = record is None or is_before(record, entry)
    if is_lost and entry.grant is Grant.REFRESH:  # if the entry is old, others may have refreshed its token since
        await repair(world, loaded, entry.as_next(), request, owner=entry.owner, earlier=entry.earlier)
        return True
    try:
        committed = await commit_into(world, loaded, entry, request)
    except (Conflict, StoreOutcomeUnknown):
        return True
    if committed is None and record is not None and record.is_logged_out and not request.can_revoke:
        return False  # left to a renewal, which can revoke the token
    await world.drop_spool(entry)
    if committed is None:
        await revoke_if_logged_out(world, record, entry.token, request)
    elif committed is not loaded.record:
        await report(world, Kind.RESTORED, request, committed, "from the spool file", attempt=entry.attempt)
    return True  # there may be another entry


async def replay_later(world: World, request: RenewalRequest) -> None:
    """Keep trying to move the spooled token into the store, for as long as this process lives.

    No caller on this host may ask before another host's patience ends, because the new token is fresh in memory.
    """
    while True:
        try:
            await world.sleep(LONGEST_REST)
            if not await replay_spool(world, request.knowing(await world.known())):
                return
        except errors.CredentialClosed:
            return
        except errors.OnerefreshError:
            continue  # the store is still down


def _is_outdated(entry: Spooled, request: RenewalRequest) -> bool:
    """Whether this process knows better than the spool entry, where the store has no record any more.

    A login continues the generation numbers of the session before it. A process that knows no token and has a
    ``token=`` of a session that the entry does not know shows that the store was emptied on purpose.
    """
    known, token = request.known.newest, entry.as_next()
    if known is None:
        return request.seed is not None and request.seed.seed_fingerprint() not in (entry.family, *entry.earlier)
    return known.generation >= token.generation and known.identity != token.identity


async def look_again(world: World, token: Token, ttl: float, request: RenewalRequest) -> None:
    """Check that the new token is still in a store that may forget an acknowledged write.

    If the old refresh token were sent again, a strict server would end the session. So the first check comes soon, and
    the others later.
    """
    looked = 0.0
    for moment in (*LOOKS, ttl / 2.0):
        try:
            await world.sleep(moment - looked)
            looked = moment
            if not await _still_newest(world, token, request):
                return
        except errors.CredentialClosed:
            return


async def _still_newest(world: World, token: Token, request: RenewalRequest) -> bool:
    """Restore the token where the store has forgotten it; False where it is not the newest one any more."""
    for _ in range(LOOK_TRIES):
        if (known := await world.known()).outdates(token):
            return False  # a store that lost everything must get the newest token back
        try:
            record = (loaded := await world.load()).record
            if record is not None and record.identity == token.identity:
                return True
            if record is not None and not succession.rolled_back(record, *token.identity, known.earlier):
                return False
            await repair(world, loaded, token, request)
        except errors.StoreUnavailable:
            await world.sleep(LONGEST_REST)
    return True


async def start_session(world: World, loaded: Loaded, seed: Token, request: RenewalRequest) -> None:
    """Begin a session with the seed.

    Where the store may have lost a record, the seed may be that record's first token, and already spent. A recovery
    lease then gives other processes time to restore what they know.
    """
    may_be_old = loaded.record is None and request.known.may_go_back
    recovery = await recovery_lease(world) if may_be_old else None
    now, lease = await world.now(), recovery.lease if recovery is not None else None
    record = records.new_session(
        loaded.record,
        seed,
        now=now.wall,
        owner=request.signs,
        what="seed",
        recovery=lease,
        stamp=request.stamp(),
    )
    try:
        await write_under(world, loaded.version, record, recovery)
    except (Conflict, StoreOutcomeUnknown):
        return  # the record decides what follows
    if (message := odd_expiry(seed)) is not None:
        await report(world, Kind.ODD_EXPIRY, request, record, message)


async def repair(
    world: World,
    loaded: Loaded,
    token: Token,
    request: RenewalRequest,
    *,
    noted: Noted | None = None,
    owner: str | None = None,
    earlier: tuple[str, ...] = (),
) -> bool:
    """Restore a generation that the store forgot and this process has used; whether it is known to be restored.

    Other processes may know a newer token, and the refresh token of this one may be spent. So the token serves, but is
    not sent before they had time to restore theirs. `noted`: as for `recovery_lease`. `owner`: for a
    record that is gone. `earlier`: the sessions before that of the token.
    """
    record = loaded.record or lost_record(token.family, token.generation, request, owner)
    record = knowing_too(record, (*earlier, token.family))
    recovery = await recovery_lease(world, noted=noted)
    now, lease = await world.now(), recovery.lease if recovery is not None else None
    repaired = records.restored(
        record,
        token,
        now=now.wall,
        recovery=lease,
        unsaved=request.host_saves,
        token_clock=known_clock(token, now, request.machine, request.skew),
        stamp=request.stamp(),
    )
    repaired = request.sightings.recalled(repaired)
    try:
        await write_under(world, loaded.version, repaired, recovery if repaired.lease is not None else None)
    except (Conflict, StoreOutcomeUnknown):
        return False
    await report(
        world,
        Kind.RESTORED,
        request,
        repaired,
        "the store had returned to an older state" if loaded.record else "the store had lost it",
    )
    return True


async def settle(world: World, loaded: Loaded, request: RenewalRequest, *, contested: bool) -> None:
    """Put a recovery lease on the record of a store that may have gone back."""
    recovery = await recovery_lease(world, contested=contested)
    if recovery is None:
        return
    try:
        # A record without an owner stays without one: the renewal that sends its token reports that first.
        owner = request.signs if loaded.record is None else None
        await write_under(world, loaded.version, records.claimed(loaded.record, recovery.lease, owner=owner), recovery)
    except (Conflict, StoreOutcomeUnknown):
        return  # the record decides what follows


async def recalled(world: World, loaded: Loaded, request: RenewalRequest) -> Loaded | None:
    """The stored record, corrected by what this process knows better; None: look again.

    This process may know how its own attempt ended, or that somebody has logged out, where the store was unreachable
    when that should have been noted, or has lost it since.
    """
    record = loaded.record
    if record is None:
        return loaded
    request.sightings.sees_a_logout(record)
    ended = request.sightings.end_of(record, knows_a_session=(await world.known()).newest is not None)
    if ended is None:
        request.sightings.remember(record)
        return Loaded(loaded.version, request.sightings.recalled(record))
    try:
        return Loaded(await world.cas(loaded.version, ended), ended)
    except (Conflict, StoreOutcomeUnknown):
        return None
    except errors.StoreUnavailable:
        return Loaded(loaded.version, ended)  # the store can be read but not written: act on the known end


async def end_later(world: World, lease: Lease, request: RenewalRequest) -> None:
    """Keep trying to note how an attempt ended, until another process claims or this process ends.

    Without the note, other processes would wait for the attempt, and then send a refresh token that may be spent.
    """
    while True:
        try:
            await world.sleep(LONGEST_REST)
            loaded = await world.load()
            if loaded.record is None or loaded.record.lease is None or loaded.record.lease.id != lease.id:
                return
            await recalled(world, loaded, request)
        except errors.CredentialClosed:
            return
        except errors.OnerefreshError:
            continue  # the store is still down
