"""Runs the user's own functions for one renewal: the refresher, `obtain`, `save`, and a refresher's methods.

They may return or raise anything, and may be async. What they raise becomes an error of this library that shows no
secret.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple, TypeVar

from onerefresh import errors
from onerefresh.foreign import Seen, parsed_answer
from onerefresh.judge_exception import judge_exception
from onerefresh.loops import awaited, holds_a_thread, is_async
from onerefresh.record import Grant
from onerefresh.refresher import endpoint_of, host_of, limit_of, prepare_of, revoke_of
from onerefresh.store import Store
from onerefresh.token import Answer, OddTimes, Token
from onerefresh.verdict import RefreshFailure

__all__ = ["Functions", "UserCode", "asking", "asks_itself", "runs_user_code", "sends_nothing"]

T = TypeVar("T")


class _Call:
    """One call of a credential's function. Tasks that outlive the call can see that it is over."""

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.key, self.over = store, key, False


_running: contextvars.ContextVar[tuple[_Call, ...]] = contextvars.ContextVar("onerefresh_running", default=())


def asks_itself(store: Store, key: str) -> bool:
    """Whether a refresher of this very credential is running here: it would wait for itself."""
    return any(call.store is store and call.key == key and not call.over for call in _running.get())


def runs_user_code() -> bool:
    """Whether a refresher of any credential may be running here; quick, for the path of each call."""
    return bool(_running.get())


@contextlib.contextmanager
def asking(store: Store, key: str) -> Iterator[None]:
    """A context for a function of this credential's, in which `asks_itself` is true for the credential."""
    call = _Call(store, key)
    mark = _running.set((*_running.get(), call))
    try:
        yield
    finally:
        call.over = True
        _running.reset(mark)


class Functions(NamedTuple):
    """The functions of one credential, and which field of their answers is sent."""

    refresher: Callable[[Token], Answer | Awaitable[Answer]]
    obtain: Callable[[], Answer | Awaitable[Answer]] | None = None
    save: Callable[[Token], Awaitable[None] | None] | None = None
    bearer_field: str | None = None


def sends_nothing(token: Token) -> Answer:
    """The refresher of what only looks at records, or moves them."""
    raise NotImplementedError


class UserCode:
    """Runs the functions of one credential.

    * `loop`: as for `Runner`.
    * `seen`: the secrets that no message may show.
    * `at`: is called with how far the renewal is, in words.
    """

    def __init__(
        self,
        store: Store,
        key: str,
        functions: Functions,
        *,
        loop: object,
        seen: Seen,
        at: Callable[[str], object],
    ) -> None:
        self._store, self._key, self._loop, self._seen, self._at = store, key, loop, seen, at
        self._refresher, self._obtain, self._save = functions.refresher, functions.obtain, functions.save
        self._bearer_field = functions.bearer_field

    @property
    def host(self) -> str | None:
        """The token endpoint's host, as the refresher states it."""
        return host_of(self._refresher)

    @property
    def place(self) -> str | None:
        """Where only so many renewals are at the same time: the host, else a function that holds a thread.

        Functions of one name count as one, since a program may make one for each tenant of a provider.
        """
        host, refresher = self.host, self._refresher
        if host is not None or not holds_a_thread(refresher, self._loop):
            return host
        named = refresher if hasattr(refresher, "__qualname__") else type(refresher)
        return f"{named.__module__}.{named.__qualname__}"

    @property
    def limit(self) -> int | None:
        """How many renewals may be at the host at the same time, as the refresher states it."""
        return limit_of(self._refresher)

    @property
    def endpoint(self) -> tuple[str, str | None] | None:
        """As `endpoint_of`."""
        return endpoint_of(self._refresher)

    @property
    def can_revoke(self) -> bool:
        """Whether the refresher can revoke a token."""
        return revoke_of(self._refresher) is not None

    def prepare(self) -> None:
        """Let the refresher do its slow preparations, which send nothing. Raises `ConfigurationError`."""
        prepare = prepare_of(self._refresher)
        if prepare is not None:
            self._at("its refresher is preparing, for example getting its client secret")
            prepare()

    async def send(
        self, grant: Grant, token: Token | None, overdue: contextlib.AbstractContextManager[object]
    ) -> Token:
        """Ask for the next token, once. Raises `RefreshFailure`.

        `overdue`: a context that watches the time meanwhile.
        """
        at = time.time()
        self._seen.add(token)
        self._at("its request is in progress, and there is no answer yet")
        try:
            with overdue, asking(self._store, self._key):
                # The answer gets no name, since a traceback with locals would show it.
                if grant is Grant.OBTAIN or token is None:
                    assert self._obtain is not None
                    new = self._parsed(await self._finished(self._obtain(), self._obtain), at)
                else:
                    new = self._parsed(await self._finished(self._refresher(token), self._refresher), at, token)
        except RefreshFailure:
            raise
        except OddTimes as error:  # a `Token(…)` in the refresher: it may hold the only refresh token that still works
            if error.token is None:
                raise RefreshFailure(judge_exception(error, hidden=self._seen.redactor())) from error
            new = self._parsed(error.token, at, token)
        except BaseException as error:  # a refresher that ends its thread must not leave its claim behind
            raise RefreshFailure(judge_exception(error, hidden=self._seen.redactor())) from error
        self._seen.add(new)
        return new

    def _parsed(self, answer: object, at: float, before: Token | None = None) -> Token:
        try:
            return parsed_answer(answer, at, self._seen.redactor(), self._bearer_field, before)
        finally:
            del answer  # it holds tokens, and would show in a traceback with locals

    async def revoke(self, token: Token) -> str | None:
        """See `World.revoke`."""
        revoke = revoke_of(self._refresher)
        if revoke is None:
            return None
        self._at("the old token is being revoked")
        self._seen.add(token)
        try:
            with asking(self._store, self._key):
                await self._finished(revoke(token), revoke)
        except BaseException as error:  # noqa: BLE001 - the logout itself is done, whatever the server answers
            return judge_exception(error, hidden=self._seen.redactor()).detail
        return ""

    async def save(self, token: Token) -> None:
        """Hand the token to the host application's ``save``. Raises `SaveFailed`."""
        assert self._save is not None
        self._seen.add(token)
        self._at("its answer has arrived, and the application's save function has not returned")
        try:
            with asking(self._store, self._key):
                await self._finished(self._save(token), self._save)
        except BaseException as error:  # the callers must learn that it is not saved
            raise errors.SaveFailed(
                f"save raised {type(error).__name__}; the new token is kept in memory and the next call saves it",
                credential=self._key,
                generation=token.generation,
            ) from error

    async def _finished(self, result: T | Awaitable[T], function: object) -> T:
        """What user code returned, awaited where it is awaitable."""
        if isinstance(result, Awaitable):
            finished: T = await awaited(result, self._loop, begins_late=is_async(function))
            return finished
        return result
