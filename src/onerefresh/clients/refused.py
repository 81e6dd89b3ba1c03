"""Rules for `refused=`, the argument of every client that says which answers of an API refuse the token.

    BearerAuth(credential, API, refused=json_code(403, "TOKEN_EXPIRED"))
    BearerAuth(credential, API, refused="graphql")
    BearerAuth(credential, API, refused=RefusedWhen(own_function, statuses={200, 403}))

`docs/clients.md` is the guide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

from onerefresh.clients.rule import JSON, ApiAnswer, RefusedWhen, Rules, about_any_status
from onerefresh.errors import ConfigurationError

__all__ = ["JSON", "ApiAnswer", "RefusedWhen", "graphql", "json_code", "login_page", "slack"]

RefusedBy: TypeAlias = str | RefusedWhen | Callable[[ApiAnswer], bool | None] | Collection[object] | None
"""What `refused=` accepts: the name of a ready rule, a rule, a function of the status and the headers, or several."""


# --- Ready rules ---


def json_code(
    statuses: int | Collection[int], codes: str | int | Collection[str | int], *, at: str = "code"
) -> RefusedWhen:
    """Answers with these statuses refuse the token where the field `at` of their JSON is one of `codes`; else not.

    * `at`: the path of the field, such as ``"error.code"``. A ``*`` in it stands for each item of a list or an object:
      ``"errors.*.code"``, ``"*.errorCode"``.
    * `codes`: a text or a number, or several. ``190`` and ``"190"`` are the same.

    An answer that is no JSON, or lacks that field, is judged as usual. Raises `ConfigurationError` for arguments that
    make no sense.
    """
    wanted = _checked_codes(codes, "codes")
    path = _checked_path(at)

    def judge(answer: ApiAnswer) -> bool | None:
        found = _codes_at(answer.json(), path)
        return bool(wanted.intersection(found)) if found else None

    return RefusedWhen(judge, statuses=statuses, name=f"json_code at {at}")


def slack(*codes: str) -> RefusedWhen:
    """Slack, and what answers alike: a 200 with ``{"ok": false, "error": CODE}``.

    `codes`: by default ``token_expired``, ``token_revoked`` and ``invalid_auth``.
    """
    wanted = _checked_codes(codes or ("token_expired", "token_revoked", "invalid_auth"), "codes")

    def judge(answer: ApiAnswer) -> bool | None:
        found = answer.json()
        if not isinstance(found, dict) or found.get("ok") is not False:
            return None
        return not wanted.isdisjoint(_codes_at(found, ["error"]))

    return RefusedWhen(judge, statuses=200, name="slack")


def graphql(*codes: str, at: str = "extensions.code") -> RefusedWhen:
    """GraphQL: an answer one of whose ``errors`` has one of `codes`, mostly with status 200.

    * `codes`: by default ``UNAUTHENTICATED``, ``AUTH_NOT_AUTHENTICATED`` and ``invalid-jwt``.
    * `at`: where an error has its code.

    A mutation may have done one thing and refused another. So the answer refuses the token only if the request is
    surely a query (a GET, or a document without the word ``mutation``), or if each of its fields was surely refused: no
    data came with the errors, all of them have one of `codes`, none lies within a field, and each field has one.
    """
    wanted = _checked_codes(codes or ("UNAUTHENTICATED", "AUTH_NOT_AUTHENTICATED", "invalid-jwt"), "codes")
    path = _checked_path(at)

    def judge(answer: ApiAnswer) -> bool | None:
        found = answer.json()
        results = found if isinstance(found, list) else [found]
        if not [result for result in results if wanted.intersection(_codes_at(result, ["errors", "*", *path]))]:
            return None
        documents = _documents(answer)
        if answer.method == "GET" or (documents and not [one for one in documents if "mutation" in one]):
            return True
        fields = max([_mutated_fields(one) for one in documents], default=_MANY)
        return not [result for result in results if _may_have_done(result, fields, wanted, path)]

    return RefusedWhen(judge, statuses={200, 400, 401, 403}, name="graphql")


_MANY: Final = 1_000_000
_GRAPHQL: Final = re.compile(
    r'"""(?:\\"""|(?!""").)*+"""|"(?:\\.|[^"\\\n])*+"|#[^\n]*+|\.\.\.|[A-Za-z_][A-Za-z0-9_]*+|[@:(){}\[\]]', re.DOTALL
)


def _documents(answer: ApiAnswer) -> list[str]:
    """The documents of the request; empty where one is not known. A persisted one is known by its hash alone."""
    try:
        asked = json.loads(answer.sent or b"")
    except (ValueError, RecursionError):
        return []
    several = asked if isinstance(asked, list) else [asked]
    documents = [one.get("query") if isinstance(one, dict) else None for one in several]
    found = [one for one in documents if isinstance(one, str) and one.strip()]
    return found if len(found) == len(several) else []


def _mutated_fields(document: str) -> int:
    """How many fields a mutation of this document has, without those within them; many, where that is not known."""
    depth, most, count, kind, opened, before = 0, 0, 0, "", "", ""
    for token in _GRAPHQL.finditer(document):
        sign = token[0]
        if sign[0] in '#"':
            continue
        if sign in ("{", "(", "["):
            opened = opened if depth else sign
            depth += 1
        elif sign in ("}", ")", "]"):
            depth -= 1
            if depth == 0 and sign == "}":
                kind, count = "", 0
        elif depth == 0 and not kind:
            kind = sign
        elif depth == 1 and kind == "mutation" and opened == "{" and before != "@":
            count += _MANY if sign == "..." else sign[0].isalpha() or sign[0] == "_"
            count -= sign == ":"  # what stood before it was an alias
            most = max(most, count)
        before = sign
    return most or (_MANY if "mutation" in document else 0)


def _may_have_done(result: Any, fields: int, wanted: frozenset[str], path: list[str]) -> bool:
    """Whether a mutation with this result may have done something. `fields`: how many it has, as far as is known."""
    data, errors = (result.get("data"), result.get("errors")) if isinstance(result, dict) else (result, None)
    if isinstance(data, dict):
        if [value for value in data.values() if value is not None]:
            return True
        fields = len(data)
    elif data is not None:
        return True
    errors = errors if isinstance(errors, list) else []
    places = [error.get("path") for error in errors if isinstance(error, dict)]
    if [place for place in places if isinstance(place, list) and len(place) > 1]:
        return True  # the field above was carried out
    if [error for error in errors if wanted.isdisjoint(_codes_at(error, path))]:
        return True
    was_begun = isinstance(data, dict) or [place for place in places if place]
    return bool(was_begun) and fields > len(errors)


_LOGIN: Final = re.compile(r"(?:log|sign)[-_]?(?:in|on)|users?[-_]login|service[-_]?login|sso|saml2?|auth[-_]?required")
_OAUTH_QUERY: Final = frozenset({"client_id", "request_uri", "response_type"})
_REDIRECTS: Final = (301, 302, 303, 307, 308)


def login_page(*paths: str, statuses: int | Collection[int] = _REDIRECTS) -> RefusedWhen:
    """A redirect to a page for people to log in.

    `paths`: what the path of the page begins with, in whole words, such as ``"/session/new"``. By default a page counts
    whose path has a part like ``login``, ``sign_in`` or ``sso``, or ``authorize`` with the query of OAuth, or whose
    query has a ``SAMLRequest``. Name the page where an API redirects to such a path after a success, too: the request
    would be sent again.

    `BearerAuth` of httpx sees a redirect only after a client with ``follow_redirects=True`` has followed it; then the
    refused request is sent again all the same. `BearerTransport`, and the other clients, judge before it is followed.
    """
    _checked_starts(paths)
    pages = re.compile("|".join([re.escape(path) + ("" if path.endswith("/") else r"(?![\w-])") for path in paths]))

    def judge(answer: ApiAnswer) -> bool | None:
        location = answer.headers.get("location", "")
        try:
            target = urlsplit(location)
            query = parse_qs(target.query, max_num_fields=100)
        except ValueError:
            return None
        if paths:
            return True if pages.match(target.path) else None
        if "SAMLRequest" in query:
            return True
        parts = [part.partition(".")[0].lower() for part in target.path.split("/")]
        if "authorize" in parts and not _OAUTH_QUERY.isdisjoint(query):
            return True
        return True if [part for part in parts if _LOGIN.fullmatch(part)] else None

    return RefusedWhen(judge, statuses=statuses, content_types=(), name="login_page")


READY: Final[Mapping[str, Callable[[], RefusedWhen]]] = {"graphql": graphql, "login_page": login_page, "slack": slack}
"""The ready rules that need no arguments, by name."""


# --- What they share ---


def _checked_codes(codes: object, argument: str) -> frozenset[str]:
    several = [codes] if isinstance(codes, (str, int)) else codes
    if not isinstance(several, Collection) or isinstance(several, (bytes, Mapping)) or not several:
        raise ConfigurationError(f"{argument} must be texts or numbers, such as ['TOKEN_EXPIRED']")
    for code in several:
        if isinstance(code, bool) or not isinstance(code, (str, int)) or code == "":
            raise ConfigurationError(f"{argument}: {code!r} must be a text or a whole number")
    return frozenset([str(code) for code in several])


def _checked_path(at: object) -> list[str]:
    path = at.split(".") if isinstance(at, str) else [""]
    if "" in path:
        raise ConfigurationError(f"at {at!r} must be the path of a field, such as 'error.code'")
    return path


def _checked_starts(paths: Collection[object]) -> None:
    for path in paths:
        if not isinstance(path, str) or not path.startswith("/"):
            raise ConfigurationError(f"login_page: {path!r} must be a path that begins with a slash")


def _codes_at(value: Any, path: list[str]) -> frozenset[str]:
    """The texts and numbers at this path."""
    return frozenset(
        [str(found) for found in _at(value, path) if isinstance(found, (str, int)) and not isinstance(found, bool)]
    )


def _at(value: Any, path: list[str]) -> Iterator[Any]:
    found = [value]
    for name in path:
        under: list[Any] = []
        for one in found:
            if name == "*":
                under += one.values() if isinstance(one, dict) else one if isinstance(one, list) else []
            elif isinstance(one, dict) and name in one:
                under.append(one[name])
        found = under
    return iter(found)


# --- What users write ---


def rules_of(refused: object) -> Rules | None:
    """The rules in an argument `refused=`. Raises `ConfigurationError` for what is none."""
    if refused is None:
        return None
    several = refused if isinstance(refused, (list, tuple, set, frozenset)) else [refused]
    if not several:
        raise ConfigurationError("refused is empty: leave it out, or name a rule")
    return Rules([_rule(one) for one in several])


def _rule(one: object) -> RefusedWhen:
    if isinstance(one, RefusedWhen):
        return one
    if isinstance(one, str):
        if one in READY:
            return READY[one]()
        raise ConfigurationError(f"refused: there is no rule {one!r}: the names are {', '.join(READY)}")
    if one in (graphql, login_page, slack, json_code):
        raise ConfigurationError(f"refused: call the function: {getattr(one, '__name__', one)}(…)")
    if callable(one):
        return about_any_status(one)
    raise ConfigurationError(
        f"refused must be a rule of onerefresh.clients.refused, its name, or a function, not {type(one).__name__}"
    )
