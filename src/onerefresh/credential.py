"""Credential: what users hold. Answers from memory while the token is fresh, else lets one flight get the next."""

from __future__ import annotations

import contextlib
import inspect
import math
import random
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from onerefresh import errors, events
from onerefresh import record as records
from onerefresh.flight import Flight, running_loop
from onerefresh.policy import HTTP_TIMEOUT, Profile, profile_named, windows
from onerefresh.record import Entry, Record, State
from onerefresh.renewal import person, protocol
from onerefresh.renewal.decision import Wish
from onerefresh.renewal.effects import Effect
from onerefresh.renewal.protocol import Outcome
from onerefresh.runner import Runner, asking
from onerefresh.store import Store, cleaned_after_fork, encode
from onerefresh.stores import open_store
from onerefresh.stores.memory import MemoryStore
from onerefresh.token import Answer, Token, parse_answer

if TYPE_CHECKING:
    import asyncio

__all__ = ["Credential", "Status"]

T = TypeVar("T")
LOOK_AGAIN = 1.0
"""Seconds between two looks at a record that had nothing better to offer."""

_spread = random.random()  # this process's share of jitter: replicas of one program differ in it


@dataclass(frozen=True, slots=True)
class Status:
    """What the store knows of a credential; no secret in it.

    `state`: ``"empty"``, ``"idle"``, ``"leased"`` (a refresh is under way) or ``"dead"``. `expires_at`: seconds since
    the epoch, or None. `failure`: the last failure since the last success, in words. `retry_after`: seconds for which
    nothing is sent on its account.
    """

    key: str
    state: str
    generation: int
    expires_at: float | None
    refreshable: bool
    scope: str | None
    failure: str | None
    retry_after: float
    history: tuple[Entry, ...]


class _Held:
    """The token in memory: fresh until `ages_at`, usable until `ends_at` (seconds since the epoch)."""

    __slots__ = ("ages_at", "ends_at", "token")

    def __init__(self, token: Token | None, ages_at: float, ends_at: float) -> None:
        self.token = token
        self.ages_at = ages_at
        self.ends_at = ends_at


_NOTHING = _Held(None, -math.inf, -math.inf)


def _held(token: Token) -> _Held:
    found = windows(token, _spread)
    return _Held(token, found.ages_at, found.ends_at)


class _Shared:
    """What all objects of one name on one store have in common in this process: the token, and the flight."""

    def __init__(self, store: Store, key: str) -> None:
        self.store = store
        self.key = key
        self.lock = threading.Lock()
        self.held = _NOTHING
        self.flight: Flight[Outcome] | None = None
        self.known: Token | None = None  # the newest token seen, whether it serves or not
        self.proven: tuple[str, int] | None = None
        self.unproven: Token | None = None
        self.refused_replays = 0
        self.epoch = 0  # one more with every login and logout here: what began before must not undo them
        self.seed_told = False
        self.rotation_told = False
        self.failed: tuple[errors.OnerefreshError, float] | None = None  # until when, on the monotonic clock
        self.damped: tuple[tuple[str, int], float] | None = None
        cleaned_after_fork(self)

    def after_fork(self) -> None:
        """The child has the token, and none of the threads: no flight, and a lock that nobody holds."""
        self.lock = threading.Lock()
        self.flight = None
        if self.held is _NOTHING and self.known is not None:
            self.held = _held(self.known)

    def adopt(self, outcome: Outcome, epoch: int) -> None:
        """Take the outcome into memory, unless something newer is there."""
        token, known = outcome.token, self.known
        if known is not None:
            if token.family == known.family and token.generation < known.generation:
                return
            if token.family != known.family and epoch != self.epoch:
                return
        self.known, self.failed = token, None
        held = _held(token)
        if outcome.ask_again or held.ages_at <= time.time():
            soon = time.time() + max(outcome.ask_again, LOOK_AGAIN)
            held.ages_at = min(max(held.ages_at, soon), held.ends_at)
        self.held = held
        probation = outcome.probation
        self.refused_replays = probation.refusals if probation else 0
        waits = probation is not None and not probation.by_refusal and self.proven != token.identity
        self.unproven = token if waits else None
        self.damped = (token.identity, time.monotonic() + LOOK_AGAIN) if outcome.damped else None

    def give_up(self, error: errors.OnerefreshError) -> None:
        """Remember a failure for a moment; an outage leaves a token that has not expired in use."""
        now = time.monotonic()
        if isinstance(error, errors.LoginRequired):
            self.held = _NOTHING
            self.failed = (error, now + LOOK_AGAIN)
            return
        retry_after = getattr(error, "retry_after", None) or LOOK_AGAIN
        if isinstance(error, errors.RefreshUnavailable):
            self.failed = (error, now + min(retry_after, LOOK_AGAIN))
        if self.known is not None and not isinstance(error, errors.SaveFailed):
            held = _held(self.known)
            held.ages_at = min(max(held.ages_at, time.time() + retry_after), held.ends_at)
            self.held = held


_registry: weakref.WeakValueDictionary[tuple[int, str], _Shared] = weakref.WeakValueDictionary()
_registry_lock = threading.Lock()


class _RegistryFork:
    def after_fork(self) -> None:
        global _registry_lock
        _registry_lock = threading.Lock()


_registry_fork = _RegistryFork()
cleaned_after_fork(_registry_fork)


def _shared_of(store: Store, key: str) -> _Shared:
    with _registry_lock:
        found = _registry.get((id(store), key))
        if found is None:
            found = _registry[(id(store), key)] = _Shared(store, key)
        return found


class Credential:
    """One grant at one authorization server, shared by any number of calls.

    `key` names it. `refresher` trades a token for the next one: a function (it may be async) that returns a `Token` or
    a token response, or a `TokenEndpoint`. `token` is the first token; it never overwrites a stored one. `store`:
    ``"sqlite"``, a URL, or a `Store` (default: this object's memory). `save` replaces it for hosts that keep tokens
    themselves: it is given each new token before anybody else. `obtain` gets a token where there is none, or where the
    session is dead. `profile` says what the server does when a refresh token is used twice. `loop` is the event loop
    on which async functions run. `max_wait`: seconds that a caller waits.

    Raises `ConfigurationError` for arguments that cannot work.
    """

    def __init__(
        self,
        key: str,
        refresher: Callable[[Token], Answer | Awaitable[Answer]],
        *,
        token: Answer | None = None,
        store: str | Store | None = None,
        save: Callable[[Token], Awaitable[None] | None] | None = None,
        obtain: Callable[[], Answer | Awaitable[Answer]] | None = None,
        profile: str | Profile = "strict",
        loop: asyncio.AbstractEventLoop | None = None,
        max_wait: float = 60.0,
    ) -> None:
        _check(key, refresher, save=save, store=store, obtain=obtain, loop=loop)
        self.key = key
        self._refresher = refresher
        self._obtain = obtain if obtain is not None else getattr(refresher, "obtain", None)
        self._save = save
        self._profile = profile_named(profile)
        self._loop = loop
        self._max_wait = _seconds("max_wait", max_wait)
        self._seed = _seed(token)
        self._closed = False
        self._owns_store = not isinstance(store, Store)
        self._shared = _shared_of(open_store(store), key)
        self._is_async = any(map(_is_async, (refresher, self._obtain, save)))
        if isinstance(self._shared.store, MemoryStore):
            self._adopt_seed_now()

    # --- Tokens ---

    def current(self) -> Token | None:
        """The token in memory if it still serves, else None. Never blocks; an ageing one starts its renewal."""
        held = self._shared.held
        if time.time() < held.ages_at:
            return held.token
        return self._ageing()

    def token(self, *, refused: Token | None = None, max_wait: float | None = None) -> Token:
        """A token that serves. `refused`: the API refused this one, so the next one is wanted.

        Blocks for at most `max_wait` seconds (default: the credential's) while the token is refreshed. Gives `refused`
        itself back where it was refreshed only just now, and refreshing again would be in vain.

        Raises an `OnerefreshError`; `WaitTimeout` where the refresh takes longer, which goes on all the same.
        """
        deadline = self._deadline(max_wait)
        while True:
            found = self._look(refused, blocking=True)
            if isinstance(found, Token):
                return found
            if not found.wait(deadline - time.monotonic()):
                raise self._too_late()
            token = found.result().token
            if self._satisfies(token, refused, found):
                return token

    async def atoken(self, *, refused: Token | None = None, max_wait: float | None = None) -> Token:
        """As `token`, for tasks of asyncio and trio. Cancelling it leaves the refresh and its other waiters alone."""
        deadline = self._deadline(max_wait)
        while True:
            found = self._look(refused, blocking=False)
            if isinstance(found, Token):
                return found
            if not await found.heard(deadline - time.monotonic()):
                raise self._too_late()
            token = found.result().token
            if self._satisfies(token, refused, found):
                return token

    def bearer(self) -> str:
        """The text of a fresh access token: for clients that take a function and nothing better."""
        return (self.current() or self.token()).reveal()

    async def abearer(self) -> str:
        """As `bearer`, for async clients."""
        return (self.current() or await self.atoken()).reveal()

    # --- What a client integration reports ---

    @property
    def unproven(self) -> Token | None:
        """The present token, if it was just refreshed and no call has succeeded with it yet."""
        return self._shared.unproven

    def replayed(self, token: Token, *, accepted: bool) -> None:
        """Say how the API took a call that was replayed with `token`. Does not block.

        A token that is refused although it was just refreshed is not refreshed again for a while, by nobody who
        shares the credential; an accepted one ends this.
        """
        shared = self._shared
        with shared.lock:
            if shared.known is None or shared.known.identity != token.identity:
                return
            shared.unproven = None
            if accepted:
                tell = shared.refused_replays > 0
                shared.proven, shared.damped, shared.refused_replays = token.identity, None, 0
            else:
                tell = shared.proven is not None or shared.damped is None
                shared.proven, shared.damped = None, (token.identity, time.monotonic() + LOOK_AGAIN)
        if tell:
            self._run_apart(lambda: person.report_replay(token.identity, self._wish(), accepted=accepted))

    # --- People ---

    def login(self, answer: Answer | None = None) -> Token:
        """Start a new session with `answer` (a token response or a `Token`), or with what ``obtain=`` gets.

        It replaces whatever is stored, and heals every process that shares the store.
        """
        flight = self._log_in(answer)
        if not flight.wait(self._max_wait):
            raise self._too_late()
        return flight.result().token

    async def alogin(self, answer: Answer | None = None) -> Token:
        """As `login`."""
        flight = self._log_in(answer)
        if not await flight.heard(self._max_wait):
            raise self._too_late()
        return flight.result().token

    def logout(self) -> None:
        """Forget the session, here and in the store. A refresh under way can no longer save its token."""
        flight = self._log_out()
        if not flight.wait(self._max_wait):
            raise self._too_late()
        flight.result()

    async def alogout(self) -> None:
        """As `logout`."""
        flight = self._log_out()
        if not await flight.heard(self._max_wait):
            raise self._too_late()
        flight.result()

    def status(self) -> Status:
        """What the store knows of this credential; nothing is refreshed. Raises `StoreUnavailable`."""
        flight = self._run_apart(_read_record)
        if not flight.wait(self._max_wait):
            raise self._too_late()
        return _status(self.key, flight.result())

    async def astatus(self) -> Status:
        """As `status`."""
        flight = self._run_apart(_read_record)
        if not await flight.heard(self._max_wait):
            raise self._too_late()
        return _status(self.key, flight.result())

    def close(self) -> None:
        """Wait for the refresh under way, then refuse further calls. A store that was handed in stays open."""
        self._closed = True
        flight = self._shared.flight
        if flight is not None:
            flight.wait(self._max_wait)
        self._close_store()

    async def aclose(self) -> None:
        """As `close`."""
        self._closed = True
        flight = self._shared.flight
        if flight is not None:
            await flight.heard(self._max_wait)
        self._close_store()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"Credential({self.key!r}, store={self._shared.store.name!r})"

    # --- Inside: decide under the lock, act after it ---

    def _look(self, refused: Token | None, *, blocking: bool) -> Token | Flight[Outcome]:
        """A token from memory, or the flight to wait for. Raises what is already known to go wrong."""
        if self._closed:
            raise errors.CredentialClosed("it was closed", credential=self.key)
        shared, started = self._shared, False
        with shared.lock:
            token = self._from_memory(refused)
            flight = self._flying() if token is None else None
            if token is None and flight is None:
                self._check_caller(blocking=blocking, home=self._home(blocking=blocking))
                self._raise_known_failure()
                flight, started = self._register(refused, ageing=False, blocking=blocking), True
        if token is not None:
            if refused is None:
                self._ageing()
            return token
        assert flight is not None
        if started:
            self._launch(flight, refused, ageing=False)
        else:
            self._check_caller(blocking=blocking, home=flight.home)
        return flight

    def _from_memory(self, refused: Token | None) -> Token | None:
        held, now = self._shared.held, time.time()
        token = held.token
        if token is None or now >= held.ends_at:
            return None
        if refused is None:
            return token
        if token.identity == self._identity_of(refused):
            damped = self._shared.damped
            is_damped = damped is not None and damped[0] == token.identity and time.monotonic() < damped[1]
            return token if is_damped else None
        return token

    def _identity_of(self, refused: Token) -> tuple[str, int]:
        """A token without a number was made by hand; if its text is the present one's, that is the one meant."""
        known = self._shared.known
        if refused.generation == 0 and known is not None and refused.access_token == known.access_token:
            return known.identity
        return refused.identity

    def _flying(self) -> Flight[Outcome] | None:
        flight = self._shared.flight
        return flight if flight is not None and not flight.settled else None

    def _ageing(self) -> Token | None:
        """The token if it is still usable, having started one background renewal."""
        shared = self._shared
        held = shared.held
        now = time.time()
        if held.token is None or now >= held.ends_at:
            return None
        if now < held.ages_at or self._closed or self.key in asking.get():
            return held.token
        with shared.lock:
            start = self._flying() is None and shared.held is held
            flight = self._register(None, ageing=True, blocking=False) if start else None
        if flight is not None:
            self._launch(flight, None, ageing=True)
        return held.token

    def _raise_known_failure(self) -> None:
        failed = self._shared.failed
        if failed is not None and time.monotonic() < failed[1]:
            raise failed[0].fresh() from failed[0]

    def _check_caller(self, *, blocking: bool, home: object) -> None:
        """Refuse a wait that could never end."""
        if self.key in asking.get():
            raise errors.ConfigurationError(
                "the refresher asked its own credential for a token and would wait for itself: "
                "use the token that it is given",
                credential=self.key,
            )
        here = running_loop() if blocking else None
        if here is not None and (self._is_async or here is home):
            raise errors.ConfigurationError(
                "token() blocks the event loop on which the async refresher has to run: use `await atoken()`",
                credential=self.key,
            )

    def _satisfies(self, token: Token, refused: Token | None, flight: Flight[Outcome]) -> bool:
        """Whether what the flight brought is an answer for this caller; a flight may have begun for another reason."""
        if refused is None:
            return True
        identity = self._identity_of(refused)
        return token.identity != identity or flight.refused == identity

    def _home(self, *, blocking: bool) -> object:
        return self._loop if self._loop is not None else None if blocking else running_loop()

    def _register(self, refused: Token | None, *, ageing: bool, blocking: bool) -> Flight[Outcome]:
        shared = self._shared
        identity = self._identity_of(refused) if refused is not None else None
        shared.flight = Flight(refused=identity, home=self._home(blocking=blocking))
        if shared.held.token is not None and shared.held.token.identity == identity:
            shared.held = _NOTHING  # refused: others wait for the next one rather than try it
        return shared.flight

    def _launch(self, flight: Flight[Outcome], refused: Token | None, *, ageing: bool) -> None:
        wish = self._wish(flight.refused, ageing=ageing)
        epoch = self._shared.epoch
        runner = self._runner(flight, publish=lambda outcome: self._land(flight, outcome, None, epoch))

        def work() -> None:
            try:
                outcome = runner.run(protocol.renew(wish))
            except errors.OnerefreshError as error:
                self._land(flight, None, error.about(self.key), epoch)
            except BaseException as error:  # a defect of ours or of a store: the waiters must hear of it
                self._land(flight, None, _unforeseen(error, self.key), epoch)
                raise
            else:
                self._land(flight, outcome, None, epoch)

        _on_a_thread(work, self.key)

    def _land(self, flight: Flight[Outcome], result: object, error: errors.OnerefreshError | None, epoch: int) -> None:
        """Take a result into memory, then wake those who wait for it."""
        shared = self._shared
        if isinstance(result, errors.OnerefreshError):
            result, error = None, result
        outcome = result if isinstance(result, Outcome) else None
        with shared.lock:
            before = shared.known
            if shared.flight is flight:
                shared.flight = None
            shared.seed_told = True
            if outcome is not None:
                shared.adopt(outcome, epoch)
            elif error is not None and epoch == shared.epoch:
                shared.give_up(error)
        flight.settle(outcome, error)
        if outcome is not None and before is not None:
            self._tell_rotation(before, outcome.token)

    def _tell_rotation(self, before: Token, after: Token) -> None:
        """Say once that a rotating server deserves a store that survives the process."""
        shared = self._shared
        rotated = before.refresh_token is not None and before.refresh_token != after.refresh_token
        if shared.store.durable or self._save is not None or shared.rotation_told or not rotated:
            return
        shared.rotation_told = True
        said = "the server rotates refresh tokens and this one lives in memory only: name a store, or save="
        events.publish(events.Event(events.Kind.NOT_DURABLE, self.key, after.generation, detail=said))

    def _wish(self, refused: tuple[str, int] | None = None, *, ageing: bool = False) -> Wish:
        shared = self._shared
        return Wish(
            key=self.key,
            profile=self._profile,
            http_timeout=float(getattr(self._refresher, "timeout", HTTP_TIMEOUT)),
            spread=_spread,
            refused=refused,
            ageing=ageing,
            seed=self._seed,
            seed_told=shared.seed_told,
            can_obtain=self._obtain is not None,
            host_saves=self._save is not None,
            owner=getattr(self._refresher, "identity", None),
            known=shared.known,
            proven=shared.proven,
        )

    def _runner(self, flight: Flight[Any], publish: Callable[[Any], object]) -> Runner:
        return Runner(
            self.key,
            self._shared.store,
            refresher=self._refresher,
            obtain=self._obtain,
            save=self._save,
            home=flight.home,
            publish=publish,
            overdue=lambda ttl: self._overdue(flight, ttl),
        )

    @contextlib.contextmanager
    def _overdue(self, flight: Flight[Any], ttl: float) -> Iterator[None]:
        """Fail the waiters of a refresher that does not return within `ttl` seconds; a late result still counts."""

        def fail() -> None:
            said = f"the refresher has not returned for {ttl:.0f} s"
            self._land(flight, None, errors.RefreshOutcomeUnknown(said, credential=self.key), -1)

        timer = threading.Timer(ttl, fail)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the interpreter is ending: nobody waits any more
            yield
            return
        try:
            yield
        finally:
            timer.cancel()

    def _run_apart(self, work: Callable[[], Coroutine[Effect[Any], Any, T]]) -> Flight[T]:
        """Run a command beside the renewals, on a thread of its own; nobody else waits for it."""
        flight: Flight[T] = Flight(home=self._loop or running_loop())
        runner = self._runner(flight, publish=lambda _: None)

        def run() -> None:
            try:
                flight.settle(runner.run(work()))
            except errors.OnerefreshError as error:
                flight.settle(None, error.about(self.key))
            except BaseException as error:
                flight.settle(None, _unforeseen(error, self.key))
                raise

        _on_a_thread(run, self.key)
        return flight

    def _log_in(self, answer: Answer | None) -> Flight[Outcome]:
        if answer is None and self._obtain is None:
            raise errors.ConfigurationError("login() needs a token response, or obtain=", credential=self.key)
        token = _seed(answer, "login()")

        async def work() -> Outcome:
            outcome = await person.log_in(token, self._wish())
            with self._shared.lock:
                self._shared.epoch += 1
                self._shared.adopt(outcome, self._shared.epoch)
            return outcome

        return self._run_apart(work)

    def _log_out(self) -> Flight[None]:
        async def work() -> None:
            await person.log_out(self._wish())
            with self._shared.lock:
                self._shared.epoch += 1
                self._shared.held, self._shared.known, self._shared.failed = _NOTHING, None, None

        return self._run_apart(work)

    def _adopt_seed_now(self) -> None:
        """Memory needs no waiting: the seed serves at once."""
        shared = self._shared
        with shared.lock:
            if self._seed is None or shared.store.load(self.key) is not None:
                return
            owner = getattr(self._refresher, "identity", None)
            record = records.founded(None, self._seed, now=time.time(), owner=owner, what="seed")
            shared.store.cas(self.key, None, encode(record))
            assert record.token is not None
            shared.known, shared.held = record.token, _held(record.token)

    def _deadline(self, max_wait: float | None) -> float:
        return time.monotonic() + (self._max_wait if max_wait is None else _seconds("max_wait", max_wait))

    def _too_late(self) -> errors.WaitTimeout:
        generation = self._shared.known.generation if self._shared.known else None
        said = "max_wait is over and the refresh still goes on"
        return errors.WaitTimeout(said, credential=self.key, generation=generation)

    def _close_store(self) -> None:
        if self._owns_store:
            self._shared.store.close()


async def _read_record() -> Record | None:
    from onerefresh.renewal.effects import Load

    return (await Load()).record


def _status(key: str, record: Record | None) -> Status:
    if record is None:
        return Status(key, State.EMPTY.value, 0, None, False, None, None, 0.0, ())
    token, failure = record.token, record.failure
    return Status(
        key=key,
        state=record.state.value,
        generation=record.generation,
        expires_at=token.expires_at if token else None,
        refreshable=token is not None and token.refresh_token is not None,
        scope=token.scope if token else None,
        failure=failure.detail if failure else None,
        retry_after=failure.remaining(time.time()) if failure else 0.0,
        history=record.history,
    )


def _on_a_thread(work: Callable[[], None], key: str) -> None:
    """Run it on a thread that the interpreter waits for at exit; at the very end, when none can start, run it here."""
    try:
        threading.Thread(target=work, name=f"onerefresh {key}", daemon=False).start()
    except RuntimeError:
        work()


def _unforeseen(error: BaseException, key: str) -> errors.RefresherFailed:
    failed = errors.RefresherFailed(f"unexpected {type(error).__name__}; see the cause", credential=key)
    failed.__cause__ = error
    return failed


def _is_async(function: object) -> bool:
    calls = getattr(type(function), "__call__", None)  # noqa: B004 - not whether it can be called, but how
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(calls)


def _seed(answer: Answer | None, name: str = "token=") -> Token | None:
    if answer is None:
        return None
    try:
        return parse_answer(answer, at=time.time())
    except errors.RefreshProtocolError as error:
        said = error.message
    finally:
        del answer  # it holds tokens, and would show in a traceback with locals
    raise errors.ConfigurationError(f"{name}: {said}")


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise errors.ConfigurationError(f"{name} is a number of seconds, not {value!r}")
    return float(value)


def _check(key: object, refresher: object, *, save: object, store: object, obtain: object, loop: object) -> None:
    if not isinstance(key, str) or not key or not key.isprintable() or len(key) > 512:
        raise errors.ConfigurationError("a credential's key is a text of 1 to 512 printable characters")
    if not callable(refresher):
        raise errors.ConfigurationError(
            "the refresher is a function that takes a Token and returns the next one, or a TokenEndpoint, "
            f"not {type(refresher).__name__}"
        )
    for name, function in (("save", save), ("obtain", obtain)):
        if function is not None and not callable(function):
            raise errors.ConfigurationError(f"{name} is a function, not {type(function).__name__}")
    if save is not None and store is not None:
        raise errors.ConfigurationError("save= replaces store=: give one of them")
    if loop is not None and not hasattr(loop, "call_soon_threadsafe"):
        raise errors.ConfigurationError(f"loop is an asyncio event loop, not {type(loop).__name__}")
