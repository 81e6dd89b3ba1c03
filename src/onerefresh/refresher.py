"""What a refresher may be beside a function: all that this library asks of one is here.

A refresher is called with a `Token` and returns the next one. One that is an object may say more about itself, as
`FullRefresher` does. Methods count only where its class has them, and texts and numbers only where they are such: a
mock would have any attribute.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from onerefresh.policy import HTTP_TIMEOUT
from onerefresh.token import Answer, Token

__all__ = [
    "FullRefresher",
    "host_of",
    "identity_of",
    "obtain_of",
    "prepare_of",
    "renews_from_access",
    "revoke_of",
    "settings_of",
    "timeout_of",
]


class FullRefresher(Protocol):
    """A refresher that says everything about itself. Each part may be missing.

    `identity`: whose tokens it refreshes, in words; a stored token of another identity is not sent to it. `host`: the
    host at which renewals are limited. `timeout`: seconds that one request may take. `renews_from_access`: it needs no
    refresh token. `settings`: what tells it from the same refresher with other settings, without secrets in the clear.
    """

    @property
    def identity(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def timeout(self) -> float: ...
    @property
    def renews_from_access(self) -> bool: ...
    @property
    def settings(self) -> object: ...

    def __call__(self, token: Token) -> Answer | Awaitable[Answer]:
        """The next token. Raises an `OnerefreshError`, or whatever its HTTP client raises."""

    def obtain(self) -> Answer | Awaitable[Answer]:
        """A first token, without any before it."""

    def prepare(self) -> None:
        """Do what is slow and sends nothing, such as reading a client secret. Raises `ConfigurationError`."""

    def revoke(self, token: Token) -> object:
        """Tell the server that the token is not needed any more. May be async."""


def identity_of(refresher: object) -> str | None:
    """Whose tokens it refreshes, as far as it says so."""
    identity = getattr(refresher, "identity", None)
    return identity if isinstance(identity, str) else None


def host_of(refresher: object) -> str | None:
    """The token endpoint's host, as far as it says so."""
    host = getattr(refresher, "host", None)
    return host if isinstance(host, str) else None


def timeout_of(refresher: object) -> float:
    """Seconds that one of its requests may take, where it says so itself."""
    timeout = getattr(refresher, "timeout", None)
    if isinstance(timeout, (int, float)) and 0.0 < timeout < math.inf:
        return float(timeout)
    return HTTP_TIMEOUT


def renews_from_access(refresher: object) -> bool:
    """Whether it declares that it needs no refresh token: `Token.reveal` is enough."""
    return getattr(refresher, "renews_from_access", False) is True


def obtain_of(refresher: object) -> Callable[[], Answer | Awaitable[Answer]] | None:
    """How it gets a first token."""
    found: Callable[[], Answer | Awaitable[Answer]] | None = _method(refresher, "obtain")
    return found


def prepare_of(refresher: object) -> Callable[[], object] | None:
    """How it prepares."""
    found: Callable[[], object] | None = _method(refresher, "prepare")
    return found


def revoke_of(refresher: object) -> Callable[[Token], object] | None:
    """How it lets the server forget a token."""
    found: Callable[[Token], object] | None = _method(refresher, "revoke")
    return found


def settings_of(refresher: object) -> object:
    """Its settings, where its class has them; else itself, since its code then tells it from others."""
    try:
        return getattr(refresher, "settings", None) if hasattr(type(refresher), "settings") else refresher
    except Exception as error:  # noqa: BLE001 - whatever a class of the user's raises, a renewal must go on
        return type(error).__name__


def _method(refresher: object, name: str) -> Any:
    return getattr(refresher, name, None) if hasattr(type(refresher), name) else None
