"""One worker process of the demo: it makes its calls in two halves, and reports each as a line of JSON.

The job is the first line on standard input. Each further line lets the worker go on. Ctrl-C is for the parent.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import httpx2

from onerefresh import events
from onerefresh.cli.demo_usual import UsualClient
from onerefresh.clients.httpx import BearerAuth
from onerefresh.credential import Credential
from onerefresh.credential.targets import Refusal
from onerefresh.errors import OnerefreshError
from onerefresh.locks import Lock
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.real_time import monotonic
from onerefresh.token import Token

Get: TypeAlias = Callable[[str, dict[str, str]], Awaitable[httpx2.Response]]

CALL = "X-Call"
KEY = "demo"

_telling = Lock()
_present: contextvars.ContextVar[str] = contextvars.ContextVar("call")


def _print(kind: str, **fields: object) -> None:
    line = json.dumps({"kind": kind, **fields}) + "\n"
    with _telling:  # events come from the thread that refreshes
        sys.stdout.write(line)
        sys.stdout.flush()


class _Stopwatch(httpx2.AsyncBaseTransport):
    """Measures how long each call waits for the API, in all its attempts."""

    def __init__(self, connections: int) -> None:
        # No certificates are looked at here, and reading those of the system takes longer than the calls.
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        limits = httpx2.Limits(max_connections=connections + 1)
        self._inner = httpx2.AsyncHTTPTransport(verify=tls, limits=limits)
        self.seconds: dict[str, float] = {}
        self.attempts: dict[str, int] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call = request.headers.get(CALL)
        begun = monotonic()
        try:
            return await self._inner.handle_async_request(request)
        finally:
            if call is not None:
                self.seconds[call] = self.seconds.get(call, 0.0) + monotonic() - begun
                self.attempts[call] = self.attempts.get(call, 0) + 1

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Told(Credential):
    """A credential that reports which call had its token refused, and when that call gets the next one."""

    async def atoken(
        self,
        *,
        refused: Token | Refusal | str | None = None,
        max_wait: float | None = None,
        min_valid: float | None = None,
    ) -> Token:
        if refused is None:
            return await super().atoken(max_wait=max_wait, min_valid=min_valid)
        asked = monotonic()
        token = await super().atoken(refused=refused, max_wait=max_wait, min_valid=min_valid)
        _print(
            "waited",
            call=_present.get(),
            refused=refused.generation if isinstance(refused, (Token, Refusal)) else None,
            asked=asked,
            generation=token.generation,
            got=monotonic(),
        )
        return token


def main() -> None:
    """Do the job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = json.loads(sys.stdin.readline())
    asyncio.run(_work(job))


async def _work(job: dict[str, Any]) -> None:
    watch = _Stopwatch(sum(map(len, job["halves"])))
    get, client = _onerefresh(job, watch) if job["way"] == "onerefresh" else _usual(job, watch)
    async with client:
        for half in job["halves"]:
            _print("ready")
            if not await asyncio.to_thread(sys.stdin.readline):
                return  # the parent is gone
            await asyncio.gather(*(_call(get, watch, job["api_url"], call) for call in half))
    _print("done")


def _onerefresh(job: dict[str, Any], watch: _Stopwatch) -> tuple[Get, httpx2.AsyncClient]:
    events.subscribe(lambda event: _print("event", event=event.kind, generation=event.generation, at=monotonic()))
    endpoint = TokenEndpoint(job["token_url"], client_id=job["client_id"], client_secret=job["client_secret"])
    credential = _Told(KEY, endpoint, store=job["store"])
    api = urlsplit(job["api_url"])
    auth = BearerAuth(credential, f"{api.scheme}://{api.netloc}")
    client = httpx2.AsyncClient(auth=auth, transport=watch, timeout=60)
    return lambda url, headers: client.get(url, headers=headers), client


def _usual(job: dict[str, Any], watch: _Stopwatch) -> tuple[Get, httpx2.AsyncClient]:
    client = httpx2.AsyncClient(transport=watch, timeout=60)
    secret = (job["client_id"], job["client_secret"])
    return UsualClient(client, job["token_url"], secret, Path(job["file"])).get, client


async def _call(get: Get, watch: _Stopwatch, api_url: str, call: str) -> None:
    _present.set(call)
    begun = monotonic()
    try:
        response = await get(f"{api_url}/items/{call}", {CALL: call})
        problem = "" if response.status_code == 200 else f"the API answered {response.status_code}"
    except httpx2.HTTPStatusError as error:
        problem = f"the token endpoint answered {error.response.status_code}"
    except (httpx2.HTTPError, OnerefreshError) as error:
        problem = type(error).__name__
    total, api = monotonic() - begun, watch.seconds.get(call, 0.0)
    _print("call", call=call, problem=problem, api=api, refresh=max(total - api, 0.0))


if __name__ == "__main__":
    main()
