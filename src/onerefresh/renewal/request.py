"""What is asked of a renewal: by whom, for which token, and what the process that asks knows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from onerefresh.policy import Profile
from onerefresh.record import Record
from onerefresh.renewal.sightings import Sightings
from onerefresh.token import Token

UNSTATED = "refresher, which does not say whose tokens it refreshes"
"""The owner of a record that was begun by a refresher without an identity: nobody else's token endpoint gets its token.

Records of older versions may have no owner at all."""


@dataclass(frozen=True, slots=True)
class RenewalRequest:
    """What is asked of a renewal, and by whom.

    `refused`: the identity of the token that the API refused. `ageing`: nobody waits; renew although the token still
    serves; `within`: once it ends within so many seconds (None: once it ages). `renews_from_access`: the refresher
    needs no refresh token. `known`: the newest token this process has seen. `proven`: the identity that the API has
    accepted here. `http_timeout`: seconds one token request may take.
    `spread`: this process's share of jitter. `gives_way`: seconds for which it lets others go first. `look_again`:
    whether the store may forget a write that it acknowledged, as far as is known by now. `recovery`: seconds for which
    a token that was brought back is not sent, as far as is known by now; 0 where nobody else can know a newer one.
    `earlier`: the families of sessions that this process has gone on from.
    `sightings`: the process's memory of delays. `newest`: what `known` is by now: None after a logout here. `client`: a
    digest of the refresher's identity and settings. `owner`: its identity. `adopts`: it may take another one's token.
    `keeps`: whose token `known` is, where that is known. `is_under_way`: whether an earlier renewal of this process
    still waits for an answer to what it has sent for that identity. `learns`: told of the record where nobody gets its
    token, so that this process knows all the same that there is one.
    """

    key: str
    profile: Profile
    http_timeout: float
    spread: float
    refused: tuple[str, int] | None = None
    ageing: bool = False
    within: float | None = None
    seed: Token | None = None
    seed_told: bool = False
    can_obtain: bool = False
    renews_from_access: bool = False
    host_saves: bool = False
    look_again: Callable[[], bool] = field(default=lambda: False, compare=False)
    recovery: Callable[[], float] = field(default=lambda: 0.0, compare=False)
    sightings: Sightings = field(default_factory=Sightings, compare=False)
    earlier: Callable[[], tuple[str, ...]] = field(default=lambda: (), compare=False)
    owner: str | None = None
    adopts: bool = False
    keeps: str | None = None
    known: Token | None = None
    proven: tuple[str, int] | None = None
    newest: Callable[[], Token | None] | None = field(default=None, compare=False)
    client: Callable[[], str] = field(default=lambda: "", compare=False)
    gives_way: float = 0.0
    is_under_way: Callable[[tuple[str, int]], bool] = field(default=lambda _: False, compare=False)
    learns: Callable[[Record], None] = field(default=lambda _: None, compare=False)

    def up_to_date(self) -> RenewalRequest:
        """The same with what this process has learned since: a renewal may have waited for long."""
        newest = self.known if self.newest is None else self.newest()
        return self if newest is self.known else replace(self, known=newest)

    @property
    def signs(self) -> str:
        """The owner of what this refresher begins."""
        return self.owner or UNSTATED

    def is_foreign(self, owner: str | None) -> bool:
        """Whether a token of this owner is known to be another refresher's, to whose server alone it may be sent."""
        return bool(self.owner and owner) and self.owner != owner and not self.adopts

    def print_for(self, record: Record) -> str:
        """What `record` keeps of this client where it is refused."""
        return print_of(record.family, self.client())

    def outdated(self, token: Token) -> bool:
        """Whether this process knows by now that `token` is not the newest, or that its session is over."""
        if self.newest is None:
            return False
        newest = self.newest()
        return newest is None or newest.family != token.family or newest.generation > token.generation


def print_of(family: str, client: str) -> str:
    """What a record keeps of a client's identity and settings: enough to tell it from others, and no more."""
    return hashlib.sha256(f"{family}\0{client}".encode("utf-8", "surrogatepass")).hexdigest()[:8] if client else ""
