"""What an authorization server does with a refresh token that is used twice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from onerefresh.errors import ConfigurationError
from onerefresh.policy import DETECTION, FOR_GOOD
from onerefresh.token import Token

__all__ = [
    "PROFILES",
    "Profile",
    "profile_named",
]

SHORTEST_LEASE, LONGEST_LEASE = 30.0, 300.0
NEVER: Literal["never"] = "never"
STRICT_RESEND = 60.0
"""Seconds after which no server or proxy is at work on a request any more."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What an authorization server does when a refresh token is used twice.

    * `grace`: seconds in which a used refresh token is answered once more (0: never).
    * `rotates`: whether a refresh gives a new refresh token at all. Where it does not, a second use costs nothing.
    * `resend`: seconds after which a refresh token is sent again where the answer to it was lost, or ``"never"``: not
      before somebody calls `retry()`. Default: what the server promises; at once where a second use does no harm.

    Raises `ConfigurationError` for a `resend` that is neither.
    """

    name: str
    grace: float = 0.0
    rotates: bool = True
    resend: float | Literal["never"] | None = None

    def __post_init__(self) -> None:
        resend = self.resend
        is_number = isinstance(resend, (int, float)) and not isinstance(resend, bool) and 0.0 <= resend < math.inf
        if resend is not None and resend != NEVER and not is_number:
            raise ConfigurationError(f"resend must be a number of seconds or 'never', not {resend!r}")

    @property
    def sends_again_after(self) -> float:
        """Seconds between two uses of one refresh token after a lost answer; `FOR_GOOD` where there is no second."""
        if self.resend is not None:
            return FOR_GOOD if self.resend == NEVER else float(self.resend)
        return 0.0 if self.grace or not self.rotates else STRICT_RESEND

    def time_to_live(self, token: Token | None, now: float, http_timeout: float) -> float:
        """Seconds after which other processes may take over an attempt that has not ended.

        Within a grace window, the repeated use must still be answered. A strict server is given as long as the old
        access token still serves, so that a holder that was merely paused can come back and save.
        """
        shortest = max(SHORTEST_LEASE, 2.5 * http_timeout)
        if not self.rotates:
            return shortest
        within = self.grace - DETECTION - http_timeout
        if within > http_timeout + DETECTION:
            return min(within, shortest)
        still_serves = 0.0
        if token is not None:
            still_serves = LONGEST_LEASE if token.expires_at is None else token.expires_at - now
        return min(max(still_serves, shortest), max(LONGEST_LEASE, shortest))


_STRICT = ("strict", "auth0", "keycloak", "github", "salesforce", "slack", "zoom", "shopify", "notion", "supabase",
           "hydra", "curity", "connect2id", "cognito", "fitbit", "strava", "twitch")  # fmt: skip
PROFILES: Mapping[str, Profile] = MappingProxyType(
    {name: Profile(name) for name in _STRICT}
    | {
        "static": Profile("static", rotates=False),
        "google": Profile("google", rotates=False),
        "hubspot": Profile("hubspot", rotates=False),
        "zoho": Profile("zoho", rotates=False),
        "entra": Profile("entra", grace=86_400.0),
        "okta": Profile("okta", grace=30.0),
        "workos": Profile("workos", grace=30.0),
        "atlassian": Profile("atlassian", grace=600.0),
        "xero": Profile("xero", grace=1800.0),
    }
)
"""Known servers with their documented defaults. An unknown or reconfigured one is ``"strict"`` or a `Profile`."""


def profile_named(profile: str | Profile) -> Profile:
    """The profile of that name; ``"grace:30"`` is a server with a grace window of 30 seconds.

    Raises `ConfigurationError` for an unknown name.
    """
    if isinstance(profile, Profile):
        return profile
    name, _, seconds = profile.partition(":")
    if name == "grace" and seconds:
        try:
            grace = float(seconds)
        except ValueError:
            grace = -1.0
        if math.isfinite(grace) and grace >= 0:
            return Profile(profile, grace=grace)
    elif profile in PROFILES:
        return PROFILES[profile]
    raise ConfigurationError(
        f"unknown profile {profile!r}: use one of {', '.join(sorted(PROFILES))}, 'grace:SECONDS', or a Profile"
    )
