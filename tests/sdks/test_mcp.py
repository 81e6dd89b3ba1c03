"""mcp, the real package on both sides: a server of the SDK's behind a check of the token."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
import uvicorn
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from tests.sdks import page
from tests.sdks.storm import CALLS, Storm, status_of

from onerefresh import Credential, LoginRequired
from onerefresh.clients.httpx import BearerAuth
from onerefresh.testing import AuthServer

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def checked(app: App, server: AuthServer, threads: ThreadPoolExecutor) -> App:
    """`app` behind the strict server's judgement of each call's token."""

    async def guarded(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        value = dict(scope["headers"]).get(b"authorization")
        loop = asyncio.get_running_loop()
        status, pairs, _ = await loop.run_in_executor(
            threads, status_of, server, None if value is None else value.decode()
        )
        if status == 200:
            await app(scope, receive, send)
            return
        headers = [(name.lower().encode(), text.encode()) for name, text in pairs if name.lower() == "www-authenticate"]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return guarded


@pytest.fixture
def api(server: AuthServer) -> Iterator[str]:
    """The URL of the MCP server's origin."""
    tools = MCPServer("acme")

    @tools.tool()
    def add(a: int, b: int) -> int:
        return a + b

    with socket.socket() as listener, ThreadPoolExecutor(2 * CALLS) as threads:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2 * CALLS)  # a client may connect before the server's thread has begun
        app: Any = checked(tools.streamable_http_app(), server, threads)
        program = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
        serving = threading.Thread(target=program.run, args=([listener],))
        serving.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            program.should_exit = True
            serving.join()


@pytest.mark.seconds
def test_async(acme: Credential, api: str, server: AuthServer, storm: Storm) -> None:
    page.run("mcp", acme, api)

    async def main() -> None:
        async with (
            httpx2.AsyncClient(auth=BearerAuth(acme, api)) as http,
            Client(streamable_http_client(api + "/mcp", http_client=http)) as client,
        ):

            async def ask() -> object:
                return (await client.call_tool("add", {"a": 1, "b": 2})).structured_content

            assert await storm.tasks(ask) == [{"result": 3}] * CALLS
            server.revoke_family()
            await ask()

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert caught.group_contains(LoginRequired)
    assert server.counters.token_requests == 2


def test_a_session_that_has_ended_before(acme: Credential, api: str, server: AuthServer) -> None:
    server.revoke_family()
    with pytest.raises(ExceptionGroup) as caught:
        page.run("mcp", acme, api)
    assert caught.group_contains(LoginRequired)
    assert server.counters.token_requests == 1


def test_with_a_header_of_the_clients_own_the_library_says_so(
    acme: Credential, api: str, not_attached: Callable[[], list[str]]
) -> None:
    async def main() -> None:
        async with (
            httpx2.AsyncClient(auth=BearerAuth(acme, api), headers={"Authorization": "Bearer unused"}) as http,
            Client(streamable_http_client(api + "/mcp", http_client=http)),
        ):
            raise AssertionError("the client is connected")

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert caught.group_contains(MCPError, match="error response")
    (told,) = not_attached()
    assert "replace=True" in told
