"""What is reported once for each credential: a token of a strange type, and a store that does not suit its server."""

from __future__ import annotations

from onerefresh import events
from onerefresh.credential.shared import Shared
from onerefresh.credential.terms import Terms
from onerefresh.foreign import Seen
from onerefresh.token import Token, odd_type

__all__ = ["tell_rotation", "tell_type"]


def tell_type(shared: Shared, terms: Terms, token: Token) -> None:
    """Say once that a token is sent as a bearer token although its server calls it otherwise."""
    if shared.type_told:
        return
    name = odd_type(token, Seen(filter(None, [shared.known, shared.seed]), terms.refresher).redactor())
    if name is not None:
        shared.type_told = True
        said = f"its token_type is {name}; it is sent as a bearer token"
        events.publish(events.Event(events.Kind.ODD_TYPE, shared.key, token.generation, detail=said))


def tell_rotation(shared: Shared, before: Token, after: Token) -> None:
    """Say once that a rotating server deserves a store that survives the process."""
    rotated = before.refresh_token is not None and before.refresh_token != after.refresh_token
    if shared.store.durable or shared.save is not None or shared.rotation_told or not rotated:
        return
    shared.rotation_told = True
    said = f"the server rotates refresh tokens, and {shared.store.forgets}"
    events.publish(events.Event(events.Kind.NOT_DURABLE, shared.key, after.generation, detail=said))
