"""`onerefresh.clients.grpc` with the real grpcio, in threads."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.sdks.adapters import STORM, credential_for, end_session, storm, warned
from tests.sdks.grpc_items import SERVICE, Items, aio_channel, get, listed, served

from onerefresh import ConfigurationError, Credential, InteractionRequired, LoginRequired, Token, WaitTimeout
from onerefresh.clients.grpc import BearerInterceptor, aio_interceptors
from onerefresh.latches import Latch
from onerefresh.testing import AuthServer


@pytest.fixture
def acme(server: AuthServer) -> Credential:
    return credential_for(server)


@pytest.fixture
def items(server: AuthServer) -> Items:
    return Items(server)


@pytest.fixture
def target(items: Items) -> Iterator[str]:
    with served(items) as target:
        yield target


@pytest.fixture
def channel(target: str, acme: Credential) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(target) as plain:
        yield grpc.intercept_channel(plain, BearerInterceptor(acme))


CALLS: dict[str, Callable[[Any, bytes], bytes]] = {
    "unary": lambda channel, body: get(channel)(body),
    "with_call": lambda channel, body: get(channel).with_call(body)[0],
    "future": lambda channel, body: get(channel).future(body).result(),
    "stream": lambda channel, body: b"".join(listed(channel)(body)),
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_storm_causes_one_token_request(server: AuthServer, channel: grpc.Channel, kind: str) -> None:
    answers = storm(server, lambda number: CALLS[kind](channel, b"%d" % number))
    times = 2 if kind == "stream" else 1
    assert answers == [b"%d" % number * times for number in range(STORM)]
    assert server.counters.token_requests == 1


def test_futures_of_one_thread_are_under_way_together(server: AuthServer, channel: grpc.Channel) -> None:
    server.revoke_access()
    server.hold("refusal")
    begun = [get(channel).future(b"%d" % number) for number in range(STORM)]
    server.wait_for("refusal", STORM)
    server.release("refusal")
    assert [one.result(20) for one in begun] == [b"%d" % number for number in range(STORM)]
    assert server.counters.token_requests == 1


@pytest.mark.parametrize("kind", ["Put", "Chat"])
def test_a_stream_of_requests_is_not_sent_again(
    server: AuthServer, channel: grpc.Channel, items: Items, kind: str
) -> None:
    server.revoke_access()

    def call() -> bytes:
        requests: Any = iter([b"a", b"b"])
        if kind == "Put":
            found: bytes = channel.stream_unary(f"{SERVICE}Put")(requests)
            return found
        return b"".join(channel.stream_stream(f"{SERVICE}Chat")(requests))

    with pytest.raises(grpc.RpcError) as raised:
        call()
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert len(items.seen) == 1
    assert call() == b"ab"
    assert server.counters.token_requests == 1


def test_a_stream_is_not_asked_for_again_after_a_response(
    server: AuthServer, channel: grpc.Channel, items: Items
) -> None:
    received = []
    with pytest.raises(grpc.RpcError) as raised:
        for response in listed(channel)(b"end"):
            received.append(response)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert (received, len(items.seen), server.counters.token_requests) == ([b"end"], 1, 0)


def test_a_stream_goes_on_while_its_first_response_is_judged(
    server: AuthServer, channel: grpc.Channel, items: Items
) -> None:
    """Its end may be far off, and so may the metadata that comes with it."""
    server.revoke_access()
    streamed = listed(channel)(b"wait")
    assert next(streamed) == b"wait"
    items.open.set()
    assert list(streamed) == [b"wait"]
    assert streamed.code() is grpc.StatusCode.OK


def test_an_empty_stream_is_asked_for_again_when_it_is_refused(
    server: AuthServer, acme: Credential, channel: grpc.Channel, target: str
) -> None:
    server.revoke_access()
    assert list(listed(channel)(b"none")) == []

    async def main() -> list[bytes]:
        async with aio_channel(target, acme) as other:
            return [piece async for piece in listed(other)(b"none")]

    assert asyncio.run(main()) == []
    assert server.counters.token_requests == 1
    assert acme.unproven is None


SYNC_CALLS = ["unary", "future", "stream"]


@pytest.mark.parametrize("kind", SYNC_CALLS)
def test_a_session_that_is_over_raises_login_required_as_itself(
    server: AuthServer, channel: grpc.Channel, kind: str
) -> None:
    end_session(server)
    for _ in range(2):
        with pytest.raises(LoginRequired):
            CALLS[kind](channel, b"")
    assert server.counters.token_requests == 1


def test_a_call_that_did_not_begin_can_be_looked_at(server: AuthServer, channel: grpc.Channel) -> None:
    """As a debugger, or a traceback with the locals of its frames, does it."""
    end_session(server)
    for _ in range(2):
        with pytest.raises(LoginRequired) as raised:
            get(channel)(b"")
    frames = [entry.frame.f_locals for entry in raised.traceback]
    (unfinished,) = [names["self"] for names in frames if type(names.get("self")).__name__ == "_Call"]
    assert not hasattr(unfinished, "outcome")
    assert "_Call" in repr(unfinished)


def test_a_future_says_the_same_each_time(server: AuthServer, channel: grpc.Channel) -> None:
    end_session(server)
    future = get(channel).future(b"")
    for _ in range(2):
        with pytest.raises(LoginRequired):
            future.result(20)
    assert isinstance(future.exception(20), LoginRequired)


class Looking(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """As many interceptors for logs and metrics: it looks at the answer, and lets its error pass."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = continuation(client_call_details, request)
        call.result()
        return call

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = continuation(client_call_details, request)
        return iter(list(call))


@pytest.mark.parametrize("place", ["within", "around"])
@pytest.mark.parametrize("kind", CALLS)
def test_an_interceptor_that_looks_at_the_answer_hides_no_refusal(
    server: AuthServer, acme: Credential, target: str, kind: str, place: str
) -> None:
    chain = [BearerInterceptor(acme), Looking()] if place == "within" else [Looking(), BearerInterceptor(acme)]
    with grpc.insecure_channel(target) as plain:
        channel = grpc.intercept_channel(plain, *chain)
        assert CALLS[kind](channel, b"x") in (b"x", b"xx")
        server.revoke_access()
        assert CALLS[kind](channel, b"x") in (b"x", b"xx")
    assert server.counters.token_requests == 1


def test_the_error_of_a_future_is_returned(server: AuthServer, channel: grpc.Channel) -> None:
    end_session(server)
    future = get(channel).future(b"")
    for _ in range(2):
        assert isinstance(future.exception(20), LoginRequired)


def test_a_future_waits_no_longer_than_its_reader(server: AuthServer, channel: grpc.Channel) -> None:
    server.revoke_access()
    server.hold("token")
    future = get(channel).future(b"x")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(get(channel), b"other")
        server.wait_for("token")  # the refresh is under way
        for read in (future.result, future.exception):
            for _ in range(2):
                with pytest.raises(grpc.FutureTimeoutError):
                    read(timeout=0.05)
        server.release("token")
        assert (other.result(20), future.result(20)) == (b"other", b"x")
    assert server.counters.token_requests == 1


def test_who_begins_a_future_does_not_wait_for_its_token(server: AuthServer, acme: Credential) -> None:
    """It may be refused before gRPC's ``future()`` has returned."""

    class Over(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            call = continuation(client_call_details, request)
            call.exception()
            return call

    server.revoke_access()
    server.hold("token")
    with served(Items(server)) as target, grpc.insecure_channel(target) as plain:
        future = get(grpc.intercept_channel(plain, BearerInterceptor(acme), Over())).future(b"x")
        assert server.counters.token_requests == 0
        server.release("token")
        assert future.result(20) == b"x"
    assert server.counters.token_requests == 1


def test_threads_that_read_one_future_get_one_answer(
    server: AuthServer, channel: grpc.Channel, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.revoke_access()
    server.hold("token")
    future = get(channel).future(b"x")
    waiting: SimpleQueue[None] = SimpleQueue()
    wait = Latch.wait

    def noted(self: Latch, *seconds: float) -> bool:
        waiting.put(None)
        return wait(self, *seconds)

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(future.result, 20)
        server.wait_for("token")
        monkeypatch.setattr(Latch, "wait", noted)
        others = [pool.submit(future.result, 20) for _ in range(4)]
        for _ in others:
            waiting.get(timeout=20)
        server.release("token")
        assert [one.result(20) for one in (first, *others)] == [b"x"] * 5
    assert len(items.seen) == 2
    assert server.counters.token_requests == 1


def test_a_function_is_called_when_the_replay_is_over(
    server: AuthServer, acme: Credential, channel: grpc.Channel, items: Items
) -> None:
    """As programs do that read a result nowhere else: without a replay, each of their calls would be refused."""
    called: SimpleQueue[Any] = SimpleQueue()
    for body in (b"1", b"2"):
        server.revoke_access()
        acme.login(server.issue())
        server.revoke_access()
        get(channel).future(body).add_done_callback(called.put)
        future = called.get(timeout=20)
        assert (future.result(), future.code()) == (body, grpc.StatusCode.OK)
    get(channel).future(b"3").add_done_callback(called.put)
    assert called.get(timeout=20).result() == b"3"
    assert server.counters.token_requests == 2
    assert len(items.seen) == 5


def test_a_function_is_called_when_there_is_no_replay(server: AuthServer, channel: grpc.Channel, items: Items) -> None:
    called: SimpleQueue[Any] = SimpleQueue()
    server.revoke_access()
    put: Any = channel.stream_unary(f"{SERVICE}Put").future
    put(iter([b"a"])).add_done_callback(called.put)
    assert called.get(timeout=20).exception().code() is grpc.StatusCode.UNAUTHENTICATED
    put(iter([b"a"])).add_done_callback(called.put)
    assert called.get(timeout=20).result() == b"a"
    end_session(server)
    put(iter([b"a"])).add_done_callback(called.put)
    assert isinstance(called.get(timeout=20).exception(), LoginRequired)


def test_an_api_that_refuses_each_token_gets_one_replay(server: AuthServer, acme: Credential) -> None:
    refusing = Items(server, "refused/it")
    with served(refusing) as target, grpc.insecure_channel(target) as plain:
        channel = grpc.intercept_channel(plain, BearerInterceptor(acme))
        for call in (get(channel), get(channel), get(channel), lambda body: list(listed(channel)(body))):
            with pytest.raises(grpc.RpcError) as raised:
                call(b"")
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert (server.counters.token_requests, len(refusing.seen)) == (1, 5)


def test_other_errors_are_the_callers(server: AuthServer, channel: grpc.Channel, items: Items) -> None:
    items.refusal = grpc.StatusCode.PERMISSION_DENIED
    server.revoke_access()
    with pytest.raises(grpc.RpcError) as raised:
        get(channel)(b"")
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert server.counters.token_requests == 0


def test_a_server_that_is_not_there_proves_nothing(acme: Credential) -> None:
    acme.token(refused=acme.token())
    unproven = acme.unproven
    with grpc.insecure_channel("127.0.0.1:1") as plain, pytest.raises(grpc.RpcError) as raised:
        get(grpc.intercept_channel(plain, BearerInterceptor(acme)))(b"", timeout=20)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert acme.unproven is unproven


def test_challenges_in_trailing_metadata_count(server: AuthServer, channel: grpc.Channel, items: Items) -> None:
    items.challenges = [("www-authenticate", 'Bearer error="insufficient_user_authentication", acr_values="strong"')]
    server.revoke_access()
    with pytest.raises(InteractionRequired, match="requires more from the user"):
        get(channel)(b"")
    assert server.counters.token_requests == 0


def test_the_wait_counts_toward_the_timeout(server: AuthServer, target: str) -> None:
    acme = credential_for(server, expired=True)
    server.hold("token")
    with grpc.insecure_channel(target) as plain:
        channel = grpc.intercept_channel(plain, BearerInterceptor(acme))
        with pytest.raises(WaitTimeout):
            get(channel)(b"", timeout=0.1)
        with pytest.raises(WaitTimeout):
            next(listed(channel)(b"", timeout=0.1))
        server.release("token")
        assert get(channel)(b"late", timeout=20) == b"late"
    assert server.counters.token_requests == 1


def test_the_wait_after_a_refusal_is_no_longer_than_what_is_left(
    server: AuthServer, acme: Credential, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []
    token = Credential.token

    def noted(self: Credential, **arguments: Any) -> Token:
        asked.append(arguments["max_wait"])
        return token(self, **arguments)

    monkeypatch.setattr(Credential, "token", noted)
    for timeout in (100.0, None):
        server.revoke_access()
        acme.login(server.issue())
        server.revoke_access()
        assert get(channel)(b"", timeout=timeout) == b""
    (limited, unlimited) = asked
    assert limited is not None
    assert 0.0 < limited < 100.0
    assert unlimited is None


def test_a_future_that_was_cancelled_is_not_sent_again(server: AuthServer, channel: grpc.Channel, items: Items) -> None:
    server.revoke_access()
    server.hold("token")
    future = get(channel).future(b"")
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(future.exception, 20)
        server.wait_for("token")
        future.cancel()
        server.release("token")
        error = begun.result(20)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert len(items.seen) == 1


def test_a_stream_that_is_cancelled_while_it_is_asked_for_again_ends(
    server: AuthServer, acme: Credential, target: str, items: Items
) -> None:
    """Its reader would wait for ever where the stream has no end."""
    tries: list[Any] = []

    class Nearer(grpc.UnaryStreamClientInterceptor):
        def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            tries.append(request)
            if len(tries) == 2:
                call.cancel()
            return continuation(client_call_details, request)

    server.revoke_access()
    with grpc.insecure_channel(target) as plain:
        call: Any = listed(grpc.intercept_channel(plain, BearerInterceptor(acme), Nearer()))(b"wait")
        with pytest.raises(grpc.RpcError), ThreadPoolExecutor(1) as pool:
            try:
                pool.submit(list, call).result(20)
            finally:
                items.open.set()
        assert call.code() is grpc.StatusCode.CANCELLED
    assert len(tries) == 2


def test_a_function_is_called_where_no_thread_can_start(
    server: AuthServer, channel: grpc.Channel, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the interpreter's end: the refusal is the answer then."""

    def none_left(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    called: SimpleQueue[Any] = SimpleQueue()
    server.revoke_access()
    monkeypatch.setattr("onerefresh.clients.grpc.start", none_left)
    get(channel).future(b"x").add_done_callback(called.put)
    assert called.get(timeout=20).code() is grpc.StatusCode.UNAUTHENTICATED
    monkeypatch.undo()
    assert get(channel)(b"y") == b"y"
    assert server.counters.token_requests == 1


def test_a_call_with_its_own_authorization_passes_through(
    server: AuthServer, acme: Credential, channel: grpc.Channel, target: str, items: Items
) -> None:
    with warned() as told:
        for _ in range(2):
            with pytest.raises(grpc.RpcError):
                get(channel)(b"", metadata=(("authorization", "own"),))
        (found,) = told()
    assert "leave metadata and credentials= of the call out" in found

    async def main() -> None:
        own = (("authorization", "own"),)
        requests: Any = iter([b"a"])
        async with aio_channel(target, acme) as other:
            with pytest.raises(grpc.aio.AioRpcError):
                await get(other)(b"", metadata=own)
            with pytest.raises(grpc.aio.AioRpcError):
                [piece async for piece in listed(other)(b"", metadata=own)]
            with pytest.raises(grpc.aio.AioRpcError):
                await other.stream_unary(f"{SERVICE}Put")(requests, metadata=own)

    asyncio.run(main())
    assert items.seen == ["own"] * 5
    assert server.counters.token_requests == 0


def test_call_credentials_on_an_insecure_channel_refuse_no_token(
    server: AuthServer, channel: grpc.Channel, items: Items
) -> None:
    """gRPC itself answers so; ``grpc.aio`` raises an error of its own."""
    with pytest.raises(grpc.RpcError) as raised:
        get(channel)(b"", credentials=grpc.access_token_call_credentials("own"))
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert (items.seen, server.counters.token_requests) == ([], 0)


def test_two_interceptors_of_one_channel_send_one_token(
    server: AuthServer, acme: Credential, channel: grpc.Channel, items: Items
) -> None:
    server.revoke_access()
    with warned() as told:
        assert get(grpc.intercept_channel(channel, BearerInterceptor(acme)))(b"x") == b"x"
        assert told() == []
    assert len(items.seen) == 2
    assert server.counters.token_requests == 1


def test_metadata_of_the_call_is_kept(channel: grpc.Channel, target: str, acme: Credential, items: Items) -> None:
    assert get(channel)(b"", metadata=(("x-a", "1"),)) == b""

    async def main() -> None:
        async with aio_channel(target, acme) as other:
            assert await get(other)(b"", metadata=(("x-a", "1"),)) == b""

    asyncio.run(main())
    assert items.seen == [f"Bearer {acme.token().reveal()}"] * 2


def test_wrong_arguments_say_so() -> None:
    makers: list[Any] = [BearerInterceptor, aio_interceptors]
    for make in makers:
        with pytest.raises(ConfigurationError, match=r"must be an onerefresh\.Credential, not str"):
            make("acme")


def test_the_wrong_kind_of_interceptor_says_so(acme: Credential, target: str) -> None:
    with grpc.insecure_channel(target) as plain, pytest.raises(TypeError, match="interceptor must be"):
        grpc.intercept_channel(plain, *aio_interceptors(acme))  # type: ignore[arg-type]

    async def main() -> None:
        grpc.aio.insecure_channel(target, interceptors=[BearerInterceptor(acme)])  # type: ignore[list-item]

    with pytest.raises(ValueError, match="must be"):
        asyncio.run(main())


def test_copies_and_pickles(acme: Credential) -> None:
    for thing in (BearerInterceptor(acme), *aio_interceptors(acme)):
        assert copy.deepcopy([thing])[0] is thing
        with pytest.raises(TypeError, match="cannot be pickled: make it in the other process"):
            pickle.dumps(thing)
