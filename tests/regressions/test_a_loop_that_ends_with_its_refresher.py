"""An async refresher whose loop ends as soon as it has returned: its token is the only one that lives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from concurrent import futures
from typing import Any

import pytest
from tests.core.calls import PATIENCE, first_token

from onerefresh import Credential, Token


def test_a_token_that_came_with_the_end_of_the_loop_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    may_return = threading.Event()
    look = futures.wait

    def wait(fs: Iterable[Any], timeout: float) -> Any:
        """The refresher returns, and its loop ends, right after it was seen to be still at it."""
        found = look(fs, 0.0)
        may_return.set()
        thread.join(PATIENCE)
        return found

    async def refresh(token: Token) -> dict[str, object]:
        while not may_return.is_set():
            await asyncio.sleep(0.001)
        asyncio.current_task().add_done_callback(lambda _: loop.call_soon(loop.stop))  # type: ignore[union-attr]
        return {"access_token": "new", "refresh_token": "new refresh"}

    monkeypatch.setattr(futures, "wait", wait)
    thread.start()
    credential = Credential("acme", refresh, token=first_token(), loop=loop)
    assert credential.token(refused=credential.token()).reveal() == "new"
    thread.join(PATIENCE)
    loop.close()
