"""Many who wait for one flight: from the refresher's answer until the last of them runs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial

from bench.report import Row, milliseconds, ratio
from bench.timing import Pair, jitter
from onerefresh import Credential, Token

TASKS = 10_000
THREADS = 1_000
SETTLING = 0.2
"""Seconds for threads to fall asleep: nobody can see from outside whether one has."""


class Gate:
    """A refresher that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answer = threading.Event()
        self.credential = Credential("bench", self.refresh, token={"access_token": "a", "refresh_token": "r0"})
        self._refreshes = 0

    def refresh(self, token: Token) -> dict[str, object]:
        self._refreshes += 1
        self.asked.set()
        self.answer.wait()
        return {"access_token": "a", "refresh_token": f"r{self._refreshes}", "expires_in": 3600}

    def renewed(self, count: int) -> None:
        """A new session begins, so the next refusal is news; every waiter has had one refresh."""
        assert self._refreshes == count, f"{self._refreshes} refreshes instead of {count}"
        self.credential.login({"access_token": "a", "refresh_token": f"r of session {count}", "expires_in": 3600})
        self.asked.clear()
        self.answer.clear()


def measure(turns: int) -> list[Row]:
    tasks, threads = _tasks(turns), _threads(turns)
    return [
        Row(f"{TASKS:,} asyncio tasks", milliseconds(jitter(tasks.ours)), "≤ 80 ms"),
        Row("the same on one `asyncio.Event`", milliseconds(jitter(tasks.bare)), ""),
        Row("one against the other", ratio(tasks.ratio), ""),
        Row(f"{THREADS:,} threads", milliseconds(jitter(threads.ours)), ""),
        Row("the same on one `threading.Event`", milliseconds(jitter(threads.bare)), ""),
        Row("one against the other", ratio(threads.ratio), ""),
    ]


def _tasks(turns: int) -> Pair:
    gate = Gate()

    async def ours() -> int:
        refused = gate.credential.token()
        return await _last_task(lambda: gate.credential.atoken(refused=refused), ready=gate.asked, go=gate.answer.set)

    async def bare() -> int:
        event, ready = asyncio.Event(), threading.Event()
        ready.set()
        loop = asyncio.get_running_loop()
        return await _last_task(event.wait, ready=ready, go=lambda: loop.call_soon_threadsafe(event.set))

    taken: tuple[list[int], list[int]] = ([], [])
    for turn in range(turns):
        taken[0].append(asyncio.run(ours()))
        gate.renewed(turn + 1)
        taken[1].append(asyncio.run(bare()))
    return Pair(tuple(taken[0]), tuple(taken[1]))


async def _last_task(wait: Callable[[], Awaitable[object]], *, ready: threading.Event, go: Callable[[], object]) -> int:
    """Nanoseconds from `go` until the last of the tasks runs again."""
    left, ended = TASKS, 0

    async def one() -> None:
        nonlocal left, ended
        await wait()
        left -= 1
        if not left:
            ended = time.perf_counter_ns()

    tasks = [asyncio.create_task(one()) for _ in range(TASKS)]
    await asyncio.sleep(0)  # every task has run up to where it waits
    await asyncio.to_thread(ready.wait)
    began = time.perf_counter_ns()
    go()
    await asyncio.gather(*tasks)
    return ended - began


def _threads(turns: int) -> Pair:
    gate = Gate()
    taken: tuple[list[int], list[int]] = ([], [])
    for turn in range(turns):
        renew = partial(gate.credential.token, refused=gate.credential.token())
        taken[0].append(_last_thread(renew, gate.answer.set))
        gate.renewed(turn + 1)
        event = threading.Event()
        taken[1].append(_last_thread(event.wait, event.set))
    return Pair(tuple(taken[0]), tuple(taken[1]))


def _last_thread(wait: Callable[[], object], go: Callable[[], object]) -> int:
    """Nanoseconds from `go` until the last of the threads runs again."""
    ended: list[int] = []

    def one() -> None:
        wait()
        ended.append(time.perf_counter_ns())

    threads = [threading.Thread(target=one) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(SETTLING)
    began = time.perf_counter_ns()
    go()
    for thread in threads:
        thread.join()
    return max(ended) - began
