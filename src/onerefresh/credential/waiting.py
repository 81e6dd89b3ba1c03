"""Waiting for a flight, and the error where the wait is over."""

from __future__ import annotations

from typing import TypeVar

from onerefresh import errors
from onerefresh.credential.arguments import seconds
from onerefresh.credential.context_managed import ContextManaged
from onerefresh.credential.launcher import Launcher
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.notices import report_timeout
from onerefresh.credential.options import CredentialOptions
from onerefresh.flight import Flight
from onerefresh.running_loop import runs_here
from onerefresh.user_code import asks_itself

__all__ = ["LOOK", "Waiting"]

T = TypeVar("T")
REFRESH, LOOK = "the refresh", "the operation on the store"
"""What `WaitTimeout` says has not finished."""


class Waiting(ContextManaged):
    """How a credential's callers wait."""

    __slots__ = ()
    key: str
    _closed: bool
    _memory: SessionMemory
    _launcher: Launcher

    @property
    def _options(self) -> CredentialOptions:
        return self._launcher.options

    def _check_open(self) -> None:
        if self._closed:
            raise errors.CredentialClosed("it was closed", credential=self.key)

    def _check_caller(self, *, blocking: bool, loop: object) -> None:
        """Refuse a wait that could never end."""
        if asks_itself(self._memory.store, self.key):
            raise errors.ConfigurationError(
                "the refresher asked its own credential for a token and would wait for itself: "
                "use the token that is passed to it",
                credential=self.key,
            )
        if blocking and self._options.is_async and loop is not None and runs_here(loop):
            raise errors.ConfigurationError(
                "this blocks the event loop on which the async refresher has to run: "
                "use `await atoken()`, `await alogin()` and `await aclose()`",
                credential=self.key,
            )

    def _result(self, flight: Flight[T], what: str = REFRESH) -> T:
        """The result of a flight, for which this thread waits. Raises `WaitTimeout`."""
        if not flight.wait(self._options.max_wait):
            raise self._timed_out(flight, self._options.max_wait, what)
        return flight.result()

    async def _aresult(self, flight: Flight[T], what: str = REFRESH) -> T:
        """The result of a flight, for which this task waits. Raises `WaitTimeout`."""
        if not await flight.wait_async(self._options.max_wait):
            raise self._timed_out(flight, self._options.max_wait, what)
        return flight.result()

    def _most_seconds(self, max_wait: float | None) -> float:
        """The most seconds that a caller waits."""
        return self._options.max_wait if max_wait is None else seconds("max_wait", max_wait)

    def _timed_out(self, flight: Flight[T], waited: float, what: str = REFRESH) -> errors.WaitTimeout:
        """The error for a caller who has waited for so many seconds. It is also reported as an event."""
        error = self._too_late(flight, what)
        report_timeout(self.key, self._options.refresher, error, waited)
        return error

    def _too_late(self, flight: Flight[T] | None = None, what: str = REFRESH) -> errors.WaitTimeout:
        generation = self._memory.known.generation if self._memory.known else None
        message = f"max_wait is over and {what} has not finished" + (f": {flight.phase}" if flight is not None else "")
        return errors.WaitTimeout(message, credential=self.key, generation=generation)
