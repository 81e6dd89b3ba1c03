"""Which field of an answer is sent to the API: the access token, or another one such as ``id_token``.

A `Token` holds what is sent as its `access_token`, so that every client sends it, every version reads it from a record,
and the token's end is that of what is sent. The access token of the answer is kept in `extra` then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from onerefresh.answers import KNOWN, NO_ACCESS_TOKEN, claims_of, field_of
from onerefresh.errors import ConfigurationError
from onerefresh.expiry import End, end_of

__all__ = ["ACCESS_TOKEN", "bearer_in", "checked_bearer_field", "end_of_bearer", "no_bearer", "rest_of"]

ACCESS_TOKEN = "access_token"
_SCHEME = re.compile(r"bearer +(?=\S)", re.IGNORECASE)
LONGEST_NAME = 100


def checked_bearer_field(name: object) -> str | None:
    """The name of the field that is sent; None: the access token. Raises `ConfigurationError` for what is no name."""
    if name is None or name == ACCESS_TOKEN:
        return None
    if isinstance(name, str) and name.strip() and name.isprintable() and len(name) <= LONGEST_NAME:
        return name
    kind = "this text" if isinstance(name, str) else type(name).__name__
    raise ConfigurationError(f"bearer_field must be the name of a field of the answer, such as 'id_token', not {kind}")


def bearer_in(answer: Mapping[str, object], bearer_field: str | None) -> str | None:
    """What the answer has for the API; None where that is no text, or an empty one.

    Some servers write the word ``Bearer`` before it, which the client adds itself.
    """
    found = field_of(answer, ACCESS_TOKEN) if bearer_field is None else _named(answer, bearer_field)
    if not isinstance(found, str) or not found.strip() or found == NO_ACCESS_TOKEN:
        return None
    return found[scheme.end() :] if (scheme := _SCHEME.match(found)) else found


def _named(answer: Mapping[str, object], name: str) -> object:
    """The field of that name, or of the same name in another spelling: ``idToken`` for ``id_token``."""
    if answer.get(name) is not None:
        return answer[name]
    return next((answer[other] for other in _spellings(answer, name)), None)


def _spellings(answer: Mapping[str, object], name: str) -> list[str]:
    bare = re.sub(r"[^a-z0-9]", "", name.casefold())
    return [other for other in map(str, answer) if re.sub(r"[^a-z0-9]", "", other.casefold()) == bare]


def no_bearer(bearer_field: str | None, names: str) -> str:
    """The message for an answer without what is sent to the API. `names`: those of its fields."""
    if bearer_field is None:
        advice = "return Token(access_token=…, refresh_token=…) if the API uses other names"
        return f"no usable 'access_token' in the answer (it holds: {names}); {advice}"
    advice = "ask for it, for example with the scope openid" if "id" in bearer_field else "look at bearer_field"
    return f"no usable {bearer_field!r} in the answer, which bearer_field names (it holds: {names}); {advice}"


def rest_of(answer: Mapping[str, object], bearer_field: str | None) -> dict[str, object]:
    """What else the answer has, for a token's `extra`: also the access token, or None, where another field is sent."""
    access = field_of(answer, ACCESS_TOKEN)
    plain = answer.get("token") is not access  # a field of this name is the access token only where no other is
    rest = {str(name): value for name, value in answer.items() if name not in KNOWN or (name == "token" and plain)}
    if bearer_field is None:
        return rest
    sent = set(_spellings(answer, bearer_field))
    rest = {name: value for name, value in rest.items() if name not in sent}
    return {**rest, ACCESS_TOKEN: access if isinstance(access, str) and access else None}


def end_of_bearer(
    answer: Mapping[str, object], bearer: str, bearer_field: str | None, *, at: float, kept: bool, renewable: bool
) -> End:
    """When what is sent ends. The other arguments are those of `end_of`.

    That is as the answer states it for this field, else as its own claims do, else as for the access token beside it.
    """
    claims = claims_of(bearer)
    if bearer_field is None:
        return end_of(answer, at=at, claims=claims, kept=kept, renewable=renewable)
    own = end_of(answer, at=at, subject=bearer_field, claims=claims, kept=kept, renewable=renewable)
    if own.expires_at is not None or own.odd:
        return own
    return end_of(answer, at=at, kept=kept, renewable=renewable)
