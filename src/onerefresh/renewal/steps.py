"""What can be decided: the next step of a renewal."""

from __future__ import annotations

from typing import NamedTuple

from onerefresh import errors
from onerefresh.record import Grant, Lease, Probation
from onerefresh.token import Token

__all__ = [
    "Claim",
    "Decision",
    "Fail",
    "HostSave",
    "Pause",
    "Repair",
    "Settle",
    "StartSession",
    "Use",
    "Wait",
    "WrongSeed",
]


class WrongSeed(errors.ConfigurationError):
    """The error for a ``token=`` of another account than the session in use. It is the fault of that argument alone."""

    def fresh(self) -> errors.ConfigurationError:  # type: ignore[override]  # callers get the public class
        """As in the base class."""
        return errors.ConfigurationError(self.message, credential=self.credential, generation=self.generation)


class Use(NamedTuple):
    """Hand this token out.

    * `retry_after`: seconds until a background renewal makes sense again.
    * `damped`: the token is handed out although the API refused it; `why`: the reason, where no other event reports it.
    * `probation`: the token was just refreshed and has yet to prove itself.
    """

    token: Token
    retry_after: float = 0.0
    damped: bool = False
    probation: Probation | None = None
    why: str = ""


class Fail(NamedTuple):
    """Raise this error to the callers."""

    error: errors.OnerefreshError


class Pause(NamedTuple):
    """Leave the token endpoint alone for so many seconds, which the callers can wait."""

    seconds: float


class Wait(NamedTuple):
    """Wait for the attempt that holds this lease."""

    lease: Lease


class Claim(NamedTuple):
    """Claim the record, to spend `grant`."""

    grant: Grant


class StartSession(NamedTuple):
    """Begin a session with the seed, the token that was given as ``token=``."""

    seed: Token


class HostSave(NamedTuple):
    """Let the host application save this token before any caller gets it."""

    token: Token


class Repair(NamedTuple):
    """Write this newer token of the process's memory into a store that went back or lost the record."""

    token: Token


class Settle:
    """Put a recovery lease on the record, because the store's server has changed and may lack writes.

    It gives other processes the time to restore what they know.
    """

    __slots__ = ()


Decision = Use | Fail | Pause | Wait | Claim | StartSession | HostSave | Repair | Settle
