"""google-auth: `Credentials` for `AuthorizedSession`, `AuthorizedHttp` and Google's SDKs, and `AsyncCredentials`.

AuthorizedSession(Credentials(credential, "https://storage.googleapis.com"))
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Self

from onerefresh.clients.bearer import HeaderText
from onerefresh.clients.google_auth_given import Given, GivenTokens
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError
from onerefresh.expiry.skew import worth_it
from onerefresh.one_object import OneObject

try:
    from google.auth import credentials as base
    from google.auth import transport
    from google.auth.aio import credentials as aio
except ModuleNotFoundError as error:
    if error.name not in ("google", "google.auth"):
        raise
    raise ConfigurationError(
        "onerefresh.clients.google_auth needs google-auth: pip install 'onerefresh[google-auth]'"
    ) from None

__all__ = ["AsyncCredentials", "Credentials"]


class Credentials(OneObject, base.CredentialsWithQuotaProject, base.CredentialsWithUniverseDomain):
    """Credentials of google-auth over a `Credential`: for `AuthorizedSession`, `AuthorizedHttp`, and Google's SDKs.

    * `origins`: where the token may go, such as ``"https://storage.googleapis.com"``; one or several.
    * `quota_project_id`: the project that pays; `universe_domain`: as the SDK's client states it.

    google-auth calls `refresh` after a 401, and repeats the call. All calls that were sent with the refused token share
    one token request. `AuthorizedSession` repeats a call twice; with ``max_refresh_attempts=1``, once.

    Raises `ConfigurationError` for arguments that make no sense, and calls do for an origin that was not named. Calls
    raise an `OnerefreshError` where no token is available; google-auth passes it on unchanged. Where an SDK reads
    `token` or calls `apply`, the SDK alone decides where the token goes.
    """

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        *,
        quota_project_id: str | None = None,
        universe_domain: str = base.DEFAULT_UNIVERSE_DOMAIN,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # google-auth has few types
        self._tokens = GivenTokens(credential, origins)
        _silence()
        self._quota_project_id = quota_project_id
        self._universe_domain = universe_domain

    def before_request(self, request: object, method: str, url: str, headers: MutableMapping[str, Any]) -> None:
        """Put the token into the headers of a request to `url`."""
        given = self._tokens.begin(url)
        headers["authorization"] = self._tokens.text(given) or self._tokens.text(given, self._tokens.credential.token())
        self._add_quota_project(headers)

    def refresh(self, request: object) -> None:
        """Replace the token that this thread's last call was sent with, unless somebody has done so already.

        Raises an `OnerefreshError` where that fails.
        """
        given = self._tokens.refused()
        given.renewed_to(self._tokens.credential.token(refused=given.refused))

    def apply(self, headers: MutableMapping[str, Any], token: str | None = None) -> None:
        """Put `token`, or a token that serves, into the headers."""
        given = self._tokens.begin()
        own = f"Bearer {token}" if token is not None else self._tokens.text(given)
        headers["authorization"] = own or self._tokens.text(given, self._tokens.credential.token())
        self._add_quota_project(headers)

    def _add_quota_project(self, headers: MutableMapping[str, Any]) -> None:
        if self._quota_project_id:
            headers["x-goog-user-project"] = self._quota_project_id

    @property
    def token(self) -> str | None:
        """The text of the token in memory; None where it no longer serves: then call `refresh`."""
        return self._tokens.bare_text()

    @token.setter
    def token(self, token: None) -> None:
        """The base class sets it to None, once."""

    @property
    def expiry(self) -> datetime | None:
        """When the token in memory ends, in UTC and without a tzinfo; None where that is not known."""
        found = self._tokens.credential.current()
        if found is None or found.expires_at is None:
            return None
        try:
            return datetime.fromtimestamp(found.expires_at + worth_it(found.clock_skew or 0.0), UTC).replace(
                tzinfo=None
            )
        except (OverflowError, ValueError, OSError):
            return None

    @expiry.setter
    def expiry(self, expiry: None) -> None:
        """The base class sets it to None, once."""

    @property
    def expired(self) -> bool:
        """Whether there was a token that no longer serves. One that ends soon is refreshed in the background."""
        return not self.valid

    @property
    def valid(self) -> bool:
        """Whether the token in memory serves."""
        return self._tokens.credential.current() is not None

    @property
    def token_state(self) -> base.TokenState:
        """``FRESH`` or ``INVALID``; never ``STALE``, which would let every caller refresh."""
        return base.TokenState.FRESH if self.valid else base.TokenState.INVALID

    def with_quota_project(self, quota_project_id: str | None) -> Self:
        """Credentials over the same `Credential`, with another project that pays."""
        return self._with(quota_project_id=quota_project_id)

    def with_universe_domain(self, universe_domain: str) -> Self:
        """Credentials over the same `Credential`, for another universe."""
        return self._with(universe_domain=universe_domain)

    def _with(self, **changed: Any) -> Self:
        kept = {"quota_project_id": self._quota_project_id, "universe_domain": self._universe_domain}
        return type(self)(self._tokens.credential, self._tokens.origins, **{**kept, **changed})

    def __repr__(self) -> str:
        return f"Credentials({self._tokens.credential!r})"


class AsyncCredentials(OneObject, aio.Credentials):
    """As `Credentials`, for ``google.auth.aio.transport.sessions.AsyncAuthorizedSession``.

    Its calls raise what those of `Credentials` raise.
    """

    def __init__(self, credential: Credential, origins: str | Iterable[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self._tokens = GivenTokens(credential, origins)
        _silence()

    def before_request(
        self, request: object, method: str, url: str, headers: MutableMapping[str, Any]
    ) -> Coroutine[Any, Any, None]:
        """Put the token into the headers of a request to `url`, when awaited."""
        if isinstance(getattr(request, "func", request), transport.Request):
            raise ConfigurationError("AsyncCredentials are for an AsyncAuthorizedSession: use Credentials")
        # Not a coroutine function: it may be awaited in a task of its own, and `refresh` in another one. This line
        # runs in the task of the call, which both of them inherit from.
        given = self._tokens.begin(url)
        return self._attach(given, headers)

    async def _attach(self, given: Given, headers: MutableMapping[str, Any]) -> None:
        text = self._tokens.text(given)
        headers["authorization"] = text or self._tokens.text(given, await self._tokens.credential.atoken())

    async def refresh(self, request: object) -> None:
        """As `Credentials.refresh`, for the last call of this task."""
        given = self._tokens.refused()
        given.renewed_to(await self._tokens.credential.atoken(refused=given.refused))

    async def apply(self, headers: MutableMapping[str, Any], token: str | None = None) -> None:
        """As `Credentials.apply`."""
        if token is None:
            await self._attach(self._tokens.begin(), headers)
        else:
            headers["authorization"] = f"Bearer {token}"

    @property
    def token(self) -> str | None:
        """The text of the token in memory; None where it no longer serves: then await `refresh`."""
        return self._tokens.bare_text()

    @token.setter
    def token(self, token: None) -> None:
        """The base class sets it to None, once."""

    def __repr__(self) -> str:
        return f"AsyncCredentials({self._tokens.credential!r})"


class _Silence(logging.Filter):
    """Takes tokens out of the headers that google-auth gives to formatters at level DEBUG: Google's writes JSON."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True: no record is dropped."""
        request: object = getattr(record, "httpRequest", None)
        headers = request.get("headers") if isinstance(request, dict) else None
        if isinstance(request, dict) and isinstance(headers, Mapping):
            shown = {name: "…" if isinstance(value, HeaderText) else value for name, value in headers.items()}
            record.httpRequest = {**request, "headers": shown}
        return True


_silencing: Final = _Silence()


def _silence() -> None:
    for name in ("aio.transport.aiohttp", "transport.requests", "transport.urllib3"):
        logging.getLogger(f"google.auth.{name}").addFilter(_silencing)  # added once, however often this is called
