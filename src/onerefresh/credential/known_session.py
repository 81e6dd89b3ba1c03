"""What a process knows of a session: its newest token, and which sessions came before it."""

from __future__ import annotations

from onerefresh.record import FAMILIES
from onerefresh.token import Token

__all__ = ["KnownSession"]


class KnownSession:
    """What a process knows of a session, whether callers get its token or not.

    The lock of `SessionMemory` guards it: whoever calls a method that changes something holds that lock.
    """

    __slots__ = ("earlier", "known", "save", "spent", "unsaved")

    def __init__(self) -> None:
        self.known: Token | None = None  # the newest token seen, whether it serves or not
        self.earlier: tuple[str, ...] = ()  # the families of sessions that came before it, oldest first
        self.unsaved: Token | None = None  # a newer token that a renewal of this process could save nowhere yet
        self.save: object = None  # the host application's function, where it keeps the tokens
        self.spent: tuple[str, ...] = ()  # digests of the last refresh tokens that were traded in, where the host saves

    @property
    def newest(self) -> Token | None:
        """The newest token that this process knows, saved or not."""
        return self.unsaved or self.known

    def _has_newer(self, token: Token) -> bool:
        """Whether this process knows this token of the session, or a newer one."""
        known = self.known
        return known is not None and known.family == token.family and known.generation >= token.generation

    def _has_gone_over_from(self, family: str) -> bool:
        """Whether this process has learned of a login or logout elsewhere that ended the session of this family."""
        return family in self.earlier and (self.known is None or self.known.family != family)

    def _goes_on_with(self, token: Token, earlier: tuple[str, ...]) -> None:
        """Note `token` as the newest one. `earlier`: the families of the sessions before its own."""
        self._trades(token)
        known = self.known
        self._comes_after(*earlier, *((known.family,) if known is not None and known.family != token.family else ()))
        self.known, unsaved = token, self.unsaved
        if unsaved is not None and (unsaved.family != token.family or unsaved.generation <= token.generation):
            self.unsaved = None  # else it would hide the newer token

    def cannot_save(self, token: Token) -> None:
        """Note a new token that is saved nowhere yet. The caller holds the lock.

        The token may be the late answer to an attempt that another one has overtaken. Then this process knows a newer
        token, of this session or of a later one, and the late token is not kept.
        """
        if not self._has_newer(token) and not self._has_gone_over_from(token.family):
            self._trades(token)
            self.unsaved = token

    def has_gone_on_from(self, token: Token) -> bool:
        """Whether the refresh token of `token` was traded in here, where the host saves."""
        refresh = token.refresh_token
        return bool(self.spent) and refresh is not None and refresh.fingerprint() in self.spent

    def _trades(self, token: Token) -> None:
        """Note that the newest refresh token is spent: the host may still hand it to another object."""
        before = self.newest
        if self.save is None or before is None or before.refresh_token is None or before.family != token.family:
            return
        if before.refresh_token != token.refresh_token:
            self.spent = (*self.spent, before.refresh_token.fingerprint())[-FAMILIES:]

    def _ends(self) -> None:
        """Note that the session is over here: its token must never come back."""
        if self.known is not None:
            self._comes_after(self.known.family)
        self.known = self.unsaved = None

    def _comes_after(self, *families: str) -> None:
        """Remember these families as those of earlier sessions."""
        if families and not set(families) <= set(self.earlier):
            self.earlier = tuple(dict.fromkeys((*self.earlier, *families)))[-FAMILIES:]
