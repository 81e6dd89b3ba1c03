"""How the API takes the tokens of one session: whether one has proven itself, and whether a refusal refreshes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onerefresh.policy import LOOK_AGAIN
from onerefresh.renewal.attempt import Outcome
from onerefresh.token import Token

__all__ = ["UNTRIED", "Acceptance"]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What this process has seen of it. Tokens are named by their identities.

    `proven`: the one that the API has accepted. `unproven`: the present one, where it was just refreshed and no call
    has succeeded with it yet. `refusals`: how many replays were refused in a row, as far as the record says.
    `repeated`: the present one may be older than it looks, so that its refusal refreshes it. `cooling`: the one whose
    refusal refreshes nothing until then, on the monotonic clock.
    """

    proven: tuple[str, int] | None = None
    unproven: Token | None = None
    refusals: int = 0
    repeated: bool = False
    cooling: tuple[tuple[str, int], float] | None = None

    def of(self, outcome: Outcome, now: float) -> Acceptance:
        """With the token that a renewal has brought."""
        token, probation = outcome.token, outcome.probation
        waits = probation is not None and not probation.by_refusal and self.proven != token.identity
        return Acceptance(
            self.proven,
            token if waits else None,
            probation.refusals if probation else 0,
            probation.repeated if probation else False,
            (token.identity, now + LOOK_AGAIN) if outcome.damped else None,
        )

    def replayed(self, token: Token, now: float, *, accepted: bool) -> tuple[Acceptance, bool]:
        """After a replay with the present token; and whether the record has to say so too."""
        if accepted:
            return Acceptance(proven=token.identity, repeated=self.repeated), self.refusals > 0
        cooling = None if self.repeated else (token.identity, now + LOOK_AGAIN)
        is_news = self.proven is not None or self.cooling is None
        return replace(self, proven=None, unproven=None, cooling=cooling), is_news

    def is_cooling(self, identity: tuple[str, int], now: float) -> bool:
        """Whether a refusal of this token refreshes nothing yet."""
        return self.cooling is not None and self.cooling[0] == identity and now < self.cooling[1]


UNTRIED = Acceptance()
"""The one of all sessions of which nothing is known yet: each of its own would cost memory."""
