"""An async refresher whose loop ends as soon as it has returned: its token is the only one that lives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from functools import partial
from typing import Any

import pytest
from tests.core.calls import PATIENCE, first_token, listening

from onerefresh import Credential, Profile, RefreshOutcomeUnknown, Token, WaitTimeout, loops
from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.failure import Failure
from onerefresh.pause import Pause
from onerefresh.record import Grant, Lease
from onerefresh.record_text import decode, encode
from onerefresh.stores.memory import MemoryStore


def test_a_token_that_came_with_the_end_of_the_loop_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    may_return = threading.Event()

    class LatePause(Pause):
        """The refresher returns, and its loop ends, right after it was seen to be still at it."""

        def __await__(self) -> Generator[Pause, None, None]:
            may_return.set()
            thread.join(PATIENCE)
            yield from ()

    async def refresh(token: Token) -> dict[str, object]:
        while not may_return.is_set():
            await asyncio.sleep(0.001)
        asyncio.current_task().add_done_callback(lambda _: loop.call_soon(loop.stop))  # type: ignore[union-attr]
        return {"access_token": "new", "refresh_token": "new refresh"}

    monkeypatch.setattr(loops, "Pause", LatePause)
    thread.start()
    credential = Credential("acme", refresh, token=first_token(), loop=loop)
    assert credential.token(refused=credential.token()).reveal() == "new"
    thread.join(PATIENCE)
    loop.close()


class Slow(MemoryStore):
    """Its next write waits for a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def cas(self, key: str, expected: str | None, body: str) -> str:
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        return super().cas(key, expected, body)


class Ended:
    """A caller's loop ends while its renewal claims, so that nothing can be sent."""

    def __init__(self, **options: Any) -> None:
        self.sent, self.store = 0, Slow()
        self.credential = Credential("acme", self._refresh, token=first_token(), store=self.store, **options)
        self.first = self.credential.token()

    async def _refresh(self, token: Token) -> dict[str, object]:
        self.sent += 1
        return {"access_token": "new", "refresh_token": "new refresh"}

    async def leave(self) -> None:
        self.store.entered.clear()
        self.store.gate.clear()
        with pytest.raises(WaitTimeout):
            await self.credential.atoken(refused=self.first, max_wait=0.0)
        assert await asyncio.to_thread(self.store.entered.wait, PATIENCE)

    async def leave_trio(self) -> None:
        self.store.entered.clear()
        self.store.gate.clear()
        with pytest.raises(WaitTimeout):
            await self.credential.atoken(refused=self.first, max_wait=0.0)
        assert self.store.entered.wait(PATIENCE)

    def failure(self) -> Failure | None:
        found = self.store.load("acme")
        assert found is not None
        return decode(found.body, "acme").failure

    def wait_until_it_is_over(self) -> None:
        flight = self.credential._memory.flight
        assert flight is None or flight.wait(PATIENCE)


@pytest.mark.parametrize("profile", ["strict", Profile("theirs", resend="never"), "static"], ids=str)
def test_where_nothing_was_sent_the_next_caller_goes_on_at_once(profile: str | Profile) -> None:
    ended = Ended(profile=profile)
    with listening() as heard:
        asyncio.run(ended.leave())
        ended.store.gate.set()
        ended.wait_until_it_is_over()
        assert (ended.sent, ended.failure()) == (0, None)
        assert asyncio.run(ended.credential.atoken(refused=ended.first)).reveal() == "new"
    said = [event.detail for event in heard if event.kind is Kind.FAILED]
    assert said == ["the refresher's event loop has ended; nothing was sent"]
    assert ended.sent == 1


@pytest.mark.parametrize("blocks", [False, True])
def test_whoever_has_joined_that_renewal_gets_a_token_all_the_same(*, blocks: bool) -> None:
    ended = Ended()
    asyncio.run(ended.leave())

    async def join() -> Token:
        asyncio.get_running_loop().call_soon(ended.store.gate.set)
        return await ended.credential.atoken(refused=ended.first)

    if blocks:
        opener = threading.Timer(0.05, ended.store.gate.set)
        opener.start()
    token = ended.credential.token(refused=ended.first) if blocks else asyncio.run(join())
    assert (token.reveal(), ended.sent) == ("new", 1)
    if blocks:
        opener.join()


def test_what_was_known_of_an_attempt_before_it_is_still_known() -> None:
    ended = Ended()
    found = ended.store.load("acme")
    assert found is not None
    lost = Lease("another's", Grant.REFRESH, 0.0, clock_epoch="another machine")
    MemoryStore.cas(
        ended.store, "acme", found.version, encode(records.claimed(decode(found.body, "acme"), lost, owner=None))
    )
    asyncio.run(ended.leave())
    ended.store.gate.set()
    ended.wait_until_it_is_over()
    failure = ended.failure()
    assert failure is not None
    assert (failure.contested, failure.maybe_spent, failure.lost, failure.delay) == (True, True, False, 0.0)
    assert asyncio.run(ended.credential.atoken(refused=ended.first)).reveal() == "new"


def test_a_function_that_is_not_async_may_have_sent_before_it_gave_what_is_to_be_awaited() -> None:
    ended = Ended()
    credential = Credential("other", lambda token: ended._refresh(token), token=first_token(), store=ended.store)
    ended.credential, ended.first = credential, credential.token()

    async def leave() -> None:
        await ended.leave()

    asyncio.run(leave())
    flight = credential._memory.flight
    assert flight is not None
    ended.store.gate.set()
    assert flight.wait(PATIENCE)
    with pytest.raises(RefreshOutcomeUnknown, match="event loop has ended"):
        flight.result()


def test_a_run_of_trio_that_has_ended_counts_as_well() -> None:
    trio = pytest.importorskip("trio")
    ended = Ended()
    trio.run(ended.leave_trio)
    ended.store.gate.set()
    ended.wait_until_it_is_over()
    assert (ended.sent, ended.failure()) == (0, None)
    assert trio.run(partial(ended.credential.atoken, refused=ended.first)).reveal() == "new"
