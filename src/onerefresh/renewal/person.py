"""What people and clients do to a record beside renewing it: log in, log out, report how a replay was taken."""

from __future__ import annotations

from onerefresh import record as records
from onerefresh.events import Kind
from onerefresh.record import Grant, State
from onerefresh.renewal.decision import Wish
from onerefresh.renewal.effects import Cas, DropSpool, Load, Loaded, Now, Prepare, ReadSpool, Send
from onerefresh.renewal.protocol import Outcome, keep, tell
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.token import Token
from onerefresh.verdict import RefreshFailure


async def log_in(token: Token | None, wish: Wish) -> Outcome:
    """Found a new family with `token`, or with one that the refresher obtains, whatever the record says."""
    if token is None:
        token = await _obtain(wish)
    while True:
        loaded, now = await Load(), await Now()
        new = records.founded(
            loaded.record, token, now=now.wall, owner=wish.owner, what="login", unsaved=wish.host_saves
        )
        try:
            version = await Cas(loaded.version, new)
        except Conflict:
            continue
        except StoreOutcomeUnknown:
            again = await Load()
            if again.record is None or again.record.identity != new.identity:
                continue
            version = again.version or ""
        await tell(Kind.LOGGED_IN, wish, new)
        assert new.token is not None
        if new.unsaved:
            await keep(Loaded(version, new), new.token)
        return Outcome(new.token)


async def _obtain(wish: Wish) -> Token:
    try:
        await Prepare()
        return await Send(Grant.OBTAIN, None, wish.profile.time_to_live(None, 0.0, wish.http_timeout))
    except RefreshFailure as failure:
        raise failure.verdict.error().about(wish.key) from None


async def log_out(wish: Wish) -> None:
    """Empty the record. A renewal in flight finds its generation gone."""
    while True:
        loaded, now = await Load(), await Now()
        new = records.logged_out(loaded.record, now=now.wall)
        try:
            await Cas(loaded.version, new)
        except Conflict:
            continue
        except StoreOutcomeUnknown:
            again = await Load()
            if again.record is None or again.record.identity != new.identity:
                continue
        spooled = await ReadSpool()
        if spooled is not None:
            await DropSpool(spooled)
        await tell(Kind.LOGGED_OUT, wish, new)
        return


async def report_replay(identity: tuple[str, int], wish: Wish, *, accepted: bool) -> None:
    """Note in the record how the API took a replay with this token, for all who share it."""
    loaded, now = await Load(), await Now()
    record = loaded.record
    if record is None or record.identity != identity or record.state is not State.IDLE:
        return
    if accepted and record.probation is None:
        return
    if not accepted and record.probation is not None and record.probation.reported:
        return  # somebody else has reported the same
    try:
        await Cas(loaded.version, records.replay_reported(record, accepted=accepted, now=now.wall))
    except (Conflict, StoreOutcomeUnknown):
        return  # a newer record needs no such note
    if not accepted:
        await tell(Kind.REFUSAL_DAMPED, wish, record, "the refreshed token was refused as well")
