"""`onerefresh.clients.websockets` with the real websockets, against servers of others and of its own."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import pytest
from tests.sdks.adapters import astorm, credential_for, end_session, storm, warned
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.server import ServerConnection, serve

from onerefresh import ConfigurationError, Credential, LoginRequired, RefreshUnavailable, StoreUnavailable
from onerefresh.clients.websockets import connect, reconnect
from onerefresh.testing import AuthServer


@pytest.fixture
def acme(server: AuthServer) -> Credential:
    return credential_for(server)


def feed(server: AuthServer) -> str:
    return server.api_url.replace("http", "ws", 1) + "/websocket"


def test_a_storm_of_threads_causes_one_token_request(server: AuthServer, acme: Credential) -> None:
    def call(number: int) -> object:
        with reconnect(feed(server), acme) as websocket:
            websocket.send(str(number))
            return websocket.recv()

    assert storm(server, call) == [str(number) for number in range(20)]
    assert server.counters.token_requests == 1


def test_a_storm_of_tasks_causes_one_token_request(server: AuthServer, acme: Credential) -> None:
    async def call(number: int) -> object:
        async with connect(feed(server), acme) as websocket:
            await websocket.send(str(number))
            return await websocket.recv()

    assert asyncio.run(astorm(server, call)) == [str(number) for number in range(20)]
    assert server.counters.token_requests == 1


def test_a_loop_connects_again_with_the_present_token(server: AuthServer, acme: Credential) -> None:
    generations: list[int] = []

    async def main() -> None:
        async for websocket in connect(feed(server), acme):
            await websocket.send("x")
            assert await websocket.recv() == "x"
            generations.append(acme.token().generation)
            if len(generations) == 2:
                return
            server.revoke_access()
            await websocket.close()

    asyncio.run(main())
    assert generations == [1, 2]
    assert (server.counters.token_requests, server.counters.api) == (1, {101: 2, 401: 1})


def test_a_loop_of_a_thread_connects_again_with_the_present_token(server: AuthServer, acme: Credential) -> None:
    generations: list[int] = []
    for websocket in reconnect(feed(server), acme):
        websocket.send("x")
        assert websocket.recv() == "x"
        generations.append(acme.token().generation)
        if len(generations) == 2:
            break
        server.revoke_access()
    assert generations == [1, 2]
    assert server.counters.token_requests == 1


def test_a_loop_goes_on_while_time_is_enough(server: AuthServer) -> None:
    acme = credential_for(server, max_wait=0.1)
    server.revoke_access()
    server.hold("token")

    def without_delay() -> Generator[float, None, None]:
        server.release("token")
        while True:
            yield 0.0

    async def main() -> None:
        async for websocket in connect(feed(server), acme, reconnect_delays=without_delay):
            await websocket.send("x")
            assert await websocket.recv() == "x"
            return

    asyncio.run(main())
    assert server.counters.token_requests == 1
    for error in (RefreshUnavailable("down"), StoreUnavailable("down"), OSError("down")):
        assert connect(feed(server), acme).process_exception(error) is None
    assert connect(feed(server), acme).process_exception(over := LoginRequired("over")) is over


def test_a_session_that_is_over_ends_the_loop_with_login_required(server: AuthServer, acme: Credential) -> None:
    end_session(server)

    async def main() -> None:
        async for _ in connect(feed(server), acme):
            raise AssertionError("there is no token")

    with pytest.raises(LoginRequired):
        asyncio.run(main())
    with pytest.raises(LoginRequired):
        reconnect(feed(server), acme).connect()
    assert server.counters.token_requests == 1


def test_a_server_that_refuses_each_token_gets_two_handshakes(server: AuthServer, acme: Credential) -> None:
    refusing = feed(server).replace("websocket", "refused")
    for _ in range(4):
        with pytest.raises(InvalidStatus) as raised:
            reconnect(refusing, acme).connect()
        assert raised.value.response.status_code == 401
    assert (server.counters.token_requests, server.counters.api) == (1, {401: 5})


@contextmanager
def served(handler: Any, **options: Any) -> Iterator[str]:
    with serve(handler, "127.0.0.1", 0, **options) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{running.socket.getsockname()[1]}/feed"
        finally:
            running.shutdown()
            thread.join()


def test_a_server_that_answers_403_refuses_by_that(acme: Credential) -> None:
    seen: list[str] = []

    def check(connection: ServerConnection, request: Any) -> Any:
        seen.append(request.headers["Authorization"])
        return connection.respond(HTTPStatus.FORBIDDEN, "no") if len(seen) == 1 else None

    def echo(connection: ServerConnection) -> None:
        connection.send(connection.recv())

    with served(echo, process_request=check) as uri, reconnect(uri, acme, refused_statuses={401, 403}) as websocket:
        websocket.send("x")
        assert websocket.recv() == "x"
    assert len(set(seen)) == 2


def test_a_server_that_closes_for_a_refused_token_is_told_by_hand(server: AuthServer, acme: Credential) -> None:
    """As the guide shows it."""

    def closing(connection: ServerConnection) -> None:
        assert connection.request is not None
        if connection.request.headers["Authorization"] == first:
            connection.close(4401, "token expired")
        else:
            connection.send("welcome")

    first = f"Bearer {acme.token().reveal()}"
    received: list[object] = []
    codes: list[int] = []
    with served(closing) as uri:
        for websocket in reconnect(uri, acme):
            try:
                received.append(websocket.recv())
                break
            except ConnectionClosed as closed:
                codes.append(closed.rcvd.code if closed.rcvd else 0)
                assert websocket.request is not None
                acme.token(refused=websocket.request.headers["Authorization"].removeprefix("Bearer "))
    assert (codes, received) == ([4401], ["welcome"])
    assert server.counters.token_requests == 1


def redirecting(to: str) -> Any:
    def check(connection: ServerConnection, request: Any) -> Any:
        response = connection.respond(HTTPStatus.FOUND, "")
        response.headers["Location"] = to
        return response

    return check


def test_the_token_does_not_follow_a_redirect_to_another_origin(server: AuthServer, acme: Credential) -> None:
    seen: list[bool] = []

    def check(connection: ServerConnection, request: Any) -> Any:
        seen.append("Authorization" in request.headers)
        return connection.respond(HTTPStatus.UNAUTHORIZED, "no")

    with served(lambda _: None, process_request=check) as elsewhere:
        with served(lambda _: None, process_request=redirecting(elsewhere)) as uri:
            connecting = reconnect(uri, acme)
            for _ in range(2):  # websockets stays where it was led
                with pytest.raises(InvalidStatus):
                    connecting.connect()

            async def main() -> None:
                connecting = connect(uri, acme)
                for _ in range(2):
                    with pytest.raises(InvalidStatus):
                        await connecting

            asyncio.run(main())
    assert seen == [False] * 4
    assert server.counters.token_requests == 0


def test_a_way_back_from_another_origin_carries_no_token_that_could_be_refused(
    server: AuthServer, acme: Credential
) -> None:
    seen: list[tuple[str, bool]] = []
    ways = {"/feed": "", "/back": ""}

    def check(connection: ServerConnection, request: Any) -> Any:
        seen.append((request.path, "Authorization" in request.headers))
        return redirecting(ways[request.path])(connection, request) if request.path in ways else refuse(connection)

    def refuse(connection: ServerConnection) -> Any:
        return connection.respond(HTTPStatus.UNAUTHORIZED, "no")

    with served(lambda _: None, process_request=check) as uri, served(lambda _: None, process_request=check) as away:
        ways |= {"/feed": away.replace("/feed", "/back"), "/back": uri.replace("/feed", "/end")}
        with pytest.raises(InvalidStatus):
            reconnect(uri, acme).connect()

        async def main() -> None:
            with pytest.raises(InvalidStatus):
                await connect(uri, acme)

        asyncio.run(main())
    assert seen == [("/feed", True), ("/back", False), ("/end", False)] * 2
    assert server.counters.token_requests == 0


def test_a_header_of_the_users_own_goes_in_place_of_the_token(server: AuthServer, acme: Credential) -> None:
    with warned() as told:
        for _ in range(2):
            connecting = reconnect(feed(server), acme, additional_headers={"authorization": "Basic x"})
            for _ in range(2):
                with pytest.raises(InvalidStatus):
                    connecting.connect()
        found = told()
    assert len(found) == 2  # one for each object
    assert "leave it out of additional_headers=" in found[0]
    assert server.counters.token_requests == 0


def test_other_headers_are_kept(acme: Credential) -> None:
    seen: list[Any] = []

    def check(connection: ServerConnection, request: Any) -> None:
        seen.append((request.headers["X-A"], request.headers.get_all("Authorization")))

    with served(lambda _: None, process_request=check) as uri:
        connecting = reconnect(uri, acme, additional_headers={"X-A": "1"})
        for _ in range(2):
            with connecting:
                pass
    assert seen == [("1", [f"Bearer {acme.token().reveal()}"])] * 2


def test_a_cancelled_connection_leaves_the_refresh_to_the_others(server: AuthServer, acme: Credential) -> None:
    async def connected() -> None:
        async with connect(feed(server), acme):
            pass

    async def main() -> None:
        server.revoke_access()
        server.hold("token")
        first, second = asyncio.ensure_future(connected()), asyncio.ensure_future(connected())
        await asyncio.to_thread(server.wait_for, "token")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        server.release("token")
        await second

    asyncio.run(main())
    assert server.counters.token_requests == 1


def test_wrong_arguments_say_so(acme: Credential) -> None:
    make: Any
    for make in (connect, reconnect):
        with pytest.raises(ConfigurationError, match=r"must be an onerefresh\.Credential, not str"):
            make("ws://127.0.0.1/feed", "acme")
        with pytest.raises(ConfigurationError, match="user name and password of the URI") as raised:
            make("ws://user:pass@127.0.0.1/feed", acme)
        assert "pass@" not in str(raised.value)
        with pytest.raises(ConfigurationError, match="uri must be a string"):
            make(acme, "ws://127.0.0.1/feed")
        with pytest.raises(ConfigurationError, match=r"logger must be a logging\.Logger or a LoggerAdapter, not str"):
            make("ws://127.0.0.1/feed", acme, logger="mine")
        with pytest.raises(TypeError, match="credential"):
            make("ws://127.0.0.1/feed")
    assert str(reconnect("wss://[::1]/feed", acme)._handshakes.calls.bearer.origins) == "Origins(https://[::1])"


def test_copies_and_pickles(acme: Credential) -> None:
    for thing in (connect("ws://127.0.0.1/", acme), reconnect("ws://127.0.0.1/", acme)):
        assert copy.deepcopy([thing])[0] is thing
        with pytest.raises(TypeError, match="cannot be pickled: make it in the other process"):
            pickle.dumps(thing)


def test_nothing_logs_or_shows_the_token(
    server: AuthServer, acme: Credential, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    mine = logging.LoggerAdapter(logging.LoggerAdapter(logging.getLogger("mine"), {}), {})
    with reconnect(feed(server), acme), reconnect(feed(server), acme, logger=mine) as websocket:
        pass
    assert caplog.text.count("> Authorization: …") == 2
    assert "test-access-" not in f"{caplog.text} {websocket!r} {websocket.request!r} {vars(websocket)!r}"
