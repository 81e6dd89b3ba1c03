"""What the tests of the SDK adapters share: storms of calls with a revoked token, and sessions that are over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

from onerefresh import Credential
from onerefresh.announcing import announce
from onerefresh.events import Event, Kind, subscribe
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer

T = TypeVar("T")
STORM = 20
PATIENCE = 30.0


def credential_for(server: AuthServer, *, max_wait: float = 60.0, expired: bool = False) -> Credential:
    """A credential with a token that was just issued, or that has expired."""
    endpoint = TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)
    answer = {**server.issue(), **({"expires_at": time.time() - 60.0, "expires_in": None} if expired else {})}
    return Credential("acme", endpoint, token=answer, max_wait=max_wait)


def storm(server: AuthServer, call: Callable[[int], T], count: int = STORM) -> list[T]:
    """Answers to calls that have all been sent with a revoked token before the first of them is refused."""
    server.revoke_access()
    server.hold("refusal")
    with ThreadPoolExecutor(count) as pool:
        begun = [pool.submit(call, number) for number in range(count)]
        try:
            server.wait_for("refusal", count, timeout=PATIENCE)
        finally:
            server.release("refusal")
        return [one.result(PATIENCE) for one in begun]


async def astorm(server: AuthServer, call: Callable[[int], Awaitable[T]], count: int = STORM) -> list[T]:
    """As `storm`, for tasks."""
    server.revoke_access()
    server.hold("refusal")
    begun = [asyncio.ensure_future(call(number)) for number in range(count)]
    try:
        await asyncio.to_thread(server.wait_for, "refusal", count, timeout=PATIENCE)
    finally:
        server.release("refusal")
    return await asyncio.wait_for(asyncio.gather(*begun), PATIENCE)


def end_session(server: AuthServer) -> None:
    """Let the API refuse the present token, and the token endpoint its refresh token."""
    server.revoke_access()
    server.revoke_family()


@contextmanager
def warned() -> Iterator[Callable[[], list[str]]]:
    """What was said, up to now, of calls that were sent without the token."""
    events: SimpleQueue[Event] = SimpleQueue()
    unsubscribe = subscribe(events.put)

    def told() -> list[str]:
        announce(lambda: Event(Kind.STORE_UP, "the last one"))  # they are published in their order
        found: list[str] = []
        while (event := events.get(timeout=PATIENCE)).credential != "the last one":
            if event.kind is Kind.NOT_ATTACHED:
                found.append(event.detail)
        return found

    try:
        yield told
    finally:
        unsubscribe()
