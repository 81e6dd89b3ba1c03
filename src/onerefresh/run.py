"""What a runner needs of its process: what is in memory, and which callers wait."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable
from typing import Any, Protocol

from onerefresh import errors
from onerefresh.interpreter import interpreter_ends
from onerefresh.record import Record
from onerefresh.renewal.clocks import Sent
from onerefresh.renewal.known import Known
from onerefresh.store import Store
from onerefresh.token import Token

__all__ = ["Resumable", "Run"]


class Resumable(Protocol):
    """A world whose work mostly sleeps, and is continued each time that a sleep is over."""

    store: Store

    def run_until_it_sleeps(self, rest: Coroutine[Any, Any, None], /) -> float | None:
        """Continue `rest` until it wants to sleep; return for how many seconds, or None where it has returned."""


class Run(ABC):
    """A renewal, or a command, as its process sees it: what is in memory, and which callers wait."""

    __slots__ = ()

    @abstractmethod
    def tokens(self) -> Iterable[Token | None]:
        """The tokens that no message may show."""

    @abstractmethod
    def known(self) -> Known:
        """See `World.known`."""

    @abstractmethod
    def learn(self, record: Record, skew: float) -> None:
        """See `World.learn`."""

    @abstractmethod
    def is_under_way(self, identity: tuple[str, int]) -> bool:
        """See `World.is_under_way`."""

    @property
    @abstractmethod
    def has_waiters(self) -> bool:
        """Whether a caller waits for whom the interpreter's end is delayed.

        Without one, a run that merely waits ends with the main thread.
        """

    def go_on(self, key: str) -> None:
        """Raise `CredentialClosed` where the interpreter is ending and no caller waits."""
        if interpreter_ends() and not self.has_waiters:
            raise errors.CredentialClosed("the interpreter is ending", credential=key)

    @abstractmethod
    def report(self, phase: str) -> None:
        """Take in how far the run is, in words."""

    @abstractmethod
    def deliver(self, answer: object, unsaved: Token | None = None) -> None:
        """See `World.deliver`."""

    @abstractmethod
    def defer(self, world: Resumable, rest: Coroutine[Any, Any, None]) -> None:
        """See `World.defer`; `world` is that of `rest`."""

    @abstractmethod
    def sending(self, ttl: float, claim: Sent | None) -> contextlib.AbstractContextManager[object]:
        """A context for a token request under `claim`, for which callers wait at most `ttl` seconds.

        Meanwhile the background look restores the claim if the store loses it. Until this run is over, no other renewal
        of this process sends the same refresh token.
        """
