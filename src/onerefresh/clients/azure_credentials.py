"""The credentials that Azure's clients demand, over a `Credential`."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Final, Self

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions

from onerefresh.clients.bearer import HeaderText
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError, InteractionRequired
from onerefresh.expiry.skew import worth_it
from onerefresh.one_object import OneObject
from onerefresh.token import Token

__all__ = ["AsyncTokenCredential", "TokenCredential"]

_UNKNOWN_LIFE: Final = 300
"""Seconds after which Azure's own policy asks again for a token whose end is not known."""


class _Info(AccessTokenInfo):
    def __repr__(self) -> str:
        return f"AccessTokenInfo('…', expires_on={self.expires_on})"


class _Answering(OneObject):
    """What both credentials answer. The scopes, and a tenant, are those for which the token was issued."""

    def __init__(self, credential: Credential) -> None:
        if not isinstance(credential, Credential):
            raise ConfigurationError(f"credential must be an onerefresh.Credential, not {type(credential).__name__}")
        self._credential = credential

    def _refuse(self, claims: str | None) -> None:
        if claims:
            raise InteractionRequired(
                "the API requires a token with other claims, which a refresh does not bring",
                credential=self._credential.key,
                challenge=claims,
            )

    def _text(self, token: Token) -> tuple[str, int]:
        """The token's text, which has no ``repr``, and the second of this machine's clock when it ends."""
        text = HeaderText(token.reveal())
        text.token, text.further = token, None
        if token.expires_at is None:
            return text, int(time.time()) + _UNKNOWN_LIFE
        return text, int(token.expires_at + worth_it(token.clock_skew or 0.0))

    def _info(self, token: Token) -> AccessTokenInfo:
        # Long ago, so that Azure's policy asks for each request: the credential knows better which token serves.
        return _Info(*self._text(token), refresh_on=1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._credential!r})"


class TokenCredential(_Answering):
    """A ``credential`` of Azure's clients. Without a `BearerPolicy`, it never learns that the API refused a token.

    A token that was revoked is then used until it expires. Closing it does not close `credential`.

    Raises `ConfigurationError` for arguments that make no sense. Both methods raise an `OnerefreshError` where no token
    is available, and `InteractionRequired` where `claims` are demanded.
    """

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **options: Any,
    ) -> AccessToken:
        """The text of a token that serves, and when it ends, in seconds since the epoch."""
        self._refuse(claims)
        return AccessToken(*self._text(self._credential.current() or self._credential.token()))

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """As `get_token`. Azure's policy asks again for each request, so that it gets the newest token."""
        self._refuse((options or {}).get("claims"))
        return self._info(self._credential.current() or self._credential.token())

    def close(self) -> None:
        """Do nothing: the `Credential` may serve others."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        pass


class AsyncTokenCredential(_Answering):
    """As `TokenCredential`, for the clients in ``aio``."""

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **options: Any,
    ) -> AccessToken:
        """As `TokenCredential.get_token`."""
        self._refuse(claims)
        return AccessToken(*self._text(self._credential.current() or await self._credential.atoken()))

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """As `TokenCredential.get_token_info`."""
        self._refuse((options or {}).get("claims"))
        return self._info(self._credential.current() or await self._credential.atoken())

    async def close(self) -> None:
        """Do nothing: the `Credential` may serve others."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        pass
