"""Threads, loops and people in schedules of chance: each refresh token is spent once, and nobody hangs."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable

import pytest
from tests.core.calls import PATIENCE, in_threads
from tests.interleavings.shaking import shaken

from onerefresh import Credential, Token, policy
from onerefresh.credential import acceptance as acceptance_room
from onerefresh.credential import memory as memory_room
from onerefresh.stores.memory import MemoryStore

pytestmark = pytest.mark.slow

SEEDS = range(12)


class Strict:
    """A strict server as a refresher: counts refresh tokens that come twice, and requests that overlap."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent: set[str] = set()
        self._families = 0
        self.under_way = self.overlaps = self.reuses = self.calls = 0

    def __call__(self, token: Token) -> dict[str, object]:
        text = token.reveal_refresh_token()
        family, _, number = text.partition("-")
        with self._lock:
            self.under_way += 1
            self.calls += 1
            self.overlaps += self.under_way > 1
            self.reuses += text in self._spent
            self._spent.add(text)
        with self._lock:
            self.under_way -= 1
        return {"access_token": f"access {family}-{int(number) + 1}", "refresh_token": f"{family}-{int(number) + 1}"}

    def issue(self) -> dict[str, object]:
        """What a login gives."""
        with self._lock:
            self._families += 1
            return {"access_token": f"access {self._families}-0", "refresh_token": f"{self._families}-0"}


@pytest.fixture(autouse=True)
def _no_damping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused new token may be refreshed at once: here that is what happens all the time."""
    monkeypatch.setattr(policy, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(policy, "EARLY_REFRESHES", sys.maxsize)
    monkeypatch.setattr(acceptance_room, "LOOK_AGAIN", 0.0)
    monkeypatch.setattr(memory_room, "LOOK_AGAIN", 0.0)


def user(credential: Credential, chance: random.Random, steps: int) -> list[int]:
    """What a thread does to the credential; the generations that it was given."""
    got: list[int] = []
    token = credential.token(max_wait=PATIENCE)
    for _ in range(steps):
        match chance.randrange(5):
            case 0:
                token = credential.current() or credential.token(max_wait=PATIENCE)
            case 1:
                credential.replayed(token, accepted=chance.random() < 0.8)
                continue
            case 2:
                credential.status()
                continue
            case _:
                following = credential.token(refused=token, max_wait=PATIENCE)
                assert following.identity != token.identity
                token = following
        got.append(token.generation)
    return got


async def tasks(credential: Credential, chance: random.Random, count: int) -> list[int]:
    """What a loop does to it: some of its tasks lose their patience."""
    token = await credential.atoken()

    async def impatient(seconds: float) -> int | None:
        try:
            async with asyncio.timeout(seconds):
                return (await credential.atoken(refused=token)).generation
        except TimeoutError:
            return None

    patience = [PATIENCE if chance.random() < 0.5 else chance.uniform(0.0, 0.005) for _ in range(count)]
    found = await asyncio.gather(*map(impatient, patience))
    assert all(
        generation is not None for generation, seconds in zip(found, patience, strict=True) if seconds == PATIENCE
    )
    return []


@pytest.mark.parametrize("seed", SEEDS)
def test_each_refresh_token_is_spent_once(seed: int) -> None:
    server, store, chance = Strict(), MemoryStore(), random.Random(seed)
    first = server.issue()
    objects = [Credential("acme", server, token=first, store=store) for _ in range(2)]

    def on_a_thread(number: int) -> Callable[[], list[int]]:
        own = random.Random(chance.random())
        if number < 4:
            return lambda: user(objects[number % 2], own, 15)
        return lambda: asyncio.run(tasks(objects[number % 2], own, 10))

    with shaken(seed):
        found = in_threads([on_a_thread(number) for number in range(6)])
    assert [generations for generations in found if generations != sorted(generations)] == []
    assert (server.reuses, server.overlaps) == (0, 0)
    assert objects[0].status().generation == 1 + server.calls
    assert objects[0].token().generation == objects[1].token().generation == 1 + server.calls


@pytest.mark.parametrize("seed", SEEDS)
def test_the_last_login_wins_whatever_else_goes_on(seed: int) -> None:
    server, store, chance = Strict(), MemoryStore(), random.Random(seed)
    acme = Credential("acme", server, token=server.issue(), store=store)

    def people() -> list[int]:
        return [acme.login(server.issue()).generation for _ in range(6)]

    def on_a_thread() -> Callable[[], list[int]]:
        own = random.Random(chance.random())
        return lambda: user(acme, own, 10)

    with shaken(seed):
        logins, *_ = in_threads([people, *(on_a_thread() for _ in range(4))])
    assert logins == sorted(set(logins))
    assert server.reuses == 0
    assert acme.token().reveal().startswith("access 7-")
    assert acme.token(refused=acme.token()).reveal().startswith("access 7-")
    assert server.reuses == 0
