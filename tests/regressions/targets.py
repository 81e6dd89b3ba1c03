"""Processes that share a session, an API with targets of every kind, and a clock that nobody has to wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.core.calls import first_token
from tests.promises.helpers import Kept

from onerefresh import Credential, Token
from onerefresh.clients.call import Calls
from onerefresh.credential.launcher import Launcher
from onerefresh.flight import Flight
from onerefresh.record_text import decode
from onerefresh.store import StoreTime

ORIGIN = "https://api.acme.com"
LIVES = 1e6
"""Seconds that a token lives: none is refreshed for its age."""


class World:
    """A clock that nobody has to wait for, an API, a token endpoint, and processes that share a store."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.skipped = 0.0
        self.refreshed_at: list[float] = []
        self.ended: set[int] = set()  # generations that the API refuses everywhere
        self.bad: Callable[[str, int], bool] = lambda path, generation: False
        self.commands: list[Flight[Any]] = []
        self.store = Kept()
        wall, monotonic = time.time(), time.monotonic()
        patch.setattr(time, "time", lambda: wall + self.skipped)
        patch.setattr(Kept, "moment", lambda _: StoreTime("boot", self.skipped), raising=False)
        patch.setattr("onerefresh.credential.served_token.CLOCKS", _Clock(lambda: monotonic + self.skipped))
        began = Launcher.run_command

        def run_command(launcher: Launcher, *given: Any, **options: Any) -> Flight[Any]:
            found: Flight[Any] = began(launcher, *given, **options)
            self.commands.append(found)
            return found

        patch.setattr(Launcher, "run_command", run_command)

    def refresh(self, token: Token) -> dict[str, object]:
        self.refreshed_at.append(self.skipped)
        number = len(self.refreshed_at)
        return {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}", "expires_in": LIVES}

    def end_the_token(self) -> None:
        self.ended.add(self.generation)

    @property
    def generation(self) -> int:
        return decode(self.store.records["acme"].body, "acme").generation


class _Clock:
    """In the place of the module `time`, in the memory of sessions."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic

    def time(self) -> float:
        return time.time()


class Process:
    """A process of its own, as far as the library can tell. `knows_targets`: its client says where it was refused."""

    def __init__(self, world: World, *, knows_targets: bool = True) -> None:
        self.world, self.knows_targets = world, knows_targets
        self.credential = Credential(
            "acme", world.refresh, token=first_token(expires_in=LIVES), store=Kept(world.store)
        )
        self.before_the_replay: Callable[[], object] = lambda: None
        self.renew_the_client()

    def renew_the_client(self) -> None:
        """Call by a client of its own from now on."""
        self._calls = Calls(
            self.credential, ORIGIN, header="Authorization", scheme="Bearer", refused_statuses=frozenset({401})
        )

    def get(self, path: str) -> int:
        """The status of a call, made by the rules of all clients."""
        calls, target = self._calls, (ORIGIN, path) if self.knows_targets else None
        sent = calls.fresh() or calls.bearer.text(self.credential.token())
        status = self._answer(path, sent.token)
        call = calls.answered(sent, status, target)
        if call is None:
            return status
        for step in call:
            match step:
                case "challenges":
                    call.challenges = []
                case "take":
                    call.token = self.credential.token(refused=call.refused)
                case "rewind":
                    call.rewound = True
                case "send":
                    self.before_the_replay()
                    call.status = self._answer(path, call.text.token)
        for command in self.world.commands:
            assert command.wait(20.0)
        self.world.commands.clear()
        return call.status

    def _answer(self, path: str, token: Token) -> int:
        is_over = token.generation in self.world.ended
        return 401 if is_over or self.world.bad(path, token.generation) else 200


def run(world: World, each_second: Callable[[], object], seconds: int) -> list[float]:
    """Do this each second; when tokens were refreshed, in seconds from the beginning."""
    began, before = world.skipped, len(world.refreshed_at)
    for _ in range(seconds):
        each_second()
        world.skipped += 1.0
    return [at - began for at in world.refreshed_at[before:]]
