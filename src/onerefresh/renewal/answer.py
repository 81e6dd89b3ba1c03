"""Saving the answer to a request: into the store, or into the spool while the store is unreachable.

The server may have invalidated the refresh token before it. So the write is repeated until the new token is saved.
"""

from __future__ import annotations

from dataclasses import replace

from onerefresh import errors, succession
from onerefresh.events import Facts, Kind
from onerefresh.expiry import skew_in_words, worth_it
from onerefresh.policy import backoff, thresholds
from onerefresh.record import Record
from onerefresh.renewal.attempt import Attempt, Outcome
from onerefresh.renewal.commit import LONGEST_REST, commit_into, has_overtaken, longest_rest, next_of
from onerefresh.renewal.recovery import look_again, replay_later
from onerefresh.renewal.reports import MOST_ROUNDS, report, tell
from onerefresh.renewal.revocation import revoke_if_logged_out
from onerefresh.renewal.world import Loaded, Spooled
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.token import Token
from onerefresh.token_response import odd_expiry

COMMIT_TRIES_AFTER_SPOOLING = 20
"""After so many writes at pauses of `LONGEST_REST`, a spooled token is left to a background task."""
TRIES_BEFORE_EXIT = 5
"""How many tries to save a token that exists in memory alone may delay the interpreter's exit."""


async def commit_answer(attempt: Attempt, answer: Token, useless: str = "") -> Outcome | None:
    """Save the new token, whatever it takes: it may hold the only refresh token that still works.

    `useless`: why the answer's access token cannot be used, so that `answer` has the old access token in its place.
    """
    token = answer.following(attempt.leased.token) if attempt.leased.token else answer
    entry = Spooled(
        *attempt.leased.identity,
        attempt.lease.id,
        attempt.lease.grant,
        attempt.refused,
        token,
        repeated=attempt.sends > 1 or attempt.maybe_spent_before,
        useless=useless,
        owner=attempt.leased.owner,
        families=attempt.leased.families,
        skew=token.clock_skew,
    )
    loaded = Loaded(attempt.version, attempt.leased)
    in_a_file, spooled, tries, conflicts = False, False, 0, 0
    while True:
        try:
            committed = await commit_into(attempt.world, loaded, entry, attempt.request, attempt.reason)
        except (Conflict, StoreOutcomeUnknown, errors.OnerefreshError) as error:
            conflicts = conflicts + 1 if isinstance(error, Conflict) else 0
            if 0 < conflicts <= MOST_ROUNDS:
                loaded = await _reload(attempt, loaded)
                continue
            tries += 1
            if tries == 1 and isinstance(error, StoreOutcomeUnknown):
                # The write may have been applied, so no caller gets the token from the file yet.
                in_a_file = await attempt.world.write_spool(entry)
                loaded = await _reload(attempt, loaded)
                continue
            spooled = spooled or await _spool(attempt, entry, error)
            if spooled and tries > COMMIT_TRIES_AFTER_SPOOLING * LONGEST_REST / longest_rest(attempt.request):
                # The next renewal on this host also begins with the spool.
                await attempt.world.defer(replay_later(attempt.world, attempt.request))
                return None
            await _rest(attempt, tries, spooled=spooled)
            loaded = await _reload(attempt, loaded)
            continue
        again = succession.begun_again(loaded.record, attempt.leased, token) if committed is None else None
        if again is not None and again != (entry.family, entry.generation):
            families = loaded.record.families if loaded.record is not None else ()
            entry = replace(entry, family=again[0], generation=again[1], families=families)
            continue
        if committed is None and loaded.record is not None and loaded.record.moved_to is not None:
            await _keep_for_the_move(attempt, loaded.record, entry)
            return None  # the record says where the session is now
        if spooled or in_a_file:
            await attempt.world.drop_spool(entry)
        if committed is None:
            await _orphaned(attempt, loaded.record, token)
            return None  # the record decides what follows
        return await _refreshed(attempt, committed, useless=bool(useless))


async def _keep_for_the_move(attempt: Attempt, record: Record, entry: Spooled) -> None:
    """Keep a new token that came after its record was moved away: whoever moves credentials from here takes it along.

    It may be the only one that works, since the attempt was taken over by the move.
    """
    message = f"its record was moved to {record.moved_to} meanwhile: run onerefresh store copy again on this host"
    is_kept = await attempt.world.write_spool(entry)
    kind = Kind.SPOOLED if is_kept else Kind.ORPHANED
    await tell(attempt, kind, record, detail=message if is_kept else "")


async def _orphaned(attempt: Attempt, record: Record | None, token: Token) -> None:
    """Report that the new token is of no use because its generation is gone, and revoke it after a logout."""
    await tell(attempt, Kind.ORPHANED, record)
    await attempt.world.leave()  # revoking may take the server a while
    await revoke_if_logged_out(attempt.world, record, token, attempt.request)


async def _refreshed(attempt: Attempt, committed: Record, *, useless: bool) -> Outcome | None:
    """Report that the new token is in the record; return it, or None where the host has to save it first."""
    await tell(attempt, Kind.REFRESHED, committed)
    if not useless:
        await _tell_of_its_times(attempt, committed)
    token = committed.token if not committed.unsaved else None
    if token is not None and (await attempt.world.known()).may_go_back:
        await attempt.world.defer(look_again(attempt.world, token, attempt.lease.ttl, attempt.request))
    if useless:
        return await _after_a_useless_answer(attempt, committed)
    return Outcome.brought(committed, token) if token is not None else None


async def _tell_of_its_times(attempt: Attempt, committed: Record) -> None:
    """Report an end of the new token that was not understood, and how far this machine's clock is off."""
    if committed.token is not None and (message := odd_expiry(committed.token)) is not None:
        await tell(attempt, Kind.ODD_EXPIRY, committed, message)
    if committed.token_clock is not None and (skew := worth_it(committed.token_clock.skew)):
        facts, attempted = Facts(duration=skew), attempt.lease.id
        message = skew_in_words(skew)
        await report(attempt.world, Kind.CLOCK_OFF, attempt.request, committed, message, attempt=attempted, facts=facts)


async def _after_a_useless_answer(attempt: Attempt, committed: Record) -> Outcome | None:
    """Return the old access token with the new refresh token where it still serves; else raise the error.

    Callers that asked for a token of a longer life get the error, too.
    """
    token, failure, now = committed.token, committed.failure, await attempt.world.now()
    assert token is not None
    assert failure is not None
    await attempt.world.deliver(None, unsaved=token)  # this process knows it now, whatever callers get
    if committed.unsaved:
        return None  # the host saves it first; then the record says what follows
    is_enough = attempt.request.within is None and attempt.request.unused_for is None and not failure.refused
    if is_enough and now.wall - attempt.request.skew < thresholds(token, attempt.request.jitter).unusable_at:
        return Outcome.brought(committed, token, failure.delay)
    raise failure.verdict(now.wall).error().about(attempt.request.key, committed.generation) from attempt.cause


async def _spool(attempt: Attempt, entry: Spooled, error: Exception) -> bool:
    """Keep the token in a file while the store is down, then hand it out; return whether it was kept.

    A token that has been overtaken is kept, because the record decides; but nobody gets it.
    Where the file cannot be written either, the waiting callers get `StoreUnavailable`, and the commit is tried again.
    """
    why = str(error)
    if await attempt.world.write_spool(entry):
        await tell(attempt, Kind.SPOOLED, detail=why, error=type(error).__name__)
        if has_overtaken(await attempt.world.known(), entry, attempt.request.known):
            message = f"the session has gone on or ended since this request was sent, and the store is down: {why}"
            stale = errors.StoreUnavailable(message, credential=attempt.request.key)
            await attempt.world.deliver(stale)
        elif entry.useless:
            useless = errors.RefreshProtocolError(entry.useless)
            await attempt.world.deliver(
                useless.about(attempt.request.key, attempt.leased.generation), unsaved=entry.as_next()
            )
        else:
            ahead = next_of(attempt.leased, entry, attempt.request, await attempt.world.now())
            await attempt.world.deliver(Outcome.brought(ahead, entry.as_next()))
        return True
    await tell(attempt, Kind.UNSAVED, detail=why, error=type(error).__name__)
    message = f"the new token could be saved neither in the store nor in the spool; saving it is tried again: {why}"
    failed = errors.StoreUnavailable(message, credential=attempt.request.key, generation=attempt.leased.generation)
    await attempt.world.deliver(failed, unsaved=entry.as_next())
    return False


async def _rest(attempt: Attempt, tries: int, *, spooled: bool) -> None:
    """Pause before the next try to save; raise `CredentialClosed` where the interpreter ends."""
    try:
        # A token that exists in memory alone is worth delaying the interpreter's exit for a few more tries.
        rest = min(backoff(tries, (await attempt.world.now()).jitter), longest_rest(attempt.request))
        why = "its answer has arrived, but the store cannot be written"
        await attempt.world.sleep(rest, why=why, holds_the_exit=not spooled and tries <= TRIES_BEFORE_EXIT)
    except errors.CredentialClosed:
        if not spooled:
            await tell(attempt, Kind.UNSAVED, detail="the process ends and the new token is lost")
        raise


async def _reload(attempt: Attempt, loaded: Loaded) -> Loaded:
    """Load the record again; where that fails, `loaded` as it was."""
    try:
        return await attempt.world.load()
    except errors.OnerefreshError:
        return loaded  # the next write reports the same problem
