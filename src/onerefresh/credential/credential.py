"""Credential: it answers from memory while the token is fresh; otherwise one flight gets the next token.

Decisions are made under the lock of `SessionMemory`, and carried out after the lock is released.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from onerefresh import errors
from onerefresh.credential.arguments import check, check_key, refused_token, seconds, seed_from
from onerefresh.credential.cached_token import NOT_YET
from onerefresh.credential.early import aearly
from onerefresh.credential.first_token import FirstToken
from onerefresh.credential.lasting import alasting, lasting
from onerefresh.credential.launcher import Launcher
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.opened import hidden, open_both, opened, opened_here
from onerefresh.credential.options import CredentialOptions, bearer_of
from onerefresh.credential.registry import memory_of
from onerefresh.credential.reporting import Reporting
from onerefresh.credential.targets import Refusal, told_apart
from onerefresh.credential.waiting import LOOK
from onerefresh.flight import Flight
from onerefresh.locks import refuse_inside
from onerefresh.pacing import paced
from onerefresh.policy import Early
from onerefresh.profile import Profile
from onerefresh.real_time import monotonic
from onerefresh.store import Store, reset_in_child
from onerefresh.stores.memory import MemoryStore
from onerefresh.token import Answer, Token

if TYPE_CHECKING:
    import asyncio

__all__ = ["Credential"]


class Credential(Reporting):
    """One grant at one authorization server, shared by any number of calls.

    * `key`: the credential's name.
    * `refresher`: trades a token for the next one. It is a function (it may be async) that returns a `Token` or a token
      response, or a `TokenEndpoint`.
    * `token`: the first token, which may be old; its refresh token alone is enough. It never overwrites a stored one.
    * `store`: ``"sqlite"``, a URL, or a `Store`. Default: this object's memory.
    * `save`: a function of a host application that keeps tokens itself; it replaces `store`. It gets each new token
      before any caller does.
    * `obtain`: a function that gets a token where there is none, where the session is dead, or where there is no
      refresh token. A refresher with an attribute ``renews_from_access = True`` is asked before it.
    * `profile`: what the server does when a refresh token is used twice, as a `Profile` or the name of one. Default:
      what the refresher states, else ``"strict"``.
    * `loop`: the asyncio event loop on which async functions run.
    * `max_wait`: seconds that a caller waits.
    * `patience`: seconds that a call waits where the token endpoint's host answers none of several credentials, and is
      left alone for a while. By default the call gets `RefreshUnavailable` at once.
    * `bearer_field`: the field of a token answer that is sent to the API in place of its access token, such as
      ``"id_token"``. Default: what the refresher states, else the access token.
    * `early`: how long before its end a token is refreshed in the background: seconds (1 or more), a share of its life
      (more than 0, less than 1), or False: only once it is over, or refused. That is for servers that end the old
      access token with a refresh, and with it what is under way. A token is never refreshed in the first half of its
      life. Default: a fifth of its life, at most five minutes.
    * `adopt`: consent to send a stored token to this refresher's server although another refresher stored it.
    * `moved_from`: the store, or its URL, where the credential was before. If it is there and not in `store`, it is
      moved when it is first used.

    Raises `ConfigurationError` for arguments that cannot work.
    """

    __slots__ = ("__weakref__", "_closed", "_launcher", "_memory", "_owned", "key")  # there may be many credentials

    def __init__(
        self,
        key: str,
        refresher: Callable[[Token], Answer | Awaitable[Answer]],
        *,
        token: Answer | None = None,
        store: str | Store | None = None,
        save: Callable[[Token], Awaitable[None] | None] | None = None,
        obtain: Callable[[], Answer | Awaitable[Answer]] | None = None,
        profile: str | Profile | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        max_wait: float = 60.0,
        patience: float = 0.0,
        early: Early = None,
        adopt: bool = False,
        moved_from: str | Store | None = None,
        bearer_field: str | None = None,
    ) -> None:
        try:
            seed = seed_from(token, "token=", bearer_of(refresher, bearer_field), refresher)
        finally:
            del token  # it holds tokens, and would show in a traceback with locals
        place, before = hidden(store), hidden(moved_from)
        del store, moved_from  # a URL may hold a password, which would show there, too
        check_key(key)
        check(refresher, save=save, store=place, obtain=obtain, loop=loop)
        stores = open_both(place, before)
        options = CredentialOptions.of(
            refresher,
            obtain=obtain,
            save=save,
            profile=profile,
            loop=loop,
            max_wait=max_wait,
            patience=patience,
            early=early,
            adopt=adopt,
            moved_from=stores[1],
            bearer_field=bearer_field,
        )
        self._begin(key, options, stores[0], seed, owned=opened_here(stores, (place, before)))
        if isinstance(self._memory.store, MemoryStore):
            self._launcher.adopt_seed_now()

    def _begin(
        self,
        key: str,
        options: CredentialOptions,
        store: Store,
        first: Token | FirstToken | None,
        *,
        owned: tuple[Store, ...] = (),
    ) -> None:
        self.key = key
        self._closed = False
        self._owned = owned
        self._memory = memory_of(store, key)
        self._launcher = Launcher(key, self._memory, options, first)
        self._served = NOT_YET if first is not None else self._memory
        for one in owned:
            opened.enter(one, self)

    # --- Tokens ---

    def current(self) -> Token | None:
        """The token in memory if it still serves, else None. Never blocks.

        An ageing token starts its renewal in the background.
        """
        held = self._served.held
        if time.time() < held.refresh_at:
            return held.token
        return self._ageing()

    def token(
        self,
        *,
        refused: Token | Refusal | str | None = None,
        max_wait: float | None = None,
        min_valid: float | None = None,
    ) -> Token:
        """Return a token that serves; where the one in memory does not, wait until it is refreshed.

        * `refused`: the token that the API refused, so that the next one is returned. It is returned itself where it
          was refreshed only just now, or too often of late, and another refresh would be in vain. It may be the token's
          bare text, as `bearer` returned it, without ``Bearer`` before it; a text that is not that of the present token
          refreshes nothing.
        * `max_wait`: most seconds to wait (default: the credential's).
        * `min_valid`: seconds for which the token is needed, for a job that would outlive a token of less. Such a token
          is refreshed first, once for all who wait. The one that is there is returned where the refresh fails, or where
          the server's tokens live no longer: see `Token.expires_at`. No token is refreshed for this in the first tenth
          of its life; one that never was valid for so long, not in the first half of its life.

        Raises an `OnerefreshError`; `WaitTimeout` where the refresh takes longer, while the refresh goes on;
        `ConfigurationError` where `refused` is no token, and for what is no number of seconds.
        """
        refused, target = told_apart(refused)
        if refused is not None:
            refused, problem = refused_token(refused)  # a text would show in a traceback with locals
            if problem is not None:
                raise problem
        needed = None if min_valid is None else seconds("min_valid", min_valid)
        deadline = monotonic() + (patience := self._most_seconds(max_wait))
        while True:
            token = self._look(refused, target, blocking=True)
            if isinstance(token, Flight):
                found = token
                if not found.wait(deadline - monotonic(), partial(self._launcher.launch, found, background=False)):
                    raise self._timed_out(found, patience)
                answer = self._answer_of(found, refused, target, blocking=True)
                if answer is None:
                    continue
                token = answer
                if refused is None:
                    self._ageing()
            return token if needed is None else lasting(self, token, needed, deadline, patience)

    async def atoken(
        self,
        *,
        refused: Token | Refusal | str | None = None,
        max_wait: float | None = None,
        min_valid: float | None = None,
    ) -> Token:
        """As `token`, for tasks of asyncio and trio.

        Cancelling the task affects neither the refresh nor the other callers that wait for it.
        """
        refused, target = told_apart(refused)
        if refused is not None:
            refused, problem = refused_token(refused)  # a text would show in a traceback with locals
            if problem is not None:
                raise problem
        needed = None if min_valid is None else seconds("min_valid", min_valid)
        deadline = monotonic() + (patience := self._most_seconds(max_wait))
        while True:
            if self._memory.serving(refused, target) is None and self._memory.flying is None:
                turn = paced()
                if turn is not None:
                    await turn
            token = self._look(refused, target, blocking=False)
            if isinstance(token, Flight):
                found = token
                if not await found.wait_async(
                    deadline - monotonic(), partial(self._launcher.launch, found, background=False)
                ):
                    raise self._timed_out(found, patience)
                answer = self._answer_of(found, refused, target, blocking=False)
                if answer is None:
                    continue
                token = answer
                if refused is None and self._ageing() and self._options.is_async:
                    token = await aearly(self, token)
            return token if needed is None else await alasting(self, token, needed, deadline, patience)

    def bearer(self) -> str:
        """The text of a fresh access token, for clients that accept only a function.

        Such a client never tells that the API refused the token: a token that was revoked is returned until it expires.
        So where a call fails with a 401, call ``token(refused=text)`` with the text that this method returned, and make
        the call again. Raises what `token` raises.
        """
        return (self.current() or self.token()).reveal()

    async def abearer(self) -> str:
        """As `bearer`, for async clients: after a 401, call ``atoken(refused=text)``."""
        return (self.current() or await self.atoken()).reveal()

    # --- Login, logout and the state of the session ---

    def retry(self) -> Token:
        """Ask the token endpoint at once, whatever it said before, and return a token that serves.

        For use after the client or the function was corrected. The endpoint is asked also where the session was found
        dead, where a lost answer may have spent the refresh token, and while a refresher that has not returned may
        still spend it: the risk is the caller's. Where nothing failed and no refresh is put off, nothing is asked.
        Raises what `token` raises.
        """
        before = self._result(self._allow_again(blocking=True), LOOK)
        if (flight := self._again(before, blocking=True)) is not None:
            self._result(self._look_for_refusal(self._result(flight).token), LOOK)
        return self.token()

    async def aretry(self) -> Token:
        """As `retry`, for tasks."""
        before = await self._aresult(self._allow_again(blocking=False), LOOK)
        if (flight := self._again(before, blocking=False)) is not None:
            outcome = await self._aresult(flight)
            await self._aresult(self._look_for_refusal(outcome.token), LOOK)
        return await self.atoken()

    def close(self) -> None:
        """Wait for the refresh under way, then refuse further calls. A store that was handed in stays open.

        Raises `SaveFailed`, and stays open, where the newest token is in memory only and ``save`` still fails.
        """
        refuse_inside()
        flight = self._memory.flight
        if flight is not None:
            self._check_caller(blocking=True, loop=flight.loop)
            flight.give_up(errors.CredentialClosed("it was closed", credential=self.key))
            flight.wait(self._options.max_wait)
        if self._options.save is not None and not self._closed:
            saving = self._save_now(blocking=True)
            if saving.wait(self._options.max_wait):
                saving.result()
        self._release_all()

    async def aclose(self) -> None:
        """As `close`, for tasks."""
        flight = self._memory.flight
        if flight is not None:
            flight.give_up(errors.CredentialClosed("it was closed", credential=self.key))
            await flight.wait_async(self._options.max_wait)
        if self._options.save is not None and not self._closed:
            saving = self._save_now(blocking=False)
            if await saving.wait_async(self._options.max_wait):
                saving.result()
        self._release_all()

    def __repr__(self) -> str:
        if not hasattr(self, "_memory"):
            return "Credential(…)"  # incomplete: a traceback with locals shows it where the constructor fails
        return f"Credential({self.key!r}, store={self._memory.store.name!r})"

    # --- Internals ---

    def _release_all(self) -> None:
        self._closed = True
        store = self._memory.store
        self._memory = SessionMemory(store, self.key)  # empty and shared with no other object: `current` returns None
        self._served = self._memory
        reset_in_child(self._memory)
        for one in self._owned:
            opened.leave(one, self)
