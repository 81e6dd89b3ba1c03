"""Notices besides those of renewals: a strange token type, an unsuitable store, and waits that took too long."""

from __future__ import annotations

import time

from onerefresh import errors, events
from onerefresh.announcing import announce
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.options import CredentialOptions
from onerefresh.credential.registry import seeded
from onerefresh.foreign import Seen
from onerefresh.telling import shown_host
from onerefresh.token import Token
from onerefresh.token_response import odd_expiry, odd_type

__all__ = ["report_expiry", "report_rotation", "report_shared_seed", "report_timeout", "report_type"]

TYPE, ROTATION = "type", "rotation"
"""What is reported once, beside seeds, whose fingerprints are no such words."""


def report_type(memory: SessionMemory, options: CredentialOptions, token: Token) -> None:
    """Report once that a token is sent as a bearer token although its server states another type."""
    if TYPE in memory.reported:
        return
    name = odd_type(token, Seen(filter(None, [memory.known, memory.seed]), options.refresher).redactor())
    if name is not None:
        memory.reported |= {TYPE}
        message = f"its token_type is {name}; it is sent as a bearer token"
        _publish(events.Kind.ODD_TYPE, memory, options, token, message)


def report_expiry(memory: SessionMemory, options: CredentialOptions, token: Token) -> None:
    """Report that what is stated about the end of a session's first token was not understood."""
    if (message := odd_expiry(token)) is not None:
        _publish(events.Kind.ODD_EXPIRY, memory, options, token, message)


def report_rotation(memory: SessionMemory, options: CredentialOptions, before: Token, after: Token) -> None:
    """Report once that a server which rotates refresh tokens needs a store that survives the process."""
    rotated = before.refresh_token is not None and before.refresh_token != after.refresh_token
    if memory.store.durable or memory.save is not None or ROTATION in memory.reported or not rotated:
        return
    memory.reported |= {ROTATION}
    message = f"the server rotates refresh tokens, and {memory.store.forgets}"
    _publish(events.Kind.NOT_DURABLE, memory, options, after, message)


def report_shared_seed(memory: SessionMemory, options: CredentialOptions, seed: Token | None) -> None:
    """Report that another name has the same refresh token, where the server accepts each of them only once."""
    if seed is None or not options.profile.rotates or (memory.seed is not None and memory.seed == seed):
        return
    other = seeded(memory, seed)
    if other is not None:
        message = (
            f"its refresh token was also given to {other!r}: whichever is refreshed second uses a spent token, which "
            "may end both sessions; give each name a login of its own"
        )
        _publish(events.Kind.SEED_SHARED, memory, options, seed, message)


def _publish(kind: events.Kind, memory: SessionMemory, options: CredentialOptions, token: Token, message: str) -> None:
    facts = events.Facts(shown_host(options.refresher))
    events.publish(events.Event(kind, memory.key, token.generation, detail=message, facts=facts))


def report_timeout(key: str, refresher: object, error: errors.OnerefreshError, waited: float) -> None:
    """Report that `error` was raised because something took longer than `waited` seconds. May be called anywhere."""
    at = time.time()

    def made() -> events.Event:
        facts = events.Facts(shown_host(refresher), duration=waited, error=type(error).__name__)
        return events.Event(events.Kind.TIMED_OUT, key, error.generation or 0, detail=error.message, at=at, facts=facts)

    announce(made)
