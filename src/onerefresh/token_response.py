"""A token endpoint's answer, as a token (RFC 6749 section 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from onerefresh.answers import (
    KNOWN,
    expiry_of,
    field_of,
    names_access_token,
    not_bearer,
    scope_of,
    times_of_old,
    type_of,
    unsendable,
)
from onerefresh.errors import RefreshProtocolError
from onerefresh.redaction import NOTHING_KNOWN, Redactor
from onerefresh.token import Secret, Token, secrets_in

__all__ = ["names_in", "odd_type", "parse_answer", "refresh_token_beside", "useless"]


USUAL = KNOWN | {"code", "data", "error", "error_description", "id_token", "message", "status", "token_type"}
"""Names of fields that are shown whatever the secrets are, since everybody knows them."""
MOST_NAMES, LONGEST_NAME = 20, 40
"""How many names of an answer's fields are shown, and how many characters of each."""


def parse_answer(answer: object, *, at: float, kept: bool = False, hidden: Redactor = NOTHING_KNOWN) -> Token:
    """The token in a refresher's answer. `at`: when it was asked for, in seconds since the epoch.

    `kept`: it may have been asked for long before `at`, so a point in time counts before a duration. `hidden`: knows
    the secrets of the request, which no error shows.

    A mapping holds ``access_token`` and may hold ``refresh_token``, ``expires_in`` (seconds: int, float or text; 0 or
    unreadable means not known), ``expires_at`` (seconds or milliseconds since the epoch) and ``scope`` (text or list).
    ``accessToken``, ``access`` and so on are understood, too, and what else it holds is kept as ``extra``. A JWT (RFC
    7519) that comes without any expiry may state its ``exp``, which is not verified.

    Raises `RefreshProtocolError` where there is no usable access token: none at all, one that no header can carry, or
    one that is no bearer token.
    """
    message = useless(answer)
    if message is not None:
        del answer  # it holds tokens, and would show in a traceback with locals
        raise RefreshProtocolError(message)
    if isinstance(answer, Token):
        return answer
    if not isinstance(answer, Mapping):
        kind = type(answer).__name__
        del answer  # it may hold tokens, and would show in a traceback with locals
        raise RefreshProtocolError(f"a refresher must return a Token or a mapping with 'access_token', not {kind}")
    access = field_of(answer, "access_token")
    if not isinstance(access, str) or not access.strip():
        names = names_in(answer, hidden)
        del answer, access  # what this frame holds would show in a traceback with locals
        raise RefreshProtocolError(
            f"no usable 'access_token' in the answer (it holds: {names}); "
            "return Token(access_token=…, refresh_token=…) if the API uses other names"
        )
    refresh = field_of(answer, "refresh_token")
    issued_at, expires_at = times_of_old(answer, access, at) if kept else (at, expiry_of(answer, access, at))
    return Token(
        Secret(access),
        Secret(refresh) if isinstance(refresh, str) else None,
        expires_at=expires_at,
        issued_at=issued_at,
        scope=scope_of(answer),
        extra={str(name): value for name, value in answer.items() if name not in KNOWN},
    )


def useless(answer: object) -> str | None:
    """Why no request can or may carry the answer's access token; None where one may, or there is none."""
    fields: object = answer.extra if isinstance(answer, Token) else answer
    if isinstance(fields, Mapping) and (message := not_bearer(fields)) is not None:
        return message
    access: object = answer.reveal() if isinstance(answer, Token) else None
    if isinstance(answer, Mapping):
        access = field_of(answer, "access_token")
        if not isinstance(access, str) or not access.strip():
            return None
    message = unsendable(access) if isinstance(access, str) else None
    return None if message is None else f"the answer has {message}"


def refresh_token_beside(answer: object) -> Secret | None:
    """The refresh token of an answer whose access token is of no use.

    Where the server rotates, no other one works. None where there is none, and where the answer has no field for an
    access token, since it may be no token answer.
    """
    if isinstance(answer, Token):
        return answer.refresh_token
    if not isinstance(answer, Mapping) or not names_access_token(answer):
        return None
    refresh = field_of(answer, "refresh_token")
    return Secret(refresh) if isinstance(refresh, str) and refresh else None


def names_in(answer: Mapping[str, object], hidden: Redactor = NOTHING_KNOWN) -> str:
    """The names of an answer's fields, for an error: a few of them, and none that shows a secret."""
    hidden = hidden.knowing(secrets_in(answer))
    names = islice(map(str, answer), MOST_NAMES)
    shown = [name if name in USUAL else hidden.quote(name, LONGEST_NAME) for name in names]
    more = ["…"] if len(answer) > MOST_NAMES or not all(shown) else []
    return ", ".join([*sorted(filter(None, shown)), *more]) or "nothing"


def odd_type(token: Token, hidden: Redactor = NOTHING_KNOWN) -> str | None:
    """The type that the server states for a token that is sent as a bearer token although it is another; else None."""
    name = type_of(token.extra)
    if name.casefold() in ("", "bearer"):
        return None
    secrets = (token.reveal(), token.refresh_token.reveal() if token.refresh_token else "")
    is_word = name.isascii() and name.replace("_", "").replace("-", "").isalnum() and len(name) <= 20
    shows = len(name) > 5 and any(name in secret for secret in secrets)  # a shorter one may stand there by chance
    return repr(name) if is_word and not shows and hidden.quote(name) else "an unknown one"
