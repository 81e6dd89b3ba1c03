"""The rules of the authorization server: token families, rotation, reuse detection. There is no I/O here."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from onerefresh.locks import Lock
from onerefresh.real_time import monotonic
from onerefresh.testing.settings import Settings


@dataclass(slots=True)
class Family:
    """All tokens that come from one login."""

    scope: str
    generation: int = 0
    revoked: bool = False
    access_text: str | None = None
    access: list[AccessToken] = field(default_factory=list)
    refresh: RefreshToken | None = None


@dataclass(slots=True)
class AccessToken:
    text: str = field(repr=False)
    family: Family = field(repr=False)
    generation: int
    scope: str
    expires_at: float
    revoked: bool = False


@dataclass(slots=True)
class RefreshToken:
    text: str = field(repr=False)
    family: Family = field(repr=False)
    generation: int
    spent_at: float | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """Tokens were issued. `again`: the same pair was answered once more within the grace window."""

    answer: dict[str, object] = field(repr=False)
    generation: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """An error of RFC 6749 section 5.2. `reuse`: the refresh token had been used before."""

    error: str
    description: str
    reuse: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """What the API learns about an access token. The generation is None for a token that was never issued."""

    valid: bool
    generation: int | None


@dataclass(slots=True)
class Tally:
    """How often each thing happened; see `Counters` for the meaning."""

    refreshes: int = 0
    reissues: int = 0
    reuse_detected: int = 0
    client_credentials: int = 0
    revocations: int = 0


class Authority:
    """Issues, rotates, checks and revokes tokens. `_lock` guards everything, so that every decision is atomic."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = Lock()
        self._families: list[Family] = []
        self._machine_family: Family | None = None
        self._access: dict[str, AccessToken] = {}
        self._refresh: dict[str, RefreshToken] = {}
        self._tally = Tally()

    def issue(self, scope: str | None = None, expires_in: float | None = None) -> dict[str, object]:
        """A login: return the first token answer of a new family. `expires_in`: seconds, for this access token only."""
        with self._lock:
            family = Family(scope=self._settings.scope if scope is None else scope)
            self._families.append(family)
            return self._mint(family, family.scope, with_refresh_token=True, expires_in=expires_in)

    def refresh(self, refresh_token: str, scope: str | None = None) -> Issued | Refused:
        """Spend a refresh token (RFC 6749 section 6)."""
        with self._lock:
            spent = self._refresh.get(refresh_token)
            if spent is None:
                return Refused("invalid_grant", "the refresh token is unknown")
            family = spent.family
            if spent.spent_at is not None:
                return self._used_before(spent)
            if family.revoked:
                return Refused("invalid_grant", "the session was revoked")
            granted = _narrowed(family.scope, scope)
            if granted is None:
                return Refused("invalid_scope", "the scope is wider than what was granted")
            rotates = self._settings.mode != "static"
            if rotates:
                spent.spent_at = self._clock()
            self._tally.refreshes += 1
            answer = self._mint(family, granted, with_refresh_token=rotates)
            return Issued(answer, family.generation)

    def client_credentials(self, scope: str | None = None) -> Issued | Refused:
        """Issue an access token for the client itself, without a refresh token (RFC 6749 section 4.4)."""
        with self._lock:
            granted = _narrowed(self._settings.scope, scope)
            if granted is None:
                return Refused("invalid_scope", "the scope is wider than what this client may have")
            if self._machine_family is None:
                self._machine_family = Family(scope=self._settings.scope)
            self._tally.client_credentials += 1
            answer = self._mint(self._machine_family, granted, with_refresh_token=False)
            return Issued(answer, self._machine_family.generation)

    def check(self, access_token: str) -> Checked:
        """Whether the API accepts this access token now."""
        with self._lock:
            token = self._access.get(access_token)
            if token is None:
                return Checked(False, None)
            alive = not token.revoked and not token.family.revoked and self._clock() < token.expires_at
            return Checked(alive, token.generation)

    def revoke(self, token: str) -> None:
        """Revoke a token (RFC 7009): a refresh token with its family, an access token alone.

        An unknown token is no error.
        """
        with self._lock:
            self._tally.revocations += 1
            if token in self._refresh:
                self._refresh[token].family.revoked = True
            elif token in self._access:
                self._access[token].revoked = True

    def revoke_access(self, token: str | None = None) -> None:
        """Revoke all access tokens, or those of the family of `token`. Refresh tokens stay valid."""
        with self._lock:
            for family in self._chosen(token):
                for access in family.access:
                    access.revoked = True

    def revoke_family(self, token: str | None = None) -> None:
        """Revoke all families, or that of `token`."""
        with self._lock:
            for family in self._chosen(token):
                family.revoked = True

    def generation_of(self, token: str) -> int | None:
        """The generation of any token that was ever issued."""
        with self._lock:
            known = self._refresh.get(token) or self._access.get(token)
            return known.generation if known else None

    def sessions(self) -> list[str]:
        """`alive` or `revoked` for each login, in their order."""
        with self._lock:
            return ["revoked" if family.revoked else "alive" for family in self._families]

    def tally(self) -> Tally:
        """A copy of the counts."""
        with self._lock:
            counts = self._tally
            return Tally(
                counts.refreshes,
                counts.reissues,
                counts.reuse_detected,
                counts.client_credentials,
                counts.revocations,
            )

    def _used_before(self, spent: RefreshToken) -> Issued | Refused:
        family = spent.family
        assert spent.spent_at is not None
        if self._settings.mode == "grace" and not family.revoked:
            in_time = self._clock() - spent.spent_at < self._settings.grace
            # Only the direct predecessor: a client that repeats an older one has lost track of its own tokens.
            if in_time and spent.generation == family.generation - 1:
                self._tally.reissues += 1
                return Issued(self._current_pair(family), family.generation, again=True)
        self._tally.reuse_detected += 1
        if self._settings.mode != "reject_only":
            family.revoked = True
        return Refused("invalid_grant", "the refresh token was used before", reuse=True)

    def _chosen(self, token: str | None) -> list[Family]:
        if token is None:
            return [*self._families, *([self._machine_family] if self._machine_family else [])]
        known = self._refresh.get(token) or self._access.get(token)
        if known is None:
            raise ValueError("this token was never issued here")
        return [known.family]

    def _mint(
        self, family: Family, scope: str, *, with_refresh_token: bool, expires_in: float | None = None
    ) -> dict[str, object]:
        if self._settings.old_access_dies:
            for old in family.access:
                old.revoked = True
        if family.access_text is None or not self._settings.same_access_text:
            family.access_text = "test-access-" + secrets.token_urlsafe(24)
        family.generation += 1
        lifetime = self._settings.expires_in if expires_in is None else expires_in
        access = AccessToken(family.access_text, family, family.generation, scope, self._clock() + lifetime)
        self._access[access.text] = access
        family.access.append(access)
        if with_refresh_token:
            text = "test-refresh-" + secrets.token_urlsafe(24)
            family.refresh = self._refresh[text] = RefreshToken(text, family, family.generation)
        return self._answer(access, family.refresh if with_refresh_token else None, lifetime)

    def _current_pair(self, family: Family) -> dict[str, object]:
        access = family.access[-1]
        return self._answer(access, family.refresh, max(0.0, access.expires_at - self._clock()))

    def _answer(self, access: AccessToken, refresh: RefreshToken | None, lifetime: float) -> dict[str, object]:
        answer: dict[str, object] = {"access_token": access.text, "token_type": "Bearer", "scope": access.scope}
        if self._settings.tell_expiry:
            answer["expires_in"] = int(lifetime) if lifetime == int(lifetime) else round(lifetime, 3)
        if refresh is not None:
            answer["refresh_token"] = refresh.text
        return {**self._settings.extra, **answer}


def _narrowed(granted: str, asked: str | None) -> str | None:
    """The scope to grant; None where more is asked for than was granted."""
    if asked is None:
        return granted
    return asked if set(asked.split()) <= set(granted.split()) else None
