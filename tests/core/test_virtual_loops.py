"""A loop whose time is virtual waits in real time for a token, which comes from other threads."""

from __future__ import annotations

import asyncio
import threading
import time

import trio
import trio.testing
from tests.core.calls import Refresher, first_token

from onerefresh import Credential, Token


def test_a_loop_whose_time_is_virtual_waits_for_the_refresh() -> None:
    """Such a loop jumps over each wait in which no task of its own runs."""

    class Jumping(asyncio.SelectorEventLoop):
        ahead = 0.0

        def time(self) -> float:
            return self.ahead

        def _run_once(self) -> None:
            if not self._ready and self._scheduled:  # type: ignore[attr-defined]  # asyncio's own
                self.ahead = max(self.ahead, self._scheduled[0]._when)  # type: ignore[attr-defined]
            super()._run_once()  # type: ignore[misc]

    refresh = Refresher(gated=True)
    acme = Credential("acme", refresh, token=first_token())

    async def call() -> Token:
        refused = acme.current()
        assert refused is not None
        threading.Thread(target=let_it_go_on, args=(refresh,)).start()  # such a loop cannot wait for an executor's end
        return await acme.atoken(refused=refused)

    with asyncio.Runner(loop_factory=Jumping) as runner:
        assert runner.run(call()).reveal() == "access-1"


def test_so_does_trio_with_a_clock_that_jumps() -> None:
    refresh = Refresher(gated=True)
    acme = Credential("acme", refresh, token=first_token())

    async def call() -> Token:
        refused = acme.current()
        assert refused is not None
        threading.Thread(target=let_it_go_on, args=(refresh,)).start()
        return await acme.atoken(refused=refused)

    assert trio.run(call, clock=trio.testing.MockClock(autojump_threshold=0.0)).reveal() == "access-1"


def let_it_go_on(refresh: Refresher) -> None:
    refresh.wait_until_entered()
    time.sleep(0.05)  # the waiting task is alone in its loop meanwhile, which nothing shows from outside
    refresh.leave.set()
