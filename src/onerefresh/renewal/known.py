"""What a process knows of a credential beside the record: its memory, as a value."""

from __future__ import annotations

from typing import NamedTuple

from onerefresh.renewal.clocks import Sent
from onerefresh.token import Token

__all__ = ["Known"]


class Known(NamedTuple):
    """What this process knows at one moment.

    A renewal asks again with each look at the record, because other threads add to this knowledge.

    * `newest`: the newest token that this process has seen; None before that, and after a logout here.
    * `owner`: the identity of the refresher to which that token belongs, where it is known.
    * `earlier`: the families of the sessions before the present one, oldest first.
    * `proven`: the identity of the token that the API has accepted in this process.
    * `sent`: the claim under which this process has sent a request that is not answered yet.
    * `may_go_back`: whether the store may forget a write that it acknowledged, as far as is known now.
    * `spent`: digests of refresh tokens that this process has traded in, where the host application saves.
    * `recovery`: seconds for which a restored token is not sent; 0 where no other process can know a newer one.
    """

    newest: Token | None = None
    owner: str | None = None
    earlier: tuple[str, ...] = ()
    proven: tuple[str, int] | None = None
    sent: Sent | None = None
    may_go_back: bool = False
    recovery: float = 0.0
    spent: tuple[str, ...] = ()

    def outdates(self, token: Token) -> bool:
        """Whether `token` is not the newest one, or its session is over."""
        return self.newest is None or self.newest.family != token.family or self.newest.generation > token.generation

    def has_spent(self, token: Token) -> bool:
        """Whether this process knows that the refresh token of `token` was traded in for another one."""
        refresh, newest = token.refresh_token, self.newest
        if refresh is None or (newest is not None and newest.refresh_token == refresh):
            return False
        has_gone_on = newest is not None and newest.refresh_token is not None and newest.family == refresh.fingerprint()
        return has_gone_on or (bool(self.spent) and refresh.fingerprint() in self.spent)
