"""TokenEndpoint: a refresher for OAuth 2.0."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias, get_args
from urllib.parse import parse_qsl

from onerefresh.answers import is_secret
from onerefresh.bearer_field import checked_bearer_field
from onerefresh.errors import ConfigurationError
from onerefresh.judge_exception import judge_exception
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.client_auth import (
    ClientAuth,
    checked_client_auth,
    checked_client_id,
    checked_secret,
    identify,
)
from onerefresh.oauth2.codec import (
    Grant,
    TokenRequest,
    TokenResponse,
    build_request,
    checked_extra,
    checked_scope,
    read_answer,
)
from onerefresh.oauth2.revocation import revoke
from onerefresh.one_object import OneObject
from onerefresh.policy import Profile, profile_named
from onerefresh.real_time import monotonic
from onerefresh.redaction import PART, Redactor
from onerefresh.token import Secret, Token
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

__all__ = ["Send", "TokenEndpoint"]

LOOK_AGAIN = 30.0
"""Seconds between two requests for a client secret that the server has refused."""

Send: TypeAlias = Callable[[TokenRequest], TokenResponse]
"""Sends one request, once, and returns the answer, whatever its status; raises where there is none.

Where it has a method ``prepare()``, that is called before a renewal begins.
"""


class TokenEndpoint(OneObject):
    """The token endpoint of an authorization server, as the refresher of a credential (RFC 6749).

    * `url`: https, or http to this machine. ``allow_unencrypted_http=True`` allows http elsewhere, where everybody on
      the way can read the tokens. A query is kept, a fragment rejected (section 3.2).
    * `client_secret`: None for a public client; a text or `Secret`; or a function that returns one. `prepare` calls the
      function, which a credential does before each renewal, so a secret may change or come from a vault.
    * `grant`: ``"refresh_token"`` (section 6), or ``"client_credentials"`` (section 4.4), which needs no login.
    * `client_auth`: how the client proves its identity (section 2.3.1): ``"client_secret_basic"``, the default with a
      secret, ``"client_secret_post"`` or ``"none"``. No other method is tried.
    * `scope`: is asked for with every request (section 3.3).
    * `extra`: further fields of the body, such as ``audience`` or ``resource`` (RFC 8707), which may be lists.
    * `send`: sends the request instead of httpx2 (where it is installed) or the standard library.
    * `bearer_field`: the field of an answer that is sent to the API in place of its access token, such as
      ``"id_token"``. It applies to a credential's first token, too.
    * `timeout`: seconds that one request may take in total.
    * `profile`: what the server does when a refresh token is used twice, where the `Credential` does not say it.
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
        client_secret: str | Secret | Callable[[], str | Secret] | None = None,
        grant: Grant = "refresh_token",
        client_auth: ClientAuth | None = None,
        scope: str | None = None,
        extra: Mapping[str, str | Sequence[str]] = MappingProxyType({}),
        send: Send | None = None,
        timeout: float = 10.0,
        revocation_url: str | None = None,
        profile: str | Profile | None = None,
        limit: int | None = None,
        bearer_field: str | None = None,
        allow_unencrypted_http: bool = False,
    ) -> None:
        # The first statement, so that no traceback of this frame shows the secret.
        client_secret = Secret(client_secret) if isinstance(client_secret, str) else client_secret
        self._address = Address.parse(url, allow_unencrypted_http=allow_unencrypted_http)
        self.client_id = checked_client_id(client_id)
        self._source = client_secret if callable(client_secret) else None
        self._secret: Secret | None = None
        self._old_secret: Secret | None = None
        self._looks_at = 0.0  # on the monotonic clock
        if client_secret is not None and self._source is None:
            self._secret = checked_secret(client_secret, "client_secret")
        if grant not in get_args(Grant):
            raise ConfigurationError(f"unknown grant {grant!r}: use one of {', '.join(get_args(Grant))}")
        self.grant = grant
        has_secret = self._secret is not None or self._source is not None
        self.client_auth = checked_client_auth(client_auth, has_secret=has_secret)
        if grant == "client_credentials" and not has_secret and send is None:
            # RFC 6749 section 4.4. A user's `send` may authenticate in another way, such as a TLS certificate.
            raise ConfigurationError("grant 'client_credentials' needs a client_secret: it is for confidential clients")
        self.scope = checked_scope(scope)
        self._extra = checked_extra(extra, self._address.query_names)
        self.timeout = _checked_timeout(timeout)
        self._send = None if send is None else _checked_send(send)
        self._own_send = self._send
        self.profile = None if profile is None else profile_named(profile)
        self.limit = None if limit is None else _checked_limit(limit)
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
        if self._source is not None and monotonic() >= self._looks_at:
            self._looks_at = monotonic() + LOOK_AGAIN
            with contextlib.suppress(ConfigurationError):  # the next renewal reports it
                self._secret = _asked(self._source, self._redactor())
        found = (self.identity, self.client_auth, self.scope, self._extra, self._secret, self._own_send)
        return found if self.bearer_field is None else (*found, self.bearer_field)

    @property
    def host(self) -> str:
        """Host and port of its requests, at which `Credentials` limits concurrent renewals."""
        return f"{self._address.host}:{self._address.port}"

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
        send = self._own_send or _default_sender(self._revocation)
        who = identify(self.client_auth, self.client_id, self._current_secret())
        hidden = self._redactor(token.secrets)
        revoke(token, self._revocation.url, send, who, timeout=self.timeout, hidden=hidden)

    def prepare(self) -> None:
        """Do what may take long or fail before a request is sent: fetch the client secret, load the HTTP client.

        Raises `ConfigurationError` where the function given as `client_secret` fails.
        """
        if self._send is None:
            self._send = _default_sender(self._address)
        prepare = getattr(self._send, "prepare", None)
        if prepare is not None:
            prepare()
        if self._source is not None:
            self._secret = _asked(self._source, self._redactor())
            self._looks_at = monotonic() + LOOK_AGAIN

    def _current_secret(self) -> Secret | None:
        # Read once for each request: another thread may reset the secret after a refusal.
        secret = self._secret
        if secret is None and self._source is not None:
            secret = self._secret = _asked(self._source, self._redactor())
        return secret

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
        secret = self._current_secret()
        who = identify(self.client_auth, self.client_id, secret)
        redactor = self._redactor(hidden)
        request = build_request(
            self._address.url,
            self.grant,
            who,
            refresh_token=refresh_token,
            scope=self.scope,
            extra=self._extra,
            timeout=self.timeout,
            hidden=redactor,
        )
        asked_at = time.time()
        response = self._sent(request, redactor)
        if isinstance(response, TokenResponse):
            found = read_answer(
                response, at=asked_at, scope=self.scope, hidden=redactor, bearer_field=self.bearer_field
            )
            if isinstance(found, Token):
                return found
            response = found
        raise RefreshFailure(self._explained(response))

    @property
    def secrets_to_hide(self) -> list[Secret]:
        """What no error, event or record may show: the client's secrets, and secrets in the URLs and in `extra`."""
        secrets = [secret for secret in (self._secret, self._old_secret) if secret is not None]
        who = (identify(self.client_auth, self.client_id, secret).authorization for secret in secrets)
        queries = [address.query for address in (self._address, self._revocation) if address is not None]
        texts = [text for query in queries for _, text in parse_qsl(query) if len(text) >= PART]
        texts += [text for name, text in self._extra if is_secret(name, text)]
        return [*secrets, *(found for found in who if found is not None), *map(Secret, texts)]

    def _redactor(self, secrets: Sequence[Secret] = ()) -> Redactor:
        return Redactor([*secrets, *self.secrets_to_hide], complete=True)

    def _sent(self, request: TokenRequest, hidden: Redactor) -> TokenResponse | Verdict:
        """The answer, or the verdict where there is none. The sender's exception ends here: it may hold the request."""
        assert self._send is not None
        try:
            response = self._send(request)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - a sender may raise anything; the verdict says what it means
            return judge_exception(error, hidden=hidden)
        if isinstance(response, TokenResponse):
            return response
        return Verdict(FailureKind.REFRESHER, f"send returned {type(response).__name__}, not a TokenResponse")

    def _explained(self, verdict: Verdict) -> Verdict:
        """The verdict for this client, with what to check, and corrected for ``client_credentials``.

        That grant has no session that could be over, and no refresh token that could be spent.
        """
        if self.grant == "client_credentials":
            if verdict.kind in (FailureKind.DEAD, FailureKind.DOUBTFUL):
                verdict = replace(verdict, kind=FailureKind.CLIENT_REJECTED)  # there is no session that could be over
            elif verdict.kind in (FailureKind.NO_ANSWER, FailureKind.SERVER_ERROR):
                verdict = replace(verdict, kind=FailureKind.UNAVAILABLE)  # nothing was spent: it may be repeated
        if verdict.kind in (FailureKind.CLIENT_REJECTED, FailureKind.DOUBTFUL):
            if self._source is not None:
                self._old_secret = self._secret or self._old_secret
                self._secret, self._looks_at = None, 0.0  # requested again, since it may have been changed
            look = "client_id" if self.client_auth == "none" else "client_id, client_secret"
            return replace(verdict, detail=f"{verdict.detail}; check {look} and client_auth (now {self.client_auth!r})")
        return verdict

    def __repr__(self) -> str:
        if not hasattr(self, "client_auth"):
            return "TokenEndpoint(…)"  # incomplete: a traceback with locals shows it where the constructor fails
        return (
            f"TokenEndpoint({self._address.identity!r}, client_id={self.client_id!r}, grant={self.grant!r}, "
            f"client_auth={self.client_auth!r})"
        )


def _asked(source: Callable[[], str | Secret], hidden: Redactor) -> Secret:
    """The secret from the function that was given for it. Raises `ConfigurationError`."""
    try:
        return checked_secret(source(), "what the client_secret function returned")
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it raises, nothing was sent and the developer must act
        # A missing file or variable is quoted. The text of any other exception could hold the secret.
        words = hidden.quote(str(error)) if isinstance(error, (OSError, KeyError)) else ""
        reason = f": {words}" if words else ""
        failed = f"the client_secret function raised {type(error).__name__}{reason}; nothing was sent"
    raise ConfigurationError(failed)


def _default_sender(address: Address) -> Send:
    if importlib.util.find_spec("httpx2") is not None:
        from onerefresh.oauth2.send_httpx2 import Httpx2Sender

        return Httpx2Sender(address)
    from onerefresh.oauth2.send_stdlib import StdlibSender

    return StdlibSender(address)


def _checked_send(send: object) -> Send:
    if not callable(send):
        raise ConfigurationError(
            f"send must be a function from TokenRequest to TokenResponse, not {type(send).__name__}"
        )
    if inspect.iscoroutinefunction(send) or inspect.iscoroutinefunction(type(send).__call__):
        raise ConfigurationError("send must be a plain function, not async: it runs on a thread of its own")
    return send


def _checked_limit(limit: object) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigurationError(f"limit must be a whole number, 1 or more, not {limit!r}")
    return limit


def _checked_timeout(timeout: object) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise ConfigurationError(f"timeout must be a number of seconds, not {type(timeout).__name__}")
    if not (math.isfinite(timeout) and timeout > 0):
        raise ConfigurationError(f"timeout must be a number of seconds above 0, not {timeout}")
    return float(timeout)
