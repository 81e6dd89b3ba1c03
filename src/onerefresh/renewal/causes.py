"""Why a session may be over: the record's account of it, worded for the person who has to log in."""

from __future__ import annotations

from onerefresh.record import Grant, Record, State

__all__ = ["cause_of", "sent_late"]

LATE = "sent late"
LOST = "the store had lost the record or returned to an older state"
TAKEN_OVER = (
    ", after another attempt was taken over, because its process had disappeared, or was stopped or cut off for too "
    "long"
)


def cause_of(record: Record, *, follows_another: bool) -> str:
    """What happened before `invalid_grant`, as far as the record of this attempt shows; never a guess.

    `follows_another`: this attempt took over from another one.
    """
    failure, lease = record.failure, record.lease
    is_guess = lease is not None and lease.guess
    lately = [entry.what for entry in record.history[-2:]]
    if failure is not None and failure.kind.may_have_spent:
        return f"; before that: {failure.detail}"
    if follows_another or (lease is not None and lease.contested and not is_guess):
        return TAKEN_OVER + (f"; before that, {LOST}" if is_guess else "")
    if is_guess:
        return f"; {LOST}, and no process restored a newer refresh token than this one"
    if failure is not None and failure.maybe_spent:
        return ", after an earlier attempt that may have spent the refresh token"
    if lately == ["dead", Grant.REFRESH.value]:
        return "; the session had been declared over before, and a late answer had restored it"
    if LATE in lately:
        return "; before that, a process that had been stopped or cut off had sent an older refresh token"
    if "restored" in lately:
        return "; before that, the store had lost writes, and perhaps an earlier attempt with them"
    return ""


def sent_late(record: Record | None, attempted: Record, *, now: float) -> Record | None:
    """`record` with a note that the request of `attempted` was sent after another process had already renewed.

    None where the record has no place for the note: it is gone, not idle, of another family or not newer.
    """
    if record is None or record.state is not State.IDLE or record.family != attempted.family:
        return None
    if record.generation <= attempted.generation:
        return None
    return record.noted(LATE, now)
