"""A storm of calls through an SDK, against an API that checks tokens strictly and answers in the SDK's shape."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import pytest

from onerefresh.testing import AuthServer

CALLS = 20

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it came to the API."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Shape = Callable[[Sent], object]
"""The document with which the API answers a call that it accepts; or a status, with which it answers without one."""


def status_of(server: AuthServer, authorization: str | None) -> tuple[int, list[tuple[str, str]], bytes]:
    """What the strict server says about a call with this header: status, headers, body."""
    split = urlsplit(server.url)
    connection = http.client.HTTPConnection(split.netloc, timeout=60)
    try:
        headers = {} if authorization is None else {"Authorization": authorization}
        connection.request("GET", "/api/call", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


class ShapedApi:
    """An API on loopback: `server` checks each call's token, `shape` makes the answers to those that it accepts.

    `refusal`: status and document of a refusal (default: as `server` refuses). `headers`: further ones of each answer.
    With `tls`, it speaks https.
    """

    def __init__(
        self,
        server: AuthServer,
        shape: Shape,
        *,
        refusal: tuple[int, object] | None = None,
        headers: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.seen: list[Sent] = []
        api, further = self, headers or {}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                sent = Sent(self.command, self.path, headers, body)
                api.seen.append(sent)
                status, pairs, document = status_of(server, headers.get("authorization"))
                if b'"generation"' in document:  # the strict server's own answer to a call that it accepts
                    shaped = shape(sent)
                    status = shaped if isinstance(shaped, int) else status
                    document = b"" if isinstance(shaped, int) else json.dumps(shaped).encode()
                elif refusal is not None:
                    status, document = refusal[0], json.dumps(refusal[1]).encode()
                self.send_response(status)
                challenges = [(name, value) for name, value in pairs if name.lower() == "www-authenticate"]
                for name, value in (*challenges, *further.items()):
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(document)))
                self.end_headers()
                self.wfile.write(document)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                pass  # the client left early

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'' if tls is None else 's'}://127.0.0.1:{self._server.server_port}"

    @property
    def authorizations(self) -> list[str | None]:
        """The header of each call, in their order."""
        return [sent.headers.get("authorization") for sent in self.seen]

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Storm:
    """Twenty calls at once with a token that is revoked: all are refused before the first of them is answered.

    `at_once`: how many of them the SDK lets through at the same time.
    """

    def __init__(self, server: AuthServer) -> None:
        self._server = server

    def threads(self, call: Callable[[], Result], *, at_once: int = CALLS) -> list[Result]:
        """The results of `call` in twenty threads."""
        self._begin()
        with ThreadPoolExecutor(CALLS) as pool:
            calls = [pool.submit(call) for _ in range(CALLS)]
            self._let_go(at_once)
            return self._over([one.result(60) for one in calls])

    async def tasks(self, call: Callable[[], Awaitable[Result]], *, at_once: int = CALLS) -> list[Result]:
        """The results of `call` in twenty tasks."""
        self._begin()
        calls = [asyncio.ensure_future(call()) for _ in range(CALLS)]
        await asyncio.to_thread(self._let_go, at_once)
        return self._over(await asyncio.gather(*calls))

    def _begin(self) -> None:
        self._before = self._server.counters.token_requests
        self._server.revoke_access()
        self._server.hold("refusal")

    def _let_go(self, at_once: int) -> None:
        try:
            self._server.wait_for("refusal", at_once, timeout=30)
        finally:
            self._server.release("refusal")

    def _over(self, results: list[Result]) -> list[Result]:
        assert self._server.counters.token_requests - self._before == 1
        return results


class Ended:
    """A session that has ended: each call raises, and only the first of them asks the API and the token endpoint."""

    def __init__(self, server: AuthServer) -> None:
        server.revoke_family()
        self._server = server
        self._before = self._asked()

    def call(self, call: Callable[[], object]) -> Exception:
        """What the second call raises, which is of the first one's kind."""
        errors: list[Exception] = []
        for _ in range(2):
            with pytest.raises(Exception) as caught:
                call()
            errors.append(caught.value)
        return self._same(errors)

    async def task(self, call: Callable[[], Awaitable[object]]) -> Exception:
        """The same, for a coroutine function."""
        errors: list[Exception] = []
        for _ in range(2):
            with pytest.raises(Exception) as caught:
                await call()
            errors.append(caught.value)
        return self._same(errors)

    def _same(self, errors: list[Exception]) -> Exception:
        assert type(errors[0]) is type(errors[1])
        api, tokens = self._asked()
        assert (api - self._before[0], tokens - self._before[1]) == (1, 1)
        return errors[1]

    def _asked(self) -> tuple[int, int]:
        counters = self._server.counters
        return sum(counters.api.values()), counters.token_requests
