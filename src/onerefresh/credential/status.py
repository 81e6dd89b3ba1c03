"""What a credential's record says, for people. It holds no secret."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from onerefresh.record import Entry, Record, State
from onerefresh.renewal.decide import too_often
from onerefresh.renewal.sights import dated_by_store
from onerefresh.renewal.token_clocks import skew_here
from onerefresh.renewal.world import World
from onerefresh.this_process import machine

__all__ = ["Status", "read_status"]


@dataclass(frozen=True, slots=True)
class Status:
    """What the store knows of a credential; it holds no secret.

    * `state`: ``"empty"``, ``"idle"``, ``"leased"`` or ``"dead"``. Leased means that a refresh is under way; or, with
      `recovering`, that the token was restored into a store that had lost it, and is not sent yet.
    * `expires_at`: seconds since the epoch, or None.
    * `refreshable`: whether a refresh may bring the next token: there is a refresh token, and the session is not over
      or stopped until a person acts. `failure` says why not, and `since` since when.
    * `refresh_expires_at`: when that one ends, in seconds since the epoch; None where that is not known, or never.
    * `refresh_end_moves`: False where the last refresh did not move that end, as at a session's maximum.
    * `failure`: the last failure since the last success, in words; or that the token was refreshed too often of late,
      which `put_off` tells apart.
    * `retry_after`: seconds for which nothing is sent because of that.
    * `asks_again`: False where nothing is sent until a login or `retry()`.
    * `doubts`: how often a refusal left open whether the session is over or the client is wrong.
    * `history`: the record's last entries, oldest first.
    * `moved_to`: the name of the store to which the session was moved, or None.
    * `store`: the name of the store's place, such as a URL without its password.
    * `since`: seconds since the epoch: when the session ended, also by a logout or a move; or else when the last
      failure happened. None where there was neither.
    * `clock_skew`: seconds by which this machine's clock is ahead of the clock by which `expires_at` is stated; 0 where
      that is less than a minute, or not known.
    """

    key: str
    state: str
    generation: int
    expires_at: float | None
    refreshable: bool
    scope: str | None
    failure: str | None
    retry_after: float
    history: tuple[Entry, ...]
    asks_again: bool = True
    doubts: int = 0
    recovering: bool = False
    put_off: bool = False
    moved_to: str | None = None
    clock_skew: float = 0.0
    refresh_expires_at: float | None = None
    refresh_end_moves: bool = True
    store: str = ""
    since: float | None = None


async def read_status(world: World, key: str, place: str) -> Status:
    """Read the record and describe it. `place`: the store's name. Raises `StoreUnavailable`."""
    loaded, now = await world.load(), await world.now()
    record = None if loaded.record is None else dated_by_store(loaded.record, now)
    status = _status_of(key, place, record, 0.0 if record is None else record.rest(now.clock))
    return replace(status, clock_skew=skew_here(record, now, machine()))


def _status_of(key: str, place: str, record: Record | None, rest: float) -> Status:
    if record is None:
        return Status(key, State.EMPTY.value, 0, None, False, None, None, 0.0, (), store=place)
    token, failure = record.token, record.failure
    waits_for_a_person = record.state is State.DEAD or (failure is not None and failure.is_for_good)
    is_over = State.DEAD in (record.state, record.lease.origin if record.lease is not None else None)
    is_over = is_over or record.state is State.EMPTY
    return Status(
        key=key,
        state=record.state.value,
        generation=record.generation,
        expires_at=token.expires_at if token else None,
        refreshable=token is not None and token.refresh_token is not None and not (waits_for_a_person or is_over),
        scope=token.scope if token else None,
        failure=failure.detail if failure else too_often(rest) if rest > 0.0 else None,
        retry_after=failure.remaining(time.time()) if failure and not failure.is_for_good else rest,
        history=record.history,
        asks_again=not waits_for_a_person,
        doubts=failure.doubts if failure else 0,
        put_off=failure is None and rest > 0.0,
        moved_to=record.moved_to,
        refresh_expires_at=token.refresh_expires_at if token else None,
        refresh_end_moves=token.refresh_end_moves if token else True,
        store=place,
        since=_since(record),
        recovering=record.state is State.LEASED and record.lease is not None and record.lease.is_recovery,
    )


def _since(record: Record) -> float | None:
    """When the session ended, or the last failure happened."""
    if record.state is State.EMPTY:
        return record.history[-1].at if record.history else None
    return record.failure.at if record.failure is not None else None
