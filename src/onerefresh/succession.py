"""Which of two records, or of a record and a token, comes after the other: questions that change no record."""

from __future__ import annotations

from collections.abc import Container

from onerefresh.failure import Failure
from onerefresh.record import Grant, Lease, Record, State
from onerefresh.stored_values import LAST_GENERATION
from onerefresh.token import Token

__all__ = [
    "begun_again",
    "has_gone_on_from",
    "has_overtaken",
    "has_this",
    "includes",
    "is_before",
    "is_cancelled",
    "is_earlier",
    "may_commit",
    "rolled_back",
]


def may_commit(record: Record | None, family: str, generation: int) -> bool:
    """Whether a token that was issued for this family and generation must be saved now.

    Neither the lease's holder nor a session that counts as dead matters: a late holder may have the only refresh token
    that still works.
    """
    if record is None or record.identity != (family, generation):
        return False
    return not record.is_logged_out


def rolled_back(record: Record, family: str, generation: int, earlier: Container[str] = ()) -> bool:
    """Whether the store forgot this generation, so that it may be restored. A logout is final.

    `earlier`: the families of the sessions before this one. Generations are numbered on from one session to the next,
    so a record of an earlier session is older, unless its number is higher. A late answer of that session can have the
    number of the login that came in its place; so can a login with its token once more, which stands. So does a record
    of the same number that says that its session came after this one: if processes disagree, the store decides.
    """
    if record.is_logged_out:
        return False
    if record.family == family:
        return record.generation < generation
    login = any((entry.what, entry.generation) == ("login", record.generation) for entry in record.history)
    stands = login or family in record.families
    return record.family in earlier and record.generation <= generation - stands


def has_gone_on_from(record: Record, token: Token) -> bool:
    """Whether the present session began with this token, which is spent by now or about to be."""
    if record.token is None or record.family != token.seed_fingerprint():
        return False
    return record.state is State.LEASED or record.token.seed_fingerprint() != record.family


def has_this(record: Record, token: Token) -> bool:
    """Whether `token` is the record's own, with its refresh token: the same answer, given once more."""
    present = record.token
    if present is None or token.refresh_token is None:
        return False
    return (present.access_token, present.refresh_token) == (token.access_token, token.refresh_token)


def begun_again(record: Record | None, leased: Record, answer: Token) -> tuple[str, int] | None:
    """The session where somebody has logged in again with the token that brought `answer`, sent under `leased`.

    That session has another number. Its refresh token is spent, and the answer has the one that still works.
    """
    spent, token, lease = leased.token, record.token if record is not None else None, leased.lease
    if record is None or token is None or spent is None or lease is None or token.refresh_token is None:
        return None
    has_spent_it = lease.grant is Grant.REFRESH and record.committed_by is None and record.generation < LAST_GENERATION
    is_used_up = token.refresh_token == spent.refresh_token != answer.refresh_token
    return record.identity if has_spent_it and is_used_up else None


def includes(record: Record | None, new: Record) -> bool:
    """Whether the write of `new` was applied: `record` is that record, or comes from it."""
    return record is not None and new.history[-1] in record.history


def is_cancelled(failure: Failure, record: Record) -> bool:
    """Whether somebody has logged in again with the very token at which `failure` came."""
    return any(entry.what == "login" and entry.at > failure.at for entry in record.history)


def is_before(record: Record, emptied: Record) -> bool:
    """Whether `record` is from before a logout or a move that has left `emptied`, without a login or a return since."""
    if emptied.moved_to is not None:
        is_as_old = record.generation <= emptied.generation and emptied.history[-1] not in record.history
        return is_as_old and not record.is_logged_out and record.family in emptied.families
    if record.is_logged_out or record.generation >= emptied.generation or record.family not in emptied.families:
        return False
    return not any(entry.what == "login" and entry not in emptied.history for entry in record.history)


def is_earlier(lease: Lease, claim: Lease) -> bool:
    """Whether `lease` was there before `claim`, as far as can be told: it was taken over, or one clock dates both."""
    is_dated = claim.clock_epoch is not None and lease.clock_epoch == claim.clock_epoch
    return lease.id == claim.taken_from or (is_dated and lease.at < claim.at)


def has_overtaken(lease: Lease | None, claim: Lease) -> bool:
    """Whether `lease` is that of an attempt that has taken over from `claim`.

    A store that went back may show the lease again that `claim` took over. The dates decide nothing here: after the
    store's clock was set back, a session that lives would count as over.
    """
    return lease is not None and not lease.is_recovery and lease.id not in (claim.id, claim.taken_from)
