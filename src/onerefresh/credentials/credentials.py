"""Credentials: many credentials of one kind in one store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from onerefresh import errors
from onerefresh.credential import Credential
from onerefresh.credential.arguments import check, check_key, seconds
from onerefresh.credential.first_token import first_of
from onerefresh.credential.opened import hidden, open_both, opened, opened_here
from onerefresh.credential.options import CredentialOptions
from onerefresh.credential.registry import flights_of
from onerefresh.credentials.arguments import check_due, check_many, nobody, whole
from onerefresh.credentials.both_stores import BothStores
from onerefresh.credentials.due import Progress, Run
from onerefresh.credentials.due_async import over_on_thread
from onerefresh.credentials.due_filter import NO_IDENTITY, DueFilter
from onerefresh.credentials.lru import LruWithWeakTail
from onerefresh.credentials.removing import Removing
from onerefresh.credentials.summary import Summary
from onerefresh.credentials.tenant import Tenant
from onerefresh.flight import Flight
from onerefresh.host_limiter import HostLimiter
from onerefresh.interpreter import interpreter_ends
from onerefresh.latches import Latch
from onerefresh.locks import refuse_inside
from onerefresh.policy import Early
from onerefresh.profile import Profile
from onerefresh.real_time import monotonic
from onerefresh.renewal.attempt import Outcome
from onerefresh.running_loop import running_loop
from onerefresh.store import Store
from onerefresh.token import Answer, Token

if TYPE_CHECKING:
    import asyncio

__all__ = ["Credentials"]

T = TypeVar("T")
Refresher = Callable[[Token], Answer | Awaitable[Answer]]

KEEP = 100_000
LIMIT = 16
RATE = 50.0
AT_ONCE = 16


class Credentials(Removing):
    """Many credentials of one kind: the tenants of a backend, or its connections to an API.

    ``credentials[key]`` is the `Credential` of that key.

    * `refresher`: as a `Credential`'s, for all of them; None where `refresher_for` gives each its own.
    * `refresher_for`: a function from a key to the refresher of that credential, or None for `refresher`. It is called
      where the credential is looked up in this object, and must not block.
    * `store`: a URL, which is opened once and closed by `close`, or a `Store`, which stays open.
    * `profile`, `loop`, `max_wait`, `patience`, `early`, `adopt`: as a `Credential`'s.
    * `keep`: how many credentials stay in memory with their tokens, those that were used last. Others are read from the
      store again.
    * `limit`: concurrent renewals at each host that a refresher states, as a `TokenEndpoint` does, and in a function
      that states none and blocks, or is async and has no asyncio loop. Others wait for their turn before they claim
      anything. A refresher may state a limit of its own. None: no limit.
    * `moved_from`: the store, or its URL, where credentials were before. One that is there and not in `store` is moved
      when it is first used.
    * `token_for`: a function from a key to the first token of that credential, or None. It is called when the
      credential is first used, on a thread of the library, and may read a database. What it gives never overwrites a
      stored token. A refresh token alone is enough.
    * `bearer_field`: the field of a token answer that is sent in place of its access token, as for `Credential`.

    Raises `ConfigurationError` for arguments that cannot work.
    """

    def __init__(
        self,
        refresher: Refresher | None,
        *,
        store: str | Store,
        refresher_for: Callable[[str], Refresher | None] | None = None,
        profile: str | Profile | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        max_wait: float = 60.0,
        patience: float = 0.0,
        early: Early = None,
        keep: int = KEEP,
        limit: int | None = LIMIT,
        adopt: bool = False,
        token_for: Callable[[str], Answer | None] | None = None,
        moved_from: str | Store | None = None,
        bearer_field: str | None = None,
    ) -> None:
        place, before = hidden(store), hidden(moved_from)
        del store, moved_from  # a URL may hold a password, and would show in a traceback with locals
        check_many(refresher, refresher_for, token_for, place, loop)
        stores = open_both(place, before)
        turns = None if limit is None else HostLimiter(whole("limit", limit))
        self._group = object()  # other `Credentials` may use the same store
        self._terms_with = partial(
            CredentialOptions.of,
            profile=profile,
            loop=loop,
            max_wait=max_wait,
            patience=patience,
            early=early,
            turns=turns,
            adopt=adopt,
            moved_from=stores[1],
            bearer_field=bearer_field,
            group=self._group,
        )
        self._options = self._terms_with(nobody if refresher is None else refresher)
        self._has_default = refresher is not None
        self._refresher_for = refresher_for
        self._first = None if token_for is None else first_of(token_for)
        self._recent: LruWithWeakTail[Tenant] = LruWithWeakTail(whole("keep", keep))
        self._store, self._moved_from = stores
        self._owned = opened_here(stores, (place, before))
        self._closed = False
        for one in self._owned:
            opened.enter(one, self)

    def __getitem__(self, key: str) -> Credential:
        """The credential of `key`: the same object for as long as it is in use.

        Nothing is read until a token is asked for. Raises `ConfigurationError` for what is no key, and whatever
        `refresher_for` raises.
        """
        self._check_open()
        check_key(key)
        found = self._recent.use(key)
        if found is not None and not found.is_closed:
            return found
        if found is not None:
            self._recent.drop(key, found)
        return self._recent.add(key, self._new_tenant(key))

    # --- All credentials together ---

    def refresh_due(
        self,
        *,
        within: float | None = None,
        unused_for: float | None = None,
        keys: Iterable[str] | None = None,
        rate: float | None = RATE,
        at_once: int = AT_ONCE,
        progress: Progress | None = None,
    ) -> Summary:
        """Refresh what has expired or ends `within` so many seconds, and return a summary.

        With `unused_for`, refresh also those whose refresh token was not used for so many seconds, because many servers
        end one that nobody uses; with `unused_for` alone, refresh only those.

        For a cron job or a worker. It reads all records of the store that belong to this refresher (by its `identity`,
        which a `TokenEndpoint` has), or those of `keys`. At most `rate` renewals begin each second (None: no limit),
        and `at_once` are under way, beside those that take longer than 5 seconds. Where the host of a token endpoint
        does not answer, its tenants are left for the next run. `progress` is called with each `Result` and the
        `Summary` so far; an exception from it ends the run.

        Any number of workers may do this at the same time: each credential is refreshed once. A failure stops none of
        the others, and a dead session is left alone. A token in the first tenth of its life is not due.

        Raises `ConfigurationError` where the refresher states no identity and no `keys` are given, and where the store
        cannot list its records; `StoreUnavailable` where listing fails.
        """
        self._refuse_to_block()
        if self._options.is_async and running_loop() is not None:
            raise errors.ConfigurationError(
                "this blocks the event loop on which async refreshers have to run: use `await arefresh_due()`"
            )
        run = self._run(
            within, unused_for, keys=keys, rate=rate, at_once=at_once, progress=progress, loop=None, left=None
        )
        return run.over(keys)

    async def arefresh_due(
        self,
        *,
        within: float | None = None,
        unused_for: float | None = None,
        keys: Iterable[str] | None = None,
        rate: float | None = RATE,
        at_once: int = AT_ONCE,
        progress: Progress | None = None,
    ) -> Summary:
        """As `refresh_due`, for tasks. It works on a thread, where `progress` is called. Cancelling it ends the run."""
        left, loop = Latch(), running_loop()
        run = self._run(
            within, unused_for, keys=keys, rate=rate, at_once=at_once, progress=progress, loop=loop, left=left
        )
        return await over_on_thread(run, keys, left)

    def close(self) -> None:
        """Begin nothing more, and wait for the renewals under way, for `max_wait` seconds at most."""
        refuse_inside()
        self._refuse_to_block()
        deadline = monotonic() + self._options.max_wait
        for flight in self._shut():
            flight.wait(deadline - monotonic())
        self._release_all()

    async def aclose(self) -> None:
        """As `close`, for tasks."""
        deadline = monotonic() + self._options.max_wait
        for flight in self._shut():
            await flight.wait_async(max(deadline - monotonic(), 0.0))
        self._release_all()

    def __repr__(self) -> str:
        if not hasattr(self, "_store"):
            return "Credentials(…)"  # incomplete: a traceback with locals shows it where the constructor fails
        return f"Credentials(store={self._store.name!r})"

    # --- Internals ---

    def _terms_of(self, key: str) -> CredentialOptions:
        """The options of one key. Raises what `refresher_for` raises."""
        refresher = None if self._refresher_for is None else self._refresher_for(key)
        if refresher is not None:
            check(refresher)
            return self._terms_with(refresher)
        if not self._has_default:
            raise errors.ConfigurationError("refresher_for returned None, and there is no default refresher")
        return self._options

    def _tenant(self, key: str) -> Tenant:
        """The credential of `key`, without counting as a use: looking at a million keeps none of them in memory."""
        found = self._recent.peek(key)
        return found if found is not None and not found.is_closed else self._new_tenant(key)

    def _new_tenant(self, key: str) -> Tenant:
        options = self._terms_of(key)
        return Tenant(key, options, self._store, self._first)

    def _run(
        self,
        within: float | None,
        unused_for: float | None,
        *,
        keys: Iterable[str] | None,
        rate: float | None,
        at_once: int,
        progress: Progress | None,
        loop: object,
        left: Latch | None,
    ) -> Run:
        """A run over many credentials. `left`: set once no caller waits for the run any more."""
        self._check_open()
        check_due(within, unused_for, keys=keys, rate=rate)
        named = keys is not None
        if not named and self._refresher_for is None and self._options.owner is None:
            raise errors.ConfigurationError(NO_IDENTITY)

        def check_wanted() -> None:
            self._check_open()
            if interpreter_ends() or (left is not None and left.is_set):
                raise errors.CredentialClosed("no caller is waiting for this run any more")

        before = self._moved_from
        gives_first = self._first is not None
        return Run(
            self._store,
            self._store if before is None else BothStores(self._store, before),
            DueFilter(
                None if within is None else seconds("within", within), named, self._terms_of, gives_first, unused_for
            ),
            self._tenant,
            rate=rate,
            at_once=whole("at_once", at_once),
            max_wait=self._options.max_wait,
            loop=loop,
            progress=progress,
            check=check_wanted,
        )

    def _refuse_to_block(self) -> None:
        """Raise `ConfigurationError` where waiting here would block the loop on which a renewal is under way."""
        for tenant in self._recent.all() if running_loop() is not None else []:
            for flight in tenant.flights:
                tenant.refuse_to_block(flight.loop)

    def _shut(self) -> list[Flight[Outcome]]:
        """Let nothing begin any more; return what is still under way."""
        self._closed = True
        for tenant in self._recent.all():
            tenant.shut()
        for flight in flights_of(self._store, self._group):
            flight.give_up(errors.CredentialClosed("these credentials were closed"))
        return flights_of(self._store, self._group)

    def _release_all(self) -> None:
        for tenant in self._recent.all():
            tenant.release()
        self._recent.clear()
        for one in self._owned:
            opened.leave(one, self)

    def _check_open(self) -> None:
        if self._closed:
            raise errors.CredentialClosed("these credentials were closed")
