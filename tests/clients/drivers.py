"""One way to drive every client integration, so that one suite can test them all.

A driver holds one client session with the integration in it. Its methods block; async clients run on an event loop in
a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import anyio
import httpx
import httpx2
import requests
import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from tests.clients.bodies import AIOHTTP, ASYNC_HTTPX, OLD_HTTPX, REQUESTS, SYNC_HTTPX, Bodies

from onerefresh import Credential
from onerefresh.clients import aiohttp as for_aiohttp
from onerefresh.clients import httpx as for_httpx
from onerefresh.clients import requests as for_requests

PATIENCE = 30.0


def nothing(*_: object) -> None:
    """What is to be done about a piece of a stream, by default."""


@dataclass(frozen=True)
class Answer:
    """What a caller sees of a response."""

    status: int
    body: bytes
    url: str

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Options:
    """What a test wants of the client and of the integration."""

    pool: int = 100
    redirects: bool = True
    raising_hook: bool = False
    no_redirects_at_all: bool = False  # httpx counts the replay among the redirects
    trust_env: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Driver(ABC):
    """One session of one client."""

    bodies: Bodies
    per_hop = True  # the integration sees each hop of a redirect, and not only the last
    survives_raising_hooks = True
    survives_no_redirects = True
    any_header = True
    any_place = True  # queries and cookies, too
    with_netrc = (200, 200)  # statuses of a call and of a redirected one, where a .netrc names the API's host
    cancellable = False
    pool_survives_cancellation = True
    websockets = False
    own_errors: tuple[type[Exception], ...]

    def __init__(self, credential: Credential, origins: str | list[str], options: Options) -> None:
        self.credential = credential
        self.origins = origins
        self.options = options

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    @abstractmethod
    def soon(self, method: str, url: str, **arguments: Any) -> Future[Answer]:
        """Begin a call."""

    @abstractmethod
    def stream(
        self, url: str, *, answered: Callable[[], object] = nothing, arrived: Callable[[bytes], object] = nothing
    ) -> list[bytes]:
        """The pieces of a streamed answer, as they arrive. The functions are called with the head, and each piece."""

    def call(self, method: str, url: str, **arguments: Any) -> Answer:
        return self.soon(method, url, **arguments).result(PATIENCE)

    def get(self, url: str, **arguments: Any) -> Answer:
        return self.call("GET", url, **arguments)

    def post(self, url: str, kind: str) -> Answer:
        return self.call("POST", url, **self.bodies[kind]())

    def together(self, urls: Iterable[str]) -> list[Answer]:
        """Many calls at once."""
        return [begun.result(PATIENCE) for begun in [self.soon("GET", url) for url in urls]]

    def websocket(self, url: str, text: str) -> str:
        """What a websocket echoes."""
        raise NotImplementedError

    def cancelled(self, url: str, until: Callable[[], Awaitable[None]]) -> bool:
        """Begin a call, cancel it when `until` is over; whether it was still under way."""
        raise NotImplementedError


class ThreadedDriver(Driver):
    """A blocking client, called from many threads."""

    def __enter__(self) -> Self:
        self._threads = ThreadPoolExecutor(100)
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    def soon(self, method: str, url: str, **arguments: Any) -> Future[Answer]:
        return self._threads.submit(self._call, method, url, **arguments)

    @abstractmethod
    def _call(self, method: str, url: str, **arguments: Any) -> Answer: ...


class LoopDriver(Driver):
    """An async client, on an event loop in a thread."""

    backend = "asyncio"
    cancellable = True

    def __enter__(self) -> Self:
        self._prepare()
        self._stack = contextlib.ExitStack()
        self.portal: BlockingPortal = self._stack.enter_context(start_blocking_portal(self.backend))
        self._stack.enter_context(self.portal.wrap_async_context_manager(self._session()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @abstractmethod
    def _prepare(self) -> None:
        """Make what needs no event loop."""

    @abstractmethod
    def _session(self) -> contextlib.AbstractAsyncContextManager[Any]: ...

    @abstractmethod
    async def _call(self, method: str, url: str, **arguments: Any) -> Answer: ...

    def soon(self, method: str, url: str, **arguments: Any) -> Future[Answer]:
        async def call() -> Answer:
            return await self._call(method, url, **arguments)

        return self.portal.start_task_soon(call)

    def cancelled(self, url: str, until: Callable[[], Awaitable[None]]) -> bool:
        return self.portal.call(self._cancelled_on_trio if self.backend == "trio" else self._cancelled, url, until)

    async def _cancelled(self, url: str, until: Callable[[], Awaitable[None]]) -> bool:
        # Not by anyio: asyncio's own cancel() comes once, and code must be right with that.
        call = asyncio.get_running_loop().create_task(self._call("GET", url))
        await until()
        call.cancel()
        await asyncio.wait([call])
        if call.cancelled():
            return True
        call.result()
        return False

    async def _cancelled_on_trio(self, url: str, until: Callable[[], Awaitable[None]]) -> bool:
        scope = trio.CancelScope()

        async def run() -> None:
            with scope:
                await self._call("GET", url)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await until()
            scope.cancel()
        return scope.cancelled_caught


async def steps(count: int) -> None:
    """Let the event loop turn so many times."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


class Httpx(Driver):
    """What sync and async clients of httpx2 and httpx have in common."""

    package: Any = httpx2
    form = "auth"
    bodies = SYNC_HTTPX

    def _settings(self, *, asynchronous: bool) -> dict[str, Any]:
        package, options = self.package, self.options
        beneath = package.AsyncHTTPTransport if asynchronous else package.HTTPTransport
        # No certificates are looked at here, and reading them for each client takes long.
        transport = beneath(
            limits=package.Limits(max_connections=options.pool, max_keepalive_connections=options.pool),
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        )
        settings: dict[str, Any] = {
            "follow_redirects": options.redirects,
            "timeout": package.Timeout(PATIENCE),
            "trust_env": options.trust_env,
            "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        }
        if package is httpx and not asynchronous:
            # httpcore 1 closes idle connections under threads that were just given them, also without us.
            settings["headers"] = {"Connection": "close"}
        if self.form == "auth":
            settings |= {"auth": for_httpx.BearerAuth(self.credential, self.origins, **options.arguments)}
        else:
            transport = for_httpx.BearerTransport(self.credential, self.origins, transport, **options.arguments)
        settings["transport"] = transport
        if options.no_redirects_at_all:
            settings["max_redirects"] = 0
        if options.raising_hook:
            settings["event_hooks"] = {"response": [_raise_async if asynchronous else _raise]}
        return settings


def _raise(response: Any) -> None:
    response.raise_for_status()


async def _raise_async(response: Any) -> None:
    response.raise_for_status()


class SyncHttpx(Httpx, ThreadedDriver):
    def __enter__(self) -> Self:
        super().__enter__()
        self.client = self.package.Client(**self._settings(asynchronous=False))
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        super().__exit__()

    def _call(self, method: str, url: str, **arguments: Any) -> Answer:
        response = self.client.request(method, url, **arguments)
        return Answer(response.status_code, response.content, str(response.url))

    def stream(
        self, url: str, *, answered: Callable[[], object] = nothing, arrived: Callable[[bytes], object] = nothing
    ) -> list[bytes]:
        with self.client.stream("GET", url) as response:
            answered()
            return [piece for piece in response.iter_raw() if not arrived(piece)]

    def websocket(self, url: str, text: str) -> str:
        with self.client.websocket(url) as socket:
            socket.send_text(text)
            return str(socket.receive_text(timeout=PATIENCE))


class AsyncHttpx(Httpx, LoopDriver):
    bodies = ASYNC_HTTPX

    def _prepare(self) -> None:
        self.client = self.package.AsyncClient(**self._settings(asynchronous=True))

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[None]:
        async with self.client:
            yield

    async def _call(self, method: str, url: str, **arguments: Any) -> Answer:
        response = await self.client.request(method, url, **arguments)
        return Answer(response.status_code, response.content, str(response.url))

    def stream(
        self, url: str, *, answered: Callable[[], object] = nothing, arrived: Callable[[bytes], object] = nothing
    ) -> list[bytes]:
        async def read() -> list[bytes]:
            async with self.client.stream("GET", url) as response:
                answered()
                return [piece async for piece in response.aiter_raw() if not arrived(piece)]

        return self.portal.call(read)

    def websocket(self, url: str, text: str) -> str:
        async def echo() -> str:
            async with self.client.websocket(url) as socket:
                await socket.send_text(text)
                return str(await socket.receive_text(timeout=PATIENCE))

        return self.portal.call(echo)


class Requests(ThreadedDriver):
    form = "auth"
    per_hop = False
    any_place = False
    with_netrc = (200, 401)  # requests puts it in the place of the token when it follows a redirect
    own_errors = (requests.RequestException,)
    bodies = REQUESTS

    def __enter__(self) -> Self:
        super().__enter__()
        options = self.options
        self.session = requests.Session()
        self.session.trust_env = options.trust_env
        beneath = requests.adapters.HTTPAdapter(1, options.pool, pool_block=True)
        if self.form == "auth":
            self.session.auth = for_requests.BearerAuth(self.credential, self.origins, **options.arguments)
            self.session.mount("http://", beneath)
        else:
            adapter = for_requests.BearerAdapter(self.credential, self.origins, beneath, **options.arguments)
            self.session.mount("http://", adapter)
        if options.raising_hook:
            self.session.hooks["response"].append(lambda response, **_: response.raise_for_status())
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()
        super().__exit__()

    def _call(self, method: str, url: str, **arguments: Any) -> Answer:
        response = self.session.request(
            method, url, allow_redirects=self.options.redirects, timeout=PATIENCE, **arguments
        )
        return Answer(response.status_code, response.content, response.url)

    def stream(
        self, url: str, *, answered: Callable[[], object] = nothing, arrived: Callable[[bytes], object] = nothing
    ) -> list[bytes]:
        with self.session.get(url, stream=True, timeout=PATIENCE) as response:
            answered()
            return [piece for piece in response.iter_content(None) if not arrived(piece)]


class Aiohttp(LoopDriver):
    own_errors = (aiohttp.ClientError,)
    with_netrc = (401, 401)  # aiohttp asks for it in so many words, and it is there before any middleware
    websockets = True
    bodies = AIOHTTP

    def _prepare(self) -> None:
        self.auth = for_aiohttp.BearerAuth(self.credential, self.origins, **self.options.arguments)

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[None]:
        options = self.options
        async with aiohttp.ClientSession(
            middlewares=(self.auth,),
            connector=aiohttp.TCPConnector(limit=options.pool),
            timeout=aiohttp.ClientTimeout(PATIENCE),
            raise_for_status=options.raising_hook,
            trust_env=options.trust_env,
        ) as self.session:
            yield

    async def _call(self, method: str, url: str, **arguments: Any) -> Answer:
        async with self.session.request(method, url, allow_redirects=self.options.redirects, **arguments) as response:
            return Answer(response.status, await response.read(), str(response.url))

    def stream(
        self, url: str, *, answered: Callable[[], object] = nothing, arrived: Callable[[bytes], object] = nothing
    ) -> list[bytes]:
        async def read() -> list[bytes]:
            async with self.session.get(url) as response:
                answered()
                return [piece async for piece in response.content.iter_any() if not arrived(piece)]

        return self.portal.call(read)

    def websocket(self, url: str, text: str) -> str:
        async def echo() -> str:
            async with self.session.ws_connect(url) as socket:
                await socket.send_str(text)
                return str((await socket.receive()).data)

        return self.portal.call(echo)


def _httpx(package: Any, *, asynchronous: bool, form: str, backend: str = "asyncio") -> type[Driver]:
    whole_call = form == "auth"  # the auth flow runs around redirects and event hooks, not within
    return type(
        f"{package.__name__} {form}",
        (AsyncHttpx if asynchronous else SyncHttpx,),
        {
            "package": package,
            "form": form,
            "backend": backend,
            "bodies": ASYNC_HTTPX if asynchronous else SYNC_HTTPX if package is httpx2 else OLD_HTTPX,
            "per_hop": not whole_call,
            "survives_raising_hooks": not whole_call,
            "survives_no_redirects": not whole_call,
            "any_header": not whole_call,
            "any_place": not whole_call,
            # httpcore 1 loses a connection when a call is cancelled at certain points, also without us.
            "pool_survives_cancellation": package is not httpx,
            "websockets": package is httpx2,
            "own_errors": (package.HTTPError, package.InvalidURL, package.StreamError),
        },
    )


class RequestsAdapter(Requests):
    form = "adapter"
    per_hop = True
    any_place = True
    with_netrc = (200, 200)


FORMS: dict[str, type[Driver]] = {
    "httpx2": _httpx(httpx2, asynchronous=False, form="auth"),
    "httpx2 asyncio": _httpx(httpx2, asynchronous=True, form="auth"),
    "httpx2 trio": _httpx(httpx2, asynchronous=True, form="auth", backend="trio"),
    "httpx2 transport": _httpx(httpx2, asynchronous=False, form="transport"),
    "httpx2 transport asyncio": _httpx(httpx2, asynchronous=True, form="transport"),
    "httpx2 transport trio": _httpx(httpx2, asynchronous=True, form="transport", backend="trio"),
    "httpx": _httpx(httpx, asynchronous=False, form="auth"),
    "httpx asyncio": _httpx(httpx, asynchronous=True, form="auth"),
    "httpx transport": _httpx(httpx, asynchronous=False, form="transport"),
    "httpx transport asyncio": _httpx(httpx, asynchronous=True, form="transport"),
    "requests": Requests,
    "requests adapter": RequestsAdapter,
    "aiohttp": Aiohttp,
}
