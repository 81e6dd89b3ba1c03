"""What all credentials of one kind have in common: functions, profile and limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from onerefresh.bearer_field import checked_bearer_field
from onerefresh.credential.arguments import checked_early, seconds
from onerefresh.credential.cached_token import USUAL, Timing
from onerefresh.credential.client import digest_of
from onerefresh.errors import ConfigurationError
from onerefresh.host_limiter import HostLimiter
from onerefresh.loops import is_async
from onerefresh.policy import Early
from onerefresh.profile import Profile, profile_named
from onerefresh.record import Record
from onerefresh.refresher import (
    bearer_field_of,
    identity_of,
    obtain_of,
    profile_of,
    renews_from_access,
    timeout_of,
)
from onerefresh.renewal.decide import must_rest
from onerefresh.store import Store
from onerefresh.token import Answer, Token
from onerefresh.user_code import Functions

if TYPE_CHECKING:
    import asyncio

__all__ = ["CredentialOptions", "bearer_of"]


class CredentialOptions(NamedTuple):
    """The arguments that many credentials may have in common, checked, with what follows from them.

    * `http_timeout`: seconds that one token request may take.
    * `owner`: the refresher's identity, where it has one.
    * `renews_from_access`: the refresher is asked, before `obtain`, although there is no refresh token.
    * `turns`: the limit on concurrent renewals at one host, or None.
    * `adopts`: a stored token that belongs to another refresher is taken over.
    * `patience`: seconds that a renewal waits for a token endpoint that is left alone.
    * `bearer_field`: the field of a token answer that is sent in place of its access token, or None.
    * `timing`: how long before its end a token is refreshed in the background.
    * `group`: an object that stands for all credentials of one `Credentials`, or None.
    * `moved_from`: the store from which credentials are moved to this one when they are first used, or None.
    """

    refresher: Callable[[Token], Answer | Awaitable[Answer]]
    obtain: Callable[[], Answer | Awaitable[Answer]] | None
    save: Callable[[Token], Awaitable[None] | None] | None
    profile: Profile
    loop: asyncio.AbstractEventLoop | None
    max_wait: float
    turns: HostLimiter | None
    http_timeout: float
    owner: str | None
    is_async: bool
    renews_from_access: bool
    adopts: bool = False
    patience: float = 0.0
    moved_from: Store | None = None
    bearer_field: str | None = None
    timing: Timing = USUAL
    group: object = None

    @property
    def functions(self) -> Functions:
        """The user's functions that a renewal calls."""
        return Functions(self.refresher, self.obtain, self.save, self.bearer_field)

    def client(self) -> str:
        """A digest of the refresher's settings and code."""
        return digest_of(self.refresher)

    def must_rest(self, record: Record, now: float) -> bool:
        """Whether nothing may be sent for this record yet."""
        return must_rest(record, self.client, now)

    @classmethod
    def of(
        cls,
        refresher: Callable[[Token], Answer | Awaitable[Answer]],
        *,
        obtain: Callable[[], Answer | Awaitable[Answer]] | None = None,
        save: Callable[[Token], Awaitable[None] | None] | None = None,
        profile: str | Profile | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        max_wait: float = 60.0,
        turns: HostLimiter | None = None,
        adopt: bool = False,
        patience: float = 0.0,
        moved_from: Store | None = None,
        bearer_field: str | None = None,
        early: Early = None,
        group: object = None,
    ) -> CredentialOptions:
        """Check the arguments and derive the rest.

        Raises `ConfigurationError` for an unknown profile, for a number that is none, or out of range, and for a
        `bearer_field` that is no name.
        """
        obtain = obtain if obtain is not None else obtain_of(refresher)
        return cls(
            refresher=refresher,
            obtain=obtain,
            save=save,
            profile=profile_named(profile if profile is not None else profile_of(refresher) or "strict"),
            loop=loop,
            max_wait=seconds("max_wait", max_wait),
            turns=turns,
            http_timeout=timeout_of(refresher),
            owner=identity_of(refresher),
            is_async=any(map(is_async, (refresher, obtain, save))),
            renews_from_access=renews_from_access(refresher),
            adopts=adopt,
            patience=seconds("patience", patience),
            moved_from=moved_from,
            bearer_field=bearer_of(refresher, bearer_field),
            timing=USUAL if checked_early(early) is None else Timing(checked_early(early)),
            group=group,
        )


def bearer_of(refresher: object, given: object = None) -> str | None:
    """The field of a token answer that is sent: as given, else as the refresher states it; None: the access token.

    Raises `ConfigurationError` for what is no name, and where both name another field.
    """
    name, stated = checked_bearer_field(given), checked_bearer_field(bearer_field_of(refresher))
    if given is not None and stated is not None and name != stated:
        raise ConfigurationError("bearer_field names a different field than the refresher does: give it in one place")
    return name if name is not None else stated
