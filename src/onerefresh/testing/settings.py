"""How a test server behaves: the choices that are made when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict, get_args

from onerefresh.testing.wanted import BEARER, Wanted

Mode = Literal["static", "grace", "reject_only", "revoke_family"]
ClientAuth = Literal["client_secret_basic", "client_secret_post", "any", "none"]

MODES: tuple[str, ...] = get_args(Mode)
CLIENT_AUTH: tuple[str, ...] = get_args(ClientAuth)


class Options(TypedDict, total=False):
    """The keyword arguments of a server; see `Settings` for the meaning of each."""

    grace: float
    expires_in: float
    tell_expiry: bool
    old_access_dies: bool
    same_access_text: bool
    client_id: str
    client_secret: str | None
    client_auth: ClientAuth
    scope: str
    extra: Mapping[str, object]
    attach: str | Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server does. Raises `ValueError` for choices that do not fit together.

    * `mode`: what happens to a refresh token that was used before. ``static``: refresh tokens are not rotated; the same
      one works for ever, and answers contain none. ``grace``: the previous one gets the same new pair again for `grace`
      seconds; later it counts as reuse and ends the family. ``reject_only``: it is refused, and the family lives on.
      ``revoke_family``: it is refused, and the whole family ends (RFC 9700 section 4.14.2).
    * `grace`: seconds, for mode ``grace`` only.
    * `expires_in`: lifetime of access tokens in seconds; may be a fraction.
    * `tell_expiry`: whether answers contain `expires_in`.
    * `old_access_dies`: a refresh also ends the earlier access tokens.
    * `same_access_text`: a refresh answers with the same access token text, which is valid again.
    * `client_id`, `client_secret`: the one registered client. Without a secret (None) it is a public client.
    * `client_auth`: the only accepted way of client authentication; ``any`` accepts both of RFC 6749 section 2.3.1. A
      public client has ``none``.
    * `scope`: what the grant covers, separated by spaces. A refresh may ask for less, never for more.
    * `extra`: more fields for every token answer.
    * `attach`: how the API wants the token, as the ``attach=`` of a client: a template, or a mapping from places to
      templates. A call without all of it, or with a place that is there twice, is refused.
    """

    mode: Mode = "revoke_family"
    grace: float = 10.0
    expires_in: float = 3600.0
    tell_expiry: bool = True
    old_access_dies: bool = False
    same_access_text: bool = False
    client_id: str = "client"
    client_secret: str | None = field(default="secret", repr=False)
    client_auth: ClientAuth = "any"
    scope: str = "read write"
    extra: Mapping[str, object] = field(default_factory=dict)
    attach: str | Mapping[str, str] = BEARER

    @property
    def wanted(self) -> Wanted:
        """Finds the token in a request, as `attach` says."""
        return Wanted(self.attach, self.extra)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"unknown mode {self.mode!r}: use one of {', '.join(MODES)}")
        if self.client_auth not in CLIENT_AUTH:
            raise ValueError(f"unknown client_auth {self.client_auth!r}: use one of {', '.join(CLIENT_AUTH)}")
        if self.mode == "grace" and not self.grace > 0:
            raise ValueError("mode 'grace' needs grace in seconds, more than 0")
        if not self.expires_in > 0:
            raise ValueError("expires_in must be a number of seconds, more than 0")
        if not self.client_id:
            raise ValueError("client_id must not be empty")
        if self.client_secret is None and self.client_auth not in ("any", "none"):
            raise ValueError(f"a public client (client_secret=None) cannot use {self.client_auth}")
        if self.client_secret is not None and self.client_auth == "none":
            raise ValueError("client_auth 'none' is for public clients: give client_secret=None")
        Wanted(self.attach, self.extra)  # it raises what is wrong with it
