"""What a process knows of a credential beside what the store says: its memory, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from onerefresh.renewal.clocks import Sent
from onerefresh.token import Token

__all__ = ["Known"]


@dataclass(frozen=True, slots=True)
class Known:
    """What this process knows at one moment. A renewal asks anew with each look at the record: others add to it.

    `newest`: the newest token it has seen; None also after a logout here. `owner`: whose token that is, where that is
    known. `earlier`: the families of sessions that this process has gone on from, oldest first. `proven`: the identity
    of the token that the API has accepted here. `sent`: the claim under which it has sent, and waits for an answer.
    `may_go_back`: whether the store may forget a write that it acknowledged, as far as is known by now. `recovery`:
    seconds for which a token that was brought back is not sent; 0 where nobody else can know a newer one.
    """

    newest: Token | None = None
    owner: str | None = None
    earlier: tuple[str, ...] = ()
    proven: tuple[str, int] | None = None
    sent: Sent | None = None
    may_go_back: bool = False
    recovery: float = 0.0

    def outdates(self, token: Token) -> bool:
        """Whether `token` is not the newest, or its session is over."""
        return self.newest is None or self.newest.family != token.family or self.newest.generation > token.generation
