"""Events: what happened, as frozen records, and the hooks that receive them.

An `Event` never holds a token. Every event is also written to the logger ``onerefresh``. From the level INFO on, the
lines of one kind about one host are limited there: a kind may come for thousands of customers at once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from onerefresh.limited_log import Topic, is_interrupt, log, log_exception, log_limited
from onerefresh.real_time import CLOCKS
from onerefresh.this_process import this_process

__all__ = ["Event", "Facts", "Kind", "Reason", "publish", "subscribe"]


class Kind(enum.StrEnum):
    """What an event reports."""

    CLAIMED = "claimed"  # this attempt may send
    TAKEN_OVER = "taken_over"  # this attempt took over from one that is over
    WAITING = "waiting"  # another process refreshes
    SENT = "sent"  # a token request is about to be sent
    REFRESHED = "refreshed"  # the new token is durable
    ADOPTED = "adopted"  # a newer token of another process was found in the store
    FAILED = "failed"  # a token request failed
    DEAD = "dead"  # a proven `invalid_grant`
    LOGGED_IN = "logged_in"
    LOGGED_OUT = "logged_out"
    SEED_IGNORED = "seed_ignored"  # token= differs from the stored token, whose session is in use
    SEED_SHARED = "seed_shared"  # another name was given the same refresh token
    REFUSAL_DAMPED = "refusal_damped"  # a refusal that may not refresh (again) yet
    SPOOLED = "spooled"  # the store is down; the new token is in the spool file
    UNSAVED = "unsaved"  # neither the store nor the spool could be written; tried again
    RESTORED = "restored"  # a spooled or newer token was restored into the store
    REVOKED = "revoked"  # the server has revoked a token that is of no use any more
    NOT_REVOKED = "not_revoked"  # the server did not confirm that, or could not be asked
    ORPHANED = "orphaned"  # a new token came too late: after a logout or another login
    NOT_DURABLE = "not_durable"  # the server rotates refresh tokens, and the store may forget them
    UNOWNED = "unowned"  # a record of an older version, which does not name the token's owner
    ODD_TYPE = "odd_type"  # the server states another type than Bearer; the token is sent as one
    NOT_ATTACHED = "not_attached"  # a call brings a header of its own, and goes without the token
    ODD_EXPIRY = "odd_expiry"  # what is stated about a token's end is not understood; the token is used for a while
    QUEUED = "queued"  # it waits for its turn at the token endpoint's host, and has sent nothing yet
    TIMED_OUT = "timed_out"  # a call or a refresher took longer than its time; the refresh continues
    ENDPOINT_DOWN = "endpoint_down"  # a token endpoint that answers nobody is left alone, for all its credentials
    ENDPOINT_UP = "endpoint_up"  # it answers again
    RULE_FAILED = "rule_failed"  # a rule of `refused=` raised; the answer was judged as usual
    STORE_DOWN = "store_down"  # a store cannot be read or written: once in each process, for all its credentials
    STORE_UP = "store_up"  # it answers again
    CLOCK_OFF = "clock_off"  # this machine's clock differs from the token endpoint's by more than a minute


class Reason(enum.StrEnum):
    """Why a token is refreshed."""

    EXPIRED = "expired"  # it has expired, or is about to, and a caller waits
    AGEING = "ageing"  # it still serves, and is refreshed in the background ahead of time
    REFUSED = "refused"  # the API has refused it
    SHORT = "short"  # it still serves, but a caller needs one that is valid for longer: `token(min_valid=…)`
    DUE = "due"  # `refresh_due` asked for it
    FORCED = "forced"  # `retry()` asked for it
    MISSING = "missing"  # there is no token, or its session is over, and a new one needs no login


_WARNINGS = frozenset(
    {
        Kind.DEAD,
        Kind.SEED_IGNORED,
        Kind.SEED_SHARED,
        Kind.SPOOLED,
        Kind.NOT_REVOKED,
        Kind.ORPHANED,
        Kind.NOT_DURABLE,
        Kind.UNOWNED,
        Kind.FAILED,
        Kind.TAKEN_OVER,
        Kind.TIMED_OUT,
        Kind.NOT_ATTACHED,
        Kind.ODD_EXPIRY,
        Kind.ENDPOINT_DOWN,
        Kind.RULE_FAILED,
        Kind.STORE_DOWN,
        Kind.CLOCK_OFF,
    }
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What operators need to know about an event. A fact is None where it is not known, or does not apply.

    * `host`: the token endpoint's host and port, as the refresher states it; of ``store_down`` and ``store_up`` the
      store's name.
    * `process`: the process in which it happened: the machine's name and the process ID, such as ``"web-3:4711"``.
    * `duration`: seconds; docs/events.md says what is measured.
    * `status`: the HTTP status of the token endpoint's answer.
    * `error`: the class of the error that callers get, such as ``"RefreshUnavailable"``; of ``store_down``, ``spooled``
      and ``unsaved`` the class of what the store raised.
    * `reason`: why the token is refreshed.
    """

    host: str | None = None
    process: str | None = None
    duration: float | None = None
    status: int | None = None
    error: str | None = None
    reason: Reason | None = None


UNKNOWN = Facts()


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to the credential named `credential`.

    * `generation`: that of the token in question.
    * `attempt`: the id of the attempt, where there is one.
    * `at`: seconds since the epoch.
    * `detail`: a short text for people.
    * `facts`: the endpoint's host, the process, the duration and more, as far as they are known.

    An event about a store or an endpoint names the credential that noticed it.
    """

    kind: Kind
    credential: str
    generation: int = 0
    attempt: str | None = None
    detail: str = ""
    at: float = field(default_factory=CLOCKS.time)
    facts: Facts = UNKNOWN

    def __str__(self) -> str:
        message = f"{self.credential}: {self.kind.replace('_', ' ')} (generation {self.generation})"
        return f"{message}: {self.detail}" if self.detail else message


_hooks: tuple[Callable[[Event], object], ...] = ()


def subscribe(hook: Callable[[Event], object]) -> Callable[[], None]:
    """Call `hook` with every event from now on; return a function that ends this.

    The hook runs on the thread where the event happened (for ``timed_out`` on another one), and should return quickly.
    What it raises is logged.
    """
    global _hooks
    _hooks = (*_hooks, hook)

    def unsubscribe() -> None:
        global _hooks
        _hooks = tuple(other for other in _hooks if other is not hook)

    return unsubscribe


def publish(event: Event) -> None:
    """Hand the event to the log and to the hooks, with the name of this process."""
    if event.facts.process is None:
        event = replace(event, facts=replace(event.facts, process=this_process()))
    _log(event)
    for hook in _hooks:
        try:
            hook(event)
        except GeneratorExit:  # a forked child drops its copy of a thread
            raise
        except BaseException as error:  # a hook that fails must not cost a token, nor leave a claim behind
            if is_interrupt(error):
                raise
            log_exception("a hook for onerefresh events failed")


def level_of(kind: Kind) -> int:
    """The level of its log lines."""
    import logging

    if kind in _WARNINGS:
        return logging.WARNING
    return {Kind.UNSAVED: logging.CRITICAL, Kind.ODD_TYPE: logging.INFO}.get(kind, logging.DEBUG)


def _log(event: Event) -> None:
    import logging

    level = level_of(event.kind)
    if level == logging.DEBUG:
        log(level, event)
    else:
        about = event.facts.host or "refreshers that state no host"
        log_limited(Topic(level, event.kind.replace("_", " "), about), event)
