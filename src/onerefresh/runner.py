"""Runs a renewal on a thread: the world as it is in production."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from typing import Any, TypeVar

from onerefresh import errors, events
from onerefresh.chance import CHANCE
from onerefresh.events import Event
from onerefresh.foreign import Seen, cleaned, parsed_answer, store_failed, vetted
from onerefresh.host_limiter import HostLimiter, Slot
from onerefresh.latches import interpreter_ends
from onerefresh.loops import awaited, is_async
from onerefresh.losses import read_note, reports
from onerefresh.record import Grant, Record
from onerefresh.record_text import decode, encode
from onerefresh.renewal.world import Instant, Loaded, Note, Spooled, World
from onerefresh.spool import Spool
from onerefresh.store import Conflict, Hold, Moment, Store, StoreOutcomeUnknown, Unreadable
from onerefresh.token import Answer, Token
from onerefresh.verdict import RefreshFailure, judge_exception

__all__ = ["Pause", "Runner", "asks_itself"]

T = TypeVar("T")
STRANGE_WRITES = 3
"""How often a store may raise what its contract does not know: whether it has written is looked up each time."""
SLICE = 0.1
"""Seconds between two looks at whether the interpreter ends."""
QUEUE_SLICE = 1.0
"""The same for those who queue for their turn: they may be thousands, and kept half a processor busy with looking."""


class _UserCode:
    """A run of a credential's refresher or ``save``; tasks that outlive it know that it is over."""

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.key, self.over = store, key, False


_running: contextvars.ContextVar[tuple[_UserCode, ...]] = contextvars.ContextVar("onerefresh_running", default=())


def asks_itself(store: Store, key: str) -> bool:
    """Whether a refresher of this very credential is running here: it would wait for itself."""
    return any(code.store is store and code.key == key and not code.over for code in _running.get())


class Pause:
    """What a renewal awaits where it waits: `wait` does it on a thread. `seconds`: it merely sleeps for so long."""

    __slots__ = ("seconds", "wait")

    def __init__(self, wait: Callable[[], object], seconds: float | None = None) -> None:
        self.wait = wait
        self.seconds = seconds

    def __await__(self) -> Generator[Pause, None, None]:
        yield self


class Runner(World):
    """Runs one renewal, or one of a person's commands, to its end.

    `publish` receives what the renewal hands out before it is over, and the new token that it could not save yet.
    `home` is the event loop on which async user code runs (an asyncio loop or a trio token), or None for a loop of its
    own. `wanted` tells whether anybody waits who keeps the interpreter from ending: else what merely waits ends with
    the main thread. `afterwards` is given what is left to do by and by when the renewal is over. `turns`: the limit on
    renewals at once at the host that the refresher states, or None. `at` is called with how far it is, in words.
    `known`: tokens that no message may show. Those that come by are not shown either.
    """

    def __init__(
        self,
        key: str,
        store: Store,
        *,
        refresher: Callable[[Token], Answer | Awaitable[Answer]],
        obtain: Callable[[], Answer | Awaitable[Answer]] | None,
        save: Callable[[Token], Awaitable[None] | None] | None,
        home: object,
        publish: Callable[[Any, Token | None], object],
        overdue: Callable[[float, Record | None], contextlib.AbstractContextManager[object]],
        wanted: Callable[[], bool],
        afterwards: Callable[[Runner, Coroutine[Pause, None, None]], object],
        turns: HostLimiter | None = None,
        at: Callable[[str], object] | None = None,
        known: Iterable[Token] = (),
    ) -> None:
        self._key, self.store, self._tell_phase = key, store, at
        self._refresher = refresher
        self._obtain = obtain
        self._save = save
        self._home = home
        self._publish = publish
        self._overdue = overdue
        self._wanted = wanted
        self._afterwards = afterwards
        self._spool = Spool(store, key) if store.durable or store.may_go_back else None
        self._strange_writes = 0
        self.leased: Record | None = None  # the claim that was written last
        self._hold: Hold | None = None
        self._turns = turns
        self._place: Slot | None = None
        self._seen = Seen(known, refresher)

    def run(self, work: Callable[[World], Coroutine[Pause, None, T]]) -> T:
        """Run what `work` makes of this world until it returns or raises; it waits on this thread."""
        renewal, failure = work(self), None
        try:
            while True:
                try:
                    pause = renewal.send(None) if failure is None else renewal.throw(failure)
                except StopIteration as stop:
                    result: T = stop.value
                    return result
                failure = self._waited(pause)
        finally:
            self._leave()
            renewal.close()

    def run_until_it_sleeps(self, rest: Coroutine[Pause, None, None]) -> float | None:
        """Go on with `rest` until it wants to sleep; for how many seconds, or None where it has returned."""
        failure: BaseException | None = None
        while True:
            try:
                pause = rest.send(None) if failure is None else rest.throw(failure)
            except StopIteration:
                return None
            if pause.seconds is not None:
                return pause.seconds
            failure = self._waited(pause)

    def _waited(self, pause: Pause) -> BaseException | None:
        """Wait on this thread; what went wrong, for the renewal to judge."""
        try:
            self._done(pause.wait)
        except BaseException as error:  # noqa: BLE001 - as just said
            return error
        return None

    def _done(self, work: Callable[[], T]) -> T:
        """Do what the renewal asks for; what is raised shows no secret."""
        failure: BaseException
        try:
            return work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the renewal's to judge
            failure = vetted(error, self._seen.redactor())
        raise failure  # here it has no other error for its context

    # --- The world ---

    async def load(self, *, replaces: bool = False, even_sealed: bool = False) -> Loaded:
        return self._done(lambda: self._load(replaces=replaces, even_sealed=even_sealed))

    async def cas(self, expected: str | None, record: Record) -> str:
        return self._done(lambda: self._cas(expected, record))

    async def report_loss(self) -> str:
        return self._done(lambda: reports.report(self.store, [self._key]))

    async def read_note(self) -> Note | None:
        return self._done(lambda: read_note(self.store, self._key))

    async def watch(self, version: str | None, seconds: float, why: str = "") -> None:
        self._at(why)
        self._give_turn_back()
        await Pause(lambda: self._watch(version, seconds))

    async def sleep(self, seconds: float, *, holds_the_exit: bool = False, why: str = "") -> None:
        self._at(why)
        await Pause(lambda: self._sleep(seconds, holds_the_exit=holds_the_exit), seconds)

    async def queue(self) -> bool:
        host = getattr(self._refresher, "host", None)
        if self._turns is None or self._place is not None or not isinstance(host, str):
            return False
        self._place = place = self._turns.queue(host)
        if place.wait(0.0):
            return False
        self._at("it waits for its turn, as many others are at this token endpoint")
        await Pause(lambda: self._wait_in(place))
        return True

    async def enter(self) -> Hold | None:
        return self._done(self._take)

    async def leave(self) -> None:
        self._done(self._leave)

    async def now(self) -> Instant:
        return Instant(time.time(), time.monotonic(), self._moment(), CHANCE.random())

    async def new_id(self) -> str:
        return secrets.token_hex(8)

    async def prepare(self) -> None:
        self._done(self._prepare)

    async def send(self, grant: Grant, token: Token | None, ttl: float) -> Token:
        return self._done(lambda: self._send(grant, token, ttl))

    async def revoke(self, token: Token) -> str | None:
        return self._done(lambda: self._revoke(token))

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
        self._done(lambda: self._host_saves(token))

    async def deliver(self, answer: object, unsaved: Token | None = None) -> None:
        self._done(lambda: self._publish(answer, unsaved))

    async def defer(self, rest: Coroutine[Pause, None, None]) -> None:
        self._done(lambda: self._afterwards(self, rest))

    async def emit(self, event: Event) -> None:
        self._done(lambda: events.publish(event))

    # --- What it takes ---

    def _at(self, phase: str) -> None:
        if phase and self._tell_phase is not None:
            self._tell_phase(phase)

    def _load(self, *, replaces: bool, even_sealed: bool) -> Loaded:
        self._at("it reads its store")
        try:
            found = self.store.load(self._key)
        except Unreadable as error:
            if not even_sealed and not (replaces and error.damaged):
                raise
            return Loaded(error.version, None)
        except errors.OnerefreshError:
            raise
        except Exception as error:
            raise store_failed("load", error) from error
        if found is None:
            return Loaded(None, None)
        try:
            record = cleaned(decode(found.body, self._key))
        except Unreadable:
            if not even_sealed:
                raise  # what only lacks its key, or a newer version of this library, is not damaged
        except errors.StoreUnavailable:
            if not replaces:
                raise
        else:
            self._seen.add(record.token)
            return Loaded(found.version, record)
        return Loaded(found.version, None)

    def _spooled(self) -> Spooled | None:
        entry = self._spool.read() if self._spool else None
        self._seen.add(entry.token if entry is not None else None)
        return entry

    def _moment(self) -> Moment | None:
        """The store's clock is a hint: whatever a store makes of it must not cost the token that is to be saved."""
        try:
            return self.store.moment()
        except Exception:  # noqa: BLE001 - as just said, and a store of the user's may raise anything
            return None

    def _wait_in(self, place: Slot) -> None:
        while not place.wait(QUEUE_SLICE):
            self._go_on()

    def _watch(self, version: str | None, seconds: float) -> None:
        self._go_on()
        self.store.wait(self._key, version or "", min(seconds, self.store.look_every))
        self._go_on()

    def _prepare(self) -> None:
        if hasattr(type(self._refresher), "prepare"):  # of its class: a mock would have any attribute
            self._at("its refresher prepares, and gets its client secret, say")
            self._refresher.prepare()  # type: ignore[attr-defined]  # as just seen

    def _give_turn_back(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.leave()

    def _take(self) -> Hold | None:
        try:
            self._hold = self._hold or self.store.hold(self._key)
        except errors.OnerefreshError:
            raise
        except Exception as error:
            raise store_failed("hold", error) from error
        return self._hold

    def _cas(self, expected: str | None, record: Record) -> str:
        self._at("it writes to its store")
        if record.lease is not None and not record.lease.is_recovery:
            self.leased = record
        self._seen.add(record.token)
        try:
            return self.store.cas(self._key, expected, encode(record))
        except (Conflict, StoreOutcomeUnknown, errors.OnerefreshError):
            raise
        except Exception as error:
            self._strange_writes += 1
            if self._strange_writes > STRANGE_WRITES:
                raise store_failed("cas", error) from error
            raise StoreOutcomeUnknown(f"the store's cas raised {type(error).__name__}") from error

    def _sleep(self, seconds: float, *, holds_the_exit: bool) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not holds_the_exit:
                self._go_on()
            time.sleep(min(left, SLICE))

    def _go_on(self) -> None:
        if interpreter_ends() and not self._wanted():
            raise errors.CredentialClosed("the interpreter is ending", credential=self._key)

    def _leave(self) -> None:
        self._give_turn_back()
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.release()

    # --- User code ---

    def _send(self, grant: Grant, token: Token | None, ttl: float) -> Token:
        at = time.time()
        self._seen.add(token)
        self._at("its request is on its way, and there is no answer yet")
        try:
            with self._overdue(ttl, self.leased), self._asking():
                if grant is Grant.OBTAIN or token is None:
                    assert self._obtain is not None
                    new = parsed_answer(self._finished(self._obtain(), self._obtain), at, self._seen.redactor())
                else:
                    new = parsed_answer(
                        self._finished(self._refresher(token), self._refresher), at, self._seen.redactor()
                    )
        except RefreshFailure:
            raise
        except BaseException as error:  # a refresher that ends its thread must not leave its claim behind
            raise RefreshFailure(judge_exception(error, hidden=self._seen.redactor())) from error
        self._seen.add(new)
        return new

    def _revoke(self, token: Token) -> str | None:
        has_one = hasattr(type(self._refresher), "revoke")  # of its class, as above
        revoke: Callable[[Token], object] | None = self._refresher.revoke if has_one else None  # type: ignore[attr-defined]
        if revoke is None:
            return None
        self._at("the old token is being revoked")
        self._seen.add(token)
        try:
            with self._asking():
                self._finished(revoke(token), revoke)
        except BaseException as error:  # noqa: BLE001 - the logout itself is done, whatever the server makes of it
            return judge_exception(error, hidden=self._seen.redactor()).detail
        return ""

    def _host_saves(self, token: Token) -> None:
        assert self._save is not None
        self._seen.add(token)
        self._at("its answer is here, and the host's save has not returned")
        try:
            with self._asking():
                self._finished(self._save(token), self._save)
        except BaseException as error:  # as above: the callers must hear that it is not saved
            raise errors.SaveFailed(
                f"save raised {type(error).__name__}; the new token is kept in memory and the next call saves it",
                credential=self._key,
                generation=token.generation,
            ) from error

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        code = _UserCode(self.store, self._key)
        mark = _running.set((*_running.get(), code))
        try:
            yield
        finally:
            code.over = True
            _running.reset(mark)

    def _finished(self, result: T | Awaitable[T], function: object) -> T:
        """What user code returned, awaited where it is to be awaited."""
        if isinstance(result, Awaitable):
            finished: T = awaited(result, self._home, begins_late=is_async(function))
            return finished
        return result
