"""How the API takes the tokens of one session: which one it has accepted, and which refusal causes a refresh."""

from __future__ import annotations

from typing import NamedTuple

from onerefresh.policy import LOOK_AGAIN
from onerefresh.renewal.attempt import Outcome
from onerefresh.token import Token

__all__ = ["UNTRIED", "Acceptance"]


class Cooling(NamedTuple):
    """No refusal of this token refreshes anything until `until`, on the monotonic clock.

    `is_news`: not even one at a target that has accepted this token.
    """

    identity: tuple[str, int]
    until: float
    is_news: bool = False


class Acceptance(NamedTuple):
    """What this process has seen of the API's answers. Tokens are given by their identities.

    * `proven`: the token that the API has accepted.
    * `unproven`: the present token, where it was just refreshed and no call has succeeded with it yet.
    * `refusals`: refused replays in a row, as far as the record says.
    * `repeated`: the server may have repeated an older answer, so a refusal of the present token refreshes it.
    * `cooling`: a token whose refusal refreshes nothing for a moment.
    """

    proven: tuple[str, int] | None = None
    unproven: Token | None = None
    refusals: int = 0
    repeated: bool = False
    cooling: Cooling | None = None

    def of(self, outcome: Outcome, now: float) -> Acceptance:
        """The state after a renewal has brought a token."""
        token, probation = outcome.token, outcome.probation
        waits = probation is not None and not probation.by_refusal and self.proven != token.identity
        found = Acceptance(
            self.proven,
            token if waits else None,
            probation.refusals if probation else 0,
            probation.repeated if probation else False,
            Cooling(token.identity, now + LOOK_AGAIN, outcome.is_news) if outcome.damped else None,
        )
        return UNTRIED if found == UNTRIED else found

    def replayed(
        self, token: Token, now: float, *, accepted: bool, is_first: bool | None = None
    ) -> tuple[Acceptance, bool]:
        """The state after a replay with the present token; and whether the record has to say so, too.

        `is_first`: whether it is the first call of its target that was accepted with this token; None where the target
        is not known. Another target may have refused a replay, so each target that accepts one is reported.
        """
        if accepted:
            refusals = self.refusals if is_first is not None else 0
            found = Acceptance(proven=token.identity, refusals=refusals, repeated=self.repeated)
            return found, self.refusals > 0 and is_first is not False
        cooling = None if self.repeated else Cooling(token.identity, now + LOOK_AGAIN)
        is_news = self.proven is not None or self.cooling is None
        return self._replace(proven=None, unproven=None, cooling=cooling), is_news

    def is_cooling(self, identity: tuple[str, int], now: float, *, is_news: bool = False) -> bool:
        """Whether a refusal of this token refreshes nothing yet. `is_news`: its target had accepted the token."""
        cooling = self.cooling
        if cooling is None or cooling.identity != identity or now >= cooling.until:
            return False
        return cooling.is_news or not is_news


UNTRIED = Acceptance()
"""One object for all sessions of which nothing is known yet, to save memory."""
