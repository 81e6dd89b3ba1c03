"""What is particular to aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from tests.clients.bodies import pieces
from tests.clients.conftest import refresher
from tests.clients.recorder import Recorder

from onerefresh import Credential, LoginRequired
from onerefresh.clients.aiohttp import BearerAuth
from onerefresh.clients.aiohttp_peek import peek
from onerefresh.clients.decoding import decoder_for
from onerefresh.clients.peek import Peek
from onerefresh.testing import AuthServer


@asynccontextmanager
async def opened(*middlewares: aiohttp.ClientMiddlewareType) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(middlewares=middlewares) as session:
        yield session


@pytest.mark.parametrize("attach", [None, {"?k": "{token}", "cookie:s": "{token}", "X-A": "{token}"}])
def test_a_middleware_that_sends_a_request_again_gets_the_present_token(attach: dict[str, str] | None) -> None:
    with AuthServer() if attach is None else AuthServer(attach=attach) as server:
        credential = Credential("acme", refresher(server), token=server.issue())
        assert sent_twice(server, BearerAuth(credential, server.url, attach=attach)) == 2
        assert server.counters.token_requests == 1


def sent_twice(server: AuthServer, auth: BearerAuth) -> int:
    """The generation of the token with which another middleware sends a request once more, after a revocation."""

    async def twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        await (await handler(request)).read()
        server.revoke_access()
        return await handler(request)

    async def run() -> int:
        async with opened(twice, auth) as session:
            async with session.get(server.api_url + "/a", headers={"Cookie": "theirs=1"}) as response:
                assert "k=" not in str(response.request_info.url)
                return int((await response.json())["generation"])

    return asyncio.run(run())


def test_a_lost_answer_of_the_token_endpoint_does_not_make_aiohttp_call_again(server: AuthServer) -> None:
    async def refresh(token: object) -> dict[str, object]:
        raise aiohttp.ServerDisconnectedError

    async def run() -> None:
        credential = Credential("acme", refresh, token=server.issue(), max_wait=10)
        async with opened(BearerAuth(credential, server.url)) as session:
            server.revoke_access()
            with pytest.raises(Exception) as caught:
                await session.get(server.api_url + "/a")
            assert type(caught.value).__module__ == "onerefresh.errors"

    asyncio.run(run())
    assert server.counters.api == {401: 1}


@pytest.mark.parametrize("attach", ["Bearer {token}", {"?k": "{token}", "cookie:s": "{token}", "X-A": "{token}"}])
def test_an_error_of_aiohttp_shows_no_token(attach: str | dict[str, str]) -> None:
    with AuthServer(attach=attach) as server:
        credential = Credential("acme", refresher(server), token=server.issue())
        auth = BearerAuth(credential, server.url, attach=attach)
        assert "test-access-" not in shown_by_an_error(server, auth)


def shown_by_an_error(server: AuthServer, auth: BearerAuth) -> str:
    async def run() -> str:
        async with opened(auth) as session:
            response = await session.get(server.api_url + "/status/503")
            with pytest.raises(aiohttp.ClientResponseError) as caught:
                response.raise_for_status()
            return f"{caught.value!r} {caught.value} {caught.value.request_info!r} {response!r}"

    return asyncio.run(run())


def test_an_error_of_a_middleware_beneath_shows_no_token(server: AuthServer, credential: Credential) -> None:
    async def strict(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        answer = await handler(request)
        answer.raise_for_status()
        return answer

    async def run() -> aiohttp.ClientResponseError:
        attach = {"?k": "{token}", "cookie:s": "{token}", "X-A": "{token}"}
        async with opened(BearerAuth(credential, server.url, attach=attach), strict) as session:
            with pytest.raises(aiohttp.ClientResponseError) as caught:
                await session.get(server.api_url + "/a")
            return caught.value

    error = asyncio.run(run())
    assert error.status == 401
    assert str(error.request_info.url) == server.api_url + "/a"
    assert "test-access-" not in f"{error!r} {error} {error.args}"


def test_an_answer_shows_no_token_in_any_form_of_its_headers(credential: Credential, recorder: Recorder) -> None:
    recorder.moved_to = f"/there?k={credential.bearer()}"

    async def run() -> str:
        async with opened(BearerAuth(credential, recorder.url, attach={"?k": "{token}"})) as session:
            async with session.get(recorder.url + "/moved", allow_redirects=False) as answer:
                return f"{answer.raw_headers} {answer.headers} {answer!r} {answer.url} {answer.real_url}"

    shown = asyncio.run(run())
    assert "test-access-" not in shown
    assert shown.count("/there") == 3


def test_a_refusal_that_is_returned_can_be_read_in_any_way(server: AuthServer, credential: Credential) -> None:
    async def run() -> list[bytes]:
        async with opened(BearerAuth(credential, server.url)) as session:
            url = server.api_url + "/refused"
            answers = [await session.get(url) for _ in range(4)]
            whole, text = await answers[0].read(), (await answers[1].text()).encode()
            chunks = b"".join([chunk async for chunk in answers[2].content.iter_chunked(3)])
            line = await answers[3].content.readline()
            return [whole, text, chunks, line]

    assert asyncio.run(run()) == [b'{"error": "invalid_token"}'] * 4


def test_a_refusal_that_comes_while_the_body_is_being_sent_ends_the_sending(credential: Credential) -> None:
    """A server that answers first and reads later, if ever."""
    stopped = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65_536
                await asyncio.sleep(0)
        finally:
            stopped.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read(65_536)
        writer.close()

    async def run() -> int:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            async with opened(BearerAuth(credential, url)) as session:
                response = await session.post(url, data=endless())
                await asyncio.wait_for(stopped.wait(), 30)
                return response.status

    assert asyncio.run(run()) == 401


def test_a_timeout_of_the_session_bounds_the_wait_and_the_refresh_goes_on(
    server: AuthServer, credential: Credential
) -> None:
    async def run() -> int:
        async with opened(BearerAuth(credential, server.url)) as session:
            server.revoke_access()
            server.hold("token")
            with pytest.raises(TimeoutError):
                await session.get(server.api_url + "/a", timeout=aiohttp.ClientTimeout(total=0.3))
            server.release("token")
            async with session.get(server.api_url + "/b") as response:
                return int((await response.json())["generation"])

    assert asyncio.run(run()) == 2
    assert server.counters.token_requests == 1


def test_a_redirect_of_a_used_up_body_is_refused_by_aiohttp_itself(server: AuthServer, credential: Credential) -> None:
    async def run() -> None:
        async with opened(BearerAuth(credential, server.url)) as session:
            with pytest.raises(aiohttp.ClientPayloadError):
                await session.post(f"{server.api_url}/redirect?to=/api/there", data=pieces())

    asyncio.run(run())


def test_an_expired_session_comes_out_of_every_method(server: AuthServer, credential: Credential) -> None:
    async def run() -> None:
        server.revoke_family()
        async with opened(BearerAuth(credential, server.url)) as session:
            for begin in (session.get, session.ws_connect):
                with pytest.raises(LoginRequired):
                    await begin(server.api_url + "/websocket")

    asyncio.run(run())
    assert server.counters.token_requests == 1


def test_a_buffer_that_is_not_as_it_was_is_an_error() -> None:
    """Otherwise no rule would see an answer any more, and nobody would know."""

    async def look() -> None:
        loop = asyncio.get_running_loop()
        content = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
        content.feed_data(b"{")
        content._buffer = None  # type: ignore[assignment]  # a later version may keep it elsewhere
        decoder = decoder_for("")
        assert decoder is not None
        await peek(content, Peek(decoder, is_json=True))

    with pytest.raises(TypeError):
        asyncio.run(look())
