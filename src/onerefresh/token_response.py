"""A token endpoint's answer, as a token (RFC 6749 section 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

from onerefresh.answers import (
    KNOWN,
    NO_ACCESS_TOKEN,
    claims_of,
    field_of,
    names_access_token,
    not_bearer,
    scope_of,
    type_of,
    unsendable,
)
from onerefresh.bearer_field import ACCESS_TOKEN, bearer_in, end_of_bearer, no_bearer, rest_of
from onerefresh.errors import RefreshProtocolError
from onerefresh.expiry import end_of
from onerefresh.redaction import NOTHING_KNOWN, Redactor
from onerefresh.secret import Secret, secrets_in
from onerefresh.token import Token

__all__ = ["end_of_refresh_token", "names_in", "odd_expiry", "odd_type", "parse_answer", "refresh_token_beside"]
__all__ += ["useless"]


USUAL = KNOWN | {"code", "data", "error", "error_description", "id_token", "message", "status", "token_type"}
"""Names of fields that are shown whatever the secrets are, since everybody knows them."""
MOST_NAMES, LONGEST_NAME = 20, 40
"""How many names of an answer's fields are shown, and how many characters of each."""


def parse_answer(
    answer: object,
    *,
    at: float,
    kept: bool = False,
    new: bool = False,
    hidden: Redactor = NOTHING_KNOWN,
    bearer_field: str | None = None,
) -> Token:
    """The token in a refresher's answer. `at`: when it was asked for, in seconds since the epoch.

    `kept`: it is the first token of a session, and may have been asked for long before `at`. So a point in time counts
    before a duration, and a refresh token alone is enough. `new`: a person has just logged in, so that a token which
    nobody can refresh is not old, whatever clocks say. `hidden`: knows the secrets of the request, which no error
    shows. `bearer_field`: the field whose value is sent to the API in place of the access token.

    A mapping holds ``access_token`` and may hold ``refresh_token``, ``scope`` (text or list), and when the token ends,
    as `onerefresh.expiry` reads it. ``accessToken``, ``token`` and so on are understood, too, and what else it holds is
    kept as ``extra``. A JWT (RFC 7519) that comes without any expiry may state its ``exp``, which is not verified.

    Raises `RefreshProtocolError` where there is no usable access token: none at all, one that no header can carry, or
    one that is no bearer token.
    """
    message = useless(answer, kept=kept, bearer_field=bearer_field)
    if message is not None:
        del answer  # it holds tokens, and would show in a traceback with locals
        raise RefreshProtocolError(message)
    if isinstance(answer, Token):
        return answer if bearer_field is None else with_bearer(answer, bearer_field, hidden)
    if not isinstance(answer, Mapping):
        kind = type(answer).__name__
        del answer  # it may hold tokens, and would show in a traceback with locals
        raise RefreshProtocolError(f"a refresher must return a Token or a mapping with 'access_token', not {kind}")
    refresh = field_of(answer, "refresh_token")
    refresh = Secret(refresh) if isinstance(refresh, str) and refresh else None
    access = bearer_in(answer, bearer_field)
    if access is None and kept and refresh is not None and is_refresh_token_alone(answer, bearer_field):
        ends_at = end_of_refresh_token(answer, refresh, at=at, kept=kept)
        scope, extra = scope_of(answer), rest_of(answer, None)
        return Token(None, refresh, issued_at=at, refresh_expires_at=ends_at, scope=scope, extra=extra)
    if access is None:
        names = names_in(answer, hidden)
        del answer, refresh  # what this frame holds would show in a traceback with locals
        raise RefreshProtocolError(no_bearer(bearer_field, names))
    renewable = not kept or refresh is not None
    is_old = kept and (renewable or not new)
    end = end_of_bearer(answer, access, bearer_field, at=at, kept=is_old, renewable=renewable)
    return Token(
        Secret(access),
        refresh,
        expires_at=end.expires_at,
        issued_at=end.issued_at,
        refresh_expires_at=end_of_refresh_token(answer, refresh, at=at, kept=kept),
        scope=scope_of(answer),
        extra=rest_of(answer, bearer_field),
        doubt=end.odd,
    )


def end_of_refresh_token(
    answer: Mapping[str, object], refresh: Secret | None, *, at: float, kept: bool = False
) -> float | None:
    """When the answer's refresh token ends, in seconds since the epoch; None where that is not known, or never.

    A statement that is not understood tells nothing here: a refresh for it could come too often.
    """
    claims = claims_of(refresh.reveal()) if refresh is not None else {}
    end = end_of(answer, at=at, subject="refresh_token", claims=claims, kept=kept)
    return None if end.odd else end.expires_at


def useless(answer: object, *, kept: bool = False, bearer_field: str | None = None) -> str | None:
    """Why no request can or may carry the answer's access token; None where one may, or there is none."""
    fields: object = answer.extra if isinstance(answer, Token) else answer
    if isinstance(fields, Mapping) and (message := not_bearer(fields)) is not None:
        return message
    access: object = None
    if isinstance(answer, Token):
        if not answer.has_access_token:
            return None if kept else "the answer has no access token"
        access = answer.reveal()
        if bearer_field is not None and not is_sent(answer, bearer_field):
            access = bearer_in(answer.extra, bearer_field)
    elif isinstance(answer, Mapping):
        access = bearer_in(answer, bearer_field)
    message = unsendable(access) if isinstance(access, str) else None
    return None if message is None else f"the answer has {message}"


def is_refresh_token_alone(answer: Mapping[str, object], bearer_field: str | None) -> bool:
    """Whether a first answer without an access token is one with a refresh token alone, and not another answer."""
    access = field_of(answer, ACCESS_TOKEN) if bearer_field is None else None
    return access in (None, "", NO_ACCESS_TOKEN) and not answer.get("error")


def is_sent(token: Token, bearer_field: str) -> bool:
    """Whether what is sent of `token` is this field already, so that the access token stands beside it."""
    return ACCESS_TOKEN in token.extra and bearer_in(token.extra, bearer_field) is None


def with_bearer(token: Token, bearer_field: str, hidden: Redactor = NOTHING_KNOWN) -> Token:
    """The token with another field of its answer in the place of its access token, as a refresher gave it.

    Raises `RefreshProtocolError` where it has no such field.
    """
    if not token.has_access_token or is_sent(token, bearer_field):
        return token
    answer = {**token.extra, ACCESS_TOKEN: token.reveal()}
    bearer = bearer_in(answer, bearer_field)
    if bearer is None:
        names = names_in(answer, hidden)
        del answer, token  # they hold tokens, and would show in a traceback with locals
        raise RefreshProtocolError(no_bearer(bearer_field, names))
    renewable = token.refresh_token is not None
    end = end_of_bearer(token.extra, bearer, bearer_field, at=token.issued_at, kept=False, renewable=renewable)
    if end.expires_at is None and not end.odd:
        end = end._replace(expires_at=token.expires_at, odd=token.doubt)
    return replace(
        token,
        access_token=Secret(bearer),
        expires_at=end.expires_at,
        extra=rest_of(answer, bearer_field),
        doubt=end.odd,
    )


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


def odd_expiry(token: Token) -> str | None:
    """What is stated about the token's end and was not understood, and what follows; None where it was understood."""
    if not token.doubt:
        return None
    if token.expires_at is None:
        return f"{token.doubt}; nobody can refresh the token, so it is used until the API refuses it"
    return f"{token.doubt}; the token is used for {max(token.expires_at - token.issued_at, 0.0):.0f} s"


def odd_type(token: Token, hidden: Redactor = NOTHING_KNOWN) -> str | None:
    """The type that the server states for a token that is sent as a bearer token although it is another; else None."""
    name = type_of(token.extra)
    if name.casefold() in ("", "bearer"):
        return None
    secrets = (token.reveal(), token.refresh_token.reveal() if token.refresh_token else "")
    is_word = name.isascii() and name.replace("_", "").replace("-", "").isalnum() and len(name) <= 20
    shows = len(name) > 5 and any(name in secret for secret in secrets)  # a shorter one may stand there by chance
    return repr(name) if is_word and not shows and hidden.quote(name) else "an unknown one"
