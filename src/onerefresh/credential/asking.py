"""What memory answers, and which flight answers the rest: decided under a lock, carried out after it."""

from __future__ import annotations

import math

from onerefresh.credential.beginning import refuse_at_the_end
from onerefresh.credential.cached_token import CachedToken, Nothing, cached_for
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.waiting import Waiting
from onerefresh.credential.watch import begin_to_watch
from onerefresh.damping import Target
from onerefresh.flight import Flight
from onerefresh.interpreter import interpreter_ends
from onerefresh.locks import inside
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.steps import WrongSeed
from onerefresh.running_loop import running_loop
from onerefresh.token import Token
from onerefresh.user_code import asks_itself

__all__ = ["Asking"]


class Asking(Waiting):
    """What a credential decides when a caller asks for a token."""

    __slots__ = ("_served",)
    _served: SessionMemory | Nothing

    def _look(self, refused: Token | None, target: Target | None = None, *, blocking: bool) -> Token | Flight[Outcome]:
        """A token from memory, or the flight to wait for. Raises what is already known to fail."""
        self._check_open()
        considers = "" if self._is_sure() else self._launcher.considers
        served = None if considers else self._memory.serving(refused, target)
        if served is not None:
            if refused is None:
                self._ageing()
            return served
        refuse_at_the_end(self.key)
        memory, fresh = self._memory, None
        try:
            with memory.lock:
                token = None if considers else self._memory.serving(refused, target)
                flight = memory.flight_for(considers) if considers else memory.flying
                if token is None and flight is None:
                    self._check_caller(blocking=blocking, loop=self._options.loop or running_loop())
                    if not considers or considers in memory.reported:
                        memory.raise_known_failure()
                    flight = fresh = memory.new_flight(refused, self._loop(blocking=blocking), target)
                    fresh.considers = considers
                    memory.register(fresh)
            if token is None and flight is not None:
                flight.expect()
                if flight is fresh or flight.is_mine_to_start:
                    self._launcher.launch(flight, background=False)
        except BaseException:  # Ctrl-C: others may wait for the flight already
            self._launch_after_all(fresh, background=False)
            raise
        if token is not None:
            if refused is None:
                self._ageing()
            return token
        assert flight is not None
        if flight is not fresh:
            self._check_caller(blocking=blocking, loop=flight.loop)
        return flight

    def _ageing(self) -> Token | None:
        """The token if it is still usable. One that is ageing starts one renewal in the background."""
        memory = self._memory
        if not self._is_sure():
            return None
        held = memory.held
        now = memory.clock.time()
        if held.token is None or now >= held.unusable_at:
            return None
        if not memory.watched and not self._closed and not inside():
            held = self._watch_again(held)
        if now < held.refresh_at or self._closed or asks_itself(memory.store, self.key):
            return held.token
        if inside() or interpreter_ends():
            return held.token  # no renewal can begin here: the next call starts it, if there is one
        fresh = None
        try:
            with memory.lock:
                if self._memory.flying is None and memory.held is held:
                    fresh = memory.new_flight(None, self._loop(blocking=False))
                    memory.flight = fresh
            if fresh is not None:
                self._launcher.launch(fresh, background=True)
        except BaseException:  # Ctrl-C: others may wait for the flight already
            self._launch_after_all(fresh, background=True)
            raise
        return held.token

    def _watch_again(self, held: CachedToken) -> CachedToken:
        """Start the background look again: in a forked child, or where no thread could start before."""
        memory = self._memory
        if held.refresh_at > -math.inf or held.token is None:
            begin_to_watch(self._memory)
            return held
        with memory.lock:
            if memory.held is held:
                memory.held = cached_for(held.token, memory.jitter, memory.timing)
            held = memory.held
        begin_to_watch(self._memory)  # where no thread can start, the next call tries again
        return held

    def _is_sure(self) -> bool:
        """Whether this object may use the token in memory.

        Its own ``token=`` may be of another account. So it is compared with the session in the store first, as another
        process would do; what other objects of this name have in memory serves only after that.
        """
        if self._served is self._memory:
            return True
        seed = self._launcher.seed
        if self._launcher.is_unasked or (seed is not None and not self._memory.knows(seed)):
            return False
        self._served = self._memory
        return True

    def _is_for_others(self, flight: Flight[Outcome]) -> bool:
        """Whether a flight has failed because of the first token of another object, or was not for this one's."""
        if isinstance(flight.error, WrongSeed) or (flight.error is not None and flight.looks_up):
            own = self._launcher.considers
            return not own or flight.considers != own
        return flight.error is None and not self._is_sure()

    def _answer_of(
        self, flight: Flight[Outcome], refused: Token | None, target: Target | None, *, blocking: bool
    ) -> Token | None:
        """The flight's token; None where it is no answer for this caller, who has to ask again. Raises its error."""
        if flight.lost_its_loop and flight.loop is not self._loop(blocking=blocking):
            return None  # another caller's loop has ended: try again with this caller's
        if self._is_for_others(flight):
            return None
        token = flight.result().token
        return token if self._satisfies(token, refused, flight, target) else None

    def _satisfies(
        self, token: Token, refused: Token | None, flight: Flight[Outcome], target: Target | None = None
    ) -> bool:
        """Whether the flight's token is an answer for this caller. The flight may have begun for another reason.

        It may also have begun for a refusal that says less than this caller's, and that was damped.
        """
        if refused is None:
            return True
        identity = self._memory.identity_of(refused)
        if token.identity != identity:
            return True
        if flight.refused != identity:
            return False
        own, theirs = self._memory.refused_at(identity, target), flight.refused_at
        return own is None or not own.is_news or (theirs is not None and theirs.is_news)

    def _loop(self, *, blocking: bool) -> object:
        """The event loop for async functions: the given one, else the caller's own unless the caller blocks."""
        return self._options.loop if self._options.loop is not None else None if blocking else running_loop()

    def _launch_after_all(self, fresh: Flight[Outcome] | None, *, background: bool) -> None:
        """Start a flight although Ctrl-C, or another signal's exception, hit its caller: others may wait for it."""
        if fresh is not None and fresh in (self._memory.flight, self._memory.considering):
            self._launcher.launch(fresh, background=background)
