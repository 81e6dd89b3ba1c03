"""Which token a call of google-auth was given, so that its refusal can be told. It needs no google-auth."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final

from onerefresh.clients.bearer import UNAUTHORIZED, HeaderText
from onerefresh.clients.call import Calls
from onerefresh.credential import Credential
from onerefresh.credential.targets import Refusal
from onerefresh.damping import Target
from onerefresh.errors import ConfigurationError
from onerefresh.one_object import OneObject
from onerefresh.token import Token

__all__ = ["Given", "GivenTokens"]

_APART: Final = "send that request by a client without these credentials"


class Given:
    """What one call was given.

    * `by`: the adapter that has given it.
    * `token`: None before it is known.
    * `target`: where it is sent; None where an SDK took the text.
    * `is_replay`: it was given in place of a token that was refused in the same call.
    * `is_renewed`: it was refused, and there is a newer one.
    * `is_over`: it was refused, and whoever asked for another one got an answer.
    """

    __slots__ = ("by", "is_over", "is_renewed", "is_replay", "target", "token")

    def __init__(self, by: object, target: Target | None = None, *, is_replay: bool = False) -> None:
        self.by, self.target, self.is_replay, self.is_renewed, self.is_over = by, target, is_replay, False, False
        self.token: Token | None = None

    @property
    def refused(self) -> Token | Refusal | None:
        """What the credential is told where the API has refused the token."""
        return self.token if self.token is None or self.target is None else Refusal(self.token, self.target)

    def renewed_to(self, token: Token) -> None:
        """Note the token after this one."""
        self.is_renewed, self.is_over = self.token is not None and token.identity != self.token.identity, True


# google-auth does not say which token was refused. But one call prepares, sends and refreshes in one thread or task.
_of_this_call: Final[ContextVar[Given | None]] = ContextVar("onerefresh_google_auth", default=None)


class GivenTokens(OneObject):
    """The tokens that one adapter gives to google-auth. The arguments are those of `Calls`."""

    def __init__(self, credential: Credential, origins: str | Iterable[str]) -> None:
        self._calls = Calls(
            credential, origins, header="authorization", scheme="Bearer", refused_statuses=UNAUTHORIZED, apart=_APART
        )
        self.credential = credential
        self._last = Given(self)

    @property
    def origins(self) -> list[str]:
        """Where the token may go."""
        return list(self._calls.bearer.origins)

    def begin(self, url: str | None = None) -> Given:
        """Note that a call to `url` begins here, or that an SDK takes the text; its token is yet to be set.

        Raises `ConfigurationError` for a call to an origin that was not named.
        """
        target = None if url is None else self._target_of(url)
        before = _of_this_call.get()
        given = Given(self, target, is_replay=before is not None and before.by is self and before.is_renewed)
        _of_this_call.set(given)
        self._last = given
        return given

    def text(self, given: Given, token: Token | None = None) -> HeaderText | None:
        """The header's value with this token, else with the one in memory; None where that has to be waited for."""
        text = self._calls.fresh() if token is None else self._calls.bearer.text(token)
        if text is not None:
            given.token = text.token
        return text

    def bare_text(self) -> str | None:
        """The text of the token in memory, for an SDK that sends it by itself; None where none serves."""
        token = self.credential.current()
        if token is None:
            return None
        self.begin().token = token
        return token.reveal()

    def refused(self) -> Given:
        """What this call was given, which is refused; what was given last, where another thread has asked for it.

        This thread may have made a call of its own before, which is over.
        """
        given = _of_this_call.get()
        given = given if given is not None and given.by is self and not given.is_over else self._last
        if given.is_replay and given.token is not None:
            self.credential.replayed(given.token, accepted=False, target=given.target)
        return given

    def _target_of(self, url: str) -> Target:
        target = self._calls.bearer.origins.target_of(url)
        if target[0]:
            return target
        scheme, separator, rest = url.partition("://")
        if not separator:
            # The text itself is left out: its query may be secret.
            raise ConfigurationError(
                "a call to an address without scheme and host: write both, as in 'https://api.example.com/items'",
                credential=self.credential.key,
            )
        host = rest.replace("\\", "/").partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
        raise ConfigurationError(
            f"the origin of this call, {scheme}://{host}, was not named: name it in origins= if it may have the "
            f"token, or {_APART}",
            credential=self.credential.key,
        )
