"""Events: what happened, as frozen records, and the hooks that receive them.

An `Event` never holds a token. Every event is also written to the logger ``onerefresh``.
"""

from __future__ import annotations

import enum
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

__all__ = ["Event", "Kind", "publish", "subscribe"]


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
    QUEUED = "queued"  # it waits for its turn at the token endpoint's host, and has sent nothing yet
    ENDPOINT_DOWN = "endpoint_down"  # a token endpoint that answers nobody is left alone, for all its credentials
    ENDPOINT_UP = "endpoint_up"  # it answers again


_WARNINGS = frozenset(
    {
        Kind.DEAD,
        Kind.SEED_IGNORED,
        Kind.SPOOLED,
        Kind.NOT_REVOKED,
        Kind.ORPHANED,
        Kind.NOT_DURABLE,
        Kind.UNOWNED,
        Kind.FAILED,
        Kind.TAKEN_OVER,
        Kind.ENDPOINT_DOWN,
    }
)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to the credential named `credential`.

    * `generation`: that of the token in question.
    * `attempt`: the id of the attempt, where there is one.
    * `at`: seconds since the epoch.
    * `detail`: a short text for people.
    """

    kind: Kind
    credential: str
    generation: int = 0
    attempt: str | None = None
    detail: str = ""
    at: float = field(default_factory=time.time)

    def __str__(self) -> str:
        message = f"{self.credential}: {self.kind.replace('_', ' ')} (generation {self.generation})"
        return f"{message}: {self.detail}" if self.detail else message


_hooks: tuple[Callable[[Event], object], ...] = ()


def subscribe(hook: Callable[[Event], object]) -> Callable[[], None]:
    """Call `hook` with every event from now on; return a function that ends this.

    The hook runs on the thread where the event happened, and should return quickly. What it raises is logged.
    """
    global _hooks
    _hooks = (*_hooks, hook)

    def unsubscribe() -> None:
        global _hooks
        _hooks = tuple(other for other in _hooks if other is not hook)

    return unsubscribe


@functools.cache
def _logger() -> logging.Logger:
    """The logger, looked up once: the look-up takes a lock that an interrupt or a fork may have left taken."""
    import logging

    return logging.getLogger("onerefresh")


def publish(event: Event) -> None:
    """Hand the event to the log and to the hooks."""
    import logging

    logger = _logger()
    level = logging.INFO if event.kind is Kind.ODD_TYPE else logging.DEBUG
    if event.kind is Kind.UNSAVED:
        level = logging.CRITICAL
    elif event.kind in _WARNINGS:
        level = logging.WARNING
    logger.log(level, "%s", event)
    for hook in _hooks:
        try:
            hook(event)
        except Exception:  # a hook that fails must not cost a token
            logger.exception("a hook for onerefresh events failed")
