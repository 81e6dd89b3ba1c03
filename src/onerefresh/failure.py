"""The last failure of a session, which all processes heed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onerefresh.policy import FOR_GOOD
from onerefresh.unknown_fields import unknown_fields
from onerefresh.verdict import FailureKind, Verdict

__all__ = ["Failure"]

PRINTS = 8
"""How many different clients ask at once for what another one was refused. Further ones wait for the pause."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failure at this generation, remembered for all processes that share the credential.

    * `count`: failures in a row.
    * `at`, `delay`: nothing is sent until `delay` seconds after `at` (seconds since the epoch). A machine whose clock
      is far off waits for at most `delay`.
    * `maybe_spent`: the refresh token may have been spent.
    * `contested`: an attempt that may still come back and commit was under way.
    * `refused`: the API had refused the access token. So that token does not serve either once the session is dead or
      doubtful.
    * `challenge`: what the server demands of the person, for `InteractionRequired`.
    * `doubts`: doubtful refusals at this generation. With ``kind`` ``DEAD`` and some of them, the session is doubtful,
      not dead.
    * `prints`: fingerprints of the clients that were refused.
    * `lost`: the answer to a request at this generation was lost.
    * `clock_epoch`, `clock_at`: as `at`, by the store's own clock, where it has one.
    """

    kind: FailureKind
    detail: str
    count: int
    at: float
    delay: float
    maybe_spent: bool = False
    contested: bool = False
    refused: bool = False
    challenge: str | None = None
    doubts: int = 0
    prints: tuple[str, ...] = ()
    lost: bool = False
    clock_epoch: str | None = None
    clock_at: float = 0.0
    unknown: Mapping[str, object] = unknown_fields()

    @property
    def is_doubtful(self) -> bool:
        """Whether the last refusal may mean that the client is wrong, rather than that the session is over."""
        return self.kind is FailureKind.DEAD and self.doubts > 0

    @property
    def is_for_good(self) -> bool:
        """Whether nothing is sent until a login or `retry()`."""
        return self.delay >= FOR_GOOD

    @property
    def may_be_the_clients(self) -> bool:
        """Whether another client may succeed and is to ask at once: once for each client, and for a few of them."""
        return (self.is_doubtful or self.kind.of_the_client) and not self.is_for_good and len(self.prints) < PRINTS

    def is_news_to(self, client: str) -> bool:
        """Whether the client with this fingerprint is not among those that were refused."""
        return self.may_be_the_clients and bool(client) and client not in self.prints

    def remaining(self, now: float) -> float:
        """Seconds until the token endpoint may be asked again."""
        return min(max(self.at + self.delay - now, 0.0), self.delay)

    def verdict(self, now: float) -> Verdict:
        """The verdict for callers who ask during the delay."""
        kind = FailureKind.DOUBTFUL if self.is_doubtful else self.kind
        return Verdict(kind, self.detail, self.remaining(now) or None, self.challenge)
