"""What is asked of a renewal: by whom, for which token, and what the process that asks knows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from onerefresh.policy import Profile
from onerefresh.record import Record
from onerefresh.renewal.known import Known
from onerefresh.renewal.sightings import Sightings
from onerefresh.token import Token

UNSTATED = "refresher, which does not say whose tokens it refreshes"
"""The owner of a record that was begun by a refresher without an identity: nobody else's token endpoint gets its token.

Records of older versions may have no owner at all."""


@dataclass(frozen=True, slots=True)
class RenewalRequest:
    """What is asked of a renewal, and by whom.

    `refused`: the identity of the token that the API refused. `background`: nobody waits; renew although the token
    still serves; `within`: once it ends within so many seconds (None: once it ages). `renews_from_access`: the
    refresher needs no refresh token. `http_timeout`: seconds one token request may take. `jitter`: this process's own,
    in [0, 1). `gives_way`: seconds for which it lets others go first. `client`: a digest of the refresher's identity
    and settings. `owner`: its identity. `adopts`: it may take another one's token. `sightings`: the process's memory
    of delays. `known`: what else it knew when it looked at the record.
    """

    key: str
    profile: Profile
    http_timeout: float
    jitter: float
    refused: tuple[str, int] | None = None
    background: bool = False
    within: float | None = None
    seed: Token | None = None
    seed_reported: bool = False
    can_obtain: bool = False
    renews_from_access: bool = False
    host_saves: bool = False
    owner: str | None = None
    adopts: bool = False
    client: Callable[[], str] = field(default=lambda: "", compare=False)
    gives_way: float = 0.0
    sightings: Sightings = field(default_factory=Sightings, compare=False)
    known: Known = field(default_factory=Known)

    def knowing(self, known: Known) -> RenewalRequest:
        """The same with what this process has learned since: a renewal may have waited for long."""
        return replace(self, known=known)

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


def print_of(family: str, client: str) -> str:
    """What a record keeps of a client's identity and settings: enough to tell it from others, and no more."""
    return hashlib.sha256(f"{family}\0{client}".encode("utf-8", "surrogatepass")).hexdigest()[:8] if client else ""
