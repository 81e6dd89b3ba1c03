"""Runs a renewal against its store and its refresher: the `World` of production."""

from __future__ import annotations

import functools
import os
import secrets
from collections.abc import Callable, Coroutine
from typing import TypeVar

from onerefresh import errors
from onerefresh.admission import Admission
from onerefresh.chance import CHANCE
from onerefresh.events import Event
from onerefresh.foreign import Seen, vetted
from onerefresh.host_limiter import HostLimiter
from onerefresh.loss_reports import reports
from onerefresh.losses import read_note
from onerefresh.pause import Pause
from onerefresh.real_time import Wall, is_set_by_tests
from onerefresh.record import Grant, Record
from onerefresh.renewal.clocks import Instant, Sent
from onerefresh.renewal.known import Known
from onerefresh.renewal.world import Loaded, Note, Spooled, Unsent, World
from onerefresh.run import Run
from onerefresh.spool import Spool
from onerefresh.store import AdvisoryLock, Store
from onerefresh.store_reads import turn_to_read
from onerefresh.stored_record import StoredRecord
from onerefresh.telling import Telling
from onerefresh.token import Token
from onerefresh.user_code import Functions, UserCode
from onerefresh.verdict import RefreshFailure
from onerefresh.wakeups import wakeup_for
from onerefresh.workers import LOOK, is_held_up

__all__ = ["Runner"]

T = TypeVar("T")


class Runner(World):
    """Runs one renewal, or one command, to its end.

    * `loop`: the event loop on which async functions run (an asyncio loop or a trio token), or None for a new loop.
    * `turns`: the limit on concurrent renewals at the host that the refresher states, or None.
    * `patience`: seconds to wait in all where the token endpoint is left alone (see `circuit`).

    No message shows the tokens of `run`, nor those that the renewal comes across.
    """

    def __init__(
        self,
        key: str,
        store: Store,
        run: Run,
        functions: Functions,
        *,
        loop: object = None,
        turns: HostLimiter | None = None,
        patience: float = 0.0,
    ) -> None:
        self._key, self.store, self._run = key, store, run
        self._seen = Seen(filter(None, run.tokens()), functions.refresher)
        self._code = UserCode(store, key, functions, loop=loop, seen=self._seen, at=run.report)
        self._spool = Spool(store, key) if store.durable or store.may_go_back else None
        self._wall = Wall()
        self._process = os.getpid()
        self._hold: AdvisoryLock | None = None
        self._has_sent = False
        self._admission = Admission(key, self._code, run, turns, patience)
        self._telling = Telling(key, store, functions.refresher, self._seen.redactor)
        self._stored = StoredRecord(key, store, self._seen, self._telling)

    async def run(self, work: Callable[[World], Coroutine[Pause, None, T]]) -> T:
        """Run what `work` makes of this world until it returns or raises. It pauses where it waits."""
        try:
            return await work(self)
        finally:
            self._leave()

    def run_until_it_sleeps(self, rest: Coroutine[Pause, None, None]) -> float | None:
        """Continue `rest` until it wants to sleep; return for how many seconds, or None where it has returned."""
        try:
            while True:
                pause = rest.send(None)
                if pause.is_sleep:
                    return pause.seconds
                pause.wait_here()
        except StopIteration:
            return None

    def _done(self, work: Callable[[], T]) -> T:
        """Do what the renewal asks for. What is raised shows no secret."""
        failure: BaseException
        self._refuse_in_a_child()
        try:
            return work()
        except BaseException as error:  # noqa: BLE001 - the renewal judges it, whatever it is
            failure = vetted(error, self._seen.redactor())
        try:
            raise failure  # outside of `except`, so that no other error is its context
        finally:
            del failure  # it refers to this frame

    async def _finished(self, work: Coroutine[Pause, None, T]) -> T:
        """As `_done`, for work that may pause."""
        failure: BaseException
        self._refuse_in_a_child()
        try:
            return await work
        except BaseException as error:  # noqa: BLE001 - as above
            failure = vetted(error, self._seen.redactor())
        try:
            raise failure
        finally:
            del failure

    def _refuse_in_a_child(self) -> None:
        """End here in a forked child, which has a copy of a renewal that its parent goes on with."""
        if os.getpid() != self._process:
            raise GeneratorExit

    # --- The world ---

    async def load(self, *, replaces: bool = False, even_sealed: bool = False) -> Loaded:
        self._refuse_in_a_child()
        slot, is_read = turn_to_read(self.store, self._key), False
        try:
            if not slot.is_granted:
                self._at("it waits for its turn to read from its store")
                await slot.comes()
            self._at("it is reading from its store")
            found = self._done(lambda: self._stored.load(replaces=replaces, even_sealed=even_sealed))
            is_read = True
        finally:
            slot.leave(answered=is_read)
        if is_held_up() and not self._has_sent:  # once it has sent, a new token must not wait for a thread
            await Pause(LOOK)  # the answers of many others may come at the same moment: go on in turn
        return found

    async def cas(self, expected: str | None, record: Record) -> str:
        return self._done(lambda: self._cas(expected, record))

    async def remove(self, expected: str) -> None:
        self._done(lambda: self._stored.remove(expected))

    async def report_loss(self) -> str:
        return self._done(lambda: reports.report(self.store, [self._key]))

    async def read_note(self) -> Note | None:
        return self._done(lambda: read_note(self.store, self._key))

    async def known(self) -> Known:
        return self._run.known()

    async def learn(self, record: Record, skew: float) -> None:
        self._run.learn(record, skew)

    async def is_under_way(self, identity: tuple[str, int]) -> bool:
        return self._run.is_under_way(identity)

    async def watch(self, version: str | None, seconds: float, why: str = "") -> None:
        self._at(why)
        self._admission.leave()
        self._telling.tell_news()
        wakeup_of = functools.partial(wakeup_for, self.store, self._key, version or "", self._stored.loaded_at)
        await Pause(min(seconds, self.store.look_every), self._go_on, wakeup_of)
        self._go_on()

    async def sleep(self, seconds: float, *, holds_the_exit: bool = False, why: str = "") -> None:
        self._at(why)
        self._telling.tell_news()
        await Pause(seconds, None if holds_the_exit else self._go_on)

    async def queue(self) -> bool:
        return await self._admission.enter()

    async def enter(self) -> AdvisoryLock | None:
        return self._done(self._take)

    async def leave(self) -> None:
        self._done(self._leave)

    async def now(self) -> Instant:
        wall, ticks = self._wall.read()
        return Instant(wall, ticks, self._stored.moment(), CHANCE.random(), is_set_by_tests())

    async def new_id(self) -> str:
        return secrets.token_hex(8)

    async def prepare(self) -> None:
        self._done(self._code.prepare)

    async def send(self, grant: Grant, token: Token | None, ttl: float, claim: Sent | None = None) -> Token:
        return await self._finished(self._send(grant, token, ttl, claim))

    async def revoke(self, token: Token) -> str | None:
        return await self._finished(self._revoke(token))

    async def read_spool(self) -> Spooled | None:
        return self._done(self._spooled)

    async def write_spool(self, entry: Spooled) -> bool:
        self._seen.add(entry.token)
        return self._done(lambda: self._spool.write(entry) if self._spool else False)

    async def drop_spool(self, entry: Spooled) -> None:
        if self._spool:
            self._done(functools.partial(self._spool.drop, entry))

    async def clear_spool(self) -> None:
        if self._spool:
            self._done(self._spool.clear)

    async def save(self, token: Token) -> None:
        await self._finished(self._code.save(token))

    async def deliver(self, answer: object, unsaved: Token | None = None) -> None:
        self._done(lambda: self._run.deliver(answer, unsaved))

    async def defer(self, rest: Coroutine[Pause, None, None]) -> None:
        self._done(lambda: self._run.defer(self, rest))

    async def emit(self, event: Event) -> None:
        self._done(lambda: self._telling.tell(event))

    # --- Internals ---

    async def _send(self, grant: Grant, token: Token | None, ttl: float, claim: Sent | None) -> Token:
        generation = claim.record.generation if claim is not None else 0
        self._telling.sends()
        self._has_sent = True
        try:
            answer = await self._code.send(grant, token, self._run.sending(ttl, claim))
        except Unsent:
            raise
        except RefreshFailure as failure:
            self._admission.settles(failure.verdict, generation)
            if not self._admission.is_answered:  # else the answer may have a refresh token, which is to be saved first
                self._admission.publish_news()
            raise
        self._admission.settles(None, generation)
        return answer

    async def _revoke(self, token: Token) -> str | None:
        if not self._code.can_revoke:
            return None
        had_a_turn = self._admission.has_a_turn
        try:
            await self._admission.take_turn()
            return await self._code.revoke(token)
        except errors.CredentialClosed as error:
            return error.message  # the logout itself is done
        finally:
            if self._admission.has_a_turn and not had_a_turn:
                self._admission.leave()  # work in the background has no end that leaves it

    def _at(self, phase: str) -> None:
        if phase:
            self._run.report(phase)

    def _spooled(self) -> Spooled | None:
        entry = self._spool.read() if self._spool else None
        self._seen.add(entry.token if entry is not None else None)
        return entry

    def _take(self) -> AdvisoryLock | None:
        self._hold = self._hold or self._stored.hold()
        return self._hold

    def _cas(self, expected: str | None, record: Record) -> str:
        self._at("it is writing to its store")
        return self._stored.cas(expected, record)

    def _go_on(self) -> None:
        self._run.go_on(self._key)

    def _leave(self) -> None:
        self._refuse_in_a_child()
        self._admission.leave()
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.release()
        self._admission.publish_news()
        self._telling.tell_news()
