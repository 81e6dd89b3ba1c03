"""What becomes of a record that moves to another store."""

from __future__ import annotations

from dataclasses import replace

from onerefresh.record import MOVED, Grant, IllegalTransition, Lease, Record, State

__all__ = ["arrived", "left_behind", "moving"]


def moving(record: Record, place: str, *, id: str, now: float) -> Record:
    """The record with which a move to the store `place` begins: nobody uses it here from now on.

    The record keeps its generation, so that after a move back it is still newer than all that processes remember. It
    also keeps its token until the other store has it; a lease remembers the state that the record gets there. Earlier
    versions of onerefresh take the record for logged out, and neither send its token nor write over it.
    """
    if record.state is State.LEASED:
        raise IllegalTransition("an attempt is under way: its record cannot be moved")
    lease = Lease(id, Grant.REFRESH, 0.0, origin=record.state)
    new = replace(record, generation=max(record.generation, 1), state=State.EMPTY, lease=lease)
    return new.noted(f"{MOVED}{place}", now)


def arrived(record: Record) -> Record:
    """The record that the other store gets, made from the record `moving`."""
    if record.moved_to is None or record.lease is None or record.token is None:
        raise IllegalTransition("no record on its way to another store")
    return replace(record, state=record.lease.origin, lease=None)


def left_behind(record: Record) -> Record:
    """The record that remains of `moving` once the other store has it: where and when it was moved, without a token."""
    return Record(
        families=record.families,
        generation=record.generation,
        state=State.EMPTY,
        owner=record.owner,
        history=record.history,
        unknown=record.unknown,
    )
