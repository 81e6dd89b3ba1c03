"""Bringing tokens into the store, and keeping them there: commit, spool, repair, and the host's own save."""

from __future__ import annotations

from collections.abc import Callable, Container

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.events import Event, Kind
from onerefresh.policy import FIRST_DELAY, backoff
from onerefresh.record import Grant, Lease, Record, State
from onerefresh.renewal.decision import Wish
from onerefresh.renewal.recovering import recovery_lease
from onerefresh.renewal.world import Instant, Loaded, Sent, Spooled, World, left_of
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.token import Token

SAVE_TRIES = 3
COMMIT_TRIES_AFTER_SPOOLING = 20
TRIES_BEFORE_EXIT = 5
"""How often a token that is nowhere but in memory is offered to the store before the interpreter may end."""
LONGEST_REST = 5.0
"""Seconds between two tries to commit at most: see `longest_rest`."""
LOOKS = (1.0, 10.0)
"""Seconds after a commit when the committer looks again whether the store still has it, and then half a lease later."""
BRING_BACK_TRIES = 3
MOST_ROUNDS = 50
"""Looks at the record, or writes of it, without any wait in between: more than this, and the store is at fault."""


def longest_rest(wish: Wish) -> float:
    """Seconds between two tries to commit: less than others wait for a late commit before they believe `invalid_grant`.

    They wait for as long as a token request may take.
    """
    return min(LONGEST_REST, max(wish.http_timeout / 2.0, FIRST_DELAY))


async def commit_into(world: World, loaded: Loaded, entry: Spooled, wish: Wish) -> Record | None:
    """Write the token over the generation that it was issued for; None where that generation is gone."""
    record = loaded.record
    is_lost = record is None or records.went_back(record, entry.family, entry.generation)
    if is_lost and _has_learned(wish, entry) and wish.outdated(entry.as_next()):
        return None  # the store has lost what came after it here: a login, a logout or a newer token
    if record is None:
        record = _vanished(entry.family, entry.generation, wish, entry.owner)
    elif entry.grant is Grant.REFRESH and records.went_back(record, entry.family, entry.generation):
        record = records.forgotten(record, entry.generation)
    if record.by == entry.attempt:
        return record  # an earlier write of ours, whose answer was lost, was applied
    if not records.may_commit(record, entry.family, entry.generation):
        return None
    new = next_of(record, entry, wish, await world.now())
    if entry.grant is Grant.REFRESH:
        # The store has lost something, and others may be further on: the new refresh token is not sent yet.
        recovery = await recovery_lease(world, wish) if is_lost else in_recovery(record)
        new = records.claimed(new, recovery, owner=None) if recovery is not None else new
    await world.cas(loaded.version, new)
    return new


def in_recovery(record: Record) -> Lease | None:
    """The recovery lease that the record is under, whether it is over or not."""
    return record.lease if record.lease is not None and record.lease.is_recovery else None


def next_of(record: Record, entry: Spooled, wish: Wish, now: Instant) -> Record:
    """What `record` says once the token is committed to it."""
    return records.committed(
        record,
        entry.token,
        by=entry.attempt,
        grant=entry.grant,
        now=now.wall,
        refused=entry.refused,
        unsaved=wish.host_saves,
        repeated=entry.repeated,
        useless=entry.useless,
        spread=now.spread,
        clock=now.clock,
    )


def _has_learned(wish: Wish, entry: Spooled) -> bool:
    """Whether this process knows more by now than when it began, and than what the token was issued for."""
    known = wish.up_to_date().known
    return known is not wish.known and (known is None or known.identity != (entry.family, entry.generation))


async def replay_spool(world: World, wish: Wish) -> bool:
    """Bring a spooled token into the store before anybody decides anything; whether the record must be read again."""
    entry = await world.read_spool()
    if entry is None:
        return False
    loaded = await world.load()  # again: a record that was read before the entry may be older than it
    record = loaded.record
    if record is None and _is_outdated(entry, wish):
        await world.drop_spool(entry)
        return True
    is_lost = record is None or records.went_back(record, entry.family, entry.generation)
    if is_lost and entry.grant is Grant.REFRESH:  # others may have gone on from it, if it is an old one
        await repair(world, loaded, entry.as_next(), wish, owner=entry.owner)
        return True
    try:
        committed = await commit_into(world, loaded, entry, wish)
    except (Conflict, StoreOutcomeUnknown):
        return True
    await world.drop_spool(entry)
    if committed is None:
        await revoke_if_logged_out(world, record, entry.token, wish)
    elif committed is not loaded.record:
        await tell(world, Kind.RESTORED, wish, committed, "from the spool file", attempt=entry.attempt)
    return True  # there may be another entry


async def replay_later(world: World, wish: Wish) -> None:
    """Go on trying to bring what is spooled into the store, for as long as this process lives.

    Nobody here need ask again before another host's patience ends: in memory the new token is fresh.
    """
    while True:
        try:
            await world.sleep(LONGEST_REST)
            if not await replay_spool(world, wish.up_to_date()):
                return
        except errors.CredentialClosed:
            return
        except errors.OnerefreshError:
            continue  # the store is still down


def _is_outdated(entry: Spooled, wish: Wish) -> bool:
    """Whether this process knows better than what is spooled, where the store has no record any more.

    A login numbers on from the session of before. Whoever knows nothing and brings another session tells that the store
    was emptied on purpose.
    """
    known, token = wish.known, entry.as_next()
    if known is None:
        return wish.seed is not None and wish.seed.seed_fingerprint() != entry.family
    return known.generation >= token.generation and known.identity != token.identity


def _vanished(family: str, generation: int, wish: Wish, owner: str | None = None) -> Record:
    """The record that the store has lost; the seed stays known, so that its spent refresh token is not sent again."""
    seed = wish.seed.seed_fingerprint() if wish.seed is not None else ""
    families = (seed, family) if seed != family else (family,)
    return records.vanished(families, generation, owner=owner or wish.keeps or wish.signs)


async def look_again(world: World, token: Token, ttl: float, wish: Wish) -> None:
    """Where the store may forget a write that it acknowledged: look whether the new token is still there.

    Once the old refresh token is sent again, a strict server ends the session: so look soon, and then later.
    """
    looked = 0.0
    for moment in (*LOOKS, ttl / 2.0):
        try:
            await world.sleep(moment - looked)
            looked = moment
            if not await _still_newest(world, token, wish):
                return
        except errors.CredentialClosed:
            return


async def _still_newest(world: World, token: Token, wish: Wish) -> bool:
    """Bring the token back where the store has forgotten it; False where somebody has gone on from it."""
    for _ in range(COMMIT_TRIES_AFTER_SPOOLING):
        if wish.outdated(token):
            return False  # a store that lost everything must get the newest one back
        try:
            record = (loaded := await world.load()).record
            if record is not None and record.identity == token.identity:
                return True
            if record is not None and not records.went_back(record, *token.identity):
                return False
            await repair(world, loaded, token, wish)
        except errors.StoreUnavailable:
            await world.sleep(LONGEST_REST)
    return True


async def revoke_if_logged_out(world: World, record: Record | None, token: Token, wish: Wish) -> None:
    """A token that a logout has overtaken serves nobody: let the server forget it, where that can be done."""
    if record is not None and record.is_logged_out:
        await revoke(world, record, token, wish)


async def revoke(world: World, record: Record | None, token: Token, wish: Wish) -> None:
    """Tell the server, and the events what came of it. A token of another owner is not for this one's server."""
    if record is not None and wish.is_foreign(record.owner):
        await tell(world, Kind.NOT_REVOKED, wish, record, f"it belongs to another {record.owner}")
        return
    problem = await world.revoke(token)
    if problem is not None:
        await tell(world, Kind.NOT_REVOKED if problem else Kind.REVOKED, wish, record, problem)


async def found(world: World, loaded: Loaded, seed: Token, wish: Wish) -> None:
    """Begin with the seed. Where the store may have lost a record, the seed may be its first token: long used up."""
    may_be_old = loaded.record is None and wish.look_again()
    recovery = await recovery_lease(world, wish) if may_be_old else None
    now = await world.now()
    record = records.founded(loaded.record, seed, now=now.wall, owner=wish.signs, what="seed", recovery=recovery)
    try:
        await world.cas(loaded.version, record)
    except (Conflict, StoreOutcomeUnknown):
        return  # the record says what follows


async def repair(
    world: World, loaded: Loaded, token: Token, wish: Wish, *, noted: str | None = None, owner: str | None = None
) -> bool:
    """The store forgot a generation that this process has used: bring it back; whether that is known to be done.

    Others may know a newer one, and this one's refresh token may be used up. So it serves, and is not sent before they
    have had their time. `noted`: as for `recovery_lease`.
    """
    record = loaded.record or _vanished(token.family, token.generation, wish, owner)
    recovery = await recovery_lease(world, wish, noted=noted)
    repaired = records.restored(record, token, now=(await world.now()).wall, recovery=recovery, unsaved=wish.host_saves)
    repaired = wish.sightings.recalled(repaired)
    try:
        await world.cas(loaded.version, repaired)
    except (Conflict, StoreOutcomeUnknown):
        return False
    await tell(
        world, Kind.RESTORED, wish, repaired, "the store had gone back" if loaded.record else "the store had lost it"
    )
    return True


async def settle(world: World, loaded: Loaded, wish: Wish, *, disputed: bool) -> None:
    """Put a recovery lease on what a store says that may have gone back."""
    recovery = await recovery_lease(world, wish, disputed=disputed)
    if recovery is None:
        return
    try:
        # A record without an owner gets none: whoever sends its token says so first.
        owner = wish.signs if loaded.record is None else None
        await world.cas(loaded.version, records.claimed(loaded.record, recovery, owner=owner))
    except (Conflict, StoreOutcomeUnknown):
        return  # the record says what follows


async def recalled(world: World, loaded: Loaded, wish: Wish) -> Loaded | None:
    """What the store holds, and what this process knows better; None: look again.

    That is how its own attempt ended, or that somebody has logged out. The store was out of reach when that was to be
    noted, or has lost it since.
    """
    record = loaded.record
    if record is None:
        return loaded
    wish.sightings.sees_a_logout(record)
    ended = wish.sightings.end_of(record, knows_a_session=wish.up_to_date().known is not None)
    if ended is None:
        wish.sightings.remember(record)
        return Loaded(loaded.version, wish.sightings.recalled(record))
    try:
        return Loaded(await world.cas(loaded.version, ended), ended)
    except (Conflict, StoreOutcomeUnknown):
        return None
    except errors.StoreUnavailable:
        return Loaded(loaded.version, ended)  # it can be read, at least


async def end_later(world: World, lease: Lease, wish: Wish) -> None:
    """Go on trying to note how an attempt ended, for as long as nobody else has claimed and this process lives.

    Others would wait for it, and then send what may be spent.
    """
    while True:
        try:
            await world.sleep(LONGEST_REST)
            loaded = await world.load()
            if loaded.record is None or loaded.record.lease is None or loaded.record.lease.id != lease.id:
                return
            await recalled(world, loaded, wish)
        except errors.CredentialClosed:
            return
        except errors.OnerefreshError:
            continue  # the store is still down


def _nothing() -> Sent | None:
    """There is no claim under which this process waits for an answer."""
    return None


async def has_lost(world: World, wish: Wish, sent: Callable[[], Sent | None] = _nothing) -> bool:
    """Whether the store has lost what this process knows. `sent`: as for `bring_back`. Raises `StoreUnavailable`."""
    loaded, now = await world.load(), await world.now()
    known = wish.up_to_date().known
    if known is None:
        record = loaded.record
        return record is not None and wish.sightings.end_of(record, knows_a_session=False) is not None
    return is_lost(loaded.record, known, wish.earlier()) or lacks(loaded.record, sent(), known, now)


async def bring_back(
    world: World, wish: Wish, sent: Callable[[], Sent | None] = _nothing, noted: str | None = None
) -> bool:
    """Bring back what this process knows where the store has lost it; whether it had.

    Raises `StoreUnavailable`, also where it cannot be told whether that was done. `noted`: as for `recovery_lease`.
    `sent`: the claim under which this process has sent the refresh token, and waits for the answer by now. It comes
    back as it was: others would send the same refresh token, or an older one, before the answer is here. Where it is
    over sooner than a recovery lease, that one comes in its place: it lets those who know more have their time.
    """
    for _ in range(MOST_ROUNDS):
        if not await replay_spool(world, wish):
            break
    for _ in range(BRING_BACK_TRIES):
        found, now = await recalled(world, await world.load(), wish), await world.now()
        wish.sightings.sees(now)
        known, claim = wish.up_to_date().known, sent()  # asked only now: it may be answered since
        if found is None:
            continue
        if known is None:
            return False
        if claim is not None and lacks(found.record, claim, known, now) and _outlasts(found.record, claim, wish, now):
            if await _claim_again(world, found, claim.record, wish):
                return True
        elif not is_lost(found.record, known, wish.earlier()):
            return False
        elif await repair(world, found, known, wish, noted=noted):
            return True
    raise unsettled().about(wish.key)


def lacks(record: Record | None, sent: Sent | None, known: Token, now: Instant) -> bool:
    """Whether the claim of `sent` is to come back, since the store has lost it.

    A recovery lease that lasts longer stays: the claim would cut it short. A claim that is over does not come back
    where others could not tell that, and would wait for it once more.
    """
    leased = sent.record if sent is not None else None
    if sent is None or leased is None or leased.lease is None or not is_gone(record, leased, known):
        return False
    if record is None or records.went_back(record, *leased.identity):
        return True
    if record.state is State.IDLE:
        return sent.left(now) > 0.0 or left_of(leased.lease, now) <= 0.0
    return record.lease is not None and sent.left(now) >= left_of(record.lease, now)


def is_gone(record: Record | None, leased: Record, known: Token) -> bool:
    """Whether the store has lost the claim `leased`, and nobody has claimed anew or renewed an older copy since."""
    if leased.identity != known.identity:
        return False
    if record is None or records.went_back(record, *leased.identity):
        return True
    if record.identity != leased.identity or record.token != leased.token:
        return False
    if record.state is State.IDLE:  # as before the claim, unless somebody took over and was refused
        return record.history == leased.history and _failures(record) == _failures(leased)
    return record.lease is not None and record.lease.is_recovery


def _outlasts(record: Record | None, sent: Sent, wish: Wish, now: Instant) -> bool:
    """Whether the claim is to come back, and not its token alone, where the store has lost that too."""
    is_there = record is not None and record.identity == sent.record.identity
    return is_there or sent.left(now) >= wish.recovery()


def _failures(record: Record) -> int:
    return record.failure.count if record.failure is not None else 0


async def _claim_again(world: World, loaded: Loaded, leased: Record, wish: Wish) -> bool:
    try:
        version = await world.cas(loaded.version, leased)
    except (Conflict, StoreOutcomeUnknown):
        return False
    # Where its request was answered meanwhile, and that could not be noted: else the claim would be nobody's.
    if await recalled(world, Loaded(version, leased), wish) == Loaded(version, leased):
        await tell(world, Kind.RESTORED, wish, leased, "the store had lost the claim of a request that is on its way")
    return True


def is_lost(record: Record | None, known: Token, earlier: Container[str] = ()) -> bool:
    """Whether the store has forgotten a token that this process knows. A logout is no loss, nor is another login.

    `earlier`: the families of sessions that this process has gone on from.
    """
    return record is None or records.went_back(record, known.family, known.generation, earlier)


async def keep(world: World, loaded: Loaded, token: Token) -> None:
    """Let the host save the token before anybody gets it; a few tries, then `SaveFailed`.

    A refresh and a login may be saved at once: whoever finds a newer token afterwards saves that one, so that it comes
    last.
    """
    while True:
        await _hand_over(world, token)
        if loaded.record is None:
            return
        try:
            await world.cas(loaded.version, records.saved(loaded.record))
        except (Conflict, StoreOutcomeUnknown):
            loaded = await world.load()
            newer = loaded.record.token if loaded.record is not None else None
            if newer is not None and newer.identity != token.identity:
                token = newer
                continue
        return


async def _hand_over(world: World, token: Token) -> None:
    for tries in range(1, SAVE_TRIES + 1):
        try:
            await world.save(token)
            return
        except errors.SaveFailed:
            if tries == SAVE_TRIES:
                raise
            await world.sleep(backoff(tries, (await world.now()).spread), holds_the_exit=True)


def unsettled() -> errors.StoreUnavailable:
    """What is said of a store that contradicts itself."""
    return errors.StoreUnavailable("the store's record changes faster than it can be written: is the store in order?")


async def tell(
    world: World, kind: Kind, wish: Wish, record: Record | None, detail: str = "", *, attempt: str | None = None
) -> None:
    """Report an event."""
    await world.emit(Event(kind, wish.key, record.generation if record else 0, attempt, detail))
