"""How a token is written into a header (RFC 6750), and which answers refuse it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from onerefresh.answers import unsendable
from onerefresh.clients.attach import Attach, Part, checked_header, parts_of, scheme_of
from onerefresh.clients.challenge import (
    TOKEN,
    Decision,
    Interaction,
    PassThrough,
    Refused,
    judge_refusal,
    parse_challenges,
)
from onerefresh.clients.origins import Origins
from onerefresh.clients.places import without_parameters, without_secrets
from onerefresh.clients.refused import RefusedBy, rules_of
from onerefresh.clients.rule import Rules
from onerefresh.errors import ConfigurationError, InteractionRequired, RefreshProtocolError
from onerefresh.redaction import LONGEST_CHALLENGE, Redactor
from onerefresh.secret import Secret
from onerefresh.token import Token

__all__ = ["UNAUTHORIZED", "Bearer", "Further", "HeaderText"]

UNAUTHORIZED: Final = frozenset({401})
"""The statuses that refuse a token, unless an API has others."""


class HeaderText(str):
    """A header's value that holds the token, and the `token` from which it was made. Its ``repr`` shows neither.

    `further`: what else goes into the request, where the token has other places than one header. Then the text itself
    is for the first header, and empty where there is none.

    Clients keep it in their requests, and the requests in their responses, which people pickle. A pickle has ``…`` in
    its place.
    """

    __slots__ = ("further", "token")
    token: Token
    further: Further | None

    def __repr__(self) -> str:
        return "'…'"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return (str, ("…",))


@dataclass(frozen=True, slots=True, repr=False)
class Further:
    """What goes into a request besides its first header: names and values, before they are encoded for their places."""

    headers: tuple[tuple[str, HeaderText], ...]
    query: tuple[tuple[str, str], ...]
    cookies: tuple[tuple[str, str], ...]
    fixed: frozenset[str]
    """The parameters whose value is the same for every token, and no secret."""
    secrets: tuple[str, ...]
    """What may stand in no address of another origin."""

    def taken_out(self, location: str, *, leaves: bool) -> str:
        """The address to which an answer redirects, without the token. `leaves`: it is of another origin."""
        if not leaves:
            return without_parameters(location, self.query)
        query = [(name, value) for name, value in self.query if name not in self.fixed]
        return without_secrets(without_parameters(location, query), self.secrets)


class Bearer:
    """How one credential is used with one API: which origins get the token, where, and which statuses refuse it.

    * `credential`: the credential's name, for errors.
    * `scheme`: stands before the token; ``""`` or None sends the bare token (``X-Api-Key`` and its like).
    * `attach`: writes the token in another way, or into other places than `header`; see `Attach`.
    * `refused`: rules about other answers that refuse it; see `onerefresh.clients.refused`.

    `header` is the first header that carries the token, empty where there is none. `headers`, `query` and `cookies`
    name all its places; `is_plain`: it has no other than `header`.

    Raises `ConfigurationError` for arguments that make no sense.
    """

    __slots__ = (
        "_last", "_parts", "cookies", "credential", "header", "headers", "is_plain", "origins", "query",
        "refused_statuses", "rules", "scheme",
    )  # fmt: skip

    def __init__(
        self,
        credential: str,
        origins: str | Iterable[str],
        *,
        header: str = "Authorization",
        scheme: str | None = "Bearer",
        attach: Attach | None = None,
        refused_statuses: Collection[int] = UNAUTHORIZED,
        refused: RefusedBy = None,
    ) -> None:
        self.credential = credential
        self.origins = Origins(origins)
        self._parts, self.scheme = _parts(header, scheme, attach)
        self.headers = self._names("header")
        self.query = self._names("query")
        self.cookies = self._names("cookie")
        self.header = self.headers[0] if self.headers else ""
        self.is_plain = len(self._parts) == 1 and bool(self.headers)
        self.refused_statuses = _checked_statuses(refused_statuses)
        self.rules: Rules | None = rules_of(refused)
        self._last: HeaderText | None = None

    def _names(self, place: str) -> tuple[str, ...]:
        return tuple([part.name for part in self._parts if part.place == place])

    @property
    def places(self) -> str:
        """All places of the token, for errors."""
        kinds = {"header": "the header", "query": "the parameter", "cookie": "the cookie"}
        return ", ".join([f"{kinds[part.place]} {part.name!r}" for part in self._parts])

    def text(self, token: Token) -> HeaderText:
        """The header's value for `token`, with what goes elsewhere.

        Raises `RefreshProtocolError` where no header can carry the token (a credential hands out no such token), and
        where the token has nothing to write into one of its places; and what a function of ``attach=`` raises.
        """
        last = self._last
        if last is not None and last.token is token:
            return last
        if (message := unsendable(token.reveal())) is not None:
            raise RefreshProtocolError(
                f"the credential has {message}",
                credential=self.credential,
                generation=token.generation,
            )
        try:
            written = [(part, part.write(token)) for part in self._parts]
        except RefreshProtocolError as error:
            message = error.message
        else:
            text = _joined(written, token)
            self._last = text
            return text
        raise RefreshProtocolError(message, credential=self.credential, generation=token.generation)

    def may_refuse(self, status: int) -> bool:
        """Whether an answer with this status must be judged."""
        return status in self.refused_statuses or (self.rules is not None and self.rules.name(status))

    def judge(self, status: int, headers: Iterable[str] | None, said: bool | None = None) -> Decision:
        """What an answer means for its token. `headers`: the answer's ``WWW-Authenticate`` headers.

        None stands for an answer to a request that did not carry the token. `said`: what the rules say about it.
        """
        if headers is None or said is False:
            return PassThrough()
        if said:
            return Refused()
        if status not in self.refused_statuses:
            return PassThrough()
        return judge_refusal(parse_challenges(headers), self.scheme)

    def interaction(self, decision: Interaction, token: Token) -> InteractionRequired:
        """The error for the person whose token was not enough: what the API demanded when it was sent `token`."""
        sent = self.text(token)
        secrets = self._parts[0].secrets(token, sent) if sent.further is None else sent.further.secrets
        redactor = Redactor([*token.secrets, *map(Secret, secrets)])  # the challenge may repeat them
        return InteractionRequired(
            f"the API requires more from the user than this token proves ({decision.error})",
            credential=self.credential,
            generation=token.generation,
            challenge=redactor.whole(decision.challenge, LONGEST_CHALLENGE),
        )


def _parts(header: object, scheme: object, attach: Attach | None) -> tuple[tuple[Part, ...], str]:
    """Where the token goes, and the scheme with which it is sent."""
    name, word = checked_header(header), _checked_scheme(scheme)
    if attach is None:
        before = ((False, f"{word} "),) if word else ()
        return (Part("header", name, (*before, (True, "token"))),), word
    if scheme != "Bearer":
        raise ConfigurationError("attach= writes the whole value: leave scheme= out")
    if isinstance(attach, Mapping) and header != "Authorization":
        raise ConfigurationError(f"attach= names its own places: write {header!r} there, and leave header= out")
    parts = parts_of(attach, name)
    return parts, scheme_of(parts)


def _joined(written: list[tuple[Part, str]], token: Token) -> HeaderText:
    headers = [(part.name, _header_text(value, token)) for part, value in written if part.place == "header"]
    first = headers[0][1] if headers else _header_text("", token)
    if len(written) > 1 or not headers:
        query = [(part.name, value) for part, value in written if part.place == "query"]
        cookies = [(part.name, value) for part, value in written if part.place == "cookie"]
        fixed = frozenset([part.name for part, _ in written if part.place == "query" and part.is_fixed])
        secrets = [secret for part, value in written for secret in part.secrets(token, value)]
        first.further = Further(tuple(headers[1:]), tuple(query), tuple(cookies), fixed, (token.reveal(), *secrets))
    return first


def _header_text(value: str, token: Token) -> HeaderText:
    text = HeaderText(value)
    text.token = token
    text.further = None
    return text


def _checked_scheme(scheme: object) -> str:
    if scheme is None or scheme == "":
        return ""
    if not isinstance(scheme, str) or not TOKEN.fullmatch(scheme):
        raise ConfigurationError(f"scheme {scheme!r} is not an authentication scheme: use one word, or '' for none")
    return scheme


def _checked_statuses(statuses: object) -> frozenset[int]:
    if not isinstance(statuses, Collection) or isinstance(statuses, (str, bytes)) or not statuses:
        raise ConfigurationError("refused_statuses must be a set of HTTP statuses, such as {401, 403}")
    for status in statuses:
        if not isinstance(status, int) or not 400 <= status <= 599 or status == 407:
            raise ConfigurationError(
                f"refused_statuses: {status!r} must be from 400 to 599, and not 407, which is used by proxies"
            )
    return frozenset(statuses)
