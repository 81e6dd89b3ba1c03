"""Token and Secret: values that do not show what they hold.

A `Token` is made from a token response (RFC 6749 section 5.1) or by hand, and never changes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import EllipsisType, MappingProxyType
from typing import TYPE_CHECKING, NoReturn, Self, TypeAlias

from onerefresh.answers import NO_ACCESS_TOKEN, as_seconds, claims_of, fitting, scope_of, unsendable
from onerefresh.errors import ConfigurationError, LoginRequired, RefreshProtocolError
from onerefresh.expiry import (
    CAUTIOUS_LIFE,
    is_nearly_over,
    refresh_end_given,
    skew_by_issue,
    span_of,
    times_given,
    worth_it,
)
from onerefresh.secret import Secret, secrets_in
from onerefresh.whose import Whose, whose

if TYPE_CHECKING:
    from datetime import datetime, timedelta

__all__ = ["Answer", "OddTimes", "Token"]

LEAST_TO_MOVE = 5.0
"""Seconds between two refreshes: with less, servers that count whole seconds do not show whether an end has moved."""
THE_SAME_AGAIN = 60.0
"""Seconds for which a token is used that has come once more, and was over before."""
OVER_BEFORE = (
    "its end was over before it was asked for (this machine's clock is ahead of the server's, or a cache has answered)"
)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Token:
    """One access token, with the refresh token that came with it.

    * `access_token`: None where only the refresh token is known, which is then used before the first call.
    * `expires_at`, `issued_at`: seconds since the epoch. They are given as numbers or texts of these, milliseconds
      included, as `datetime` with a tzinfo, and as ISO 8601 or HTTP dates. Where `expires_at` is None, it is not known,
      and the token serves until it is refused.
    * `expires_in`: seconds, or a `timedelta`; it may be given instead of `expires_at`. Where neither is given, a JWT's
      own ``exp`` counts, as in a token response.
    * `refresh_expires_at`: when the refresh token ends, given and stated in the same ways; None where that is not
      known, or never. `refresh_expires_in` may be given instead (0: never). Where neither is given, its ``exp`` counts.
    * `refresh_end_moves`: False where the last refresh did not move that end, as at a session's maximum.
    * `scope`, `extra`: what else the server answered, up to 4 and about 64 KiB of it. Values in `extra` are never
      shown.
    * `family`, `generation`: the session, and the number of the token in it (0: not yet in a credential).
    * `clock_skew`: seconds by which this machine's clock was ahead of the server's when this token came, as far as the
      answer showed it (None: not at all). The token's times are the server's then. It is not stored with the token.
    * `unknown`: what a newer version of this library stored with this token.
    * `doubt`: what is stated about its end and was not understood, in words; it is not stored.

    Raises `ConfigurationError` for a time that is not understood, and `RefreshProtocolError` for an access token that
    is empty or not a text. One that no header can carry is no error here, since the refresh token beside it may be the
    only one that works; but no credential takes it for a token.
    """

    access_token: Secret
    refresh_token: Secret | None
    expires_at: float | None
    issued_at: float
    refresh_expires_at: float | None
    refresh_end_moves: bool
    scope: str | None
    extra: Mapping[str, object] = field(hash=False)
    generation: int
    family: str
    clock_skew: float | None = field(compare=False)
    unknown: Mapping[str, object] = field(hash=False)
    doubt: str = field(compare=False)

    def __init__(
        self,
        access_token: str | Secret | None,
        refresh_token: str | Secret | None = None,
        *,
        expires_in: float | str | timedelta | None = None,
        expires_at: float | str | datetime | EllipsisType | None = ...,
        issued_at: float | str | datetime | None = None,
        refresh_expires_in: float | str | timedelta | None = None,
        refresh_expires_at: float | str | datetime | EllipsisType | None = ...,
        refresh_end_moves: bool = True,
        scope: str | None = None,
        extra: Mapping[str, object] = MappingProxyType({}),
        generation: int = 0,
        family: str = "",
        clock_skew: float | None = None,
        unknown: Mapping[str, object] = MappingProxyType({}),
        doubt: str = "",
    ) -> None:
        try:
            access = _as_secret("access_token", access_token)
            refresh = _as_secret("refresh_token", refresh_token)
        finally:
            del access_token, refresh_token  # they would show in a traceback with locals
        if access is None:
            if refresh is None:
                raise RefreshProtocolError("a Token needs a non-empty access_token")
            access, expires_in, expires_at = Secret(NO_ACCESS_TOKEN), 0.0, None
        claims = claims_of(access.reveal()) if expires_in is None and expires_at is ... else {}
        times = times_given(expires_in, expires_at, issued_at, now=time.time(), claims=claims, renewable=bool(refresh))
        claims = claims_of(refresh.reveal()) if refresh is not None and refresh_expires_at is ... else {}
        end = refresh_end_given(refresh_expires_in, refresh_expires_at, at=times.issued_at, claims=claims)
        # One of them may be a token, by mistake.
        del expires_in, expires_at, issued_at, refresh_expires_in, refresh_expires_at
        put = object.__setattr__
        put(self, "access_token", access)
        put(self, "refresh_token", refresh)
        put(self, "expires_at", times.expires_at)
        put(self, "issued_at", times.issued_at)
        put(self, "refresh_expires_at", end.moment)
        put(self, "refresh_end_moves", refresh_end_moves is not False)
        put(self, "scope", scope_of({"scope": scope}))
        put(self, "extra", MappingProxyType(fitting(extra)))
        put(self, "generation", generation if type(generation) is int and 0 <= generation < 2**40 else 0)
        put(self, "family", str(family))
        put(self, "clock_skew", as_seconds(clock_skew))
        put(self, "unknown", MappingProxyType(dict(unknown)))
        put(self, "doubt", doubt or times.doubt)
        if times.problem or end.odd:
            raise OddTimes(times.problem or f"{end.odd}: {end.accepted}", token=self)

    def reveal(self) -> str:
        """The access token's text."""
        return self.access_token.reveal()

    def reveal_refresh_token(self) -> str:
        """The refresh token's text.

        Raises `LoginRequired` where the server gave none: only a person can renew this token.
        """
        if self.refresh_token is None:
            raise LoginRequired("there is no refresh token: log in again", generation=self.generation)
        return self.refresh_token.reveal()

    @property
    def has_access_token(self) -> bool:
        """False for a session of which only the refresh token is known so far."""
        return self.access_token.reveal() != NO_ACCESS_TOKEN

    @property
    def is_sendable(self) -> bool:
        """Whether a header can carry the access token."""
        return unsendable(self.reveal()) is None

    @property
    def secrets(self) -> list[Secret]:
        """Everything in it that may not be shown: both tokens, and what in `extra` looks like one."""
        tokens = [self.access_token] if self.has_access_token else []
        return [*tokens, *filter(None, [self.refresh_token]), *secrets_in(self.extra)]

    @property
    def whose(self) -> Whose:
        """Whose it is, as far as its own JWT and the id_token beside it tell."""
        return whose(self.access_token.reveal(), self.extra)

    @property
    def identity(self) -> tuple[str, int]:
        """Family and generation, by which tokens are compared: two refreshes may return the same text."""
        return (self.family, self.generation)

    def numbered(self, family: str, generation: int) -> Self:
        """The same token, as generation `generation` of `family`."""
        return replace(self, family=family, generation=generation)

    def following(self, previous: Token) -> Self:
        """This answer as the successor of `previous`: what the server did not repeat stays as it was.

        RFC 6749 section 6: without a new refresh token the old one stays; section 5.1: so does the scope. The end of
        the old refresh token stays with it; that of a new one is not known where the answer does not state it.
        """
        is_same = self.refresh_token is None or self.refresh_token == previous.refresh_token
        ends_at = self.refresh_expires_at
        if ends_at is None and is_same:
            ends_at = previous.refresh_expires_at
        return replace(
            self,
            refresh_token=self.refresh_token or previous.refresh_token,
            refresh_expires_at=ends_at,
            refresh_end_moves=_end_moves(previous, ends_at, self.issued_at),
            scope=self.scope if self.scope is not None else previous.scope,
            extra=_latest(previous.extra, self.extra),
            unknown={},
        )

    def arrived(self, asked_at: float, at: float, before: Token | None = None) -> Self:
        """This token as the answer that came at `at` to a request sent at `asked_at`, by this machine's clock.

        A JWT's own times may show that this clock is off where the answer did not. `before`: the token that was
        refreshed.

        A token that had expired before it was asked for shows that clocks differ, or comes from a cache. It is used for
        a while, as one whose end is not understood, since otherwise every call would refresh it again. The same would
        happen to a token that took more than half of its life to come. Its life counts from its arrival, since the
        server may have issued it as late as that.
        """
        if self.expires_at is None:
            return self
        if self.clock_skew is None and (dated := self._dated_by_itself(asked_at, at, before)) is not None:
            return dated.arrived(asked_at, at, before)
        asked_at, at = asked_at - worth_it(self.clock_skew or 0.0), at - worth_it(self.clock_skew or 0.0)
        if self.expires_at <= max(asked_at, self.issued_at):
            is_same = before is not None and before.access_token == self.access_token
            life = THE_SAME_AGAIN if is_same else CAUTIOUS_LIFE
            return replace(self, issued_at=at, expires_at=at + life, doubt=self.doubt or OVER_BEFORE)
        life = self.expires_at - max(self.issued_at, asked_at)
        if 0.0 <= at - asked_at <= life / 2.0:
            return self  # else it took long; or the clock was set back, and the token would live too long
        return replace(self, issued_at=at, expires_at=at + life)

    def _dated_by_itself(self, asked_at: float, at: float, before: Token | None) -> Self | None:
        """This token with the skew that its own ``iat`` and ``exp`` show; None where they show none."""
        span = span_of(claims_of(self.reveal()), asked_at)
        if span is None or span[1] != self.expires_at:
            return None  # no JWT, or its answer says something else
        is_new = before is None or before.access_token != self.access_token
        skew = skew_by_issue(*span, asked_at, at, is_new=is_new)
        if skew is None:
            return None
        if not worth_it(skew) and is_new and is_nearly_over(*span, asked_at):
            life = span[1] - span[0]  # so short that less than a minute matters
            return replace(self, issued_at=asked_at, expires_at=asked_at + life, clock_skew=0.0)
        return replace(self, issued_at=asked_at - worth_it(skew), clock_skew=skew)

    def seed_fingerprint(self) -> str:
        """The digest that names the family of a session that begins with this token: of its refresh or access token."""
        return (self.refresh_token or self.access_token).fingerprint()

    def __repr__(self) -> str:
        if not hasattr(self, "doubt"):
            return "Token(…)"  # incomplete: a traceback with locals shows it where the constructor fails
        expiry = "unknown" if self.expires_at is None else f"{self.expires_at:.0f}"
        refreshable = "yes" if self.refresh_token else "no"
        extra = f", extra={sorted(map(str, self.extra))}" if self.extra else ""
        return f"Token(generation={self.generation}, expires_at={expiry}, refreshable={refreshable}{extra})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a token cannot be pickled: send the credential's name, and load the token at the other end")


class OddTimes(ConfigurationError):
    """A time that was given to a `Token` is not understood.

    `token`: the token all the same, for a short while: a refresher that raises this may hold the only refresh token
    that still works. No copy of the error has it.
    """

    def __init__(
        self,
        message: str = "",
        *,
        credential: str | None = None,
        generation: int | None = None,
        token: Token | None = None,
    ) -> None:
        super().__init__(message, credential=credential, generation=generation)
        self.token = token


Answer: TypeAlias = Token | Mapping[str, object]
"""What a refresher returns: a `Token`, or a token response as the server sent it."""


def _end_moves(before: Token, ends_at: float | None, now: float) -> bool:
    """Whether a refresh at `now` moved the refresh token's end to `ends_at`: by half of the time that has passed."""
    if before.refresh_expires_at is None or ends_at is None:
        return True
    passed = now - before.issued_at
    if passed < LEAST_TO_MOVE:
        return before.refresh_end_moves
    return ends_at - before.refresh_expires_at > passed / 2.0


def _latest(before: Mapping[str, object], now: Mapping[str, object]) -> dict[str, object]:
    """Both mappings in their order, as far as they may be kept; new values are kept before old ones."""
    kept = fitting({**now, **{name: value for name, value in before.items() if name not in now}})
    return {name: kept[name] for name in {**before, **now} if name in kept}


def _as_secret(name: str, value: object) -> Secret | None:
    if isinstance(value, Secret):
        return value or None
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return Secret(value)
    kind = type(value).__name__
    del value  # it would show in a traceback with locals
    raise RefreshProtocolError(f"{name} must be a string, not {kind}")
