"""Async refreshers: on which loop they run, what happens when that loop ends, and who may wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.core.calls import PATIENCE, Refresher, expired, first_token, in_threads, outcomes

from onerefresh import (
    ConfigurationError,
    Credential,
    LoginRequired,
    OnerefreshError,
    RefresherFailed,
    RefreshOutcomeUnknown,
    RefreshUnavailable,
    Token,
)


class Loop:
    """An event loop on a thread of its own, as a host has it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="the host's loop")
        self.thread.start()

    def _run(self) -> None:
        self.loop.run_forever()
        self.loop.close()

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def stop(self) -> None:
        """End it as a careless host does: what runs there is left where it is."""
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)

    def end(self) -> None:
        """End it as `asyncio.run` does: what runs there is cancelled."""

        async def cancel_all() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        if self.thread.is_alive():
            self.call(cancel_all())
        self.stop()


@pytest.fixture
def host() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.end()


class WhereItRuns(Refresher):
    """An async refresher that notes its loop."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.loops: list[asyncio.AbstractEventLoop] = []

    async def note(self, token: Token) -> dict[str, object]:
        self.loops.append(asyncio.get_running_loop())
        return await self.on_a_loop(token)


# --- Where it runs ---


def test_it_runs_on_the_loop_that_was_named_whoever_asks(host: Loop) -> None:
    refresher = WhereItRuns()
    credential = Credential("acme", refresher.note, token=first_token(), loop=host.loop)
    assert credential.token(refused=credential.token()).generation == 2

    async def ask() -> Token:
        return await credential.atoken(refused=credential.current() or await credential.atoken())

    credential.replayed(credential.token(), accepted=True)
    assert asyncio.run(ask()).generation == 3
    assert refresher.loops == [host.loop, host.loop]


def test_without_a_named_one_it_runs_on_the_loop_of_the_call_that_started_it() -> None:
    refresher = WhereItRuns()
    credential = Credential("acme", refresher.note, token=expired())

    async def ask() -> asyncio.AbstractEventLoop:
        await credential.atoken()
        return asyncio.get_running_loop()

    loop = asyncio.run(ask())
    assert refresher.loops == [loop]


def test_without_any_loop_it_runs_on_a_private_one() -> None:
    refresher = WhereItRuns()
    credential = Credential("acme", refresher.note, token=expired())
    assert credential.token().generation == 2
    assert refresher.loops[0].is_closed()


def test_waiters_of_other_loops_and_threads_share_it(host: Loop) -> None:
    refresher = WhereItRuns(gated=True)
    credential = Credential("acme", refresher.note, token=expired(), loop=host.loop)

    def on_a_loop_of_its_own() -> Token:
        return asyncio.run(credential.atoken())

    def open_the_gate() -> Token:
        refresher.wait_until_entered()
        refresher.leave.set()
        return credential.token()

    tokens = in_threads([*[on_a_loop_of_its_own] * 3, *[credential.token] * 5, open_the_gate])
    assert {token.generation for token in tokens} == {2}
    assert refresher.calls == 1


@pytest.mark.parametrize("shape", ["a lambda", "a partial", "an object", "a task", "a method"])
def test_whatever_returns_an_awaitable_is_awaited(shape: str) -> None:
    refresher = Refresher()

    class Callable:
        async def __call__(self, token: Token) -> dict[str, object]:
            return await refresher.on_a_loop(token)

    async def with_two(_: str, token: Token) -> dict[str, object]:
        return await refresher.on_a_loop(token)

    shapes: dict[str, Any] = {
        "a lambda": lambda token: refresher.on_a_loop(token),
        "a partial": functools.partial(with_two, "first"),
        "an object": Callable(),
        "a task": lambda token: Later(refresher.on_a_loop(token)),
        "a method": refresher.on_a_loop,
    }
    assert Credential("acme", shapes[shape], token=expired()).token().generation == 2
    assert asyncio.run(Credential("acme", shapes[shape], token=expired()).atoken()).generation == 2


class Later:
    """An awaitable that is no coroutine."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Any:
        return self._coroutine.__await__()


def test_a_blocking_refresher_never_blocks_the_loop_that_asks() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())

    async def ask() -> Token:
        waiting = asyncio.create_task(credential.atoken())
        await asyncio.to_thread(refresher.wait_until_entered)
        refresher.leave.set()  # the loop still turns: nobody else opens the gate
        return await waiting

    assert asyncio.run(ask()).generation == 2


# --- What it answers ---


def test_its_exception_is_judged_like_that_of_a_blocking_one() -> None:
    refresher = Refresher()
    refresher.failure = LoginRequired("revoked")
    credential = Credential("acme", refresher.on_a_loop, token=expired())
    with pytest.raises(LoginRequired, match="revoked"):
        asyncio.run(credential.atoken())
    with pytest.raises(LoginRequired, match="revoked"):
        credential.token()
    assert refresher.calls == 1


@pytest.mark.parametrize("failure", [TimeoutError("mine"), asyncio.CancelledError(), KeyError("mine")])
@pytest.mark.parametrize("where", ["named", "private", "the caller's"])
def test_whatever_it_raises_ends_the_wait(failure: BaseException, where: str, host: Loop) -> None:
    refresher = Refresher()
    refresher.failure = failure
    loop = host.loop if where == "named" else None
    credential = Credential("acme", refresher.on_a_loop, token=expired(), loop=loop)
    with pytest.raises(OnerefreshError):
        if where == "the caller's":
            asyncio.run(credential.atoken())
        else:
            credential.token()


# --- A loop that ends ---


@pytest.mark.parametrize("how", ["stop", "end"])
def test_a_loop_that_ends_meanwhile_is_an_error_for_those_who_wait_and_no_hang(host: Loop, how: str) -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher.on_a_loop, token=expired(), loop=host.loop)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.extend(outcomes([credential.token] * 5)))
    waiting.start()
    refresher.wait_until_entered()
    getattr(host, how)()
    waiting.join(PATIENCE)
    assert {type(error) for error in got} == {RefreshOutcomeUnknown}
    assert refresher.calls == 1


def test_a_loop_that_ends_says_nothing_in_the_log_of_others(host: Loop, caplog: pytest.LogCaptureFixture) -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher.on_a_loop, token=expired(), loop=host.loop)
    waiting = threading.Thread(target=lambda: outcomes([credential.token]))
    with caplog.at_level(logging.WARNING):
        waiting.start()
        refresher.wait_until_entered()
        host.stop()
        waiting.join(PATIENCE)
    others = [record for record in caplog.records if record.name not in ("onerefresh", "asyncio")]
    assert others == []


def test_the_loop_of_the_starting_call_ends_and_the_others_hear_of_it() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher.on_a_loop, token=expired())
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.extend(outcomes([credential.token])))

    async def start_and_leave() -> None:
        task = asyncio.create_task(credential.atoken())
        await asyncio.to_thread(refresher.wait_until_entered)
        waiting.start()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(start_and_leave())
    waiting.join(PATIENCE)
    assert [type(error) for error in got] == [RefreshOutcomeUnknown]


def test_a_named_loop_that_is_not_running_is_an_error_and_nothing_is_left_unawaited() -> None:
    loop = asyncio.new_event_loop()
    refresher = Refresher()
    credential = Credential("acme", refresher.on_a_loop, token=expired(), loop=loop)
    with pytest.raises(RefreshUnavailable, match="event loop has ended; nothing was sent"):
        credential.token()
    loop.close()
    assert refresher.calls == 0


def test_a_cancelled_caller_leaves_the_refresh_and_the_others_alone() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher.on_a_loop, token=expired())

    async def run() -> list[Token]:
        starter = asyncio.create_task(credential.atoken())
        await asyncio.to_thread(refresher.wait_until_entered)
        others = [asyncio.create_task(credential.atoken()) for _ in range(10)]
        await asyncio.sleep(0)
        starter.cancel()
        others[0].cancel()
        refresher.leave.set()
        assert [type(result) for result in await asyncio.gather(starter, others[0], return_exceptions=True)] == [
            asyncio.CancelledError,
            asyncio.CancelledError,
        ]
        return list(await asyncio.gather(*others[1:]))

    assert {token.generation for token in asyncio.run(run())} == {2}
    assert refresher.calls == 1


# --- Who may wait ---


def test_a_blocking_wait_on_the_very_loop_that_it_needs_is_refused(host: Loop) -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher.on_a_loop, token=expired(), loop=host.loop)

    async def block() -> None:
        credential.token()

    with pytest.raises(ConfigurationError, match="await atoken"):
        host.call(block())
    assert refresher.calls == 0


def test_a_blocking_wait_for_a_refresh_that_a_task_of_the_same_loop_started_is_refused() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher.on_a_loop, token=expired())

    async def run() -> Token:
        started = asyncio.create_task(credential.atoken())
        await asyncio.to_thread(refresher.wait_until_entered)
        with pytest.raises(ConfigurationError, match="await atoken"):
            credential.token()
        refresher.leave.set()
        return await started

    assert asyncio.run(run()).generation == 2


def test_a_fresh_token_may_be_asked_for_anywhere(host: Loop) -> None:
    credential = Credential("acme", Refresher().on_a_loop, token=first_token(), loop=host.loop)

    async def ask() -> str:
        return credential.bearer()

    assert host.call(ask()) == "access-0"


def test_a_blocking_refresher_may_be_waited_for_on_a_loop() -> None:
    """It stops the loop for that long, as every blocking call does, but it comes to an end."""
    refresher = Refresher()
    credential = Credential("acme", refresher, token=expired())

    async def block() -> Token:
        return credential.token()

    assert asyncio.run(block()).generation == 2


def test_a_blocking_refresher_started_by_a_task_may_be_waited_for_on_its_loop() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())

    async def run() -> Token:
        started = asyncio.create_task(credential.atoken())
        await asyncio.to_thread(refresher.wait_until_entered)
        refresher.leave.set()
        assert credential.token().generation == 2
        return await started

    assert asyncio.run(run()).generation == 2


@pytest.mark.parametrize("ask", ["login", "close"])
def test_other_blocking_waits_on_the_loop_that_is_needed_are_refused_too(host: Loop, ask: str) -> None:
    refresher = Refresher(gated=True)

    async def save(token: Token) -> None:
        await asyncio.sleep(0)

    credential = Credential("acme", refresher.on_a_loop, token=expired(), save=save, loop=host.loop)

    async def block() -> None:
        started = asyncio.create_task(credential.atoken())
        await asyncio.to_thread(refresher.wait_until_entered)
        try:
            with pytest.raises(ConfigurationError, match="await"):
                credential.login(first_token()) if ask == "login" else credential.close()
        finally:
            refresher.leave.set()
        assert (await started).generation == 2

    host.call(block())


def test_the_async_forms_work_on_the_loop_of_the_refresher(host: Loop) -> None:
    refresher = Refresher()
    kept: list[Token] = []

    async def save(token: Token) -> None:
        kept.append(token)

    async def all_of_it() -> None:
        credential = Credential("acme", refresher.on_a_loop, token=expired(), save=save)
        another_login = {"access_token": "access-new", "refresh_token": "refresh-new"}
        assert await credential.abearer() == "access-1"
        assert (await credential.alogin(another_login)).reveal() == "access-new"
        assert (await credential.astatus()).state == "idle"
        await credential.alogout()
        with pytest.raises(LoginRequired):
            await credential.atoken()
        await credential.aclose()

    host.call(all_of_it())
    assert [token.reveal() for token in kept] == ["access-1", "access-new"]


def test_a_credential_closes_at_the_end_of_its_async_block() -> None:
    async def run() -> None:
        async with Credential("acme", Refresher().on_a_loop, token=expired()) as credential:
            assert await credential.abearer() == "access-1"
        assert credential.current() is None

    asyncio.run(run())


# --- A refresher that asks its own credential ---


@pytest.mark.parametrize("where", ["named", "private", "the caller's"])
def test_asking_its_own_credential_is_an_error_and_no_deadlock(where: str, host: Loop) -> None:
    told: list[ConfigurationError] = []

    async def refresh(token: Token) -> dict[str, object]:
        try:
            await credential.atoken()
        except ConfigurationError as error:
            told.append(error)
            raise
        raise AssertionError("it got a token")

    loop = host.loop if where == "named" else None
    credential = Credential("acme", refresh, token=expired(), loop=loop)
    with pytest.raises(RefresherFailed, match="would wait for itself"):
        if where == "the caller's":
            asyncio.run(credential.atoken())
        else:
            credential.token()
    assert len(told) == 1


def test_the_refresher_does_not_mark_the_loop_it_runs_on(host: Loop) -> None:
    """Other tasks of that loop may wait for the token meanwhile, and ask for it afterwards."""
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher.on_a_loop, token=expired(), loop=host.loop)

    async def two() -> list[Token]:
        first = asyncio.create_task(credential.atoken())
        await asyncio.to_thread(refresher.wait_until_entered)
        second = asyncio.create_task(credential.atoken())
        refresher.leave.set()
        return [await first, await second, await credential.atoken()]

    assert {token.generation for token in host.call(two())} == {2}


def test_a_background_renewal_runs_on_the_loop_that_asked(host: Loop) -> None:
    refresher = WhereItRuns()
    now = time.time()
    background = Token("access-0", "refresh-0", issued_at=now - 3500.0, expires_at=now + 100.0)
    credential = Credential("acme", refresher.note, token=background)

    async def ask() -> None:
        assert credential.current() is not None
        await asyncio.to_thread(refresher.wait_until_entered)
        await credential.aclose()

    host.call(ask())
    assert refresher.loops == [host.loop]


def test_the_variables_of_the_caller_are_not_needed() -> None:
    """A renewal belongs to nobody: it does not see the context of the task that happened to start it."""
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")
    seen: list[str] = []

    async def refresh(token: Token) -> dict[str, object]:
        seen.append(tenant.get())
        return first_token()

    async def ask() -> None:
        tenant.set("one of many")
        await Credential("acme", refresh, token=expired()).atoken()

    asyncio.run(ask())
    assert seen == ["none"]
