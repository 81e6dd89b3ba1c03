"""What is known of one attempt, from its claim to its end. `send` runs it, `commit` and `failed` end it."""

from __future__ import annotations

from dataclasses import dataclass, field

from onerefresh.record import Lease, Probation, Record
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.world import Loaded, World
from onerefresh.token import Token

__all__ = ["Attempt", "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a renewal ended well.

    `retry_after`: seconds until a background renewal makes sense again. `damped`: the token was refused, and may not be
    refreshed again yet. `probation`: the token has yet to prove itself. `renewed`: by this very renewal, or login.
    `earlier`: the families of sessions that came before this one, as far as the record says.
    """

    token: Token
    retry_after: float = 0.0
    damped: bool = False
    probation: Probation | None = None
    renewed: bool = False
    earlier: tuple[str, ...] = ()

    @classmethod
    def brought(cls, record: Record, token: Token, retry_after: float = 0.0) -> Outcome:
        """What a renewal or a login has brought into `record`, or is about to."""
        return cls(token, retry_after, probation=record.probation, renewed=True, earlier=record.families[:-1])


@dataclass(slots=True)
class Attempt:
    """One attempt: while its lease lasts, nobody else sends.

    `leased` and `version`: the record with its lease, as it was claimed, at `born`. `taken_from`: the lease that it
    took over, of another attempt or for recovery. `sends`: its requests so far; `lost_answers`: how many of them were
    sent and got no answer; `lost`: whether the answer to one of them was lost in any way. `why_maybe_spent`: what came
    of a request that may have spent the refresh token. `client`: the print of this client. `rest`: seconds for which
    the profile lets a lost answer rest. `cause`: the refresher's own exception.
    """

    world: World
    request: RenewalRequest
    leased: Record
    version: str
    lease: Lease
    born: Instant
    taken_from: Lease | None = None
    sends: int = 0
    lost_answers: int = 0
    lost: bool = False
    why_maybe_spent: str = ""
    client: str = ""
    rest: float = 0.0
    cause: BaseException | None = field(default=None, repr=False)

    @property
    def taken_over(self) -> bool:
        """Whether it follows a lease that was over, and whose holder may still send or commit."""
        return self.taken_from is not None

    @property
    def follows_another(self) -> bool:
        """Whether another attempt may have sent this refresh token: under a recovery lease alone, nothing is sent."""
        before = self.taken_from
        return before is not None and (before.contested or not before.is_recovery)

    @property
    def refused(self) -> bool:
        """Whether the API had refused the token that is being renewed."""
        return self.request.refused == self.leased.identity

    def is_mine(self, loaded: Loaded) -> bool:
        """Whether the record has this attempt's lease: the look in the background may have written it once more."""
        lease = loaded.record.lease if loaded.record else None
        return lease is not None and lease.id == self.lease.id

    @property
    def maybe_spent_before(self) -> bool:
        """Whether another request than the last one may have spent the refresh token, and got the same answer."""
        before = self.leased.failure
        earlier = before is not None and (before.maybe_spent or before.contested)
        return bool(self.why_maybe_spent) or self.taken_over or self.lease.contested or self.lease.guess or earlier

    @property
    def was_lost(self) -> bool:
        """Whether the answer to an earlier request was lost, as far as is known. A server error was an answer."""
        before = self.leased.failure
        earlier = before is not None and (before.lost or before.contested)
        return self.lost or self.taken_over or self.lease.contested or self.lease.guess or earlier
