"""What is asked of a renewal: by which credential, for which token, and with what knowledge."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple

from onerefresh.damping import RefusedAt
from onerefresh.events import Reason
from onerefresh.policy import Early
from onerefresh.profile import Profile
from onerefresh.record import Record, State
from onerefresh.renewal.known import Known
from onerefresh.renewal.sightings import Sightings
from onerefresh.token import Token

__all__ = ["AGEING", "FORCED", "UNSTATED", "Ahead", "RenewalRequest", "print_of"]

UNSTATED = "refresher, which does not say whose tokens it refreshes"
"""The owner of a record that a refresher without an identity has begun.

No other refresher's token endpoint gets the record's token. Records of older versions may have no owner at all.
"""


FORCED = math.inf
"""`RenewalRequest.within` where a person wants the token renewed, whatever is left of it."""


class Ahead(NamedTuple):
    """When a token is renewed although it still serves. By default once it is ageing.

    * `within`: it ends within so many seconds.
    * `unused_for`: its refresh token was not used for so many seconds.
    * `min_valid`: a caller needs a token that is valid for so many seconds.
    """

    within: float | None = None
    unused_for: float | None = None
    min_valid: float | None = None

    @property
    def is_urgent(self) -> bool:
        """Whether somebody wants it now; one that is merely ageing can be renewed later as well."""
        return self != AGEING


AGEING = Ahead()


class RenewalRequest(NamedTuple):
    """What is asked of a renewal, and by which credential.

    * `refused`: the identity of the token that the API refused; `refused_at`: where, if that is known.
    * `background`: renew although the token still serves, once it is ageing, which `early` decides.
    * `within`, `unused_for`, `min_valid`: in place of that, as for `Ahead`.
    * `seed`: the token that was given as ``token=``; `seed_reported`: whether it has been reported as ignored.
    * `can_obtain`: the refresher can get a token without a refresh token.
    * `renews_from_access`: the refresher needs no refresh token.
    * `host_saves`: the host application saves tokens itself.
    * `can_revoke`: a refresher is at hand, so that tokens that are of no use any more can be revoked at the server.
    * `http_timeout`: seconds that one token request may take. `jitter`: this process's random number in [0, 1).
    * `gives_way`: seconds that the renewal waits at first, so that another process can claim.
    * `client`: returns a digest of the refresher's identity and settings. `owner`: the refresher's identity.
    * `adopts`: the refresher may take over a token that belongs to another one.
    * `sightings`: what this process remembers of the records it has read.
    * `known`: what else it knew when it looked at the record.
    * `skew`: seconds by which this machine's clock is ahead of the token's, as this process has found before.
    * `process`: the machine and the number of this process, for the record's history; empty: they are not noted.
    """

    key: str
    profile: Profile
    http_timeout: float
    jitter: float
    sightings: Sightings
    refused: tuple[str, int] | None = None
    refused_at: RefusedAt | None = None
    background: bool = False
    within: float | None = None
    unused_for: float | None = None
    min_valid: float | None = None
    early: Early = None
    seed: Token | None = None
    seed_reported: bool = False
    can_obtain: bool = False
    renews_from_access: bool = False
    host_saves: bool = False
    can_revoke: bool = True
    owner: str | None = None
    adopts: bool = False
    client: Callable[[], str] = lambda: ""
    gives_way: float = 0.0
    known: Known = Known()
    process: tuple[str, int] | tuple[()] = ()
    skew: float = 0.0

    def knowing(self, known: Known) -> RenewalRequest:
        """The same request with what this process has learned since: a renewal may have waited for long."""
        return self._replace(known=known)

    @property
    def machine(self) -> str:
        """The name of this machine; empty where it is not noted."""
        return self.process[0] if self.process else ""

    @property
    def signs(self) -> str:
        """The owner of the records that this refresher begins."""
        return self.owner or UNSTATED

    def reason(self, record: Record | None) -> Reason:
        """Why a token is to be refreshed, of which `record` is the record before that."""
        if self.within is not None or self.unused_for is not None:
            return Reason.FORCED if self.within == FORCED else Reason.DUE
        over = (State.DEAD, State.EMPTY)
        if record is None or record.token is None or record.state in over:
            return Reason.MISSING
        if record.lease is not None and record.lease.origin in over:
            return Reason.MISSING
        if self.refused == record.identity or (record.failure is not None and record.failure.refused):
            return Reason.REFUSED
        if self.min_valid is not None:
            return Reason.SHORT
        return Reason.AGEING if self.background else Reason.EXPIRED

    def stamp(self, reason: Reason | None = None) -> tuple[object, ...]:
        """What an entry of the record's history says of who wrote it, and of why the token was refreshed."""
        return (*self.process, *([reason.value] if reason is not None else [])) if self.process else ()

    def is_foreign(self, owner: str | None) -> bool:
        """Whether a token of this owner is known to belong to another refresher, whose server alone may get it."""
        return bool(self.owner and owner) and self.owner != owner and not self.adopts

    def print_for(self, record: Record) -> str:
        """The fingerprint of this client that `record` keeps where the client is refused."""
        return print_of(record.family, self.client())


def print_of(family: str, client: str) -> str:
    """The fingerprint of a client that a record of this family keeps; empty where the client is not known.

    It is just long enough to tell one client's identity and settings from another's.
    """
    return hashlib.sha256(f"{family}\0{client}".encode("utf-8", "surrogatepass")).hexdigest()[:8] if client else ""
