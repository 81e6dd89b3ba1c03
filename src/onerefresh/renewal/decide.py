"""What to do about a record: a pure function of the record and a request, which returns a named decision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onerefresh import errors
from onerefresh.damping import Ruling, rule
from onerefresh.failure import Failure
from onerefresh.policy import EARLY_REFRESHES, FOR_GOOD, LOOK_AGAIN, PATIENCE, due_at, outlasts_until, thresholds
from onerefresh.record import Grant, Record, State
from onerefresh.renewal.reports import moved
from onerefresh.renewal.request import RenewalRequest, print_of
from onerefresh.renewal.steps import (
    Claim,
    Decision,
    Fail,
    HostSave,
    Pause,
    Repair,
    Settle,
    StartSession,
    Use,
    Wait,
    WrongSeed,
)
from onerefresh.store_clock import Clock
from onerefresh.stored_values import LAST_GENERATION
from onerefresh.succession import rolled_back
from onerefresh.token import Token
from onerefresh.verdict import FailureKind
from onerefresh.whose import difference

LOGGED_OUT = "logged out: log in again"
NOT_AGAIN = "the refresh token may be spent, and is not sent again before retry() or a login"
"""Part of the message about a lost answer where the profile never repeats the request."""


def decide(
    record: Record | None,
    request: RenewalRequest,
    now: float,
    *,
    lease_over: bool,
    is_unsettled: bool = False,
    clock: Clock | None = None,
    was_awaited: bool = False,
    skew: float = 0.0,
) -> Decision:
    """Return what to do about `record`.

    * `now`: seconds since the epoch.
    * `lease_over`: the record's lease may be taken over.
    * `is_unsettled`: this process has known the store's present server for a short time only.
    * `clock`: the clock by which refreshes are counted.
    * `was_awaited`: the record's token is the answer for which this renewal has waited.
    * `skew`: seconds by which this machine's clock is ahead of the clock by which the token is dated.
    """
    if record is None:
        return Repair(request.known.newest) if request.known.newest is not None else _begin(request)
    if record.moved_to is not None:
        return Fail(moved(record))
    if is_news(request.seed, record, request) and not in_use(record) and request.seed is not None:
        return StartSession(request.seed)
    if differs := seed_differs(record, request):
        return Fail(
            WrongSeed(
                f"token= belongs to another account than the stored session: its {differs} is not that of the stored "
                "token. Use a name for each account; or log in, if this account is to replace the other one"
            )
        )
    if request.is_foreign(record.owner) and record.state is not State.EMPTY:
        return Fail(
            errors.ConfigurationError(
                f"the stored token belongs to another {record.owner}, and this is {request.owner}: "
                "use another name, log in again under this one, or consent with adopt=True or onerefresh adopt NAME"
            )
        )
    newest = request.known.newest
    if newest is not None and rolled_back(record, newest.family, newest.generation, request.known.earlier):
        return Repair(newest)
    if record.unsaved and request.host_saves and record.token is not None:
        return HostSave(record.token)
    # Only an idle record has to rest. The holder of a lease was allowed to claim, so others wait for that attempt and
    # take over from it, however often the token was refreshed before.
    rest = record.rest(clock or (None, now)) if record.state is State.IDLE else 0.0
    if was_awaited and record.token is not None and _is_for_them(record, record.token, request, clock or (None, now)):
        return Use(record.token, _retry_after(record, now, lease_over=lease_over), probation=record.probation)
    counted = clock or (None, now)
    if record.token is not None and _serves(record, record.token, request, now, rest=rest, clock=counted, skew=skew):
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
    """What to do where the store has no record and this process knows no token."""
    seed = request.seed
    if seed is not None and seed.seed_fingerprint() in request.known.earlier:
        return Fail(errors.LoginRequired("the session that began with token= is over: log in again"))
    if seed is None and not request.can_obtain:
        return Fail(errors.LoginRequired("there is no token yet: log in, or pass a first one with token="))
    if request.sightings.has_ended(seed.seed_fingerprint() if seed is not None else None):
        return Fail(errors.LoginRequired(LOGGED_OUT))  # the store has lost the logout, too
    return StartSession(seed) if seed is not None else Claim(Grant.OBTAIN)


def is_news(seed: Token | None, record: Record, request: RenewalRequest) -> bool:
    """Whether the seed belongs to a session that neither the record nor this process knows.

    Where refresh tokens rotate, one that was traded in belongs to the session that did it.
    """
    if seed is None or (request.profile.rotates and record.has_spent(seed)):
        return False
    newest = request.known.newest
    known = (*record.families, *request.known.earlier, *((newest.family,) if newest is not None else ()))
    return seed.seed_fingerprint() not in known


def seed_differs(record: Record, request: RenewalRequest) -> str:
    """In which the seed names another account than the session in use; empty where that is not known."""
    seed, token = request.seed, record.token
    if seed is None or token is None or not in_use(record) or not is_news(seed, record, request):
        return ""
    return difference(seed.whose, token.whose)


def in_use(record: Record) -> bool:
    """Whether the record's session is not over, as far as is known.

    A new seed is ignored while it is in use; otherwise the seed is a login.
    """
    if record.state is State.IDLE and record.failure is not None and record.failure.is_doubtful:
        return False
    return record.state in (State.IDLE, State.LEASED)


def _serves(
    record: Record, token: Token, request: RenewalRequest, now: float, *, rest: float, clock: Clock, skew: float
) -> bool:
    """Whether the stored token may be handed out for this request. `rest`: seconds until it may be refreshed."""
    now_there = now - skew
    if request.refused == record.identity:
        damped = ruling(record, request, now, clock) is Ruling.IS_DAMPED or (
            rest > 0.0 and not must_rest(record, request.client, now)
        )
        return damped and now_there < thresholds(token, request.jitter).unusable_at
    found = thresholds(token, request.jitter, request.early)
    if now_there >= found.unusable_at or record.state is State.EMPTY:
        return False
    if State.DEAD in (record.state, _origin(record)):
        return record.failure is not None and not record.failure.refused
    failure = record.failure
    if failure is not None and failure.refused and (failure.is_doubtful or failure.kind is FailureKind.UNUSABLE):
        return False
    if request.background and now_there >= _ahead_at(token, request, found.refresh_at):
        return rest > 0.0 or must_rest(record, request.client, now)
    return True


def _ahead_at(token: Token, request: RenewalRequest, ageing_at: float) -> float:
    """From when on a token is renewed although it still serves, in seconds since the epoch."""
    if request.min_valid is not None:
        return outlasts_until(token, request.min_valid)
    if request.within is None and request.unused_for is None:
        return ageing_at
    return due_at(token, request.within, request.unused_for)


def _is_for_them(record: Record, token: Token, request: RenewalRequest, clock: Clock) -> bool:
    """Whether a token that has just arrived goes to the callers who waited for it.

    They get it once, even if it is over by now, since the store or the application's ``save`` may be slow.
    """
    if record.floor is None or not record.floor.is_of_late(record.generation, clock):
        return False  # the token is older: this process may have slept meanwhile
    is_free = record.state is State.IDLE and record.failure is None
    return is_free and token.is_sendable and request.refused != record.identity


def _retry_after(record: Record, now: float, *, lease_over: bool) -> float:
    """Seconds until a background renewal makes sense: 0, unless one failed or another process tries it now."""
    left = record.failure.remaining(now) if record.failure else 0.0
    if record.state is State.DEAD or (record.state is State.LEASED and not lease_over):
        return max(left, LOOK_AGAIN)
    return left


def _origin(record: Record) -> State:
    """The state to which the record returns when its lease is released; the record's state without a lease."""
    return record.lease.origin if record.state is State.LEASED and record.lease else record.state


def ruling(record: Record, request: RenewalRequest, now: float, clock: Clock) -> Ruling:
    """What the refusal of the present token does: it must not cause a refresh each time that it comes."""
    probation = record.probation
    if record.state is State.DEAD or (probation is not None and probation.repeated):
        return Ruling.REFRESHES
    return rule(
        request.refused_at,
        holds=probation is not None and probation.holds(now),
        proven=request.known.proven == record.identity,
        generation=record.generation,
        targets=record.own_targets,
        clock=clock,
    )


def _renew(record: Record, request: RenewalRequest, now: float) -> Decision:
    """How to get a newer token for this record."""
    if record.generation >= LAST_GENERATION:
        message = (
            "the stored record cannot be continued (it is damaged: its generation is too high); log in again to "
            "replace it"
        )
        return Fail(errors.StoreUnavailable(message))
    failure = record.failure
    over = _origin(record) in (State.DEAD, State.EMPTY) or record.token is None
    if over and not (request.can_obtain and not record.is_logged_out):
        return Fail(_needs_login(record))
    may_be_spent = failure is not None and failure.maybe_spent and request.profile.sends_again_after >= FOR_GOOD
    if failure is not None and failure.is_for_good and request.can_obtain:
        return Claim(Grant.OBTAIN)  # what may be spent is not sent again, and `obtain` needs no person
    if failure is not None and must_rest(record, request.client, now):
        return _respect(failure, now)
    if over or (may_be_spent and request.can_obtain):
        return Claim(Grant.OBTAIN)
    if failure is not None and failure.doubts and request.can_obtain:
        return Claim(Grant.OBTAIN)  # `obtain` is a login that needs no person, and a login heals a doubtful end
    cannot_refresh = record.token is not None and record.token.refresh_token is None and not request.renews_from_access
    if cannot_refresh and request.can_obtain:
        return Claim(Grant.OBTAIN)
    return Claim(Grant.REFRESH)


def must_rest(record: Record, client: Callable[[], str], now: float) -> bool:
    """Whether nothing may be sent for this record yet.

    A refusal that may be the client's fault does not bind a client that has not been refused itself.
    """
    failure = record.failure
    if failure is None or failure.remaining(now) <= 0.0:
        return False
    return not (failure.may_be_the_clients and failure.is_news_to(print_of(record.family, client())))


def too_often(rest: float, *, refused: bool | None = None) -> str:
    """The message for too many early refreshes. `refused`: whether the API refused the last token; None: unknown."""
    short, once = "the server's tokens expire too soon", "the API refuses fresh tokens, or accepts each token only once"
    why = f"{short}, or {once}" if refused is None else once if refused else f"{short}, or become invalid too early"
    return (
        f"{EARLY_REFRESHES} refreshes within a minute each came less than half a token's lifetime after the previous "
        f"one: {why}; the next one follows in {rest:.0f} s at the earliest"
    )


def bound(record: Record | None, request: RenewalRequest) -> Record | None:
    """`record` with the pause that this process's profile demands after a lost answer, where that is longer.

    The process that lost the answer applied its own profile, and may run another version of the program.
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
        return record  # the profile counts from the request, `delay` from the failure
    return replace(record, failure=replace(failure, delay=own, detail=detail))


def _put_off(record: Record, request: RenewalRequest, rest: float) -> Decision:
    """Leave the token endpoint alone for a while because of too many early refreshes, although each succeeded."""
    if rest <= PATIENCE:
        return Pause(rest)
    refused = request.refused == record.identity
    return Fail(errors.RefreshUnavailable(too_often(rest, refused=refused), retry_after=rest))


def _respect(failure: Failure, now: float) -> Decision:
    """Wait out the pause after a failure, or raise the failure where the pause is long or of another kind."""
    left = failure.remaining(now)
    if left <= PATIENCE and failure.kind in (FailureKind.UNAVAILABLE, FailureKind.SERVER_ERROR):
        return Pause(left)
    return Fail(failure.verdict(now).error())


def _needs_login(record: Record) -> errors.OnerefreshError:
    """The error for a session that only a login can continue."""
    if record.is_logged_out:
        return errors.LoginRequired(LOGGED_OUT)
    if State.DEAD in (record.state, _origin(record)) and record.failure is not None:
        return errors.LoginRequired(f"the session is over, log in again: {record.failure.detail}")
    return errors.LoginRequired("there is no token yet: log in, or pass a first one with token=")
