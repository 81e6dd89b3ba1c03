"""Token requests and token answers as pure data (RFC 6749 sections 4.4, 5 and 6). Nothing here sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias
from urllib.parse import parse_qsl, quote_plus

from onerefresh.answers import claims_of, field_of, not_bearer, object_in, unsendable
from onerefresh.bearer_field import bearer_in
from onerefresh.bodies import header
from onerefresh.errors import RefreshProtocolError
from onerefresh.expiry import skew_by_date, skew_by_issue, span_of, worth_it
from onerefresh.judge_answer import judge_answer, with_rest
from onerefresh.oauth2.client_auth import Identification
from onerefresh.oauth2.paths import Path, values_at
from onerefresh.redaction import NOTHING_KNOWN, Redactor
from onerefresh.secret import Secret
from onerefresh.token import Token
from onerefresh.token_response import names_in, parse_answer
from onerefresh.verdict import FailureKind, Verdict

if TYPE_CHECKING:
    from onerefresh.oauth2.rules import Rules

__all__ = [
    "FORM",
    "USUAL_HEADERS",
    "Fields",
    "Grant",
    "TokenRequest",
    "TokenResponse",
    "build_request",
    "build_revocation",
    "form",
    "read_answer",
    "token_or_verdict",
]

Grant: TypeAlias = Literal["refresh_token", "client_credentials"]

USUAL_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "User-Agent": "onerefresh",
    }
)
"""The headers of every request, beside those that say what it holds."""
FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 100
"""How many fields of a form are read."""


class _Guarded:
    """Holds secrets, and is therefore neither shown nor pickled."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} holds secrets and cannot be pickled")


@dataclass(frozen=True, slots=True)
class TokenRequest(_Guarded):
    """One request to the token endpoint. Its ``repr`` shows no headers, body or query, since they hold secrets.

    * `headers`: all of them, except ``Host`` and ``Content-Length``.
    * `timeout`: seconds for the whole request.
    * `hidden`: knows the request's secrets; no error quotes what it rejects.
    * `method`: ``POST``, unless a `JsonEndpoint` has another one.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    timeout: float
    hidden: Redactor = field(default=NOTHING_KNOWN, repr=False, compare=False)
    method: str = "POST"

    @property
    def target(self) -> str:
        """Path and query of the URL, as in the request line."""
        _, _, rest = self.url.partition("://")
        place = rest[len(rest.split("/", 1)[0].split("?", 1)[0]) :]
        return place if place.startswith("/") else f"/{place}"

    @property
    def framing(self) -> Mapping[str, str]:
        """The header with the body's length; none where there is no body and the method needs none (RFC 9110 8.6)."""
        return {"Content-Length": str(len(self.body))} if self.body or self.method not in ("GET", "DELETE") else {}


@dataclass(frozen=True, slots=True)
class TokenResponse(_Guarded):
    """What the token endpoint answered: the status, the headers, and the body with its content encoding undone.

    * `cookies`: the value of each ``Set-Cookie`` header. Where a `send` function leaves them out, they are looked for
      in `headers`.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    cookies: Sequence[str] = field(default=(), repr=False)


def build_request(
    url: str,
    grant: Grant,
    identification: Identification,
    *,
    refresh_token: Secret | None = None,
    scope: str | None = None,
    extra: Iterable[tuple[str, str]] = (),
    renamed: Mapping[str, str] = MappingProxyType({}),
    timeout: float = 10.0,
    hidden: Redactor = NOTHING_KNOWN,
) -> TokenRequest:
    """The token request. `refresh_token` belongs to the grant of that name (RFC 6749 section 6).

    `renamed`: what this server calls fields of the standard.
    """
    fields: list[tuple[str, str | Secret]] = [("grant_type", grant)]
    if refresh_token is not None:
        fields.append(("refresh_token", refresh_token))
    if scope is not None:
        fields.append(("scope", scope))
    own, client = (
        [(renamed.get(name, name), value) for name, value in some] for some in (fields, identification.fields)
    )
    return _post(url, [*own, *extra, *client], identification, timeout, hidden)


def build_revocation(
    url: str,
    identification: Identification,
    token: Secret,
    hint: str,
    *,
    renamed: Mapping[str, str] = MappingProxyType({}),
    timeout: float = 10.0,
    hidden: Redactor = NOTHING_KNOWN,
) -> TokenRequest:
    """The request to revoke `token`, which is of the kind `hint` (RFC 7009 section 2.1). `renamed`: as above."""
    client = [(renamed.get(name, name), value) for name, value in identification.fields]
    fields: list[tuple[str, str | Secret]] = [("token", token), ("token_type_hint", hint), *client]
    return _post(url, fields, identification, timeout, hidden)


def _post(
    url: str,
    fields: Iterable[tuple[str, str | Secret]],
    identification: Identification,
    timeout: float,
    hidden: Redactor,
) -> TokenRequest:
    headers = {**USUAL_HEADERS, "Content-Type": FORM}
    if identification.authorization is not None:
        headers["Authorization"] = identification.authorization.reveal()
    return TokenRequest(url, headers, form(fields), timeout, hidden)


def form(fields: Iterable[tuple[str, str | Secret]]) -> bytes:
    """Fields as the body of a form."""
    return "&".join(f"{quote_plus(name)}={_quoted(value)}" for name, value in fields).encode("ascii")


def _quoted(value: str | Secret) -> str:
    # The server may refuse a refresh token that is no Unicode text. An encoding error here would quote it in full.
    return quote_plus(value.reveal() if isinstance(value, Secret) else value, errors="surrogatepass")


def read_answer(
    response: TokenResponse,
    *,
    at: float,
    came_at: float | None = None,
    scope: str | None,
    hidden: Redactor,
    bearer_field: str | None = None,
    place: Path = (),
    rules: Rules | None = None,
) -> Token | Verdict:
    """The token in an answer, or the verdict on an answer without one.

    * `at`, `came_at`: when it was asked for, and when it came, in seconds since the epoch.
    * `scope`: the one that was asked for, which an answer that names none has granted (RFC 6749 section 5.1).
    * `hidden`: knows the request's secrets, which no verdict quotes.
    * `bearer_field`: the field that is sent in place of the access token.
    * `place`: where in the answer its fields are.
    * `rules`: the user's, for answers without a token.
    """
    answer = _fields(response)
    inner = answer if not place else next(iter(values_at(answer, place)), None)
    fields = Fields(inner) if isinstance(inner, Mapping) else None
    return token_or_verdict(
        response,
        fields,
        answer,
        at=at,
        came_at=came_at,
        scope=scope,
        hidden=hidden,
        rules=rules,
        bearer_field=bearer_field,
    )


def token_or_verdict(
    response: TokenResponse,
    fields: Fields | None,
    answer: object,
    *,
    at: float,
    came_at: float | None = None,
    scope: str | None,
    hidden: Redactor,
    rules: Rules | None,
    bearer_field: str | None = None,
    setting: str = "answer",
) -> Token | Verdict:
    """As `read_answer`. `fields`: those of the token, under usual names. `answer`: the parsed body, or None.

    `setting`: of the endpoint, which says where the token is in an answer of another shape.
    """
    is_success = 200 <= response.status < 300
    if is_success and fields is not None:
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
    ruled, said = (None, "") if rules is None else rules.verdict_on(response, answer)
    verdict = judge_answer(
        response.status,
        response.body if not isinstance(answer, Mapping) else answer,
        response.headers,
        hidden=hidden,
        ruled=ruled,
    )
    access = field_of(fields, "access_token") if fields is not None and bearer_field is None else None
    message = unsendable(access) if isinstance(access, str) else None
    if verdict.kind is FailureKind.PROTOCOL and message is not None:
        verdict = replace(verdict, detail=f"the token endpoint answered {response.status} with {message}")
    elif verdict.kind is FailureKind.PROTOCOL and isinstance(answer, Mapping):
        advice = f"if the token is in it, name its place with {setting}="
        verdict = replace(verdict, detail=f"{verdict.detail} (it holds: {names_in(answer, hidden)}); {advice}")
    verdict = replace(verdict, detail=verdict.detail + said) if said else verdict
    return with_rest(verdict, fields if is_success else None)


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


class Fields(dict[str, object]):
    """An answer's fields. Its ``repr`` shows only their number."""

    def __repr__(self) -> str:
        return f"<{len(self)} fields>"


def _fields(response: TokenResponse) -> Fields | None:
    """The answer's fields: JSON, or a form as a few servers still send, under any content type; None for neither."""
    answer = object_in(response.body)
    if answer is not None:
        return Fields(answer)
    text = response.body.decode("utf-8", "replace").strip()
    fields = Fields(parse_qsl("&".join(text.split("&", MOST_FIELDS)[:MOST_FIELDS])))
    is_form = any(field_of(fields, name) is not None for name in ("access_token", "refresh_token"))
    return fields if is_form or (fields and _is_labelled_form(response)) else None


def _is_labelled_form(response: TokenResponse) -> bool:
    kind = next((value for name, value in response.headers.items() if name.lower() == "content-type"), "")
    return kind.partition(";")[0].strip().lower() == FORM
