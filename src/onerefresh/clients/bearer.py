"""How a token is written into a header (RFC 6750), and which answers refuse it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Self

from onerefresh.answers import unsendable
from onerefresh.clients.challenge import TOKEN, Decision, Interaction, PassThrough, judge_refusal, parse_challenges
from onerefresh.clients.origins import Origins
from onerefresh.errors import ConfigurationError, InteractionRequired, RefreshProtocolError
from onerefresh.redaction import LONGEST_CHALLENGE, Redactor
from onerefresh.token import Token

__all__ = ["UNAUTHORIZED", "Bearer", "HeaderText"]

UNAUTHORIZED: Final = frozenset({401})
"""The statuses that refuse a token, unless an API has others."""


class HeaderText(str):
    """A header's value that holds the token, and the `token` from which it was made. Its ``repr`` shows neither.

    Clients keep it in their requests, and the requests in their responses, which people pickle. A pickle has ``…`` in
    its place.
    """

    __slots__ = ("token",)
    token: Token

    def __repr__(self) -> str:
        return "'…'"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return (str, ("…",))


_RESERVED_HEADERS: Final = frozenset(
    {"connection", "content-length", "content-type", "cookie", "host", "proxy-authorization", "transfer-encoding"}
)


class Bearer:
    """How one credential is used with one API: which origins get the token, in which header, which statuses refuse it.

    * `credential`: the credential's name, for errors.
    * `scheme`: stands before the token; ``""`` or None sends the bare token (``X-Api-Key`` and its like).

    Raises `ConfigurationError` for arguments that make no sense.
    """

    __slots__ = ("_last", "credential", "header", "origins", "refused_statuses", "scheme")

    def __init__(
        self,
        credential: str,
        origins: str | Iterable[str],
        *,
        header: str = "Authorization",
        scheme: str | None = "Bearer",
        refused_statuses: Collection[int] = UNAUTHORIZED,
    ) -> None:
        self.credential = credential
        self.origins = Origins(origins)
        self.header = _checked_header(header)
        self.scheme = _checked_scheme(scheme)
        self.refused_statuses = _checked_statuses(refused_statuses)
        self._last: HeaderText | None = None

    def text(self, token: Token) -> HeaderText:
        """The header's value for `token`.

        Raises `RefreshProtocolError` where no header can carry the token. A credential hands out no such token.
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
        text = HeaderText(f"{self.scheme} {token.reveal()}" if self.scheme else token.reveal())
        text.token = token
        self._last = text
        return text

    def judge(self, status: int, headers: Iterable[str] | None) -> Decision:
        """What an answer means for its token. `headers`: the answer's ``WWW-Authenticate`` headers.

        None stands for an answer to a request that did not carry the token.
        """
        if headers is None or status not in self.refused_statuses:
            return PassThrough()
        return judge_refusal(parse_challenges(headers), self.scheme)

    def interaction(self, decision: Interaction, token: Token) -> InteractionRequired:
        """The error for the person whose token was not enough: what the API demanded when it was sent `token`."""
        return InteractionRequired(
            f"the API requires more from the user than this token proves ({decision.error})",
            credential=self.credential,
            generation=token.generation,
            challenge=Redactor(token.secrets).whole(decision.challenge, LONGEST_CHALLENGE),  # it may repeat the secrets
        )


def _checked_header(header: object) -> str:
    if not isinstance(header, str) or not TOKEN.fullmatch(header):
        raise ConfigurationError(f"header {header!r} is not a valid header name (RFC 9110 section 5.1)")
    if header.lower() in _RESERVED_HEADERS:
        raise ConfigurationError(
            f"header {header!r} has another meaning: use 'Authorization', or a header that the API defines"
        )
    return header


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
