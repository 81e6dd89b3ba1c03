"""What people and clients do to a record beside renewals: log in and out, retry, adopt, report replays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onerefresh import errors, succession
from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.record import Grant, Record, State
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.decide import in_use
from onerefresh.renewal.host_save import save_with_host
from onerefresh.renewal.known import Known
from onerefresh.renewal.recovery import recalled
from onerefresh.renewal.reports import MOST_ROUNDS, moved, report, unsettled
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.revocation import LoggedOut, revoke_all
from onerefresh.renewal.world import Loaded, World
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.token import Token
from onerefresh.verdict import RefreshFailure

SPENT = (
    "the refresh token of this login is already spent: it was exchanged for a newer one, and a second use could end "
    "the session. Nothing was changed. Give stored tokens with token= or token_for=, which never replace a newer one; "
    "or log in at the server, and pass its new answer"
)
"""Why a login is refused. Workers may call `login` with a row that is old by then."""


async def log_in(world: World, token: Token | None, request: RenewalRequest) -> Outcome:
    """Start a new session with `token`, or with one that the refresher obtains.

    Several processes may log in with one stored token, so the session in use stays as it is in two cases: if the server
    rotates refresh tokens and the session has exactly this token, or if the session began with it and has a newer one.
    Raises `ConfigurationError` if the server rotates refresh tokens and this one is known to be spent.
    """
    if token is None:
        token = await _obtain(world, request)

    newest, rotates = _newest_of(token, (await world.known()).newest), request.profile.rotates

    def login(record: Record | None, at: float, known: Known) -> Record:
        if rotates and (known.has_spent(token) or (record is not None and record.has_spent(token))):
            raise errors.ConfigurationError(SPENT, generation=record.generation if record is not None else None)
        if record is not None and in_use(record) and _has_begun_with(record, token, rotates=rotates):
            return record
        return records.new_session(
            record,
            newest,
            now=at,
            owner=request.signs,
            what="login",
            unsaved=request.host_saves,
            earlier=_earlier(request, known),
            newest=_generation(known),
            stamp=request.stamp(),
        )

    written, is_new = await _write(world, login, request)
    record = written.record
    if record is None or record.token is None:
        raise errors.LoginRequired("the session was logged out at the same time: log in again", credential=request.key)
    if is_new:
        request.sightings.forget_failures()
        await report(world, Kind.LOGGED_IN, request, record)
    elif not succession.has_this(record, token):
        message = "the session began with the token of this login, and has a newer token now"
        await report(world, Kind.SEED_IGNORED, request, record, message)
    if record.unsaved:
        await save_with_host(world, written, record.token)
    return Outcome.brought(record, record.token)._replace(renewed=is_new)


def _has_begun_with(record: Record, token: Token, *, rotates: bool) -> bool:
    """Whether the session in use is that of `token`, which is its present token or the first of it."""
    return succession.has_gone_on_from(record, token) or (rotates and succession.has_this(record, token))


def _newest_of(token: Token, known: Token | None) -> Token:
    """The token of a login, or the newest token to which this process knows it was refreshed."""
    if known is None or known.family != token.seed_fingerprint() or known.seed_fingerprint() == known.family:
        return token
    return known


async def allow_again(world: World, request: RenewalRequest) -> Record | None:
    """Let the token endpoint be asked again at once, whatever it said before.

    Returns the record as it was, or None where nothing had failed and no refresh was put off.
    """
    for _ in range(MOST_ROUNDS):
        loaded = await recalled(world, await world.load(), request)
        if loaded is None:
            continue
        now, record = await world.now(), loaded.record
        if record is None or (record.failure is None and record.rest(now.clock) <= 0.0):
            return None
        again = records.retried(record, now=now.wall, stamp=request.stamp())
        try:
            if again is not record:  # else an attempt is under way
                await world.cas(loaded.version, again)
        except (Conflict, StoreOutcomeUnknown):
            continue  # the record that is there now decides what is left to do
        request.sightings.forget_failures()
        return record
    raise unsettled().about(request.key)


async def adopt(world: World, request: RenewalRequest) -> str | None:
    """Make the stored token this refresher's; return the earlier owner, or None where there was nothing to do.

    Raises `ConfigurationError` where the refresher does not state whose tokens it refreshes.
    """
    if request.owner is None:
        raise errors.ConfigurationError("this refresher has no `identity`, so no token can be assigned to it")
    for _ in range(MOST_ROUNDS):
        loaded = await world.load()
        record = loaded.record
        if record is not None and record.moved_to is not None:
            raise moved(record).about(request.key, record.generation)
        if record is None or record.state is State.EMPTY or record.owner == request.owner:
            return None
        try:
            await world.cas(loaded.version, replace(record, owner=request.owner))
        except (Conflict, StoreOutcomeUnknown):
            continue  # the record that is there now shows whether the write was applied
        return record.owner or "nobody"
    raise unsettled().about(request.key)


async def look_for_refusal(world: World, identity: tuple[str, int]) -> None:
    """Raise the failure for which the token with this identity was not renewed, although it still serves."""
    loaded, now = await world.load(), await world.now()
    record = loaded.record
    if record is not None and record.identity == identity and record.failure is not None:
        raise record.failure.verdict(now.wall).error()


def _earlier(request: RenewalRequest, known: Known) -> tuple[str, ...]:
    """The families of the sessions that a login or logout ends, with that of ``token=``.

    The store may have lost the record that names them. None of them counts as a new login afterwards.
    """
    seed = (request.seed.seed_fingerprint(),) if request.seed is not None else ()
    return (*seed, *known.earlier, *((known.newest.family,) if known.newest is not None else ()))


def _generation(known: Known) -> int:
    """The highest generation that this process knows."""
    return known.newest.generation if known.newest is not None else 0


async def save_now(world: World, request: RenewalRequest) -> None:
    """Let the host application save the present token where it has not done so yet. Raises `SaveFailed`."""
    loaded = await world.load()
    if request.host_saves and loaded.record is not None and loaded.record.unsaved and loaded.record.token is not None:
        await save_with_host(world, loaded, loaded.record.token)


async def _write(
    world: World,
    make: Callable[[Record | None, float, Known], Record],
    request: RenewalRequest,
    *,
    even_sealed: bool = False,
) -> tuple[Loaded, bool]:
    """Replace the record with what `make` makes of it; return what is there afterwards, and whether it was written.

    Nothing is written twice: after a write of unknown outcome, other processes may have continued from it. Raises
    `CredentialMoved` where the session goes on in another store: it would be another session here, or end here only.
    """
    unknown_writes: list[Record] = []
    for _ in range(MOST_ROUNDS):
        loaded, now = await world.load(replaces=True, even_sealed=even_sealed), await world.now()
        request.sightings.sees(now)
        if any(succession.includes(loaded.record, new) for new in unknown_writes):
            return loaded, True
        if loaded.record is not None and loaded.record.moved_to is not None:
            raise moved(loaded.record).about(request.key, loaded.record.generation)
        new = make(loaded.record, now.wall, await world.known())
        if new is loaded.record:
            return loaded, False
        try:
            return Loaded(await world.cas(loaded.version, new), new), True
        except Conflict:
            continue
        except StoreOutcomeUnknown:
            unknown_writes.append(new)
    raise unsettled().about(request.key)


async def _obtain(world: World, request: RenewalRequest) -> Token:
    """Ask the refresher for a token that needs no refresh token."""
    try:
        await world.queue()
        await world.prepare()
        return await world.send(Grant.OBTAIN, None, request.profile.time_to_live(None, 0.0, request.http_timeout))
    except RefreshFailure as failure:
        raise failure.verdict.error().about(request.key) from None


def _nothing() -> None:
    """Nobody keeps the session in memory."""


async def log_out(world: World, request: RenewalRequest, ended: Callable[[], object] = _nothing) -> LoggedOut:
    """Empty the record, then revoke what was in it. A renewal in flight finds its generation gone.

    `ended`: called in between, since the server may take long.
    """
    emptied, useless = await _emptied(world, request)
    ended()
    families = emptied.families if emptied is not None else ()
    problem = ""
    try:
        while (
            spooled := await world.read_spool()
        ) is not None and spooled.family in families:  # not the entry of a login since
            await world.drop_spool(spooled)
            useless.append(spooled.token)
    except errors.StoreUnavailable as error:  # an unreadable entry; the logout is done all the same
        problem = error.message
    await report(world, Kind.LOGGED_OUT, request, emptied, problem)
    return await revoke_all(world, emptied, useless, request)


async def delete(world: World, request: RenewalRequest, ended: Callable[[], object] = _nothing) -> LoggedOut:
    """Empty the record and the spool even where they cannot be read, so that nobody uses this credential again.

    `ended`: as for `log_out`.
    """
    emptied, useless = await _emptied(world, request, even_sealed=True)
    ended()
    await world.clear_spool()
    await report(world, Kind.LOGGED_OUT, request, emptied, "deleted")
    return await revoke_all(world, emptied, useless, request)


async def _emptied(
    world: World, request: RenewalRequest, *, even_sealed: bool = False
) -> tuple[Record | None, list[Token]]:
    """Empty the record; return it, and the tokens that were in it."""
    useless: list[Token] = []

    def logout(record: Record | None, at: float, known: Known) -> Record:
        useless[:] = [record.token] if record is not None and record.token is not None else []
        earlier, newest = _earlier(request, known), _generation(known)
        return records.logged_out(record, now=at, earlier=earlier, newest=newest, stamp=request.stamp())

    written, _ = await _write(world, logout, request, even_sealed=even_sealed)
    request.sightings.sees_a_logout(written.record)
    return written.record, useless


async def report_replay(
    world: World, identity: tuple[str, int], request: RenewalRequest, *, accepted: bool, target: str = ""
) -> None:
    """Note in the record whether the API accepted a replay with this token, for all processes that share it.

    `target`: the print of the target that was called, where it is known.
    """
    loaded, now = await world.load(), await world.now()
    record = loaded.record
    if record is None or record.identity != identity or record.state is not State.IDLE:
        return
    if accepted and record.probation is None:
        return
    if not accepted and record.probation is not None and record.probation.reported:
        return  # another process has reported the same
    noted = records.replay_reported(record, accepted=accepted, now=now.wall, target=target, clock=now.clock)
    if noted == record:
        return  # another target is known to refuse replays, and this one is not
    try:
        await world.cas(loaded.version, noted)
    except (Conflict, StoreOutcomeUnknown):
        return  # a newer record needs no such note
    if not accepted:
        await report(world, Kind.REFUSAL_DAMPED, request, record, "the refreshed token was refused, too")
