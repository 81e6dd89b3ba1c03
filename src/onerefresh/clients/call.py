"""One call of an HTTP client: its rules, without any client.

A call goes out with the present token. Its answer is judged. Where it refuses the token, the refusal is read, so that
its connection is free for others; then the next token is taken, the body is moved back to where it began, and the same
request goes out once more. How the API took that is reported to the credential. No call is sent a third time.

`Call` is a generator of steps: its client's integration performs each and notes what came of it. All that knows a
client, or that blocks or awaits, stands there; what to do when stands here, once for all of them. An error or a
cancellation in the middle of a step ends the call there, and reports nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final, Literal, TypeAlias

from onerefresh.clients.bearer import Bearer, HeaderText
from onerefresh.clients.challenge import Interaction, PassThrough, Refused
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError
from onerefresh.token import Token

__all__ = ["LONGEST_REFUSAL", "Call", "Step", "bearer_of"]

LONGEST_REFUSAL: Final = 1_048_576
"""So many bytes of a refusal are kept."""

Step: TypeAlias = Literal["take", "send", "challenges", "drain", "rewind"]
"""What an integration has to do, and which attributes of its `Call` it reads and sets:

| step | to do | reads | sets |
| --- | --- | --- | --- |
| take | ask the credential for a token | `refused` | `token` |
| send | send the request with this in the token's header: at first the caller's, then the last one that was sent | `text` | `status` |
| challenges | look at the answer's ``WWW-Authenticate``; None where the token did not go with the request that it answers | `text` | `challenges` |
| drain | read the answer and give its connection back | | |
| rewind | move the body back to where it began, if it has one | | `rewound` |
"""  # noqa: E501 - a table


class Call:
    """One call with the token of `credential`, as the steps of it."""

    __slots__ = ("_bearer", "_credential", "challenges", "refused", "rewound", "status", "text", "token")

    text: HeaderText
    refused: Token | None
    token: Token
    status: int
    challenges: Iterable[str] | None
    rewound: bool

    def __init__(self, credential: Credential, bearer: Bearer) -> None:
        self._credential = credential
        self._bearer = bearer

    def __iter__(self) -> Iterator[Step]:
        token = self._credential.current()
        if token is None:
            self.refused = None
            yield "take"
            token = self.token
        self.text = self._bearer.text(token)
        yield "send"
        if self.status in self._bearer.refused_statuses:
            yield from self._refused(token)
        elif self._credential.unproven is token:
            self._credential.replayed(token, accepted=True)

    def answered(self, sent: HeaderText, status: int) -> Iterator[Step]:
        """The rest of a call, of which a request was sent with `sent` already, and was answered with `status`."""
        self.status, self.text = status, sent
        if status in self._bearer.refused_statuses:
            yield from self._refused(sent.token)
        elif self._credential.unproven is sent.token:
            self._credential.replayed(sent.token, accepted=True)

    def _refused(self, token: Token) -> Iterator[Step]:
        """What follows an answer with a status that may refuse `token`."""
        credential, bearer = self._credential, self._bearer
        yield "challenges"
        decision = bearer.judge(self.status, self.challenges)
        if isinstance(decision, PassThrough):
            return
        yield "drain"
        if isinstance(decision, Interaction):
            raise bearer.interaction(decision, token)
        self.refused = token
        yield "take"
        newer = self.token
        if newer.identity == token.identity:
            return
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


def bearer_of(
    credential: Credential,
    origins: str | Iterable[str],
    *,
    header: str,
    scheme: str | None,
    refused_statuses: Collection[int],
) -> Bearer:
    """How `credential` meets the API of an integration that was given these arguments.

    Raises `ConfigurationError` for arguments that make no sense.
    """
    if not isinstance(credential, Credential):
        raise ConfigurationError(f"credential is an onerefresh.Credential, not {type(credential).__name__}")
    return Bearer(credential.key, origins, header=header, scheme=scheme, refused_statuses=refused_statuses)
