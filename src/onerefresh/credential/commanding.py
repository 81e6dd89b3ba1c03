"""How a credential starts its commands, and renewals ahead of time: each gives the flight to wait for."""

from __future__ import annotations

from onerefresh import errors
from onerefresh.circuit import circuits
from onerefresh.credential.asking import Asking
from onerefresh.credential.notices import report_expiry, report_shared_seed, report_type
from onerefresh.credential.registry import release
from onerefresh.credential.status import Status, read_status
from onerefresh.credential.watch import begin_to_watch
from onerefresh.flight import Flight
from onerefresh.interpreter import interpreter_ends
from onerefresh.locks import inside
from onerefresh.policy import outlasts_until
from onerefresh.record import Record
from onerefresh.refresher import endpoint_of
from onerefresh.renewal import commands, removal
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.request import FORCED, Ahead
from onerefresh.renewal.revocation import LoggedOut
from onerefresh.renewal.world import World
from onerefresh.running_loop import running_loop
from onerefresh.token import Token
from onerefresh.user_code import asks_itself

__all__ = ["Commanding"]


class Commanding(Asking):
    """What a credential starts beside the renewals that its callers need."""

    __slots__ = ()

    def _log_in(self, token: Token | None, *, blocking: bool) -> Flight[Outcome]:
        self._check_open()
        if token is None and self._options.obtain is None:
            raise errors.ConfigurationError("login() needs a token response, or obtain=", credential=self.key)

        async def work(world: World) -> Outcome:
            before = self._memory.known
            try:
                outcome = await commands.log_in(world, token, self._launcher.request())
            except errors.SaveFailed:
                self._memory.forget()  # the new session is in the record, and the next call saves it
                raise
            if outcome.renewed:
                self._memory.logged_in(outcome, before)
            else:  # the session in use stays, and with it what this process has under way
                self._memory.found(outcome)
            release(self._memory)
            begin_to_watch(self._memory)
            report_type(self._memory, self._options, outcome.token)
            report_expiry(self._memory, self._options, outcome.token)
            if outcome.renewed:
                report_shared_seed(self._memory, self._options, outcome.token)
                self._served = self._memory  # whatever ``token=`` this object was given, its login is newer
            return outcome

        self._check_caller(blocking=blocking, loop=self._options.loop or running_loop())
        return self._launcher.run_command(work, self._loop(blocking=blocking))

    def _log_out(self) -> Flight[LoggedOut]:
        self._check_open()

        async def work(world: World) -> LoggedOut:
            return await commands.log_out(world, self._launcher.request(), forget)

        def forget() -> None:
            self._memory.forget()
            release(self._memory)

        return self._launcher.run_command(work, self._loop(blocking=False))

    def _purge(self) -> Flight[None]:
        self._check_open()

        async def work(world: World) -> None:
            await removal.purge(world, self._launcher.request(), self._launcher.there)
            self._memory.forget()

        return self._launcher.run_command(work, None, moves=False, asks=False)

    def _look_at(self) -> Flight[Status]:
        self._check_open()

        async def work(world: World) -> Status:
            found, there = await read_status(world, self.key, self._memory.store.name), self._launcher.there
            if there is None or (found.generation and found.moved_to is None):
                return found
            source = self._options.moved_from
            before = await read_status(there, self.key, source.name if source is not None else "")
            return before if before.generation and before.moved_to is None else found

        return self._launcher.run_command(work, None, moves=False, asks=False)

    def _adopt(self) -> Flight[str | None]:
        self._check_open()
        return self._launcher.run_command(lambda world: commands.adopt(world, self._launcher.request()), None)

    def _save_now(self, *, blocking: bool) -> Flight[None]:
        return self._launcher.run_command(
            lambda world: commands.save_now(world, self._launcher.request()), self._loop(blocking=blocking)
        )

    def _look_for_refusal(self, token: Token) -> Flight[None]:
        """The flight that fails, with the reason, where `token` still serves and could not be renewed."""
        return self._launcher.run_command(lambda world: commands.look_for_refusal(world, token.identity), None)

    def _allow_again(self, *, blocking: bool) -> Flight[Record | None]:
        self._check_open()
        self._check_caller(blocking=blocking, loop=self._options.loop or running_loop())

        async def work(world: World) -> Record | None:
            before = await commands.allow_again(world, self._launcher.request())
            self._memory.failed = None  # the last failure here, which another process may have healed since
            self._launcher.give_up_what_hangs()
            if (endpoint := endpoint_of(self._options.refresher)) is not None:
                circuits.permit(endpoint, self.key)
            return before

        return self._launcher.run_command(work, None)

    def _again(self, before: Record | None, *, blocking: bool) -> Flight[Outcome] | None:
        """The flight that asks the token endpoint again; None where there is nothing to ask."""
        if before is None:
            return None
        refused = before.identity if before.failure is not None and before.failure.refused else None
        return self._ahead(Ahead(FORCED), self._loop(blocking=blocking), refused)[0]

    def _lasting(self, token: Token, min_valid: float, *, blocking: bool) -> tuple[Flight[Outcome], bool] | None:
        """The flight that brings a token which is valid for `min_valid` seconds; whether it began with this call.

        None where `token` is enough, and where no renewal can begin or be waited for: then `token` has to do.
        """
        memory = self._memory
        if memory.clock.time() - memory.timing.skew < outlasts_until(token, min_valid) or self._closed:
            return None
        if inside() or interpreter_ends() or asks_itself(memory.store, self.key):
            return None
        self._check_caller(blocking=blocking, loop=self._options.loop or running_loop())
        flight, ours = self._ahead(Ahead(min_valid=min_valid), self._loop(blocking=blocking), waits=True)
        if not ours:
            self._check_caller(blocking=blocking, loop=flight.loop)
        return flight, ours

    def _ahead(
        self, ahead: Ahead, loop: object, refused: tuple[str, int] | None = None, *, waits: bool = False
    ) -> tuple[Flight[Outcome], bool]:
        """The flight that renews a token for the reason `ahead`; whether it began with this call.

        `waits`: the caller is about to wait for it, on this thread or in a task.
        """
        memory = self._memory
        fresh: Flight[Outcome] | None = None
        considers = "" if self._is_sure() else self._launcher.considers
        try:
            with memory.lock:
                flight = memory.flying
                if flight is None:
                    flight = fresh = Flight(refused=refused, loop=loop)
                    fresh.considers = considers
                    memory.flight = fresh
            if waits:
                flight.expect()
            if fresh is not None:
                self._launcher.launch(fresh, background=True, ahead=ahead)
        except BaseException:  # Ctrl-C: others may wait for the flight already
            self._launch_after_all(fresh, background=True)
            raise
        return flight, fresh is not None
