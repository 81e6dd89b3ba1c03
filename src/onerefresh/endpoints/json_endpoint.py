"""JsonEndpoint: a refresher for APIs with a refresh endpoint of their own, described rather than written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import EllipsisType, MappingProxyType
from urllib.parse import parse_qsl

from onerefresh.answers import object_in
from onerefresh.bearer_field import ACCESS_TOKEN
from onerefresh.bodies import is_cut_short, parsed
from onerefresh.endpoints.cookies import Cookies, cookies_of, named_cookies
from onerefresh.endpoints.logout import Logout
from onerefresh.endpoints.request import TOKENS, Fillings, RequestPlan, Values
from onerefresh.endpoints.shape import Shape
from onerefresh.endpoints.template import Part
from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.codec import Fields, Grant, TokenResponse, token_or_verdict
from onerefresh.oauth2.rules import Rule, Rules
from onerefresh.oauth2.sending import (
    Send,
    checked_grant,
    checked_limit,
    checked_send,
    checked_timeout,
    default_sender,
    prepared,
    sent,
    without_session,
)
from onerefresh.one_object import OneObject
from onerefresh.profile import Profile, profile_named
from onerefresh.redaction import PART, Redactor
from onerefresh.secret import Secret
from onerefresh.token import Token
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

__all__ = ["JsonEndpoint"]

_NOTHING: Mapping[str, str] = MappingProxyType({})
SHORTEST_BARE = 16
"""Characters of a bare token without quotes, at least: ``null``, ``OK`` or ``Unauthorized`` is none."""


class JsonEndpoint(OneObject):
    """The refresh endpoint of an API that does not speak OAuth 2.0, as the refresher of a credential.

    The request has gaps in braces: ``{refresh_token}``, ``{access_token}``, and one for each name in `keep`.

    * `url`: https, or http to this machine, as for `TokenEndpoint`. It may have gaps, too.
    * `grant`: ``"refresh_token"``, or ``"client_credentials"`` where the API gives a token for an ID and a secret: then
      the request has no gaps, and nobody has to log in.
    * `method`: ``POST``, ``GET``, ``PUT``, ``PATCH`` or ``DELETE``.
    * `body`: JSON, or the fields of a form, with gaps. None for none. Where it is left out, it is
      ``{"refresh_token": "{refresh_token}"}``, unless a token stands elsewhere.
    * `format`: of the body, ``"json"`` or ``"form"``.
    * `headers`, `cookies`, `query`: names, and texts with gaps. In all of these, and in `body`, a value may also be a
      `Secret`, or a function that returns one and is called before each renewal.
    * `logout`: the request that ends a session at the server: its URL, or a mapping with ``url`` and the settings above
      that differ from those of the refresh. None: the server is not told of a logout.
    * `fields`: the places of the answer's fields: a path such as ``"data.access_token"``, ``"cookie:NAME"`` or
      ``"header:NAME"``. Their names: ``access_token``, ``refresh_token``, ``expires_in`` (seconds), ``expires_in_ms``
      (milliseconds), ``expires_at``, these three with ``refresh_`` before them for the refresh token's own end,
      ``scope``, ``token_type``, ``id_token``. A field without a place is looked for beside the access token, under the
      names that servers use. A token that is sent as a cookie is looked for in the
      cookie of that name first.
    * `keep`: what else of an answer the next request needs, such as a CSRF token: names, and places as in `fields`, or
      ``"claim:NAME"`` for a claim of the refresh token, where that is a JWT.
    * `dead`, `doubtful`, `busy`: what the answer is where the session is over, where the session is over or these
      settings are wrong, and where the request was not processed (`Rule`).
    * `timeout`, `profile`, `limit`, `send`, `allow_unencrypted_http`: as for `TokenEndpoint`. A `send` function has to
      heed the request's `method`.

    One call sends one request: nothing is tried again, and no redirect is followed. Without ``{refresh_token}`` the API
    renews from the access token itself. Raises `ConfigurationError` for settings that are wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        grant: Grant = "refresh_token",
        method: str = "POST",
        body: Part | EllipsisType = ...,
        format: str = "json",
        headers: Values = _NOTHING,
        cookies: Values = _NOTHING,
        query: Values = _NOTHING,
        logout: str | Mapping[str, object] | None = None,
        fields: Mapping[str, str] = _NOTHING,
        keep: Mapping[str, str] = _NOTHING,
        dead: Rule | None = None,
        doubtful: Rule | None = None,
        busy: Rule | None = None,
        send: Send | None = None,
        timeout: float = 10.0,
        profile: str | Profile | None = None,
        limit: int | None = None,
        allow_unencrypted_http: bool = False,
    ) -> None:
        how = Fields(method=method, body=body, format=format, headers=headers, cookies=cookies, query=query)
        how["logout"] = logout
        del body, headers, cookies, query, logout  # they may hold secrets, which would show in a traceback with locals
        self._address = Address.parse(url, "the endpoint", allow_unencrypted_http=allow_unencrypted_http)
        self.grant = checked_grant(grant)
        self._shape = Shape(fields, keep)
        self._logout: Logout | None = None
        names, wrong, what = self._shape.kept_names, None, ""
        try:
            self._plan = RequestPlan(self._address, how, kept=names, has_token=grant == "refresh_token")
            if how["logout"] is not None:
                what = "logout: "
                self._logout = Logout(how, url, kept=names, allow_unencrypted_http=allow_unencrypted_http)
        except ConfigurationError as error:
            wrong = error.message if error.message.startswith("logout ") else f"{what}{error.message}"
        if wrong is not None:
            raise ConfigurationError(wrong)  # here, because the frames of `RequestPlan` hold secrets, too
        for name in sorted(TOKENS):
            cookie = self._plan.cookie_of(name)
            if cookie is not None:
                self._shape.comes_as(name, cookie)
        self.timeout = checked_timeout(timeout)
        self._own_send = self._send = None if send is None else checked_send(send)
        self.profile = None if profile is None else profile_named(profile)
        self.limit = None if limit is None else checked_limit(limit)
        self._rules = Rules(dead=dead, doubtful=doubtful, busy=busy, profile=self.profile)
        self.renews_from_access = grant == "refresh_token" and "refresh_token" not in self._plan.gaps

    @property
    def identity(self) -> str:
        """Whose tokens these are: readable, the same in every process, and no secret."""
        own = [] if self.grant == "refresh_token" else [self.grant]
        return ", ".join([f"endpoint {self._address.identity}", *own, *self._plan.clients])

    @property
    def settings(self) -> tuple[object, ...]:
        """Everything that tells this client from another one, which may ask at once for what this one was refused."""
        plan = self._plan.settings(self._redactor())
        return (self.identity, plan, self._shape.settings, self._rules.settings, self._own_send)

    @property
    def host(self) -> str:
        """Host and port of its requests, at which `Credentials` limits concurrent renewals."""
        return self._address.place

    @property
    def secrets_to_hide(self) -> list[Secret]:
        """What no error, event or record may show: secrets in the settings and in the URL."""
        texts = [text for _, text in parse_qsl(self._address.query) if len(text) >= PART and "{" not in text]
        of_logout = [] if self._logout is None else self._logout.secrets_to_hide
        return [*self._plan.secrets_to_hide, *of_logout, *map(Secret, texts)]

    @property
    def obtain(self) -> Callable[[], Token] | None:
        """The function that gets a first token with ``client_credentials``; else None, since a person has to log in."""
        return self._next if self.grant == "client_credentials" else None

    @property
    def revoke(self) -> Callable[[Token], None] | None:
        """The function that ends a token's session at the server, where `logout` describes how; else None."""
        return None if self._logout is None else self._revoke

    def _revoke(self, token: Token) -> None:
        assert self._logout is not None
        fillings = self._known(token, self._logout.plan.gaps)
        self._logout.send(fillings, self._own_send, timeout=self.timeout, hidden=self._hidden(fillings, token.secrets))

    def prepare(self) -> None:
        """Do what may take long or fail before a request is sent: fetch secrets, load the HTTP client.

        Raises `ConfigurationError` where a function that was given for a secret fails.
        """
        self._send = prepared(self._send or default_sender(self._address))
        for secret in self._plan.secrets:
            secret.ask(self._redactor())

    def answer_of(self, answer: Mapping[str, object], *, cookies: Mapping[str, object] = _NOTHING) -> Fields:
        """The answer to a login under the usual names, for ``token=`` and ``login()``.

        An answer that has the same shape as those of this endpoint may be given to both as it is; this function adds
        what came as a cookie. `cookies`: by name, as HTTP clients have them (``answer.cookies``). Raises
        `ConfigurationError` where they are none.
        """
        if isinstance(answer, Fields):
            return answer
        came, kind = named_cookies(cookies, self._address), type(cookies).__name__
        if came is None:
            del answer, cookies  # they hold tokens, and would show in a traceback with locals
            raise ConfigurationError(f"cookies must be those of an answer, such as answer.cookies, not {kind}")
        if not came.values and not self._shape.has_token(answer):
            return Fields(answer)
        return self._shape.translated(answer, came, {})

    def __call__(self, token: Token) -> Token:
        """Return the token that follows `token`. Blocks for `timeout` seconds at most.

        Raises `RefreshFailure` with a verdict where the server gives no token, and `ConfigurationError` as `prepare`
        does.
        """
        return self._next(self._fillings(token), token.secrets)

    def _next(self, fillings: Fillings | None = None, secrets: Sequence[Secret] = ()) -> Token:
        fillings = Fillings() if fillings is None else fillings
        if self._send is None:
            self.prepare()
        assert self._send is not None
        hidden = self._hidden(fillings, secrets)
        request = self._plan.request(fillings, timeout=self.timeout, hidden=hidden)
        del fillings
        asked_at = time.time()
        response = sent(self._send, request)
        if isinstance(response, TokenResponse):
            found = self._read(response, at=asked_at, hidden=hidden)
            if isinstance(found, Token):
                return found
            response = found
        raise RefreshFailure(self._explained(response))

    def _fillings(self, token: Token) -> Fillings:
        """What goes into the gaps. Raises `RefreshFailure` where something is missing."""
        gaps = self._plan.gaps
        known = self._known(token, gaps)
        if "refresh_token" in gaps and token.refresh_token is None:
            raise RefreshFailure(Verdict(FailureKind.DEAD, "there is no refresh token: log in again"))
        for name in sorted(gaps - set(known)):
            raise RefreshFailure(
                Verdict(
                    FailureKind.CONFIGURATION,
                    f"the request needs {name!r}, which no answer has brought yet; nothing was sent. Pass the login's "
                    "answer through answer_of(), with its cookies, or add that name to extra= of the Token",
                )
            )
        return known

    def _known(self, token: Token, gaps: set[str]) -> Fillings:
        """What goes into these gaps, as far as the token has it."""
        known = self._shape.kept_in(token)
        beside = token.extra.get(ACCESS_TOKEN)  # where another field of the answer is sent to the API
        if token.has_access_token:
            known[ACCESS_TOKEN] = beside if isinstance(beside, str) and beside else token.reveal()
        if token.refresh_token is not None:
            known["refresh_token"] = token.refresh_token.reveal()
        return Fillings({name: text for name, text in known.items() if name in gaps})

    def _hidden(self, fillings: Fillings, secrets: Sequence[Secret]) -> Redactor:
        return self._redactor([*secrets, *(Secret(text) for text in fillings.values() if len(text) >= PART)])

    def _read(self, response: TokenResponse, *, at: float, hidden: Redactor) -> Token | Verdict:
        came = cookies_of(response, self._address)
        if 300 <= response.status < 400 and self._shape.both_in(came):
            response = replace(response, status=200)  # where it leads is for browsers
        hidden = hidden.knowing([Secret(value) for value in came.values.values() if len(value) >= PART])
        answer: object = object_in(response.body)
        if answer is None:
            answer = parsed(response.body)
        if answer is None and response.body.isascii():
            text = response.body.decode("ascii").strip()
            is_token = len(text) >= SHORTEST_BARE and " " not in text and text[0] not in "<{["
            answer = text if is_token else None
        is_cut = 200 <= response.status < 300 and answer is None and is_cut_short(response.body, None)
        fields = self._shape.translated(answer, came, response.headers)
        if is_cut and "refresh_token" in fields:
            fields.setdefault(ACCESS_TOKEN, None)  # it was in what is lost, and the refresh token is kept
        return token_or_verdict(
            response,
            fields or None,
            answer,
            at=at,
            came_at=time.time(),
            scope=None,
            hidden=hidden,
            rules=_WithCookies(self._rules, None if is_cut else self._deleted(came)),
            setting="fields",
        )

    def _deleted(self, came: Cookies) -> str | None:
        """The cookie of the token that is sent, if the answer deletes it."""
        return self._shape.deleted_in("access_token" if self.renews_from_access else "refresh_token", came)

    def _redactor(self, secrets: list[Secret] | None = None) -> Redactor:
        return Redactor([*(secrets or []), *self.secrets_to_hide], complete=True)

    def _explained(self, verdict: Verdict) -> Verdict:
        is_machine = self.grant == "client_credentials"
        verdict = without_session(verdict) if is_machine else verdict
        if verdict.kind not in (FailureKind.CLIENT_REJECTED, FailureKind.DOUBTFUL):
            return verdict
        for secret in self._plan.secrets:
            secret.refused()
        advice = "; check the request that this JsonEndpoint describes"
        more = "" if is_machine else ", or say with dead= that this ends the session"
        return replace(verdict, detail=verdict.detail + advice + more)

    def __repr__(self) -> str:
        if not hasattr(self, "renews_from_access"):
            return "JsonEndpoint(…)"  # incomplete: a traceback with locals shows it where the constructor fails
        return f"JsonEndpoint({self._address.identity!r}, method={self._plan.method!r})"


class _WithCookies(Rules):
    """The user's rules first; then, a server that deletes the cookie with the token has ended the session."""

    def __init__(self, rules: Rules, deleted: str | None) -> None:
        self._given, self._deleted = rules, deleted

    def verdict_on(self, response: TokenResponse, answer: object) -> tuple[FailureKind | None, str]:
        kind, said = self._given.verdict_on(response, answer)
        in_trouble = response.status >= 500 or response.status in (408, 425, 429)
        if kind is None and self._deleted is not None and not in_trouble:
            return FailureKind.DEAD, f"{said} and deleted the cookie {self._deleted!r}"
        return kind, said
