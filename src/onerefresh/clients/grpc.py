"""gRPC: `BearerInterceptor` for a channel, and `aio_interceptors` for a channel of ``grpc.aio``.

grpc.intercept_channel(grpc.secure_channel(target, grpc.ssl_channel_credentials()), BearerInterceptor(credential))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError, OnerefreshError
from onerefresh.one_object import OneObject

try:
    import grpc

    from onerefresh.clients.grpc_aio import aio_interceptors
    from onerefresh.clients.grpc_call import Attempt, ChannelCalls, challenges_in
except ModuleNotFoundError as error:
    if error.name != "grpc":
        raise
    raise ConfigurationError("onerefresh.clients.grpc needs grpcio: pip install 'onerefresh[grpc]'") from None

__all__ = ["BearerInterceptor", "aio_interceptors"]


class BearerInterceptor(
    OneObject,
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Sends the token of `credential` with each call of the channels that it intercepts.

    A call that is answered ``UNAUTHENTICATED`` waits for the next token, and is sent again, once. A stream of responses
    is asked for again where none has come. A stream of requests is used up: its caller gets the error, and the next
    call has the next token. The time of the wait counts toward the call's ``timeout``.

    An interceptor is told neither the host nor whether the channel is encrypted: **the token goes where the channel
    leads**. So use it on secure channels to hosts that may have the token, and on insecure ones to this machine.

    A call with ``authorization`` in its metadata, or with ``credentials``, passes through; the first one is the event
    ``not_attached``, which is a warning.

    Raises `ConfigurationError` where `credential` is none. Calls raise an `OnerefreshError` where no token is
    available, unchanged; `WaitTimeout` where the call's time is over before the refresh.
    """

    def __init__(self, credential: Credential) -> None:
        self._calls = ChannelCalls(credential)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make the call; gRPC calls this, and the other methods, for each."""
        return self._made(continuation, client_call_details, request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """As `intercept_unary_unary`."""
        return self._made(continuation, client_call_details, request, streams=True)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """As `intercept_unary_unary`."""
        return self._made(continuation, client_call_details, request_iterator, can_be_sent_again=False)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """As `intercept_unary_unary`."""
        return self._made(continuation, client_call_details, request_iterator, streams=True, can_be_sent_again=False)

    def _made(
        self,
        continuation: Callable[[Any, Any], Any],
        details: Any,
        request: Any,
        *,
        streams: bool = False,
        can_be_sent_again: bool = True,
    ) -> Any:
        if not self._calls.concern(details):
            return continuation(details, request)
        call = _Call(Attempt(self._calls, details, can_be_sent_again=can_be_sent_again), continuation, request)
        if streams or not call.outcome.done():
            return call
        while call.is_sent_again():
            pass
        return call.outcome


class _Details(grpc.ClientCallDetails):
    """What differs from the details that the interceptor got; gRPC takes everything else from those."""

    def __init__(self, timeout: float | None, metadata: Any) -> None:
        self.timeout, self.metadata = timeout, metadata


class _Call:
    """A call as its caller has it: a future, or a stream of responses, which is sent again when its refusal is read.

    `outcome`: the last try, as gRPC has it. Everything else is asked of that.
    """

    def __init__(self, attempt: Attempt, continuation: Callable[[Any, Any], Any], request: Any) -> None:
        self._attempt, self._continuation, self._request = attempt, continuation, request
        self._is_read = self._is_cancelled = False
        self._error: OnerefreshError | None = None
        calls = attempt.calls
        text = calls.fresh() or calls.bearer.text(attempt.credential.token(max_wait=attempt.left))
        self.outcome = continuation(_Details(attempt.left, attempt.metadata(text)), request)

    def is_sent_again(self) -> bool:
        """Judge the last try, which is over, or has a response. A refused one is sent again, with the next token."""
        attempt = self._attempt
        code = grpc.StatusCode.OK if self._is_read else self.outcome.code()
        for step in attempt.steps(code):
            call = attempt.refusal
            assert call is not None  # it has the steps
            match step:
                case "challenges":
                    refused = code is grpc.StatusCode.UNAUTHENTICATED  # else the stream may go on
                    call.challenges = challenges_in(self.outcome.trailing_metadata()) if refused else []
                case "take":
                    call.token = attempt.credential.token(refused=call.refused, max_wait=attempt.left)
                case "rewind":
                    call.rewound = attempt.can_be_sent_again and not self._is_cancelled
                case "send":
                    details = _Details(attempt.left, attempt.metadata(call.text))
                    self.outcome = self._continuation(details, self._request)
                    return True
                case _:  # there is nothing to drain, and no rule that looks at a body
                    pass
        return False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        while True:
            try:
                response = next(self.outcome)
            except StopIteration:
                self._settle()
                raise
            except grpc.RpcError:
                if self._is_read or not self._settle():
                    raise
                continue
            if not self._is_read:
                self._is_read = True
                self.is_sent_again()
            return response

    def result(self, timeout: float | None = None) -> Any:
        """The response. Raises the call's error."""
        if (error := self.exception(timeout)) is not None:
            raise error
        return self.outcome.result(timeout)

    def exception(self, timeout: float | None = None) -> Any:
        """The call's error; None where there is a response."""
        while True:
            error = self._error or self.outcome.exception(timeout)
            if self._error is not None or not self._settle():
                return self._error or error

    def _settle(self) -> bool:
        """As `is_sent_again`. What fails about that is the call's error from now on."""
        try:
            return self.is_sent_again()
        except OnerefreshError as error:
            self._error = error
            raise

    def cancel(self) -> bool:
        """Cancel the call. It is not sent again after that."""
        self._is_cancelled = True
        return bool(self.outcome.cancel())

    def __getattr__(self, name: str) -> Any:
        if name == "outcome":  # not there yet
            raise AttributeError(name)
        return getattr(self.outcome, name)
