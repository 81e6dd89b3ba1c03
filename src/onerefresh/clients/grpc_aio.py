"""The interceptors for channels of ``grpc.aio``: one for each kind of call, since gRPC uses an object for one alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import grpc
import grpc.aio

from onerefresh.clients.bearer import HeaderText
from onerefresh.clients.grpc_call import Attempt, ChannelCalls, challenges_in
from onerefresh.credential import Credential
from onerefresh.errors import OnerefreshError
from onerefresh.one_object import OneObject

__all__ = ["aio_interceptors", "code_now", "final_code"]


def aio_interceptors(credential: Credential) -> list[grpc.aio.ClientInterceptor]:
    """The ``interceptors`` of a channel of ``grpc.aio``: they do what `BearerInterceptor` does.

    Raises `ConfigurationError` where `credential` is none. Calls raise what those of `BearerInterceptor` raise.
    """
    calls = ChannelCalls(credential)
    return [_UnaryUnary(calls), _UnaryStream(calls), _StreamUnary(calls), _StreamStream(calls)]


Continuation = Callable[[Any, Any], Awaitable[Any]]
_UNTIL_IT_COMES: Final = (0.0, 0.01, 0.1, 1.0)
"""Seconds of the pauses after which a status is looked at once more."""


class _Try:
    """A call, from its first try to the replay.

    * `outcome`: the last try, as gRPC has it.
    * `error`: how the last try ended, where another interceptor, nearer to the channel, has awaited it and lets its
      error pass. Then `outcome` is that of the try before, if any.
    """

    outcome: Any

    def __init__(self, attempt: Attempt, continuation: Continuation, request: Any) -> None:
        self._attempt, self._continuation, self._request = attempt, continuation, request
        self.error: grpc.aio.AioRpcError | None = None
        self.is_cancelled = False

    async def begin(self) -> None:
        """Send the call with a token that serves."""
        attempt = self._attempt
        calls = attempt.calls
        await self._send(calls.fresh() or calls.bearer.text(await attempt.credential.atoken(max_wait=attempt.left)))

    async def _send(self, text: HeaderText) -> None:
        self.error = None
        try:
            self.outcome = await self._continuation(self._details(text), self._request)
        except grpc.aio.AioRpcError as error:
            self.error = error
        else:
            if self.is_cancelled:  # meanwhile, when there was only the last try to cancel
                self.outcome.cancel()

    async def code(self) -> grpc.StatusCode:
        """The code of the last try, when it is over."""
        if self.error is None:
            try:
                await self.outcome
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK
        return self.error.code()

    async def _trailing_metadata(self) -> Any:
        return await self.outcome.trailing_metadata() if self.error is None else self.error.trailing_metadata()

    async def is_sent_again(self, code: grpc.StatusCode) -> bool:
        """Judge an answer with this code. After a refusal, get the next token and send the call again."""
        attempt = self._attempt
        for step in attempt.steps(code):
            call = attempt.refusal
            assert call is not None  # it has the steps
            match step:
                case "challenges":
                    refused = code is grpc.StatusCode.UNAUTHENTICATED  # else the stream may go on
                    call.challenges = challenges_in(await self._trailing_metadata()) if refused else []
                case "take":
                    call.token = await attempt.credential.atoken(refused=call.refused, max_wait=attempt.left)
                case "rewind":
                    call.rewound = attempt.can_be_sent_again and not self.is_cancelled
                case "send":
                    await self._send(call.text)
                    return True
                case _:  # there is nothing to drain, and no rule that looks at a body
                    pass
        return False

    def _details(self, text: HeaderText) -> grpc.aio.ClientCallDetails:
        given, attempt = self._attempt.details, self._attempt
        metadata = grpc.aio.Metadata(*attempt.metadata(text))
        return grpc.aio.ClientCallDetails(given.method, attempt.left, metadata, given.credentials, given.wait_for_ready)


class _Interceptor(OneObject):
    _called = "aio_interceptors"

    def __init__(self, calls: ChannelCalls) -> None:
        self._calls = calls
        self._reports: set[asyncio.Task[None]] = set()

    def _try(self, continuation: Continuation, details: Any, request: Any, *, once: bool = False) -> _Try | None:
        if not self._calls.concern(details):
            return None
        return _Try(Attempt(self._calls, details, can_be_sent_again=not once), continuation, request)

    async def _sent_once(self, continuation: Continuation, details: Any, requests: Any) -> Any:
        """The call of a stream of requests. Once it is over, the next token is got for later calls."""
        tried = self._try(continuation, details, requests, once=True)
        if tried is None:
            return await continuation(details, requests)
        await tried.begin()

        async def report(first: grpc.StatusCode) -> None:
            with suppress(OnerefreshError):  # later calls raise it
                await tried.is_sent_again(await final_code(tried.outcome, first) if tried.error is None else first)

        def begin(first: grpc.StatusCode) -> None:
            task = asyncio.get_running_loop().create_task(report(first))
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)

        if tried.error is not None:
            begin(tried.error.code())
            raise tried.error
        tried.outcome.add_done_callback(lambda call: begin(code_now(call)))
        return tried.outcome


def code_now(call: Any) -> grpc.StatusCode:
    """The code of a call that is over, without a turn of the event loop, in which gRPC may replace it."""
    asking = call.code()
    try:
        asking.send(None)
    except StopIteration as answered:
        code: grpc.StatusCode = answered.value
        return code
    asking.close()
    return grpc.StatusCode.INTERNAL


async def final_code(call: Any, first: grpc.StatusCode) -> grpc.StatusCode:
    """The code that the server gave to a call that is over; `first`: the one that the call ended with.

    A request that cannot be sent any more makes it ``INTERNAL``, just before or just after the server's own status has
    come.
    """
    code = first
    for pause in _UNTIL_IT_COMES:
        if code is not grpc.StatusCode.INTERNAL:
            break
        await asyncio.sleep(pause)
        code = await call.code()
    return code


class _UnaryUnary(_Interceptor, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        tried = self._try(continuation, client_call_details, request)
        if tried is None:
            return await continuation(client_call_details, request)
        await tried.begin()
        while await tried.is_sent_again(await tried.code()):
            pass
        if tried.error is not None:
            raise tried.error
        return tried.outcome


class _UnaryStream(_Interceptor, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        tried = self._try(continuation, client_call_details, request)
        if tried is None:
            return await continuation(client_call_details, request)
        await tried.begin()
        while tried.error is not None:
            if not await tried.is_sent_again(tried.error.code()):
                raise tried.error
        return _Responses(tried)


class _StreamUnary(_Interceptor, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._sent_once(continuation, client_call_details, request_iterator)


class _StreamStream(_Interceptor, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._sent_once(continuation, client_call_details, request_iterator)


class _Responses(grpc.aio.UnaryStreamCall[Any, Any]):
    """A stream of responses, which is asked for again where it is refused before the first one."""

    def __init__(self, tried: _Try) -> None:
        self._tried = tried
        self._responses: AsyncGenerator[Any, None] | None = None

    async def _read(self) -> AsyncGenerator[Any, None]:
        tried, is_read = self._tried, False
        while True:
            try:
                if tried.error is not None:
                    raise tried.error
                async for response in tried.outcome:
                    if not is_read:
                        is_read = True
                        await tried.is_sent_again(grpc.StatusCode.OK)
                    yield response
            except grpc.aio.AioRpcError as error:
                if is_read or not await tried.is_sent_again(error.code()):
                    raise
                continue
            if not is_read:
                await tried.is_sent_again(grpc.StatusCode.OK)
            return

    def __aiter__(self) -> AsyncGenerator[Any, None]:
        if self._responses is None:
            self._responses = self._read()
        return self._responses

    async def read(self) -> Any:
        # gRPC itself does not call this, but an interceptor around this one may.
        return await anext(aiter(self), grpc.aio.EOF)

    def cancel(self) -> bool:
        self._tried.is_cancelled = True
        return bool(self._tried.outcome.cancel())

    def cancelled(self) -> bool:
        return bool(self._tried.outcome.cancelled())

    def done(self) -> bool:
        return bool(self._tried.outcome.done())

    def add_done_callback(self, callback: Any) -> None:
        self._tried.outcome.add_done_callback(callback)

    def time_remaining(self) -> float | None:
        left: float | None = self._tried.outcome.time_remaining()
        return left

    async def initial_metadata(self) -> Any:
        return await self._tried.outcome.initial_metadata()

    async def trailing_metadata(self) -> Any:
        return await self._tried.outcome.trailing_metadata()

    async def code(self) -> Any:
        return await self._tried.outcome.code()

    async def details(self) -> Any:
        return await self._tried.outcome.details()

    async def debug_error_string(self) -> Any:
        return await self._tried.outcome.debug_error_string()

    async def wait_for_connection(self) -> None:
        tried = self._tried
        while True:
            try:
                if tried.error is not None:
                    raise tried.error
                await tried.outcome.wait_for_connection()
            except grpc.aio.AioRpcError as error:
                if not await tried.is_sent_again(error.code()):
                    raise
            else:
                return
