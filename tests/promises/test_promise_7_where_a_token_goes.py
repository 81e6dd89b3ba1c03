"""A token goes to no other origin, and into no log, repr, traceback or event of this library. What HTTP clients show of
it [is listed](docs/clients.md#what-clients-show-of-a-token)."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import httpx2
import pytest
import requests
from tests.promises.helpers import at_once

import onerefresh
from onerefresh import Credential, Credentials, OnerefreshError, Token
from onerefresh.clients import aiohttp as for_aiohttp
from onerefresh.clients import httpx as for_httpx
from onerefresh.clients import requests as for_requests
from onerefresh.events import Event, subscribe
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer

SOURCE = str(Path(onerefresh.__file__).parent)
SECRETS = ("test-access-", "test-refresh-", "secret-of-the-client")
"""How the server's tokens begin, and the client's secret."""
Caller = Callable[[Credential, str, str], list[int]]
COUNT = 5


# --- Other origins ---


def with_requests(acme: Credential, origin: str, url: str) -> list[int]:
    with requests.Session() as session:
        session.auth = for_requests.BearerAuth(acme, origin)
        told = at_once([lambda: session.get(url).status_code] * COUNT)
    return [one for one in told if isinstance(one, int)]


def with_httpx(acme: Credential, origin: str, url: str) -> list[int]:
    async def main() -> list[int]:
        async with httpx2.AsyncClient(auth=for_httpx.BearerAuth(acme, origin), follow_redirects=True) as client:
            answers = await asyncio.gather(*(client.get(url) for _ in range(COUNT)))
        return [answer.status_code for answer in answers]

    return asyncio.run(main())


def with_aiohttp(acme: Credential, origin: str, url: str) -> list[int]:
    async def status(session: aiohttp.ClientSession) -> int:
        async with session.get(url) as answer:
            return answer.status

    async def main() -> list[int]:
        async with aiohttp.ClientSession(middlewares=[for_aiohttp.BearerAuth(acme, origin)]) as session:
            return await asyncio.gather(*(status(session) for _ in range(COUNT)))

    return asyncio.run(main())


@pytest.mark.parametrize("calls", [with_requests, with_httpx, with_aiohttp], ids=lambda calls: calls.__name__)
def test_other_origins_get_none(auth_server: AuthServer, login: TokenEndpoint, calls: Caller) -> None:
    foreign = auth_server.foreign.url
    ways = {
        f"{auth_server.url}/api/redirect?to={foreign}/items": 200,
        f"{foreign}/items": 200,
        f"{foreign}/refused": 401,  # and this 401 is nobody's business here
        f"{auth_server.url}/api/redirect?to={foreign}/refused": 401,
    }
    with Credential("acme", login, token=auth_server.issue()) as acme:
        for url, status in ways.items():
            assert calls(acme, auth_server.url, url) == [status] * COUNT
    counters = auth_server.counters
    assert (counters.foreign, counters.token_requests) == (COUNT * len(ways), 0)
    assert auth_server.foreign.authorizations == []


# --- What people see ---


class Everything(logging.Handler):
    """All that is logged, as text and as it came."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [self.format(record), repr(record.__dict__)]


@contextmanager
def overheard() -> Iterator[list[str]]:
    """All that anybody logs at any level, and every event."""
    handler, root = Everything(), logging.getLogger()

    def heard(event: Event) -> None:
        handler.lines += [repr(event), str(event)]

    level, unsubscribe = root.level, subscribe(heard)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        unsubscribe()
        root.setLevel(level)
        root.removeHandler(handler)


def shown_by(error: BaseException) -> Iterator[str]:
    """The error with all that is behind it, and the locals of this library in their tracebacks."""
    seen: list[BaseException | None] = [error]
    for found in seen:
        if found is None:
            continue
        yield from (str(found), repr(found), repr(found.args))
        told = traceback.TracebackException.from_exception(found, capture_locals=True)
        frames = [frame for frame in told.stack if frame.filename.startswith(SOURCE)]
        yield "".join(traceback.StackSummary.from_list(frames).format())
        seen += [behind for behind in (found.__cause__, found.__context__) if behind not in seen]


def a_bad_day(server: AuthServer, acme: Credential) -> Iterator[str]:
    """What a person may see of a refresh, of failures, a session that ends, a login and a logout."""
    seed = server.issue()
    token = acme.login(seed)
    yield from (repr(token), str(token), repr(acme), repr(acme.status()), repr(token.access_token))
    yield repr(acme.token(refused=token))

    def told(ask: Callable[[], Token]) -> Iterator[str]:
        with pytest.raises(OnerefreshError) as raised:
            ask()
        yield from shown_by(raised.value)

    acme.login(server.issue())
    server.fail_next(1, status=503, headers={"Retry-After": "120"}, body=f"no {seed['refresh_token']}")
    yield from told(lambda: acme.token(refused=acme.token()))
    yield repr(acme.status())
    acme.login(server.issue())
    server.fail_next(1, status=400, body={"error": "invalid_grant", "error_description": f"{seed['refresh_token']}"})
    yield from told(lambda: acme.token(refused=acme.token()))
    yield from told(acme.token)
    yield repr(acme.status())
    acme.login(server.issue())
    acme.logout()
    yield from told(acme.token)
    with pytest.raises(OnerefreshError) as raised:
        acme.login({"access_token": "", "refresh_token": seed["refresh_token"]})
    yield from shown_by(raised.value)


@pytest.mark.auth_server(client_secret="secret-of-the-client")
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_nobody_sees_a_token(auth_server: AuthServer, login: TokenEndpoint, store: str, url: str) -> None:
    with overheard() as lines, Credentials(login, store=url if store == "sqlite" else "memory") as customers:
        lines += [repr(customers), repr(login)]
        lines += a_bad_day(auth_server, customers["acme"])
    assert any("refreshed" in line for line in lines)
    leaks = [line for line in lines for secret in SECRETS if secret in line]
    assert leaks == []
