"""Token requests and token answers as pure data (RFC 6749 sections 4.4, 5 and 6). Nothing here sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NoReturn, TypeAlias
from urllib.parse import parse_qsl, quote_plus

from onerefresh.answers import claims_of, field_of, not_bearer, object_in, unsendable
from onerefresh.bearer_field import bearer_in
from onerefresh.bodies import header
from onerefresh.errors import ConfigurationError, RefreshProtocolError
from onerefresh.expiry import skew_by_date, skew_by_issue, span_of, worth_it
from onerefresh.judge_answer import judge_answer, with_rest
from onerefresh.oauth2.client_auth import Identification
from onerefresh.redaction import NOTHING_KNOWN, Redactor
from onerefresh.token import Secret, Token
from onerefresh.token_response import parse_answer
from onerefresh.verdict import FailureKind, Verdict

__all__ = [
    "Grant",
    "TokenRequest",
    "TokenResponse",
    "build_request",
    "build_revocation",
    "checked_extra",
    "checked_scope",
    "read_answer",
]

Grant: TypeAlias = Literal["refresh_token", "client_credentials"]

_REPEATABLE = frozenset({"resource", "audience"})  # RFC 8707 section 2, RFC 8693 section 2.1
_OWN = frozenset(
    ("grant_type", "refresh_token", "client_id", "client_secret", "scope", "client_assertion", "client_assertion_type")
)
_FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 100
"""How many fields of a form are read."""


class _Guarded:
    """Holds secrets, and is therefore neither shown nor pickled."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} holds secrets and cannot be pickled")


@dataclass(frozen=True, slots=True)
class TokenRequest(_Guarded):
    """One POST to the token endpoint. Its ``repr`` shows neither headers nor body, since both hold secrets.

    * `headers`: all of them, except ``Host`` and ``Content-Length``.
    * `timeout`: seconds for the whole request.
    * `hidden`: knows the request's secrets; no error quotes what it rejects.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    timeout: float
    hidden: Redactor = field(default=NOTHING_KNOWN, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class TokenResponse(_Guarded):
    """What the token endpoint answered: the status, the headers, and the body with its content encoding undone."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def build_request(
    url: str,
    grant: Grant,
    identification: Identification,
    *,
    refresh_token: Secret | None = None,
    scope: str | None = None,
    extra: Iterable[tuple[str, str]] = (),
    timeout: float = 10.0,
    hidden: Redactor = NOTHING_KNOWN,
) -> TokenRequest:
    """The token request. `refresh_token` belongs to the grant of that name (RFC 6749 section 6)."""
    fields: list[tuple[str, str | Secret]] = [("grant_type", grant)]
    if refresh_token is not None:
        fields.append(("refresh_token", refresh_token))
    if scope is not None:
        fields.append(("scope", scope))
    fields += [*extra, *identification.fields]
    return _post(url, fields, identification, timeout, hidden)


def build_revocation(
    url: str,
    identification: Identification,
    token: Secret,
    hint: str,
    *,
    timeout: float = 10.0,
    hidden: Redactor = NOTHING_KNOWN,
) -> TokenRequest:
    """The request to revoke `token`, which is of the kind `hint` (RFC 7009 section 2.1)."""
    fields: list[tuple[str, str | Secret]] = [("token", token), ("token_type_hint", hint), *identification.fields]
    return _post(url, fields, identification, timeout, hidden)


def _post(
    url: str,
    fields: Iterable[tuple[str, str | Secret]],
    identification: Identification,
    timeout: float,
    hidden: Redactor,
) -> TokenRequest:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "Content-Type": _FORM,
        "User-Agent": "onerefresh",
    }
    if identification.authorization is not None:
        headers["Authorization"] = identification.authorization.reveal()
    return TokenRequest(url, headers, _form(fields), timeout, hidden)


def _form(fields: Iterable[tuple[str, str | Secret]]) -> bytes:
    return "&".join(f"{quote_plus(name)}={_quoted(value)}" for name, value in fields).encode("ascii")


def _quoted(value: str | Secret) -> str:
    # The server may refuse a refresh token that is no Unicode text. An encoding error here would quote it in full.
    return quote_plus(value.reveal() if isinstance(value, Secret) else value, errors="surrogatepass")


def checked_scope(scope: object) -> str | None:
    """The scope. Raises `ConfigurationError` for one that RFC 6749 section 3.3 does not allow."""
    if scope is None:
        return None
    if not isinstance(scope, str):
        raise ConfigurationError(f"scope must be a string with spaces between the scopes, not {type(scope).__name__}")
    allowed = scope.isascii() and scope.isprintable() and not set(scope) & set('"\\')
    if not allowed or not scope or "  " in scope or scope != scope.strip():
        raise ConfigurationError(
            f"scope {scope!r} is not usable: write scopes with one space between them, or leave it out"
        )
    return scope


def checked_extra(extra: object, query_names: Iterable[str] = ()) -> tuple[tuple[str, str], ...]:
    """Further fields of the body, as pairs. A list of texts is allowed where a standard repeats the field.

    Raises `ConfigurationError` for a field that is set elsewhere, or twice (RFC 6749 section 3.2).
    """
    if not isinstance(extra, Mapping):
        raise ConfigurationError(f"extra must be a mapping of names to strings, not {type(extra).__name__}")
    for name in sorted(_OWN & {*extra, *query_names}):
        where = "extra" if name in extra else "the token endpoint URL"
        raise ConfigurationError(f"{name!r} does not belong in {where}: {_place_of(name)}")
    pairs: list[tuple[str, str]] = []
    for name, value in extra.items():
        if not isinstance(name, str) or not name or not name.isprintable():
            raise ConfigurationError(f"extra has a key that is not a field name: {name!r}")
        if name in set(query_names):
            raise ConfigurationError(f"{name!r} is both in extra and in the token endpoint URL: remove one of them")
        values = list(value) if isinstance(value, (list, tuple)) and name in _REPEATABLE else [value]
        if not all(isinstance(text, str) and _can_be_sent(text) for text in values):
            lists = " or a list of strings" if name in _REPEATABLE else ""
            raise ConfigurationError(f"extra[{name!r}] must be a string{lists}")
        pairs += [(name, text) for text in values]
    return tuple(pairs)


def _place_of(name: str) -> str:
    if name.startswith("client_assertion"):
        return "an assertion is valid for one request only; pass a send= that adds a new one to each request"
    return (
        "the refresh token comes from the credential" if name == "refresh_token" else "use the argument of that purpose"
    )


def _can_be_sent(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def read_answer(
    response: TokenResponse,
    *,
    at: float,
    came_at: float | None = None,
    scope: str | None,
    hidden: Redactor,
    bearer_field: str | None = None,
) -> Token | Verdict:
    """The token in an answer, or the verdict on an answer without one.

    * `at`, `came_at`: when it was asked for, and when it came, in seconds since the epoch.
    * `scope`: the one that was asked for, which an answer that names none has granted (RFC 6749 section 5.1).
    * `hidden`: knows the request's secrets, which no verdict quotes.
    * `bearer_field`: the field that is sent in place of the access token.
    """
    fields = _fields(response)
    if 200 <= response.status < 300 and fields is not None:
        if (message := not_bearer(fields)) is not None:
            return with_rest(Verdict(FailureKind.PROTOCOL, message), fields)
        skew = _skew_of(response, fields, at, at if came_at is None else came_at, bearer_field)
        try:
            token = parse_answer(fields, at=at - worth_it(skew or 0.0), hidden=hidden, bearer_field=bearer_field)
        except RefreshProtocolError as error:
            if bearer_field is not None and bearer_in(fields, None) is not None:
                return with_rest(Verdict(FailureKind.PROTOCOL, error.message), fields)
            # Otherwise judged below, from the answer itself.
        else:
            token = replace(token, clock_skew=skew)
            return token if token.scope is not None or scope is None else replace(token, scope=scope)
    verdict = judge_answer(
        response.status,
        response.body if fields is None else fields,
        response.headers,
        hidden=hidden,
    )
    access = field_of(fields, "access_token") if fields is not None and bearer_field is None else None
    message = unsendable(access) if isinstance(access, str) else None
    if verdict.kind is FailureKind.PROTOCOL and message is not None:
        verdict = replace(verdict, detail=f"the token endpoint answered {response.status} with {message}")
    return with_rest(verdict, fields)


def _skew_of(
    response: TokenResponse, fields: Mapping[str, object], at: float, came_at: float, bearer_field: str | None
) -> float | None:
    """How far this machine's clock is ahead of the server's, as the answer's date shows it; None: not known.

    A JWT that was issued when it was asked for, by this machine's clock, shows that the date is the one that is off.
    """
    skew = skew_by_date(header(response.headers, "date"), header(response.headers, "age"), at, came_at)
    bearer = bearer_in(fields, bearer_field)
    span = span_of(claims_of(bearer), at) if bearer is not None else None
    is_right = span is not None and skew_by_issue(*span, at, came_at, is_new=False) == 0.0
    return 0.0 if is_right and skew is not None else skew


class _Fields(dict[str, object]):
    """An answer's fields. Its ``repr`` shows only their number."""

    def __repr__(self) -> str:
        return f"<{len(self)} fields>"


def _fields(response: TokenResponse) -> Mapping[str, object] | None:
    """The answer's fields: JSON, or a form as a few servers still send, under any content type; None for neither."""
    answer = object_in(response.body)
    if answer is not None:
        return _Fields(answer)
    text = response.body.decode("utf-8", "replace").strip()
    fields = _Fields(parse_qsl("&".join(text.split("&", MOST_FIELDS)[:MOST_FIELDS])))
    is_form = any(field_of(fields, name) is not None for name in ("access_token", "refresh_token"))
    return fields if is_form or (fields and _is_labelled_form(response)) else None


def _is_labelled_form(response: TokenResponse) -> bool:
    kind = next((value for name, value in response.headers.items() if name.lower() == "content-type"), "")
    return kind.partition(";")[0].strip().lower() == _FORM
