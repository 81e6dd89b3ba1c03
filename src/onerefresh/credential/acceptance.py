"""How the API takes the tokens of one session: which one it has accepted, and which refusal causes a refresh."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onerefresh.policy import LOOK_AGAIN
from onerefresh.renewal.attempt import Outcome
from onerefresh.token import Token

__all__ = ["UNTRIED", "Acceptance"]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What this process has seen of the API's answers. Tokens are given by their identities.

    * `proven`: the token that the API has accepted.
    * `unproven`: the present token, where it was just refreshed and no call has succeeded with it yet.
    * `refusals`: refused replays in a row, as far as the record says.
    * `repeated`: the server may have repeated an older answer, so a refusal of the present token refreshes it.
    * `cooling`: a token whose refusal refreshes nothing until the given time on the monotonic clock.
    """

    proven: tuple[str, int] | None = None
    unproven: Token | None = None
    refusals: int = 0
    repeated: bool = False
    cooling: tuple[tuple[str, int], float] | None = None

    def of(self, outcome: Outcome, now: float) -> Acceptance:
        """The state after a renewal has brought a token."""
        token, probation = outcome.token, outcome.probation
        waits = probation is not None and not probation.by_refusal and self.proven != token.identity
        found = Acceptance(
            self.proven,
            token if waits else None,
            probation.refusals if probation else 0,
            probation.repeated if probation else False,
            (token.identity, now + LOOK_AGAIN) if outcome.damped else None,
        )
        return UNTRIED if found == UNTRIED else found

    def replayed(self, token: Token, now: float, *, accepted: bool) -> tuple[Acceptance, bool]:
        """The state after a replay with the present token; and whether the record has to say so, too."""
        if accepted:
            return Acceptance(proven=token.identity, repeated=self.repeated), self.refusals > 0
        cooling = None if self.repeated else (token.identity, now + LOOK_AGAIN)
        is_news = self.proven is not None or self.cooling is None
        return replace(self, proven=None, unproven=None, cooling=cooling), is_news

    def is_cooling(self, identity: tuple[str, int], now: float) -> bool:
        """Whether a refusal of this token refreshes nothing yet."""
        return self.cooling is not None and self.cooling[0] == identity and now < self.cooling[1]


UNTRIED = Acceptance()
"""One object for all sessions of which nothing is known yet, to save memory."""
