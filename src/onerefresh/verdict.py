"""The kinds of a failed token request: what each says about the refresh token, and which error its callers get."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from onerefresh import errors
from onerefresh.redaction import LEFT_OUT, LONGEST_CHALLENGE, Redactor
from onerefresh.secret import Secret
from onerefresh.whose import NOBODY, Whose

__all__ = ["EITHER", "ERRORS", "FailureKind", "RefreshFailure", "Verdict"]


class FailureKind(enum.Enum):
    """What a failure says about the refresh token, and so what may be done next."""

    DEAD = "dead"  # the session is over, unless another attempt spent this refresh token
    DOUBTFUL = "doubtful"  # refused: the session may be over, or the client or the function may be wrong
    CLIENT_REJECTED = "client_rejected"
    REQUEST_REJECTED = "request_rejected"
    INTERACTION = "interaction"
    CONFIGURATION = "configuration"  # the refresher cannot work as it was set up: nothing was sent
    UNAVAILABLE = "unavailable"  # surely not processed
    SERVER_ERROR = "server_error"  # answered 5xx: it may have rotated
    NO_ANSWER = "no_answer"  # sent, and the answer is lost or unreadable
    PROTOCOL = "protocol"  # answered 2xx without a usable token: it may have rotated
    UNUSABLE = "unusable"  # answered 2xx with a refresh token, which is kept, and an access token that is of no use
    REFRESHER = "refresher"  # the refresher's own exception: whether it sent is not known

    @property
    def is_lost(self) -> bool:
        """Whether the server may have sent an answer that was lost. The profile then decides about sending again."""
        return self in (FailureKind.NO_ANSWER, FailureKind.PROTOCOL)

    @property
    def may_have_spent(self) -> bool:
        """Whether the refresh token may have been used up."""
        return self in _MAY_HAVE_SPENT

    @property
    def of_the_client(self) -> bool:
        """Whether it is the fault of one client, which another client may not have."""
        return self in _OF_THE_CLIENT


EITHER = (
    "either the session is over, or the client settings or the refresher are wrong: log in again, or correct them and "
    "call retry()"
)
"""What a doubtful refusal means, and what to do about it."""
LONGEST_WORDS = 500
"""How many characters of a refresher's own text are kept."""
_MAY_HAVE_SPENT = frozenset(
    {FailureKind.SERVER_ERROR, FailureKind.NO_ANSWER, FailureKind.PROTOCOL, FailureKind.REFRESHER}
)
_OF_THE_CLIENT = frozenset({FailureKind.CLIENT_REJECTED, FailureKind.REQUEST_REJECTED, FailureKind.CONFIGURATION})


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judged failure.

    * `detail`: safe to show, since what it quotes of an answer has gone through a `Redactor`.
    * `retry_after`: seconds.
    * `challenge`: what the server demands of the person, for `InteractionRequired`.
    * `repeatable`: False where the same request cannot be sent again, because what carried it is gone.
    * `kept`: the refresh token of an answer that is of no use otherwise.
    * `status`: the answer's HTTP status, where there is one. For events alone: no rule reads it.
    * `whose`: of an answer that is of no use otherwise: whose it is.
    * `is_anothers`: the answer belongs to another account, and so may everything that is sent after it.
    """

    kind: FailureKind
    detail: str
    retry_after: float | None = None
    challenge: str | None = None
    repeatable: bool = True
    kept: Secret | None = field(default=None, repr=False, compare=False)
    status: int | None = field(default=None, compare=False)
    whose: Whose = field(default=NOBODY, repr=False, compare=False)
    is_anothers: bool = field(default=False, compare=False)

    def vetted(self, redactor: Redactor, *, ours: bool) -> Verdict:
        """The verdict as it may be shown. `ours`: this library wrote it, though it may quote others."""
        detail = redactor.masked(self.detail) if ours else redactor.quote(self.detail, LONGEST_WORDS) or LEFT_OUT
        challenge = redactor.whole(self.challenge, LONGEST_CHALLENGE)
        same = (detail, challenge) == (self.detail, self.challenge)
        return self if same else replace(self, detail=detail, challenge=challenge)

    def error(self) -> errors.OnerefreshError:
        """The exception for the callers."""
        if self.kind is FailureKind.DOUBTFUL:
            return errors.LoginRequired(f"{self.detail}: {EITHER}", proven=False)
        if self.kind is FailureKind.INTERACTION:
            return errors.InteractionRequired(self.detail, challenge=self.challenge)
        if self.kind in (FailureKind.UNAVAILABLE, FailureKind.SERVER_ERROR):
            return errors.RefreshUnavailable(self.detail, retry_after=self.retry_after)
        return ERRORS[self.kind](self.detail)


ERRORS: Mapping[FailureKind, type[errors.OnerefreshError]] = {
    FailureKind.DEAD: errors.LoginRequired,
    FailureKind.CLIENT_REJECTED: errors.ClientRejected,
    FailureKind.REQUEST_REJECTED: errors.RequestRejected,
    FailureKind.CONFIGURATION: errors.ConfigurationError,
    FailureKind.NO_ANSWER: errors.RefreshOutcomeUnknown,
    FailureKind.UNUSABLE: errors.RefreshProtocolError,  # before PROTOCOL, which a refresher means that raises it itself
    FailureKind.PROTOCOL: errors.RefreshProtocolError,
    FailureKind.REFRESHER: errors.RefresherFailed,
}


class RefreshFailure(Exception):
    """A refresher's failure, judged. This library's refreshers raise it; for others `judge_exception` makes one."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.detail)
        self.verdict = verdict

    def __reduce__(self) -> tuple[type[RefreshFailure], tuple[Verdict]]:
        return (type(self), (replace(self.verdict, kept=None, whose=NOBODY),))  # a secret is not pickled
