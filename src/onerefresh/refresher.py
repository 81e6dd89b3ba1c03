"""What a refresher may be beside a function: this file has all that the library asks of one.

A refresher is called with a `Token` and returns the next one. A refresher that is an object may state more about
itself, as `FullRefresher` does. Methods count only where its class has them, and texts and numbers only where they are
of these types, because a mock would have any attribute.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from onerefresh.policy import HTTP_TIMEOUT
from onerefresh.profile import Profile
from onerefresh.token import Answer, Token

__all__ = [
    "FullRefresher",
    "bearer_field_of",
    "endpoint_of",
    "host_of",
    "identity_of",
    "limit_of",
    "obtain_of",
    "prepare_of",
    "profile_of",
    "renews_from_access",
    "revoke_of",
    "settings_of",
    "timeout_of",
    "translated",
]


class FullRefresher(Protocol):
    """A refresher that states everything about itself. Each part may be missing.

    * `identity`: whose tokens it refreshes, in words. A stored token of another identity is not sent to it.
    * `host`: the host at which concurrent renewals are limited.
    * `limit`: how many renewals may be there at the same time, where `Credentials` has a limit.
    * `profile`: what its server does when a refresh token is used twice.
    * `timeout`: seconds that one request may take.
    * `renews_from_access`: it needs no refresh token.
    * `bearer_field`: the field of its answers that is sent to the API in place of the access token.
    * `settings`: what tells it from the same refresher with other settings, without secrets in clear.
    """

    @property
    def identity(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def limit(self) -> int: ...
    @property
    def profile(self) -> str | Profile: ...
    @property
    def timeout(self) -> float: ...
    @property
    def renews_from_access(self) -> bool: ...
    @property
    def bearer_field(self) -> str | None: ...
    @property
    def settings(self) -> object: ...

    def __call__(self, token: Token) -> Answer | Awaitable[Answer]:
        """Return the next token. Raises an `OnerefreshError`, or whatever its HTTP client raises."""

    def obtain(self) -> Answer | Awaitable[Answer]:
        """Return a first token, for which none is needed."""

    def prepare(self) -> None:
        """Do slow work that sends nothing, such as reading a client secret. Raises `ConfigurationError`."""

    def revoke(self, token: Token) -> object:
        """Revoke the token at the server. May be async."""

    def answer_of(self, answer: Mapping[str, object]) -> Mapping[str, object]:
        """The fields of a login's answer under the names that are understood, such as ``access_token``."""


def identity_of(refresher: object) -> str | None:
    """The refresher's identity; None where it states none."""
    identity = getattr(refresher, "identity", None)
    return identity if isinstance(identity, str) else None


def host_of(refresher: object) -> str | None:
    """The token endpoint's host; None where the refresher states none."""
    host = getattr(refresher, "host", None)
    return host if isinstance(host, str) else None


def endpoint_of(refresher: object) -> tuple[str, str | None] | None:
    """The token endpoint's host, and the identity, which names the client; None where the refresher states no host."""
    host = host_of(refresher)
    return (host, identity_of(refresher)) if host is not None else None


def limit_of(refresher: object) -> int | None:
    """How many renewals may be at its host at the same time; None where the refresher does not state that."""
    limit = getattr(refresher, "limit", None)
    return limit if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 else None


def profile_of(refresher: object) -> str | Profile | None:
    """What its server does when a refresh token is used twice; None where the refresher does not state that."""
    profile = getattr(refresher, "profile", None)
    return profile if isinstance(profile, (str, Profile)) else None


def timeout_of(refresher: object) -> float:
    """Seconds that one of its requests may take: as it states, else `HTTP_TIMEOUT`."""
    timeout = getattr(refresher, "timeout", None)
    if isinstance(timeout, (int, float)) and 0.0 < timeout < math.inf:
        return float(timeout)
    return HTTP_TIMEOUT


def renews_from_access(refresher: object) -> bool:
    """Whether the refresher declares that it needs no refresh token: `Token.reveal` is enough."""
    return getattr(refresher, "renews_from_access", False) is True


def bearer_field_of(refresher: object) -> str | None:
    """The field of its answers that is sent; None: the access token, also where the refresher does not state that."""
    name = getattr(refresher, "bearer_field", None)
    return name if isinstance(name, str) else None


def obtain_of(refresher: object) -> Callable[[], Answer | Awaitable[Answer]] | None:
    """The refresher's `obtain`; None where its class has none."""
    found: Callable[[], Answer | Awaitable[Answer]] | None = _method(refresher, "obtain")
    return found


def prepare_of(refresher: object) -> Callable[[], object] | None:
    """The refresher's `prepare`; None where its class has none."""
    found: Callable[[], object] | None = _method(refresher, "prepare")
    return found


def revoke_of(refresher: object) -> Callable[[Token], object] | None:
    """The refresher's `revoke`; None where its class has none."""
    found: Callable[[Token], object] | None = _method(refresher, "revoke")
    return found


def translated(refresher: object, answer: object) -> object:
    """A login's answer as the refresher's `answer_of` reads it; the answer itself where its class has none."""
    read: Callable[[Mapping[str, object]], object] | None = _method(refresher, "answer_of")
    return read(answer) if read is not None and isinstance(answer, Mapping) else answer


def settings_of(refresher: object) -> object:
    """The refresher's settings, where its class has them; else itself, since its code then tells it from others."""
    try:
        return getattr(refresher, "settings", None) if hasattr(type(refresher), "settings") else refresher
    except Exception as error:  # noqa: BLE001 - a user's class may raise anything, and the renewal goes on
        return type(error).__name__


def _method(refresher: object, name: str) -> Any:
    return getattr(refresher, name, None) if hasattr(type(refresher), name) else None
