"""Where the system has no thread to spare: renewals under way go on, and others wait for one to end."""

from __future__ import annotations

import _thread
import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.core.calls import PATIENCE, Refresher, expired, in_threads

from onerefresh import Credential, RefreshUnavailable, WaitTimeout
from onerefresh.credential import renewal_threads
from onerefresh.credential.renewal_threads import on_a_thread

real = _thread.start_new_thread


def only(count: int) -> Callable[..., int]:
    """Starts so many threads of renewals, and no more; those of their alarms are not counted."""
    left = [count]

    def start(function: Callable[..., object], *arguments: Any) -> int:
        left[0] -= function.__name__ == "_begin"
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        return real(function, *arguments)

    return start


def credentials(count: int, refresher: Callable[..., Any], **options: Any) -> list[Credential]:
    return [Credential(f"tenant-{number}", refresher, token=expired(), **options) for number in range(count)]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def ask_all(asked: list[Credential]) -> list[int]:
    return [token.generation for token in await asyncio.gather(*(one.atoken() for one in asked))]


def test_those_that_got_no_thread_run_on_those_that_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Semaphore(0), threading.Event()

    def refresh(token: object) -> dict[str, object]:
        began.release()
        assert go_on.wait(PATIENCE)
        return {"access_token": "next", "expires_in": 3600}

    async def main() -> list[int]:
        asked = credentials(15, refresh)
        for one in asked:
            one._memory.store.look_every = PATIENCE
        monkeypatch.setattr("_thread.start_new_thread", only(2))
        asking = asyncio.ensure_future(ask_all(asked))
        while not renewal_threads._waiting:
            await asyncio.sleep(0)
        go_on.set()
        return await asking

    assert asyncio.run(main()) == [2] * 15
    assert not renewal_threads._waiting
    until(lambda: not renewal_threads._alive)


def test_a_renewal_that_waits_for_a_thread_says_so_when_its_caller_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def refresh(token: object) -> dict[str, object]:
        assert go_on.wait(PATIENCE)
        return {"access_token": "next", "expires_in": 3600}

    async def main() -> None:
        first, second = credentials(2, refresh)
        monkeypatch.setattr("_thread.start_new_thread", only(1))
        under_way = asyncio.ensure_future(first.atoken())
        while not renewal_threads._alive:
            await asyncio.sleep(0)
        with pytest.raises(WaitTimeout, match="it has not started yet"):
            await second.atoken(max_wait=0.05)
        go_on.set()
        assert (await under_way).generation == 2
        assert (await second.atoken()).generation == 2

    asyncio.run(main())


def test_without_any_thread_a_call_is_told_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refresher = Refresher()
    [one] = credentials(1, refresher)
    monkeypatch.setattr("_thread.start_new_thread", only(0))
    with pytest.raises(RefreshUnavailable, match="no thread can be started"):
        asyncio.run(ask_all([one]))
    assert refresher.calls == 0
    assert not renewal_threads._waiting


def test_work_that_comes_while_the_last_thread_ends_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is added after that thread has looked for the last time, or else its caller is told that there is none."""
    monkeypatch.setattr("_thread.start_new_thread", only(0))
    done: list[int] = []
    refused: list[int] = []

    def add(number: int) -> None:
        try:
            on_a_thread(lambda: done.append(number), "acme", never_here=True)
        except RefreshUnavailable:
            refused.append(number)

    def many(first: int) -> None:
        for number in range(first, first + 500):
            add(number)

    def end_all_the_time() -> None:
        for _ in range(500):
            thread = renewal_threads._Thread()
            renewal_threads._alive[thread] = None
            renewal_threads._run(thread, lambda: None)

    in_threads([lambda: many(0), lambda: many(1000), end_all_the_time, end_all_the_time])
    assert sorted(done + refused) == [*range(500), *range(1000, 1500)]
    assert not renewal_threads._waiting


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_work_that_fails_keeps_none_of_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr("threading.excepthook", lambda args: seen.append(args.exc_value))
    failure, done = ValueError("a defect"), list[int]()

    def fail() -> None:
        raise failure

    renewal_threads._waiting.extend([fail, lambda: done.append(1), fail, lambda: done.append(2)])
    with pytest.raises(ValueError, match="a defect"):
        renewal_threads._run(renewal_threads._Thread(), fail)
    assert done == [1, 2]
    assert seen == [failure, failure]
