"""Notices given once for each credential: a strange token type, and a store that does not suit its server."""

from __future__ import annotations

from onerefresh import events
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.options import CredentialOptions
from onerefresh.foreign import Seen
from onerefresh.token import Token
from onerefresh.token_response import odd_type

__all__ = ["report_rotation", "report_type"]


def report_type(memory: SessionMemory, options: CredentialOptions, token: Token) -> None:
    """Report once that a token is sent as a bearer token although its server states another type."""
    if memory.type_reported:
        return
    name = odd_type(token, Seen(filter(None, [memory.known, memory.seed]), options.refresher).redactor())
    if name is not None:
        memory.type_reported = True
        message = f"its token_type is {name}; it is sent as a bearer token"
        events.publish(events.Event(events.Kind.ODD_TYPE, memory.key, token.generation, detail=message))


def report_rotation(memory: SessionMemory, before: Token, after: Token) -> None:
    """Report once that a server which rotates refresh tokens needs a store that survives the process."""
    rotated = before.refresh_token is not None and before.refresh_token != after.refresh_token
    if memory.store.durable or memory.save is not None or memory.rotation_reported or not rotated:
        return
    memory.rotation_reported = True
    message = f"the server rotates refresh tokens, and {memory.store.forgets}"
    events.publish(events.Event(events.Kind.NOT_DURABLE, memory.key, after.generation, detail=message))
