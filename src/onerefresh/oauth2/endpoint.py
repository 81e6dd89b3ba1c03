"""TokenEndpoint: a refresher for OAuth 2.0."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from onerefresh.answers import is_secret
from onerefresh.bearer_field import checked_bearer_field
from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.client_auth import (
    ClientAuth,
    Identification,
    checked_client_auth,
    checked_client_id,
    encoding_at_fault,
    identify,
)
from onerefresh.oauth2.codec import (
    Fields,
    Grant,
    TokenResponse,
    build_request,
    read_answer,
)
from onerefresh.oauth2.parameters import checked_extra, checked_renamed, checked_scope
from onerefresh.oauth2.paths import checked_path
from onerefresh.oauth2.revocation import revoke
from onerefresh.oauth2.rules import Rule, Rules
from onerefresh.oauth2.secret_value import Given, SecretValue
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

__all__ = ["Send", "TokenEndpoint"]


class TokenEndpoint(OneObject):
    """The token endpoint of an authorization server, as the refresher of a credential (RFC 6749).

    * `url`: https, or http to this machine. ``allow_unencrypted_http=True`` allows http elsewhere, where everybody on
      the way can read the tokens. A query is kept, a fragment rejected (section 3.2).
    * `client_secret`: None for a public client; a text or `Secret`; or a function that returns one. `prepare` calls the
      function, which a credential does before each renewal, so a secret may change or come from a vault.
    * `grant`: ``"refresh_token"`` (section 6), or ``"client_credentials"`` (section 4.4), which needs no login.
    * `client_auth`: how the client proves its identity (section 2.3.1): ``"client_secret_basic"``, the default with a
      secret, ``"client_secret_basic_plain"`` without its form encoding, ``"client_secret_post"`` or ``"none"``. No
      other method is tried.
    * `client_id_in_body`: with HTTP Basic the body has the ``client_id``, too.
    * `scope`: is asked for with every request (section 3.3).
    * `extra`: further fields of the body, such as ``audience`` or ``resource`` (RFC 8707), which may be lists.
    * `renamed`: what this server calls fields of the standard: ``{"client_id": "client_key"}``.
    * `answer`: the path to the object in the answer that holds the token's fields, such as ``"data"``.
    * `dead`, `doubtful`, `busy`: what this server answers, beside the standard's codes, where the session is over,
      where the session is over or the client wrong, and where it has not processed the request (`Rule`). They are asked
      about answers without a token only.
    * `send`: sends the request instead of httpx2 (where it is installed) or the standard library.
    * `bearer_field`: the field of an answer that is sent to the API in place of its access token, such as
      ``"id_token"``. It applies to a credential's first token, too.
    * `timeout`: seconds that one request may take in total.
    * `profile`: what the server does when a refresh token is used twice, where the `Credential` does not say it; and
      this provider's own words for a session that is over.
    * `limit`: concurrent refreshes at this host, in place of that of `Credentials`.
    * `revocation_url`: where a token is revoked that is of no use after a logout (RFC 7009). None: it just expires.

    One call sends one request: nothing is tried again, and no redirect is followed. Raises `ConfigurationError` for
    settings that are wrong.
    """

    _elsewhere = "make it in the other process, which needs the client secret as well"

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        client_secret: Given | None = None,
        grant: Grant = "refresh_token",
        client_auth: ClientAuth | None = None,
        client_id_in_body: bool = False,
        scope: str | None = None,
        extra: Mapping[str, str | Sequence[str]] = MappingProxyType({}),
        renamed: Mapping[str, str] = MappingProxyType({}),
        answer: str | None = None,
        dead: Rule | None = None,
        doubtful: Rule | None = None,
        busy: Rule | None = None,
        send: Send | None = None,
        timeout: float = 10.0,
        revocation_url: str | None = None,
        profile: str | Profile | None = None,
        limit: int | None = None,
        bearer_field: str | None = None,
        allow_unencrypted_http: bool = False,
    ) -> None:
        # The first statements, so that no traceback of this frame shows the secrets.
        client_secret = Secret(client_secret) if isinstance(client_secret, str) else client_secret
        extra = _unshown(extra)
        self._address = Address.parse(url, allow_unencrypted_http=allow_unencrypted_http)
        self.client_id = checked_client_id(client_id)
        self._secret = None if client_secret is None else SecretValue(client_secret, "client_secret")
        self.grant = checked_grant(grant)
        if not isinstance(client_id_in_body, bool):
            raise ConfigurationError(f"client_id_in_body must be True or False, not {client_id_in_body!r}")
        self._id_in_body = client_id_in_body
        self.client_auth = checked_client_auth(
            client_auth, has_secret=self._secret is not None, client_id=self.client_id, id_in_body=client_id_in_body
        )
        if grant == "client_credentials" and self._secret is None and send is None:
            # RFC 6749 section 4.4. A user's `send` may authenticate in another way, such as a TLS certificate.
            raise ConfigurationError("grant 'client_credentials' needs a client_secret: it is for confidential clients")
        self.scope = checked_scope(scope)
        self._renamed = checked_renamed(renamed)
        self._extra = checked_extra(extra, self._address.query_names, self._renamed)
        self._answer = () if answer is None else checked_path(answer, "answer")
        self.timeout = checked_timeout(timeout)
        self._send = None if send is None else checked_send(send)
        self._own_send = self._send
        self.profile = None if profile is None else profile_named(profile)
        self._rules = Rules(dead=dead, doubtful=doubtful, busy=busy, profile=self.profile)
        self.limit = None if limit is None else checked_limit(limit)
        self.bearer_field = checked_bearer_field(bearer_field)
        self._revocation: Address | None = None
        if revocation_url is not None:
            what = "the revocation endpoint"
            self._revocation = Address.parse(revocation_url, what, allow_unencrypted_http=allow_unencrypted_http)

    @property
    def identity(self) -> str:
        """Whose tokens these are: readable, the same in every process, and no secret."""
        message = f"token endpoint {self._address.identity}, client {self.client_id}"
        if self.grant == "refresh_token":
            return message
        wanted = [f"scope {self.scope}"] if self.scope else []
        wanted += [f"{name} {text}" for name, text in self._extra if name in ("resource", "audience")]
        return ", ".join([message, "client_credentials", *wanted])

    @property
    def settings(self) -> tuple[object, ...]:
        """Everything that tells this client from another one, which may ask at once for what this one was refused.

        A secret that comes from a function is requested again half a minute after the last time.
        """
        secret = None if self._secret is None else self._secret.look(self._redactor())
        how = (self._id_in_body, dict(self._renamed), self._answer, self._rules.settings, self.bearer_field)
        found = (self.identity, self.client_auth, self.scope, self._extra, secret, self._own_send)
        return found if how == (False, {}, (), (), None) else (*found, how)

    @property
    def host(self) -> str:
        """Host and port of its requests, at which `Credentials` limits concurrent renewals."""
        return self._address.place

    @property
    def obtain(self) -> Callable[[], Token] | None:
        """The function that gets a first token with ``client_credentials``; else None, since a person has to log in."""
        return self._request if self.grant == "client_credentials" else None

    @property
    def revoke(self) -> Callable[[Token], None] | None:
        """The function that revokes a token (RFC 7009), where there is a `revocation_url`; else None.

        The function blocks for `timeout` seconds at most, and raises `RefreshFailure` where the server did not confirm
        it.
        """
        return None if self._revocation is None else self._revoke

    def _revoke(self, token: Token) -> None:
        assert self._revocation is not None
        send = self._own_send or default_sender(self._revocation)
        hidden = self._redactor(token.secrets)
        who = self._identification(self._current_secret())
        revoke(token, self._revocation.url, send, who, renamed=self._renamed, timeout=self.timeout, hidden=hidden)

    def prepare(self) -> None:
        """Do what may take long or fail before a request is sent: fetch the client secret, load the HTTP client.

        Raises `ConfigurationError` where the function given as `client_secret` fails.
        """
        self._send = prepared(self._send or default_sender(self._address))
        if self._secret is not None:
            self._secret.ask(self._redactor())

    def _current_secret(self) -> Secret | None:
        return None if self._secret is None else self._secret.current(self._redactor())

    def _identification(self, secret: Secret | None) -> Identification:
        return identify(self.client_auth, self.client_id, secret, id_in_body=self._id_in_body)

    def __call__(self, token: Token) -> Token:
        """Return the token that follows `token`. Blocks for `timeout` seconds at most.

        Raises `RefreshFailure` with a verdict where the server gives no token, and `ConfigurationError` as `prepare`
        does.
        """
        if self.grant == "client_credentials":
            return self._request(hidden=token.secrets)
        if token.refresh_token is None:
            raise RefreshFailure(Verdict(FailureKind.DEAD, "there is no refresh token: log in again"))
        return self._request(token.refresh_token, hidden=token.secrets)

    def _request(self, refresh_token: Secret | None = None, *, hidden: Sequence[Secret] = ()) -> Token:
        if self._send is None:
            self.prepare()
        assert self._send is not None
        secret = self._current_secret()
        redactor = self._redactor(hidden)
        request = build_request(
            self._address.url,
            self.grant,
            self._identification(secret),
            refresh_token=refresh_token,
            scope=self.scope,
            extra=self._extra,
            renamed=self._renamed,
            timeout=self.timeout,
            hidden=redactor,
        )
        asked_at = time.time()
        response = sent(self._send, request)
        if isinstance(response, TokenResponse):
            found = read_answer(
                response,
                at=asked_at,
                came_at=time.time(),
                scope=self.scope,
                hidden=redactor,
                bearer_field=self.bearer_field,
                place=self._answer,
                rules=self._rules,
            )
            if isinstance(found, Token):
                return found
            response = found
        raise RefreshFailure(self._explained(response, secret))

    @property
    def secrets_to_hide(self) -> list[Secret]:
        """What no error, event or record may show: the client's secrets, and secrets in the URLs and in `extra`."""
        secrets = [] if self._secret is None else self._secret.known
        who = (self._identification(secret).authorization for secret in secrets)
        queries = [address.query for address in (self._address, self._revocation) if address is not None]
        texts = [text for query in queries for _, text in parse_qsl(query) if len(text) >= PART]
        texts += [text for name, text in self._extra if is_secret(name, text)]
        return [*secrets, *(found for found in who if found is not None), *map(Secret, texts)]

    def _redactor(self, secrets: Sequence[Secret] = ()) -> Redactor:
        return Redactor([*secrets, *self.secrets_to_hide], complete=True)

    def _explained(self, verdict: Verdict, secret: Secret | None) -> Verdict:
        """The verdict for this client, with what to check, and corrected for ``client_credentials``."""
        verdict = without_session(verdict) if self.grant == "client_credentials" else verdict
        if verdict.kind in (FailureKind.CLIENT_REJECTED, FailureKind.DOUBTFUL):
            if self._secret is not None:
                self._secret.refused()
            look = "client_id" if self.client_auth == "none" else "client_id, client_secret"
            cause = encoding_at_fault(self.client_auth, self.client_id, secret)
            advice = f"; check {look} and client_auth (now {self.client_auth!r}){cause}"
            return replace(verdict, detail=verdict.detail + advice)
        return verdict

    def __repr__(self) -> str:
        if not hasattr(self, "client_auth"):
            return "TokenEndpoint(…)"  # incomplete: a traceback with locals shows it where the constructor fails
        return (
            f"TokenEndpoint({self._address.identity!r}, client_id={self.client_id!r}, grant={self.grant!r}, "
            f"client_auth={self.client_auth!r})"
        )


def _unshown(extra: Any) -> Any:
    """The same mapping, with a ``repr`` that shows nothing of it."""
    return Fields(extra) if isinstance(extra, Mapping) else extra
