"""A gRPC server that asks a real API whether a token is valid, and how its methods are called."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio
from tests.sdks.adapters import STORM

from onerefresh import Credential
from onerefresh.clients.grpc import aio_interceptors
from onerefresh.testing import AuthServer

SERVICE = "/test.Items/"


class Items(grpc.GenericRpcHandler):
    """``Get``, ``List``, ``Put`` and ``Chat`` for the four kinds of calls; `seen` are their tokens."""

    def __init__(self, server: AuthServer, path: str = "items") -> None:
        self._checked_at = f"{server.api_url}/{path}"
        self.seen: list[str] = []
        self.refusal = grpc.StatusCode.UNAUTHENTICATED
        self.challenges: list[tuple[str, str]] = []
        self.open = threading.Event()

    def _check(self, context: Any) -> None:
        found = [value for name, value in context.invocation_metadata() if name == "authorization"]
        self.seen += found
        request = urllib.request.Request(self._checked_at, headers={"Authorization": found[-1]})
        try:
            urllib.request.urlopen(request, timeout=20).close()
        except urllib.error.HTTPError as error:
            error.close()
            context.set_trailing_metadata(self.challenges)
            context.abort(self.refusal, "the token is not valid")

    def service(self, details: Any) -> Any:
        def get(request: bytes, context: Any) -> bytes:
            self._check(context)
            return request

        def listed(request: bytes, context: Any) -> Iterator[bytes]:
            self._check(context)
            if request == b"none":
                return
            yield request
            if request == b"wait":
                self.open.wait(20)
            if request == b"end":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token has ended meanwhile")
            yield request

        def put(requests: Iterator[bytes], context: Any) -> bytes:
            self._check(context)
            return b"".join(requests)

        def chat(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            self._check(context)
            yield from requests

        return {
            "Get": grpc.unary_unary_rpc_method_handler(get),
            "List": grpc.unary_stream_rpc_method_handler(listed),
            "Put": grpc.stream_unary_rpc_method_handler(put),
            "Chat": grpc.stream_stream_rpc_method_handler(chat),
        }[details.method.removeprefix(SERVICE)]


@contextmanager
def served(items: Items) -> Iterator[str]:
    """The server's address."""
    with ThreadPoolExecutor(2 * STORM) as pool:
        running = grpc.server(pool, handlers=[items])
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            items.open.set()
            running.stop(0).wait()


def get(channel: Any) -> Any:
    return channel.unary_unary(f"{SERVICE}Get")


def listed(channel: Any) -> Any:
    return channel.unary_stream(f"{SERVICE}List")


@asynccontextmanager
async def aio_channel(target: str, acme: Credential) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(target, interceptors=aio_interceptors(acme)) as channel:
        yield channel
