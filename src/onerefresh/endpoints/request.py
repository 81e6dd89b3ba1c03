"""What a `JsonEndpoint` sends: method, URL, headers, cookies, query and body, with gaps for the tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TypeAlias
from urllib.parse import quote

from onerefresh.answers import unsendable
from onerefresh.endpoints.cookies import NAME, unsendable_cookie
from onerefresh.endpoints.template import Part, Template, gaps_in
from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.codec import FORM, USUAL_HEADERS, TokenRequest, form
from onerefresh.oauth2.secret_value import Given, SecretValue
from onerefresh.redaction import Redactor
from onerefresh.secret import Secret
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

__all__ = ["DEFAULT_BODY", "METHODS", "PARTS", "Fillings", "RequestPlan", "Values"]

Values: TypeAlias = Mapping[str, Given]
"""Headers, cookies or a query: names, and texts with gaps, `Secret`s, or functions that return one."""

PARTS = ("method", "body", "format", "headers", "cookies", "query")
"""What a request is described by, beside its URL. A body of None is none; `...` is the usual one, unless the token
stands elsewhere.
"""
METHODS = ("POST", "GET", "PUT", "PATCH", "DELETE")
DEFAULT_BODY: Part = {"refresh_token": "{refresh_token}"}
TOKENS = frozenset({"access_token", "refresh_token"})
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "cookie", "accept-encoding"})
_CLIENT_NAMES = frozenset({"clientid", "clientkey", "appid", "appkey", "applicationid"})


class Fillings(dict[str, str]):
    """What goes into the gaps. Its ``repr`` shows the names only."""

    def __repr__(self) -> str:
        return f"<{', '.join(sorted(self))}>"


class RequestPlan:
    """How each request is made. Raises `ConfigurationError` for what no request can be.

    * `how`: `PARTS` of it, as they were given.
    * `kept`: the names of gaps beside the tokens.
    * `has_token`: False for a request that is sent without any token.
    """

    def __init__(
        self,
        address: Address,
        how: Mapping[str, object],
        *,
        kept: Iterable[str],
        has_token: bool = True,
    ) -> None:
        names = TOKENS.union(kept)
        method, body, body_format, headers, cookies, query = (how[name] for name in PARTS)
        self._address = address
        if method not in METHODS:
            raise ConfigurationError(f"unknown method {method!r}: use one of {', '.join(METHODS)}")
        self.method = str(method)
        if body_format not in ("json", "form"):
            raise ConfigurationError(f"unknown format {body_format!r}: use 'json' or 'form'")
        self._format = str(body_format)
        self._target = Template(address.target, "the URL", names)
        self._headers = Template(_headers(headers), "headers", names)
        self._cookies = Template(_named(cookies, "cookies"), "cookies", names)
        self._query = Template(_named(query, "query"), "query", names)
        parts = [self._target, self._headers, self._cookies, self._query]
        if body is ...:
            is_elsewhere = any(TOKENS & part.gaps for part in parts)
            body = None if self.method == "GET" or is_elsewhere or not has_token else DEFAULT_BODY
        if body is not None and self.method == "GET":
            raise ConfigurationError("a GET request has no body: use query=, headers= or cookies=, or another method")
        if self._format == "form" and body is not None:
            body = _form_fields(body)
        self._has_body = body is not None
        self._body = Template(body, "body", names)
        self._parts = [*parts, self._body]
        self._clients = [
            f"{name} {value}"
            for given in (body, query, headers)
            if isinstance(given, Mapping)
            for name, value in given.items()
            if _bare(name) in _CLIENT_NAMES and isinstance(value, str) and not gaps_in(value)
        ]
        if has_token and not TOKENS & self.gaps:
            raise ConfigurationError(
                "the request holds no token: write {refresh_token}, or {access_token} where the API renews from that, "
                "into body=, headers=, cookies= or query=; or say grant='client_credentials' where the API gives a "
                "token for a secret"
            )
        if not has_token and self.gaps:
            raise ConfigurationError(
                f"with grant 'client_credentials' there is no token to send: leave out {{{min(self.gaps)}}}"
            )

    @property
    def gaps(self) -> set[str]:
        """The gaps that are used."""
        return {gap for part in self._parts for gap in part.gaps}

    @property
    def clients(self) -> list[str]:
        """Which client or application asks, as far as a field says so."""
        return self._clients

    @property
    def secrets(self) -> list[SecretValue]:
        """The secrets that were given as such, or by functions."""
        return [secret for part in self._parts for secret in part.secrets]

    @property
    def secrets_to_hide(self) -> list[Secret]:
        """What no text may show, beside the tokens."""
        return [secret for part in self._parts for secret in part.secrets_to_hide]

    def cookie_of(self, token: str) -> str | None:
        """The cookie that consists of this token; None where it is sent in another way."""
        cookies = self._cookies.filled({}, Redactor()) if not self._cookies.secrets else {}
        assert isinstance(cookies, dict)
        return next((name for name, value in cookies.items() if value == f"{{{token}}}"), None)

    def settings(self, hidden: Redactor) -> tuple[object, ...]:
        """What tells this plan from others."""
        return (self.method, self._format, *(part.settings(hidden) for part in self._parts))

    def request(self, fillings: Fillings, *, timeout: float, hidden: Redactor) -> TokenRequest:
        """The request with its gaps filled. Raises `RefreshFailure` where a value cannot stand where it should."""
        for secret in self.secrets:
            secret.current(hidden)  # may raise, and does so before anything here holds a token in clear
        made = self._made(fillings, timeout, hidden)
        if isinstance(made, TokenRequest):
            return made
        raise RefreshFailure(Verdict(FailureKind.CONFIGURATION, f"{made}; nothing was sent"))

    def _made(self, fillings: Fillings, timeout: float, hidden: Redactor) -> TokenRequest | str:
        """The request, or why there can be none. Raises nothing: a traceback with locals would show tokens."""
        target = str(self._target.filled(fillings, hidden, _in_url))
        query = self._query.filled(fillings, hidden)
        assert isinstance(query, dict)
        if query:
            target += ("&" if "?" in target else "?") + form(query.items()).decode("ascii")
        own = self._header_values(fillings, hidden)
        if isinstance(own, str):
            return own
        headers = {**USUAL_HEADERS, **own}
        body = b""
        if self._has_body:
            content = self._body.filled(fillings, hidden)
            if self._format == "form":
                assert isinstance(content, dict)
                body, kind = form(content.items()), FORM
            else:
                body, kind = json.dumps(content).encode("ascii"), "application/json"
            if not any(name.lower() == "content-type" for name in headers):
                headers["Content-Type"] = kind
        url = f"{self._address.scheme}://{self._address.authority}{target}"
        return TokenRequest(url, headers, body, timeout, hidden, self.method)

    def _header_values(self, fillings: Fillings, hidden: Redactor) -> dict[str, str] | str:
        headers = self._headers.filled(fillings, hidden)
        cookies = self._cookies.filled(fillings, hidden)
        assert isinstance(headers, dict)
        assert isinstance(cookies, dict)
        for name, value in headers.items():
            if value and unsendable(value) is not None:
                return f"the header {name} cannot carry its value: it has characters that no header may have"
        for name, value in cookies.items():
            if unsendable_cookie(value):
                return (
                    f"the cookie {name} cannot carry its value: give it as the server sent it, with quotes and escapes"
                )
        if cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        return headers


def _in_url(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def _named(given: object, what: str) -> dict[str, object]:
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{what} must be a mapping of names to texts, not {type(given).__name__}")
    for name, value in given.items():
        if not isinstance(name, str) or not name.isprintable() or not name:
            raise ConfigurationError(f"{what} has a key that is not a name: {name!r}")
        if what != "query" and not NAME.fullmatch(name):
            raise ConfigurationError(f"{what} has a name with characters that are not allowed there: {name!r}")
        if not isinstance(value, (str, Secret)) and not callable(value):
            raise ConfigurationError(
                f"{what}[{name!r}] must be a text, a Secret or a function that returns one, not {type(value).__name__}"
            )
    return dict(given)


def _headers(given: object) -> dict[str, object]:
    found = _named(given, "headers")
    for name, value in found.items():
        if name.lower() in _OURS:
            instead = ": use cookies=" if name.lower() == "cookie" else ", which this library sets itself"
            raise ConfigurationError(f"headers has {name!r}{instead}")
        if isinstance(value, str) and value and unsendable(value) is not None:
            raise ConfigurationError(f"headers[{name!r}] has characters that no header may have")
    if len({name.lower() for name in found}) < len(found):
        raise ConfigurationError("headers has the same name twice, in different letters")
    usual = {name.lower(): name for name in USUAL_HEADERS}
    return {usual.get(name.lower(), name): value for name, value in found.items()}


def _form_fields(body: object) -> dict[str, object]:
    if not isinstance(body, Mapping):
        raise ConfigurationError(f"body must be a mapping of names to texts for a form, not {type(body).__name__}")
    return _named(body, "body") if all(NAME.fullmatch(str(name)) for name in body) else _named(body, "query")


def _bare(name: object) -> str:
    return str(name).replace("_", "").replace("-", "").lower()
