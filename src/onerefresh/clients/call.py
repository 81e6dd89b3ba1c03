"""One call of an HTTP client: its rules, without any client.

A call goes out with the present token, and its answer is judged. Where it refuses the token, the refusal is read, so
that its connection is free for others; then the next token is taken, the body is moved back to where it began, and the
last request goes out once more. How the API took that is reported to the credential. No call is replayed twice.

An integration sends the request with what `Calls.fresh` gives (or waits for a token), and asks `Calls.answered` what is
left to do. Mostly that is nothing. Otherwise it is a `RefusedCall`, a generator of steps: the integration performs each
of them and notes what came of it. What knows a client, blocks or awaits stands in the integrations; what to do next
stands here, once for all of them. An error or a cancellation during a step ends the call there, and reports nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final, Literal, TypeAlias

from onerefresh.clients.bearer import Bearer, HeaderText
from onerefresh.clients.challenge import Interaction, PassThrough, Refused
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError
from onerefresh.token import Token

__all__ = ["LONGEST_REFUSAL", "Calls", "RefusedCall", "Step"]

LONGEST_REFUSAL: Final = 1_048_576
"""So many bytes of a refusal are kept."""

Step: TypeAlias = Literal["challenges", "drain", "take", "rewind", "send"]
"""What an integration has to do, and which attributes of its `RefusedCall` it reads and sets:

| step | to do | reads | sets |
| --- | --- | --- | --- |
| challenges | look at the last answer's ``WWW-Authenticate``; None where its request did not carry the token | `text` | `challenges` |
| drain | read the last answer, and give its connection back | | |
| take | ask the credential for the token after the refused one | `refused` | `token` |
| rewind | move the body back to where it began; False where it is used up | | `rewound` |
| send | send the last request once more, with this in the token's header | `text` | `status` |
"""  # noqa: E501 - a row of a table is one line


class Calls:
    """The calls that an integration makes with `credential`; the other arguments are those of `Bearer`.

    Raises `ConfigurationError` for arguments that make no sense.
    """

    __slots__ = ("bearer", "credential")

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        *,
        header: str,
        scheme: str | None,
        refused_statuses: Collection[int],
    ) -> None:
        if not isinstance(credential, Credential):
            raise ConfigurationError(f"credential is an onerefresh.Credential, not {type(credential).__name__}")
        self.credential = credential
        self.bearer = Bearer(credential.key, origins, header=header, scheme=scheme, refused_statuses=refused_statuses)

    def fresh(self) -> HeaderText | None:
        """What a request has to carry; None where the credential must be waited for."""
        token = self.credential.current()
        return None if token is None else self.bearer.text(token)

    def answered(self, sent: HeaderText, status: int) -> RefusedCall | None:
        """What is left of a call that was sent with `sent`; None where the answer is the caller's, whatever it says."""
        if status in self.bearer.refused_statuses:
            return RefusedCall(self.credential, self.bearer, sent, status)
        # Any other answer shows that the API takes a token that was only just refreshed.
        if self.credential.unproven is sent.token:
            self.credential.replayed(sent.token, accepted=True)
        return None


class RefusedCall:
    """What is left of a call that was answered with a status that may refuse its token, as steps."""

    __slots__ = ("_bearer", "_credential", "challenges", "refused", "rewound", "status", "text", "token")

    challenges: Iterable[str] | None
    token: Token
    rewound: bool

    def __init__(self, credential: Credential, bearer: Bearer, sent: HeaderText, status: int) -> None:
        self._credential = credential
        self._bearer = bearer
        self.text = sent
        self.refused = sent.token
        self.status = status

    def __iter__(self) -> Iterator[Step]:
        credential, bearer = self._credential, self._bearer
        yield "challenges"
        decision = bearer.judge(self.status, self.challenges)
        if isinstance(decision, PassThrough):
            return
        yield "drain"
        if isinstance(decision, Interaction):
            raise bearer.interaction(decision, self.refused)
        yield "take"
        newer = self.token
        if newer.identity == self.refused.identity:
            return  # it was refreshed only just now, or too often of late: the API would refuse the next one, too
        yield "rewind"
        if not self.rewound:
            return
        self.text = bearer.text(newer)
        yield "send"
        yield "challenges"
        decision = bearer.judge(self.status, self.challenges)
        credential.replayed(newer, accepted=not isinstance(decision, Refused))
        if isinstance(decision, Interaction):
            yield "drain"
            raise bearer.interaction(decision, newer)
