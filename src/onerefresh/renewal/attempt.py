"""The state of one attempt, from its claim to its end. `send` runs it; `answer` and `failed` end it."""

from __future__ import annotations

from typing import NamedTuple

from onerefresh import succession
from onerefresh.events import Reason
from onerefresh.expiry import worth_it
from onerefresh.record import Lease, Probation, Record
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.world import Loaded, World
from onerefresh.token import Token

__all__ = ["Attempt", "Outcome"]


class Outcome(NamedTuple):
    """The result of a renewal that succeeded.

    * `retry_after`: seconds until another background renewal makes sense.
    * `damped`: the API refused this token, but it may not be refreshed again yet. `is_news`: not even where a target
      has refused it that had accepted it before.
    * `probation`: the token was just refreshed, and no accepted call has proven it yet.
    * `renewed`: this very renewal or login brought the token.
    * `earlier`: the families of the sessions before this one, as far as the record names them.
    * `skew`: seconds by which this machine's clock is ahead of the clock by which the token is dated.
    """

    token: Token
    retry_after: float = 0.0
    damped: bool = False
    probation: Probation | None = None
    renewed: bool = False
    earlier: tuple[str, ...] = ()
    is_news: bool = False
    skew: float = 0.0

    @classmethod
    def brought(cls, record: Record, token: Token, retry_after: float = 0.0) -> Outcome:
        """The outcome of a renewal or login that has brought `token` into `record`, or is about to."""
        earlier, skew = record.families[:-1], worth_it(token.clock_skew or 0.0)
        return cls(token, retry_after, probation=record.probation, renewed=True, earlier=earlier, skew=skew)


class Attempt:
    """One attempt: while its lease lasts, no other process sends.

    * `leased`, `version`: the record with the lease, as it was claimed at `born`.
    * `taken_from`: the lease that this attempt took over: another attempt's, or a recovery lease.
    * `sends`: requests so far; `lost_answers`: how many of them were sent and got no answer; `lost`: whether the answer
      to one of them was lost in any way.
    * `why_maybe_spent`: how a request failed that may have spent the refresh token.
    * `client`: the fingerprint of this client, for the record.
    * `rest`: seconds that the profile demands before a request whose answer was lost is repeated.
    * `cause`: the refresher's own exception.
    * `overtaken`: another attempt has taken over, or may have, as far as is known when this one's end is written.
    """

    __slots__ = (
        "born", "cause", "client", "lease", "leased", "lost", "lost_answers", "overtaken", "request", "rest", "sends",
        "taken_from", "version", "why_maybe_spent", "world",
    )  # fmt: skip

    def __init__(
        self,
        world: World,
        request: RenewalRequest,
        leased: Record,
        version: str,
        *,
        lease: Lease,
        born: Instant,
        taken_from: Lease | None = None,
    ) -> None:
        self.world, self.request = world, request
        self.leased, self.version, self.lease, self.born = leased, version, lease, born
        self.taken_from = taken_from
        self.sends = self.lost_answers = 0
        self.lost = self.overtaken = False
        self.why_maybe_spent = self.client = ""
        self.rest = 0.0
        self.cause: BaseException | None = None

    @property
    def taken_over(self) -> bool:
        """Whether this attempt follows a lease that was over, whose holder may still send or commit."""
        return self.taken_from is not None

    @property
    def follows_another(self) -> bool:
        """Whether another attempt may have sent this refresh token. Nothing is sent under a mere recovery lease."""
        before = self.taken_from
        return before is not None and (before.contested or not before.is_recovery)

    @property
    def reason(self) -> Reason:
        """Why the token is refreshed."""
        return self.request.reason(self.leased)

    @property
    def refused(self) -> bool:
        """Whether the API had refused the token that is being renewed."""
        return self.request.refused == self.leased.identity

    def is_mine(self, loaded: Loaded) -> bool:
        """Whether the record has this attempt's lease.

        The version may differ: the background look may have written the same lease again.
        """
        lease = loaded.record.lease if loaded.record else None
        return lease is not None and lease.id == self.lease.id

    def is_overtaken_in(self, record: Record | None) -> bool:
        """Whether another attempt at the same generation is under way in `record`, which has taken over."""
        if record is None or record.identity != self.leased.identity:
            return False
        return succession.has_overtaken(record.lease, self.lease)

    @property
    def maybe_spent_before(self) -> bool:
        """Whether a request before the last one may have spent the refresh token and received the same answer."""
        before = self.leased.failure
        earlier = before is not None and (before.maybe_spent or before.contested)
        return bool(self.why_maybe_spent) or self.taken_over or self.lease.contested or self.lease.guess or earlier

    @property
    def was_lost(self) -> bool:
        """Whether the answer to an earlier request was lost, as far as is known. A server error is an answer."""
        before = self.leased.failure
        earlier = before is not None and (before.lost or before.contested)
        return self.lost or self.taken_over or self.lease.contested or self.lease.guess or earlier
