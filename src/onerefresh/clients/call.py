"""One call of an HTTP client: its rules, without any client.

A call is sent with the present token, and its answer is judged. Where the answer refuses the token, the refusal is
read, so that its connection becomes free. Then the next token is taken, the body is moved back to its beginning, and
the last request is sent once more. Whether the API accepted that is reported to the credential. No call is replayed
twice.

An integration sends the request with what `Calls.fresh` returns (or waits for a token), and asks `Calls.answered` what
is left to do. Mostly that is nothing. Otherwise it is a `RefusedCall`, a generator of steps: the integration performs
each step and sets its result. Code that knows a client, blocks or awaits is in the integrations; the decision about the
next step is here, once for all of them. An error or a cancellation during a step ends the call, and nothing is
reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from typing import Final, Literal, TypeAlias

from onerefresh.announcing import announce
from onerefresh.clients.attach import Attach
from onerefresh.clients.bearer import Bearer, HeaderText
from onerefresh.clients.challenge import Decision, Interaction, PassThrough, Refused
from onerefresh.clients.peek import Peek
from onerefresh.clients.refused import RefusedBy
from onerefresh.clients.rule import Head
from onerefresh.credential import Credential
from onerefresh.credential.targets import Refusal, Takers
from onerefresh.damping import Target
from onerefresh.errors import ConfigurationError
from onerefresh.events import Event, Facts, Kind
from onerefresh.log_limit import LogLimit
from onerefresh.one_object import OneObject
from onerefresh.redaction import plain
from onerefresh.token import Token
from onerefresh.user_code import runs_user_code

__all__ = ["LONGEST_REFUSAL", "Calls", "RefusedCall", "Step"]

LONGEST_REFUSAL: Final = 1_048_576
"""How many bytes of a refusal are kept."""

Step: TypeAlias = Literal["challenges", "head", "peek", "drain", "take", "rewind", "send"]
"""What an integration has to do, and which attributes of its `RefusedCall` it reads and sets.

* ``challenges``: set `challenges` to the last answer's ``WWW-Authenticate`` headers; to None where its request did not
  carry `text` in the token's place.
* ``head``: set `head` to what the client knows of the last answer without its body.
* ``peek``: feed `peek` with the beginning of the last answer's body, of which the caller must get every byte.
* ``drain``: read the last answer, and give its connection back.
* ``take``: ask the credential for the token after `refused`, and set `token` to it.
* ``rewind``: move the body back to its beginning, and set `rewound`; False where the body is used up.
* ``send``: send the last request once more, with `text` in the token's place, and set `status` to the answer's, and
  `target` to that of the request which it answers; `is_refusal`, too, if `Calls.is_refusal` was asked about it.
"""


class Calls(OneObject):
    """The calls that an integration makes with `credential`. The other arguments are those of `Bearer`.

    `replace`: a call that brings a header of its own gets ours in its place. Otherwise such calls pass through, and the
    first one is an event.
    `apart`: how the client sends a request without the token, in words for the error where the refresher calls through
    it.

    Raises `ConfigurationError` for arguments that make no sense.
    """

    __slots__ = ("_apart", "_taken", "_untold", "bearer", "credential", "replace")

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        *,
        header: str,
        scheme: str | None,
        refused_statuses: Collection[int],
        attach: Attach | None = None,
        replace: bool = False,
        refused: RefusedBy = None,
        apart: str = "send that request by a client of its own",
    ) -> None:
        self._apart = apart
        if not isinstance(credential, Credential):
            raise ConfigurationError(f"credential must be an onerefresh.Credential, not {type(credential).__name__}")
        if not isinstance(replace, bool):
            raise ConfigurationError(f"replace must be True or False, not {type(replace).__name__}")
        self.credential = credential
        self.bearer = Bearer(
            credential.key,
            origins,
            header=header,
            scheme=scheme,
            attach=attach,
            refused_statuses=refused_statuses,
            refused=refused,
        )
        self.replace = replace
        self._untold = [True]  # emptied by the first call that passes through
        self._taken: tuple[Token | None, Takers | None] = (None, None)  # whose token's targets these are

    def fresh(self) -> HeaderText | None:
        """The header's value for a request; None where the credential must be waited for.

        Raises `ConfigurationError` where the credential's own refresher makes the call: it would need the token that it
        is to get. That is said while an old token still serves, too, and not only once that has expired.
        """
        if runs_user_code() and self.credential.asked_by_refresher:
            raise ConfigurationError(
                "the refresher sends its request through a client that asks the same credential for a token, and would "
                f"wait for itself: {self._apart}",
                credential=self.credential.key,
            )
        token = self.credential.current()
        return None if token is None else self.bearer.text(token)

    def passes_through(self, own: str, ways_out: str = "") -> None:
        """Note that a call to one of our origins brings `own`, and goes without our token. The first one is an event.

        `own`: the name of the header or parameter, which is one of ours. `ways_out`: other ones than usual, in words.
        May be called anywhere.
        """
        try:
            self._untold.pop()
        except IndexError:
            return
        credential, place, at = self.credential, own if own in self.bearer.headers else f"?{own}", time.time()
        # Without it, an SDK with a header of its own would be refused for ever, and nobody would know why.
        ways_out = ways_out or (
            f"give replace=True to put the token in its place, or do not set {place} in the client or SDK"
        )
        message = f"a call brings its own {place} and is sent without this credential's token: {ways_out}"
        announce(
            lambda: Event(Kind.NOT_ATTACHED, credential.key, detail=message, at=at, facts=Facts(host=credential.host))
        )

    def is_refusal(self, sent: HeaderText, status: int, head: Head, body: bytes) -> bool:
        """Whether the rules say so of an answer that the client has read already: a redirect that it has followed."""
        rules = self.bearer.rules
        if rules is None or not rules.name(status):
            return False
        peek = rules.peek(status, head)
        if peek is not None:
            peek.decoded(body)
        return rules.ask(status, head, peek, _reporter(self.credential, sent.token)) is True

    def answered(
        self, sent: HeaderText, status: int, target: Target | None = None, *, is_refusal: bool = False
    ) -> RefusedCall | None:
        """What is left of a call that was sent with `sent`; None where the answer is the caller's, whatever it says.

        `target`: that of the request which was answered, after redirects; None where that carried no token.
        `is_refusal`: the rules have said so already.
        """
        if self.bearer.may_refuse(status):
            return RefusedCall(self, sent, status, target, is_refusal=is_refusal)
        self.accepted(sent.token, status, target)  # any other answer shows that the API takes it
        return None

    def accepted(self, sent: Token, status: int, target: Target | None) -> None:
        """Tell the credential that the API has accepted this token, as far as it does not know yet."""
        if target is None or status >= 500 or status == 429:
            # What stands before an API may answer so, which says nothing of the target.
            if self.credential.unproven is sent:
                self.credential.replayed(sent, accepted=True)
            return
        takers, taken = self.credential.takers, self._taken
        if takers is None or taken[0] is not sent or taken[1] is not takers or hash(target) not in takers.targets:
            self.credential.accepted(sent, target)
            self._taken = sent, self.credential.takers


class RefusedCall:
    """What is left of a call whose answer has a status that may refuse its token, as steps; see `Step`."""

    __slots__ = (
        "_bearer", "_calls", "_credential", "challenges", "head", "is_refusal", "peek", "rewound", "status", "target",
        "text", "token",
    )  # fmt: skip

    challenges: Iterable[str] | None
    head: Head
    peek: Peek
    token: Token
    rewound: bool

    def __init__(
        self, calls: Calls, sent: HeaderText, status: int, target: Target | None = None, *, is_refusal: bool = False
    ) -> None:
        self._calls = calls
        self._credential = calls.credential
        self._bearer = calls.bearer
        self.text = sent
        self.status = status
        self.target = target
        self.is_refusal = is_refusal

    @property
    def refused(self) -> Token | Refusal:
        """What `Credential.token` is told of the refusal."""
        return self.text.token if self.target is None else Refusal(self.text.token, self.target)

    def __iter__(self) -> Iterator[Step]:
        credential, bearer, refused = self._credential, self._bearer, self.text.token
        decision = yield from self._judged()
        if isinstance(decision, PassThrough):
            if self.challenges is not None and self.status not in bearer.refused_statuses:
                self._calls.accepted(refused, self.status, self.target)
            return
        yield "drain"
        if isinstance(decision, Interaction):
            raise bearer.interaction(decision, refused)
        yield "take"
        newer = self.token
        if newer.identity == refused.identity:
            return  # refreshed only just now, or too often of late: the API would refuse the next one, too
        yield "rewind"
        if not self.rewound:
            return
        self.text = bearer.text(newer)
        yield "send"
        decision = yield from self._judged()
        credential.replayed(newer, accepted=not isinstance(decision, Refused), target=self.target)
        if isinstance(decision, Interaction):
            yield "drain"
            raise bearer.interaction(decision, newer)

    def _judged(self) -> Generator[Step, None, Decision]:
        """What the last answer means for `text`: the user's rules come first."""
        yield "challenges"
        rules = self._bearer.rules
        said: bool | None = True if self.is_refusal else None
        if said is None and rules is not None and self.challenges is not None and rules.name(self.status):
            yield "head"
            peek = rules.peek(self.status, self.head)
            if peek is not None:
                self.peek = peek
                yield "peek"
            try:
                said = rules.ask(self.status, self.head, peek, _reporter(self._credential, self.text.token))
            except ConfigurationError:
                yield "drain"  # nobody else gives its connection back
                raise
        return self._bearer.judge(self.status, self.challenges, said)


_reports: Final[LogLimit[tuple[str, str]]] = LogLimit(most=1)
"""A rule that fails would do so for each answer, so one event in a minute is enough."""


def _reporter(credential: Credential, token: Token) -> Callable[[str, str], None]:
    """What reports that a rule of the user's has failed."""

    def failed(rule: str, what: str) -> None:
        key = credential.key
        if _reports.decide((key, rule)).is_logged:
            detail = f"the rule {rule} of refused= {plain(what)}: the answer was judged as usual"
            announce(
                lambda: Event(Kind.RULE_FAILED, key, token.generation, detail=detail, facts=Facts(host=credential.host))
            )

    return failed
