"""What can go wrong, and who must act.

    OnerefreshError
    ├── LoginRequired           the person logs in again: the session is over, or there never was one;
    │                           where ``.proven`` is False, the client may be wrong instead
    ├── InteractionRequired     the person proves more (MFA, step-up, consent); see ``.challenge``
    ├── ClientRejected          the developer: client id, client secret or client authentication is wrong
    ├── RequestRejected         the developer: the server does not accept this request (scope, URL, parameters)
    ├── RefreshUnavailable      nobody yet: the token endpoint is down, or asks for a pause of ``.retry_after`` seconds
    ├── RefreshOutcomeUnknown   nobody yet: a request was sent and its answer was lost; where the profile never sends
    │                           again (``resend="never"``), the person logs in, or somebody calls ``retry()``
    ├── RefreshProtocolError    the server's operator: it answered 2xx without a usable token
    ├── RefresherFailed         the refresher's developer: it raised an exception of its own (see the causes)
    ├── WaitTimeout             the caller: the refresh is not over; ask again, or allow a longer ``max_wait``
    ├── StoreUnavailable        the store's operator: it cannot be read or written; nothing was sent, or the message
    │                           says that a new token waits for the store
    ├── SaveFailed              the host application: its ``save`` failed; the token stays in memory, and the next call
    │                           saves it
    ├── ConfigurationError      the developer: a setting or an argument is wrong
    │   └── CredentialMoved     the session goes on in another store, which the program has to name
    └── CredentialClosed        the caller: the credential was closed

Every error carries ``.credential`` (the key) and ``.generation`` (of the token in question), each ``None`` where it is
not known. No error ever shows a token, nor does its copy hold one.
"""

from __future__ import annotations

from typing import ClassVar, Self

__all__ = [
    "ClientRejected",
    "ConfigurationError",
    "CredentialClosed",
    "CredentialMoved",
    "InteractionRequired",
    "LoginRequired",
    "OnerefreshError",
    "RefreshOutcomeUnknown",
    "RefreshProtocolError",
    "RefreshUnavailable",
    "RefresherFailed",
    "RequestRejected",
    "SaveFailed",
    "StoreUnavailable",
    "WaitTimeout",
]


class OnerefreshError(Exception):
    """The base of every error of this library. Client integrations raise them unchanged."""

    _kept: ClassVar[tuple[str, ...]] = ("credential", "generation")

    def __init__(self, message: str = "", *, credential: str | None = None, generation: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.credential = credential
        self.generation = generation

    def __str__(self) -> str:
        if self.credential is None:
            return self.message
        return f"credential {self.credential!r}: {self.message}"

    def fresh(self) -> Self:
        """An equal error without traceback or cause, so that each caller is raised an error of its own."""
        kept = {name: getattr(self, name) for name in self._kept}
        return type(self)(self.message, **kept)

    def about(self, credential: str, generation: int | None = None) -> Self:
        """This error, with the credential and generation that it concerns where they were not set before."""
        if self.credential is None:
            self.credential = credential
        if self.generation is None:
            self.generation = generation
        return self

    def __reduce__(self) -> tuple[object, ...]:
        kept = {name: getattr(self, name) for name in self._kept}
        return (_revive, (type(self), self.message, kept))


def _revive(kind: type[OnerefreshError], message: str, kept: dict[str, object]) -> OnerefreshError:
    error = kind(message)
    for name, value in kept.items():
        setattr(error, name, value)
    return error


class LoginRequired(OnerefreshError):
    """The person must log in again. The token is kept, and a login heals every process at once.

    ``proven``: the session is over, and no request is sent until a login or ``retry()``. Where it is False, the
    server's refusal also fits a wrong client or function: correct that and call ``retry()``, or log in.
    """

    _kept: ClassVar[tuple[str, ...]] = ("credential", "generation", "proven")

    def __init__(
        self,
        message: str = "",
        *,
        credential: str | None = None,
        generation: int | None = None,
        proven: bool = True,
    ) -> None:
        super().__init__(message, credential=credential, generation=generation)
        self.proven = proven


class InteractionRequired(OnerefreshError):
    """The API or the server demands more of the person than a token (RFC 9470, or Entra's claims challenge).

    ``challenge``: the demand as the server sent it, or None.
    """

    _kept: ClassVar[tuple[str, ...]] = ("credential", "generation", "challenge")

    def __init__(
        self,
        message: str = "",
        *,
        credential: str | None = None,
        generation: int | None = None,
        challenge: str | None = None,
    ) -> None:
        super().__init__(message, credential=credential, generation=generation)
        self.challenge = challenge


class ClientRejected(OnerefreshError):
    """The server refused the client itself: ``invalid_client`` or ``unauthorized_client`` (RFC 6749 section 5.2)."""


class RequestRejected(OnerefreshError):
    """The server refused this request: ``invalid_request``, ``invalid_scope``, 403, 404, 405 and their like."""


class RefreshUnavailable(OnerefreshError):
    """The token endpoint cannot answer now. ``retry_after``: seconds until it may be asked again, or None.

    Raised also where it has answered too often, because its tokens live too shortly or the API refuses fresh ones. And
    where the answer cannot be waited for: a destructor, a signal handler or a callback asks in the middle of this
    library's own work on the same thread.
    """

    _kept: ClassVar[tuple[str, ...]] = ("credential", "generation", "retry_after")

    def __init__(
        self,
        message: str = "",
        *,
        credential: str | None = None,
        generation: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, credential=credential, generation=generation)
        self.retry_after = retry_after


class RefreshOutcomeUnknown(OnerefreshError):
    """The refresh token was sent and no answer came back: the server may or may not have rotated it."""


class RefreshProtocolError(OnerefreshError):
    """The server answered with success, but without an access token that could be used."""


class RefresherFailed(OnerefreshError):
    """The refresher raised an exception that says nothing about the token: the last of this error's causes."""


class WaitTimeout(OnerefreshError, TimeoutError):
    """``max_wait`` is over and the refresh is not; the message says how far it is. A later call gets its result."""


class StoreUnavailable(OnerefreshError):
    """The store cannot be read or written now. The call that raised this surely changed nothing in it.

    Where a new token could be saved nowhere, the message says so: saving is tried again, and later calls wait for it.
    """


class SaveFailed(OnerefreshError):
    """The host application's ``save`` failed after several tries. The next call saves before it hands the token out."""


class ConfigurationError(OnerefreshError):
    """A setting or an argument is wrong; the message names it and what to do."""


class CredentialMoved(ConfigurationError):
    """The session was moved to another store, which the message names. It lives on there, and nobody has to log in.

    Open that store instead of this one; ``moved_from=`` opens both during the move.
    """


class CredentialClosed(OnerefreshError):
    """``close()`` was called on this credential, or the interpreter is ending."""
