"""The authorization server and its API, as far as a protocol can tell one kind from another."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onerefresh.token import Token

GOOD, BAD, FLAPS = "/good", "/bad", "/flaps"
"""Targets that refuse no valid token, every token, and every second call."""

__all__ = ["AuthorizationServer", "Grant", "Kind", "Manner", "Refused"]


class Kind(enum.StrEnum):
    """What happens when a refresh token is used a second time."""

    STATIC = "static"  # nothing: it is not used up
    GRACE = "grace"  # answered for some seconds more, then as a strict server would
    REJECT_ONLY = "reject-only"  # refused; the newest refresh token lives on
    REVOKE_FAMILY = "revoke-family"  # refused, and the whole session ends


@dataclass(frozen=True, slots=True)
class Manner:
    """How the server behaves.

    `grace`: seconds. `siblings`: a use within the grace window makes another refresh token, which lives beside the
    first one. `forgiving`: a use after the window is refused and costs nothing else. `old_access_dies`: a refresh ends
    the old access token. `expires_in`: seconds an access token lives, or None: not told, and never. `repeats`: a
    static server sends the refresh token again with each answer. `same_answer`: a use within the grace window is
    answered with the very answer of the first use, access token and all. `uses`: how often the API takes one access
    token, or None: as often as it comes.
    """

    kind: Kind
    grace: float = 0.0
    siblings: bool = False
    forgiving: bool = False
    old_access_dies: bool = False
    expires_in: float | None = 60.0
    repeats: bool = True
    same_answer: bool = False
    uses: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A token answer."""

    access: str
    refresh: str | None
    expires_in: float | None


class Refused(Exception):
    """`invalid_grant`. `spent`: when the refresh token had been used up, or None."""

    def __init__(self, spent: float | None) -> None:
        super().__init__("invalid_grant")
        self.spent = spent


@dataclass(slots=True)
class _Issued:
    """A refresh token: its session, and what became of it."""

    session: int
    spent: float | None = None
    successor: str | None = None
    access: str = ""
    answer: Grant | None = None


class AuthorizationServer:
    """Rotation and reuse detection, exactly atomic.

    `issued_for`: for every access token the text of the refresh token that it was issued for (None: a login).
    `repeated`: the access tokens that it has answered with more than once. `useless`: by refresh token the access token
    beside it, where no header could carry that: the first one, where a grace server has answered so more than once.
    """

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self.requests = 0
        self.refreshes = 0
        self.issued_for: dict[str, str | None] = {}
        self.first_use: dict[str, float] = {}
        self.session_of: dict[str, int] = {}
        self.ended: set[int] = set()
        self.ended_by_hand: set[int] = set()
        self.repeated: set[str] = set()
        self.rejects_everything = self.has_bad_target = False
        self._turns = 0
        self.useless: dict[str, str] = {}
        self._beside: dict[str, str | None] = {}  # by access token the refresh token that came with it
        self._used: dict[str, int] = {}
        self._refresh: dict[str, _Issued] = {}
        self._access: dict[str, tuple[int, float]] = {}
        self._dead_access: set[str] = set()
        self._logins = 0

    def log_in(self, now: float) -> Grant:
        """A new session."""
        self._logins += 1
        return self._issue(self._logins, None, now)

    def refresh(self, text: str, now: float) -> Grant:
        """Trade a refresh token for the next one. Raises `Refused`."""
        self.requests += 1
        found, manner = self._refresh[text], self.manner
        if found.session in self.ended:
            raise Refused(found.spent)
        self.first_use.setdefault(text, now)
        if manner.kind is Kind.STATIC:
            self.refreshes += 1
            return self._issue(found.session, text, now)
        if found.spent is None:
            self.refreshes += 1
            return self._issue(found.session, text, now)
        if manner.kind is Kind.GRACE and now - found.spent <= manner.grace:
            if manner.same_answer and found.answer is not None:
                self.repeated.add(found.answer.access)
                return found.answer
            return self._issue(found.session, text, now)
        if manner.kind is Kind.REVOKE_FAMILY or (manner.kind is Kind.GRACE and not manner.forgiving):
            self.ended.add(found.session)
        raise Refused(found.spent)

    def lives(self, text: str, now: float) -> bool:
        """Whether this refresh token would be answered with a token."""
        found, manner = self._refresh[text], self.manner
        if found.session in self.ended:
            return False
        in_time = found.spent is None or (manner.kind is Kind.GRACE and now - found.spent <= manner.grace)
        return manner.kind is Kind.STATIC or in_time

    def is_second_repeat(self, access: str) -> bool:
        """Whether the refresh token that it was issued for came with a repeated answer, too."""
        spent = self.issued_for[access]
        return spent is not None and self._refresh[spent].access in self.repeated

    def accepts(self, access: str, now: float, path: str = "") -> bool:
        """Whether the API accepts an access token now, at this path."""
        if self.rejects_everything or access in self._dead_access or (self.has_bad_target and path == BAD):
            return False
        if path == FLAPS:  # one replica accepts it, and the next one does not
            self._turns += 1
            if self._turns % 2 == 0:
                return False
        session, until = self._access[access]
        self._used[access] = used = self._used.get(access, 0) + 1
        is_used_up = self.manner.uses is not None and used > self.manner.uses
        return now < until and session not in self.ended and not is_used_up

    def name_of(self, token: Token) -> str:
        """The access token that was issued with its refresh token: an older one stands there where that was useless."""
        refresh = token.refresh_token.reveal() if token.refresh_token is not None else None
        if refresh is None or self._beside.get(token.reveal()) == refresh:
            return token.reveal()
        return self.useless.get(refresh, token.reveal())

    @property
    def sessions(self) -> int:
        """How many there have been: they are numbered 1, 2, 3 …"""
        return self._logins

    def order_of(self, token: Token) -> int:
        """The number of its access token, in the order in which they were issued."""
        return int(token.reveal().rpartition("-")[2])

    def issued(self, token: Token) -> float:
        """When its access token was issued, which has an end."""
        _, until = self._access[token.reveal()]
        return until - (self.manner.expires_in or 0.0)

    def revoke_access_tokens(self) -> None:
        """All access tokens of today end early."""
        self._dead_access.update(self._access)

    def revoke(self, token: Token) -> None:
        """A client says that it needs this token no more: its session ends."""
        session = self.session_of[token.reveal()]
        self.ended_by_hand.add(session)
        self.ended.add(session)

    def end_sessions(self) -> None:
        """Somebody ends all sessions at the server."""
        self.ended_by_hand.update(range(1, self._logins + 1))
        self.ended |= self.ended_by_hand

    def _issue(self, session: int, spent: str | None, now: float) -> Grant:
        manner, number = self.manner, len(self.issued_for) + 1
        access = f"access-{number}"
        before = self._refresh[spent] if spent is not None else None
        refresh: str | None
        if before is not None and spent is not None and manner.kind is Kind.STATIC:
            refresh = spent if manner.repeats else None
        elif before is not None and before.successor is not None and not manner.siblings:
            refresh = before.successor
        else:
            refresh = f"refresh-{number}"
            self._refresh[refresh] = _Issued(session, access=access)
            self.session_of[refresh] = session
        if before is not None:
            if before.spent is None and manner.kind is not Kind.STATIC:
                before.spent, before.successor = now, refresh
            if manner.old_access_dies:
                self._dead_access.add(before.access)
                if manner.kind is Kind.STATIC:
                    before.access = access
        self.session_of[access] = session
        self.issued_for[access], self._beside[access] = spent, refresh
        self._access[access] = (session, now + manner.expires_in if manner.expires_in is not None else math.inf)
        grant = Grant(access, refresh, manner.expires_in)
        if before is not None and before.answer is None:
            before.answer = grant
        return grant
