"""`onerefresh.clients.grpc` with the real ``grpc.aio``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.sdks.adapters import STORM, astorm, credential_for, end_session
from tests.sdks.grpc_items import SERVICE, Items, aio_channel, get, listed, served

from onerefresh import Credential, LoginRequired, WaitTimeout
from onerefresh.clients.grpc import aio_interceptors
from onerefresh.clients.grpc_aio import code_now, final_code
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


@pytest.mark.parametrize("kind", ["unary", "stream"])
def test_a_storm_of_tasks_causes_one_token_request(
    server: AuthServer, acme: Credential, target: str, kind: str
) -> None:
    async def main() -> list[bytes]:
        async with aio_channel(target, acme) as channel:

            async def call(number: int) -> bytes:
                if kind == "unary":
                    found: bytes = await get(channel)(b"%d" % number)
                    return found
                streamed = listed(channel)(b"%d" % number)
                pieces = [piece async for piece in streamed]
                assert await streamed.code() is grpc.StatusCode.OK
                return b"".join(pieces)

            return await astorm(server, call)

    times = 2 if kind == "stream" else 1
    assert asyncio.run(main()) == [b"%d" % number * times for number in range(STORM)]
    assert server.counters.token_requests == 1


@pytest.mark.parametrize("kind", ["Put", "Chat"])
def test_a_stream_of_requests_of_a_task_is_not_sent_again(
    server: AuthServer, acme: Credential, target: str, items: Items, kind: str
) -> None:
    async def written(call: Any) -> bytes:
        await call.write(b"a")
        await call.write(b"b")
        await call.done_writing()
        if kind == "Put":
            found: bytes = await call
            return found
        return b"".join([piece async for piece in call])

    async def main() -> None:
        async with aio_channel(target, acme) as channel:
            method: Any = channel.stream_unary if kind == "Put" else channel.stream_stream
            refused = acme.token()
            server.revoke_access()
            with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
                await written(method(f"{SERVICE}{kind}")())
            await asyncio.to_thread(server.wait_for, "token")  # the refusal has begun the refresh
            await acme.atoken(refused=refused)
            assert await written(method(f"{SERVICE}{kind}")()) == b"ab"

    server.hold("token")
    server.release("token")
    asyncio.run(main())
    assert server.counters.token_requests == 1
    assert len(items.seen) == 2


def test_a_stream_of_a_task_goes_on_while_its_first_response_is_judged(
    server: AuthServer, acme: Credential, target: str, items: Items
) -> None:
    async def main() -> None:
        async with aio_channel(target, acme) as channel:
            streamed = listed(channel)(b"wait")
            assert await streamed.read() == b"wait"
            items.open.set()
            assert await streamed.read() == b"wait"
            assert await streamed.read() is grpc.aio.EOF

    server.revoke_access()
    asyncio.run(main())


def test_what_callers_ask_of_a_stream_is_said_of_its_last_try(
    server: AuthServer, acme: Credential, target: str, items: Items
) -> None:
    done: list[object] = []

    async def main() -> None:
        async with aio_channel(target, acme) as channel:
            streamed = listed(channel)(b"wait")
            await streamed.wait_for_connection()
            assert await streamed.read() == b"wait"
            assert (streamed.done(), streamed.cancelled()) == (False, False)
            streamed.add_done_callback(done.append)
            assert await streamed.initial_metadata() is not None
            assert streamed.cancel()
            assert await streamed.code() is grpc.StatusCode.CANCELLED
            assert await streamed.details() == "Locally cancelled by application!"
            assert await streamed.trailing_metadata() is not None
            assert (streamed.done(), streamed.cancelled()) == (True, True)

    asyncio.run(main())
    assert len(done) == 1
    assert len(items.seen) == 1


def test_a_stream_that_was_cancelled_is_not_asked_for_again(
    server: AuthServer, acme: Credential, target: str, items: Items
) -> None:
    server.revoke_access()
    server.hold("token")

    async def main() -> None:
        async with aio_channel(target, acme) as channel:
            streamed = listed(channel)(b"x")
            reading = asyncio.ensure_future(streamed.read())
            await asyncio.to_thread(server.wait_for, "token")
            streamed.cancel()
            server.release("token")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await reading
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(main())
    assert len(items.seen) == 1


def test_a_stream_that_is_cancelled_while_it_is_asked_for_again_ends(
    server: AuthServer, acme: Credential, target: str, items: Items
) -> None:
    tries: list[object] = []

    class Nearer(grpc.aio.UnaryStreamClientInterceptor):
        async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            tries.append(request)
            if len(tries) == 2:
                begun[0].cancel()
            return await continuation(client_call_details, request)

    class Around(grpc.aio.UnaryStreamClientInterceptor):
        async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            begun.append(await continuation(client_call_details, request))
            return begun[0]

    begun: list[Any] = []

    async def main() -> None:
        chain = [Around(), *aio_interceptors(acme), Nearer()]
        async with grpc.aio.insecure_channel(target, interceptors=chain) as channel:
            with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
                await asyncio.wait_for(anext(aiter(listed(channel)(b"wait"))), 20)
            assert await begun[0].code() is grpc.StatusCode.CANCELLED

    server.revoke_access()
    try:
        asyncio.run(main())
    finally:
        items.open.set()
    assert len(tries) == 2


@pytest.mark.parametrize("kind", ["unary", "stream"])
def test_a_session_that_is_over_raises_login_required_in_tasks(
    server: AuthServer, acme: Credential, target: str, kind: str
) -> None:
    end_session(server)

    async def main() -> None:
        async with aio_channel(target, acme) as channel:
            for _ in range(2):
                with pytest.raises(LoginRequired):
                    if kind == "unary":
                        await get(channel)(b"")
                    else:
                        [piece async for piece in listed(channel)(b"")]

    asyncio.run(main())
    assert server.counters.token_requests == 1


def test_the_wait_counts_toward_the_timeout_of_a_task(server: AuthServer, target: str) -> None:
    acme = credential_for(server, expired=True)
    server.hold("token")

    async def main() -> None:
        async with aio_channel(target, acme) as channel:
            with pytest.raises(WaitTimeout):
                await get(channel)(b"", timeout=0.1)
            server.release("token")
            assert await get(channel)(b"late", timeout=20) == b"late"

    asyncio.run(main())
    assert server.counters.token_requests == 1


def test_a_cancelled_call_leaves_the_refresh_to_the_others(server: AuthServer, acme: Credential, target: str) -> None:
    server.revoke_access()
    server.hold("token")

    async def main() -> None:
        async with aio_channel(target, acme) as channel:
            calls = [get(channel)(b"%d" % number) for number in range(3)]
            await asyncio.to_thread(server.wait_for, "token")
            calls[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await calls[0]
            server.release("token")
            assert [await call for call in calls[1:]] == [b"1", b"2"]

    asyncio.run(main())
    assert server.counters.token_requests == 1


REFUSED, BROKEN = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("said", [[REFUSED, BROKEN], [BROKEN, BROKEN, REFUSED]])
def test_the_servers_own_status_counts(said: list[grpc.StatusCode]) -> None:
    """gRPC says INTERNAL of a call whose request could not be sent any more, before or after the server's status."""

    class Refused:
        async def code(self) -> grpc.StatusCode:
            return said.pop(0)

    call = Refused()
    assert asyncio.run(final_code(call, code_now(call))) is REFUSED


async def awaited(_: object, continuation: Any, client_call_details: Any, request: Any) -> Any:
    call = await continuation(client_call_details, request)
    await (call if hasattr(call, "__await__") else call.wait_for_connection())
    return call


def awaiting() -> list[Any]:
    """As many interceptors for logs and metrics: they look at the answer, and let its error pass."""
    of_one = {"UnaryUnary": "unary_unary", "UnaryStream": "unary_stream", "StreamUnary": "stream_unary"}
    bases = {name: getattr(grpc.aio, f"{kind}ClientInterceptor") for kind, name in of_one.items()}
    return [type(name, (base,), {f"intercept_{name}": awaited})() for name, base in bases.items()]


@pytest.mark.parametrize("place", ["within", "around"])
@pytest.mark.parametrize("kind", ["unary", "stream"])
def test_an_interceptor_that_awaits_the_answer_hides_no_refusal(
    server: AuthServer, acme: Credential, target: str, place: str, kind: str
) -> None:
    async def main() -> bytes:
        ours, theirs = aio_interceptors(acme), awaiting()
        chain = [*ours, *theirs] if place == "within" else [*theirs, *ours]
        async with grpc.aio.insecure_channel(target, interceptors=chain) as channel:
            if kind == "unary":
                found: bytes = await get(channel)(b"x")
                return found
            return b"".join([piece async for piece in listed(channel)(b"x")])

    server.revoke_access()
    assert asyncio.run(main()) == (b"x" if kind == "unary" else b"xx")
    assert server.counters.token_requests == 1


@pytest.mark.parametrize("kind", ["unary", "stream"])
def test_an_interceptor_that_awaits_the_answer_changes_no_other_error(
    server: AuthServer, acme: Credential, kind: str
) -> None:
    refusing = Items(server, "refused/it")

    async def main(target: str) -> None:
        chain = [*aio_interceptors(acme), *awaiting()]
        async with grpc.aio.insecure_channel(target, interceptors=chain) as channel:
            for _ in range(3):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await get(channel)(b"") if kind == "unary" else await listed(channel)(b"").read()
                assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED

    with served(refusing) as target:
        asyncio.run(main(target))
    assert (server.counters.token_requests, len(refusing.seen)) == (1, 4)


def test_a_refused_stream_of_requests_that_another_interceptor_awaits_is_reported(
    server: AuthServer, acme: Credential, target: str
) -> None:
    async def main() -> None:
        chain = [*aio_interceptors(acme), *awaiting()]
        async with grpc.aio.insecure_channel(target, interceptors=chain) as channel:
            refused = acme.token()
            server.revoke_access()
            requests: Any = iter([b"a", b"b"])
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.stream_unary(f"{SERVICE}Put")(requests)
            await asyncio.to_thread(server.wait_for, "token")
            assert await acme.atoken(refused=refused) is not refused

    server.hold("token")
    server.release("token")
    asyncio.run(main())
    assert server.counters.token_requests == 1


def test_an_interceptor_around_ours_reads_a_stream(server: AuthServer, acme: Credential, target: str) -> None:
    seen: list[object] = []

    class Reading(grpc.aio.UnaryStreamClientInterceptor):
        async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            call = await continuation(client_call_details, request)
            seen.append(await call.read())
            return call

    async def main() -> list[object]:
        chain = [Reading(), *aio_interceptors(acme)]
        async with grpc.aio.insecure_channel(target, interceptors=chain) as channel:
            call = listed(channel)(b"x")
            rest: list[object] = [piece async for piece in call]
            rest.append(await call.read())
            assert await call.debug_error_string() == ""
            return rest

    server.revoke_access()
    assert asyncio.run(main()) == [b"x", grpc.aio.EOF]
    assert seen == [b"x"]
    assert server.counters.token_requests == 1


def test_waiting_for_the_connection_of_a_refused_stream_asks_again(
    server: AuthServer, acme: Credential, target: str
) -> None:
    async def main() -> list[bytes]:
        async with aio_channel(target, acme) as channel:
            call = listed(channel)(b"x")
            await call.wait_for_connection()
            return [piece async for piece in call]

    server.revoke_access()
    assert asyncio.run(main()) == [b"x", b"x"]
    assert server.counters.token_requests == 1
