"""How a session begins, comes back after a store has lost it, and ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from onerefresh.record import FAMILIES, Lease, Record, State, TokenClock, spent_now
from onerefresh.stored_values import LAST_GENERATION
from onerefresh.token import Token

__all__ = ["forgotten", "logged_out", "lost_record", "new_session", "restored"]


def new_session(
    record: Record | None,
    token: Token,
    *,
    now: float,
    owner: str | None,
    what: str,
    unsaved: bool = False,
    earlier: Iterable[str] = (),
    newest: int = 0,
    recovery: Lease | None = None,
    stamp: tuple[object, ...] = (),
) -> Record:
    """A seed or a login: the first generation of a new family, whose number follows that of the old session.

    `earlier`: the families of sessions that the process of a login knows, which are not new afterwards; `newest`: the
    highest generation that it knows. The store may have lost both. `recovery`: the recovery lease of a seed that may be
    spent, where the store may have lost what came of it.
    """
    family = token.seed_fingerprint()
    families = tuple(known for known in _known(record, earlier) if known != family)
    generation = _numbered_on(max(record.generation if record else 0, newest))
    new = Record(
        families=(*families, family)[-FAMILIES:],
        generation=generation,
        state=State.IDLE if recovery is None else State.LEASED,
        token=token.numbered(family, generation),
        lease=recovery,
        owner=owner,
        unsaved=unsaved,
        history=record.history if record else (),
        spent=spent_now(record.traded if record else (), token),
        unknown=record.unknown if record else {},
    )
    return new.noted(what, now, stamp)


def restored(
    record: Record,
    token: Token,
    *,
    now: float,
    recovery: Lease | None = None,
    unsaved: bool = False,
    token_clock: TokenClock | None = None,
    stamp: tuple[object, ...] = (),
) -> Record:
    """`token`, the newest that this process knows, in the place of an older generation or an earlier session.

    `recovery`: the lease that keeps the token from being sent until others have restored what they know; None where no
    other process can know a newer one. `token_clock`: the clock by which the token is dated, where that is known.
    """
    state, is_same = State.IDLE if recovery is None else State.LEASED, record.family == token.family
    families = (*(family for family in record.families if family != token.family), token.family)
    new = replace(
        record,
        families=families[-FAMILIES:],
        generation=token.generation,
        state=state,
        token=token,
        lease=recovery,
        failure=None,
        committed_by=None,
        unsaved=unsaved,
        token_clock=token_clock,
        spent=spent_now(record.spent, token, record.token) if is_same else spent_now(record.traded, token),
    )
    return new.noted("restored", now, stamp)


def forgotten(record: Record, generation: int) -> Record:
    """A stand-in for a record that went back to an older generation: without its token, which is written anew."""
    return replace(
        record,
        generation=generation,
        state=State.IDLE,
        token=None,
        lease=None,
        failure=None,
        committed_by=None,
        spent=spent_now(record.spent, None, record.token),
    )


def lost_record(families: Iterable[str], generation: int, *, owner: str | None) -> Record:
    """A stand-in for a record that the store has lost altogether: without a token, which is written anew.

    It is never a logout, which leaves an emptied record behind.
    """
    distinct = tuple(dict.fromkeys(family for family in families if family))
    return Record(families=distinct[-FAMILIES:], generation=generation, state=State.IDLE, owner=owner)


def logged_out(
    record: Record | None,
    *,
    now: float,
    earlier: Iterable[str] = (),
    newest: int = 0,
    stamp: tuple[object, ...] = (),
) -> Record:
    """The record after a logout, which is final: a renewal in flight finds its generation gone.

    The families are remembered, the tokens are not. `earlier`, `newest`: as for `new_session`.
    """
    base = record or Record(families=(), generation=0, state=State.EMPTY)
    others = tuple(known for known in _known(record, earlier) if known != base.family)
    new = Record(
        families=(*others, *base.families[-1:])[-FAMILIES:],
        generation=_numbered_on(max(base.generation, newest)),
        state=State.EMPTY,
        owner=base.owner,
        history=base.history,
        spent=spent_now(base.traded, None),
        unknown=base.unknown,
    )
    return new.noted("logout", now, stamp)


def _known(record: Record | None, earlier: Iterable[str]) -> tuple[str, ...]:
    """The families of the record, and then other ones that the process knows."""
    families = record.families if record is not None else ()
    return tuple(dict.fromkeys((*families, *filter(None, earlier))))


def _numbered_on(generation: int) -> int:
    """The generation with which the next session begins after this one."""
    return generation + 1 if generation < LAST_GENERATION else 1
