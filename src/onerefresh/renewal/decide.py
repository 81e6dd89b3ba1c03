"""What to do about a record: pure, from the record and a request to a named decision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from onerefresh import errors
from onerefresh.policy import EARLY_REFRESHES, FOR_GOOD, LOOK_AGAIN, PATIENCE, due_at, thresholds
from onerefresh.record import Clock, Failure, Grant, Lease, Probation, Record, State
from onerefresh.renewal.request import RenewalRequest, print_of
from onerefresh.stored_values import LAST_GENERATION
from onerefresh.token import Token
from onerefresh.transitions import rolled_back
from onerefresh.verdict import FailureKind


@dataclass(frozen=True, slots=True)
class Use:
    """Hand this token out. `retry_after`: seconds until a background renewal makes sense again.

    `damped`: although it was refused; `why`, where that is not said elsewhere. `probation`: it has yet to prove itself.
    """

    token: Token
    retry_after: float = 0.0
    damped: bool = False
    probation: Probation | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Fail:
    error: errors.OnerefreshError


@dataclass(frozen=True, slots=True)
class Pause:
    """The token endpoint wants to be left alone for so many seconds, and the callers can wait that long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Another attempt holds the lease."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Claim:
    grant: Grant


@dataclass(frozen=True, slots=True)
class StartSession:
    """Begin a session with the seed."""

    seed: Token


@dataclass(frozen=True, slots=True)
class HostSave:
    """The host saves this token before anybody gets it."""

    token: Token


@dataclass(frozen=True, slots=True)
class Repair:
    """The store went back, or lost the record: bring the newer token that this process knows into it again."""

    token: Token


@dataclass(frozen=True, slots=True)
class Settle:
    """The store is on another server now, and may have gone back: let others bring back what they know first."""


NOT_AGAIN = "the refresh token may be spent, and is not sent again before retry() or a login"
"""What is said of a lost answer where the profile never sends again."""

Decision = Use | Fail | Pause | Wait | Claim | StartSession | HostSave | Repair | Settle


def decide(
    record: Record | None,
    request: RenewalRequest,
    now: float,
    *,
    lease_over: bool,
    is_unsettled: bool = False,
    clock: Clock | None = None,
    was_awaited: bool = False,
) -> Decision:
    """What to do about `record`. `now`: seconds since the epoch. `lease_over`: its lease may be taken over.

    `is_unsettled`: this process has only just seen that the store is on another server. `clock`: what refreshes are
    counted by. `was_awaited`: the token is the answer for which this renewal has waited.
    """
    if record is None:
        return Repair(request.known.newest) if request.known.newest is not None else _begin(request)
    if is_news(request.seed, record, request) and not in_use(record) and request.seed is not None:
        return StartSession(request.seed)
    if request.is_foreign(record.owner) and record.state is not State.EMPTY:
        return Fail(
            errors.ConfigurationError(
                f"the stored token belongs to another {record.owner}, and this is {request.owner}: "
                "use another name, log in again under this one, or consent: adopt=True, or onerefresh adopt NAME"
            )
        )
    newest = request.known.newest
    if newest is not None and rolled_back(record, newest.family, newest.generation, request.known.earlier):
        return Repair(newest)
    if record.unsaved and request.host_saves and record.token is not None:
        return HostSave(record.token)
    # The holder of a lease was free to claim: others wait for it and take over from it, whatever was refreshed before.
    rest = record.rest(clock or (None, now)) if record.state is State.IDLE else 0.0
    if was_awaited and record.token is not None and _is_for_them(record, record.token, request, clock or (None, now)):
        return Use(record.token, _retry_after(record, now, lease_over=lease_over), probation=record.probation)
    if record.token is not None and _serves(record, record.token, request, now, rest):
        damped = request.refused == record.identity
        retry_after = max(_retry_after(record, now, lease_over=lease_over), rest)
        why = too_often(rest, refused=True) if damped and rest > 0.0 else ""
        return Use(record.token, retry_after, damped, record.probation, why)
    if record.state is State.LEASED and record.lease is not None and not lease_over:
        return Wait(record.lease)
    decision = _renew(record, request, now)
    if isinstance(decision, Claim) and rest > 0.0:
        return _put_off(record, request, rest)
    return Settle() if is_unsettled and decision == Claim(Grant.REFRESH) else decision


def _begin(request: RenewalRequest) -> Decision:
    if request.seed is not None and request.seed.seed_fingerprint() in request.known.earlier:
        return Fail(errors.LoginRequired("the session with which token= began is over: log in again"))
    if request.seed is not None:
        return StartSession(request.seed)
    if request.can_obtain:
        return Claim(Grant.OBTAIN)
    return Fail(errors.LoginRequired("there is no token yet: log in, or give a first one with token="))


def is_news(seed: Token | None, record: Record, request: RenewalRequest) -> bool:
    """Whether the seed is of a session that neither the record nor this process has gone on from."""
    if seed is None:
        return False
    newest = request.known.newest
    known = (*record.families, *request.known.earlier, *((newest.family,) if newest is not None else ()))
    return seed.seed_fingerprint() not in known


def in_use(record: Record) -> bool:
    """Whether its session is not over, as far as is known: a new seed is ignored then, and else it is a login."""
    if record.state is State.IDLE and record.failure is not None and record.failure.is_doubtful:
        return False
    return record.state in (State.IDLE, State.LEASED)


def _serves(record: Record, token: Token, request: RenewalRequest, now: float, rest: float) -> bool:
    """Whether the stored token may be handed out for this request. `rest`: seconds until it may be refreshed."""
    if request.refused == record.identity:
        damped = _damped(record, request, now) or (rest > 0.0 and not must_rest(record, request.client, now))
        return damped and now < thresholds(token, request.jitter).unusable_at
    found = thresholds(token, request.jitter)
    if now >= found.unusable_at or record.state is State.EMPTY:
        return False
    if State.DEAD in (record.state, _origin(record)):
        return record.failure is not None and not record.failure.refused
    failure = record.failure
    if failure is not None and failure.refused and (failure.is_doubtful or failure.kind is FailureKind.UNUSABLE):
        return False
    refresh_at = found.refresh_at if request.within is None else due_at(token, request.within)
    if request.background and now >= refresh_at:
        return rest > 0.0 or must_rest(record, request.client, now)
    return True


def _is_for_them(record: Record, token: Token, request: RenewalRequest, clock: Clock) -> bool:
    """Whether a token that just came is for those who waited for it: once, even where it is over by now."""
    if record.floor is None or not record.floor.is_of_late(record.generation, clock):
        return False  # this process may have slept meanwhile
    is_free = record.state is State.IDLE and record.failure is None
    return is_free and token.is_sendable and request.refused != record.identity


def _retry_after(record: Record, now: float, *, lease_over: bool) -> float:
    """Seconds until a background renewal makes sense: at once, unless one was tried, or somebody else tries it now."""
    left = record.failure.remaining(now) if record.failure else 0.0
    if record.state is State.DEAD or (record.state is State.LEASED and not lease_over):
        return max(left, LOOK_AGAIN)
    return left


def _origin(record: Record) -> State:
    """The state beneath a lease."""
    return record.lease.origin if record.state is State.LEASED and record.lease else record.state


def _damped(record: Record, request: RenewalRequest, now: float) -> bool:
    """Whether the refusal of a token that was just refreshed must not refresh it once more."""
    probation = record.probation
    if probation is None or record.state is State.DEAD or probation.repeated or not probation.holds(now):
        return False
    return request.known.proven != record.identity


def _renew(record: Record, request: RenewalRequest, now: float) -> Decision:
    if record.generation >= LAST_GENERATION:
        message = (
            "the stored record cannot go on (it is damaged: its generation is too high); log in again to replace it"
        )
        return Fail(errors.StoreUnavailable(message))
    failure = record.failure
    over = _origin(record) in (State.DEAD, State.EMPTY) or record.token is None
    if over and not (request.can_obtain and not record.is_logged_out):
        return Fail(_needs_login(record))
    may_be_spent = failure is not None and failure.maybe_spent and request.profile.sends_again_after >= FOR_GOOD
    if failure is not None and failure.is_for_good and request.can_obtain:
        return Claim(Grant.OBTAIN)  # what may be spent is not sent again, and this needs no person
    if failure is not None and must_rest(record, request.client, now):
        return _respect(failure, now)
    if over or (may_be_spent and request.can_obtain):
        return Claim(Grant.OBTAIN)
    if failure is not None and failure.doubts and request.can_obtain:
        return Claim(Grant.OBTAIN)  # a login heals a doubtful end, and this one needs no person
    cannot_refresh = record.token is not None and record.token.refresh_token is None and not request.renews_from_access
    if cannot_refresh and request.can_obtain:
        return Claim(Grant.OBTAIN)
    return Claim(Grant.REFRESH)


def must_rest(record: Record, client: Callable[[], str], now: float) -> bool:
    """Whether nothing is to be sent yet: another client may have more luck than the one that was refused."""
    failure = record.failure
    if failure is None or failure.remaining(now) <= 0.0:
        return False
    return not (failure.may_be_the_clients and failure.is_news_to(print_of(record.family, client())))


def too_often(rest: float, *, refused: bool | None = None) -> str:
    """What is said where too many refreshes came too early. `refused`: whether the API has refused the last token."""
    short, once = "the server's tokens live too shortly", "the API refuses fresh tokens, or takes each one only once"
    why = f"{short}, or {once}" if refused is None else once if refused else f"{short}, or end before their time"
    return (
        f"{EARLY_REFRESHES} refreshes within a minute came less than half a token's life after the one before: {why}; "
        f"the next one follows in {rest:.0f} s at the earliest"
    )


def bound(record: Record | None, request: RenewalRequest) -> Record | None:
    """`record`, with the pause after a lost answer that this process's own profile asks for, where that is longer.

    The process that lost it went by its own profile: it may run another version of the program.
    """
    failure, own = record.failure if record is not None else None, request.profile.sends_again_after
    if record is None or failure is None or not (failure.lost or failure.kind.is_lost) or failure.count == 0:
        return record
    is_last, detail = failure.kind.is_lost, failure.detail
    if own >= FOR_GOOD:
        is_retried = any(entry.what == "retry" and entry.generation == record.generation for entry in record.history)
        if failure.is_for_good or request.can_obtain or (is_retried and not is_last):
            return record
        detail = f"{detail}; {NOT_AGAIN}"
    elif not is_last or failure.delay + request.http_timeout >= own:
        return record  # its seconds count from the request on, and these from the failure
    return replace(record, failure=replace(failure, delay=own, detail=detail))


def _put_off(record: Record, request: RenewalRequest, rest: float) -> Decision:
    """The token endpoint is left alone for a while, although it has answered each time."""
    if rest <= PATIENCE:
        return Pause(rest)
    refused = request.refused == record.identity
    return Fail(errors.RefreshUnavailable(too_often(rest, refused=refused), retry_after=rest))


def _respect(failure: Failure, now: float) -> Decision:
    left = failure.remaining(now)
    if left <= PATIENCE and failure.kind in (FailureKind.UNAVAILABLE, FailureKind.SERVER_ERROR):
        return Pause(left)
    return Fail(failure.verdict(now).error())


def _needs_login(record: Record) -> errors.OnerefreshError:
    if record.is_logged_out:
        return errors.LoginRequired("logged out: log in again")
    if State.DEAD in (record.state, _origin(record)) and record.failure is not None:
        return errors.LoginRequired(f"the session is over, log in again: {record.failure.detail}")
    return errors.LoginRequired("there is no token yet: log in, or give a first one with token=")
