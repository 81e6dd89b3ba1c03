"""Being admitted to a token endpoint: a turn at its host, and a circuit that lets this renewal ask."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from onerefresh import errors, events
from onerefresh.circuit import circuits, is_answer
from onerefresh.events import Event, Facts, Kind
from onerefresh.host_limiter import HostLimiter, Slot
from onerefresh.pause import Pause
from onerefresh.run import Run
from onerefresh.user_code import UserCode
from onerefresh.verdict import Verdict

__all__ = ["Admission"]

LOOK = 0.5
"""Seconds between two looks of a patient renewal at whether the endpoint answers again."""


class Admission:
    """One renewal's way to its token endpoint.

    * `code`, `run`, `turns`, `patience`: those of its `Runner`.
    * `is_answered`: the host has answered the last request.
    """

    def __init__(
        self,
        key: str,
        code: UserCode,
        run: Run,
        turns: HostLimiter | None,
        patience: float,
    ) -> None:
        self._key, self._code, self._run = key, code, run
        self._turns, self._patience = turns, patience
        self._place: Slot | None = None
        self._endpoint: tuple[str, str | None] | None = None  # that of the circuit which has admitted it
        self._is_admitted = self.is_answered = False
        self._news: Event | None = None  # of the circuit, to be published once the answer is saved

    async def enter(self) -> bool:
        """Wait until the renewal may ask; whether a wait was needed.

        Raises `RefreshUnavailable` where the endpoint is left alone for longer than there is patience.
        """
        waited = await self._waits_while_it_is_left_alone()
        while await self._waits_for_its_turn():
            waited, self._is_admitted = True, False  # the endpoint may be left alone since
            await self._waits_while_it_is_left_alone()
        return waited

    @property
    def has_a_turn(self) -> bool:
        """Whether it has, or waits for, a turn at the host."""
        return self._place is not None

    async def take_turn(self) -> None:
        """Wait for a turn at the host, also where its token endpoint is left alone: for a revocation."""
        await self._waits_for_its_turn()

    async def _waits_while_it_is_left_alone(self) -> bool:
        """Wait while the token endpoint is left alone, for `patience` seconds in all at most; whether that was needed.

        Raises `RefreshUnavailable` where it stays so for longer.
        """
        if self._is_admitted:
            return False
        self._endpoint = endpoint = self._code.endpoint
        waited = False
        while endpoint is not None and (left := circuits.left(endpoint, self._key)) > 0.0:
            message = f"{circuits.why(endpoint)}: it is asked again in {left:.1f} s, and nothing was sent now"
            if self._patience <= 0.0 or (left > self._patience and not circuits.is_asked(endpoint)):
                raise errors.RefreshUnavailable(message, credential=self._key, retry_after=left)
            self._run.report(message)
            self.leave()
            nap = min(left, self._patience, LOOK)
            await Pause(nap, partial(self._run.go_on, self._key))
            self._patience, waited = self._patience - nap, True
        self._endpoint, self._is_admitted = endpoint, True
        return waited

    async def _waits_for_its_turn(self) -> bool:
        """Take a turn at the host, or at a function that states none; whether that took a wait."""
        where = self._code.place
        if self._turns is None or self._place is not None or where is None:
            return False
        self._place = place = self._turns.queue(where, self._code.limit, self._key)
        if place.is_granted:
            return False
        others = "one other" if place.behind == 1 else f"{place.behind} others"
        message = f"it waits for its turn behind {others} at {where}, and nothing was sent yet"
        self._run.report(message)
        events.publish(Event(Kind.QUEUED, self._key, detail=message, facts=Facts(self._code.host)))
        await place.comes(partial(self._run.go_on, self._key))
        return True

    def settles(self, verdict: Verdict | None, generation: int) -> None:
        """Let the circuit of the token endpoint know how a request ended; None: with a token.

        No code of others runs here, since a token may be saved nowhere yet.
        """
        endpoint, self.is_answered = self._endpoint, is_answer(verdict)
        failing = circuits.failing_for(endpoint) if endpoint is not None else None
        if endpoint is None or (is_down := circuits.settles(endpoint, self._key, verdict)) is None:
            return
        kind = Kind.ENDPOINT_DOWN if is_down else Kind.ENDPOINT_UP
        detail = circuits.why(endpoint) if is_down else f"the token endpoint at {endpoint[0]} answers again"
        facts = Facts(endpoint[0], duration=failing)
        if verdict is not None:
            facts = replace(facts, status=verdict.status, error=type(verdict.error()).__name__)
        self._news = Event(kind, self._key, generation, detail=detail, facts=facts)

    def publish_news(self) -> None:
        """Report what has become of the endpoint."""
        news, self._news = self._news, None
        if news is not None:
            events.publish(news)

    def leave(self) -> None:
        """Give the turn back, and let another credential find out whether the endpoint answers."""
        place, self._place = self._place, None
        if place is not None:
            place.leave(answered=self.is_answered)
        endpoint, self._endpoint = self._endpoint, None
        self._is_admitted = self.is_answered = False
        if endpoint is not None:
            circuits.withdraw(endpoint, self._key)
