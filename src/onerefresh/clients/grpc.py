"""gRPC: `BearerInterceptor` for a channel, and `aio_interceptors` for a channel of ``grpc.aio``.

grpc.intercept_channel(grpc.secure_channel(target, grpc.ssl_channel_credentials()), BearerInterceptor(credential))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import TIMEOUT_MAX
from typing import Any, Self

from onerefresh.clients.call import RefusedCall, Step
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError, OnerefreshError, WaitTimeout
from onerefresh.latches import Latch
from onerefresh.one_object import OneObject
from onerefresh.real_time import monotonic
from onerefresh.threads import start
from onerefresh.token import Token

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
        return self._made(continuation, client_call_details, request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """As `intercept_unary_unary`."""
        return self._made(continuation, client_call_details, request_iterator, can_be_sent_again=False)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """As `intercept_unary_unary`."""
        return self._made(continuation, client_call_details, request_iterator, can_be_sent_again=False)

    def _made(
        self,
        continuation: Callable[[Any, Any], Any],
        details: Any,
        request: Any,
        *,
        can_be_sent_again: bool = True,
    ) -> Any:
        if not self._calls.concern(details):
            return continuation(details, request)
        # Judged when it is read: a future may be over by now, and whoever begins one must not wait for a token.
        return _Call(Attempt(self._calls, details, can_be_sent_again=can_be_sent_again), continuation, request)


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
        self._answer: Any = None  # what is judged
        self._steps: Iterator[Step] = iter(())
        self._step: Step | None = None  # the one that is to be performed, or was interrupted
        self._judging: dict[str, Latch] = {}  # holds one while a thread judges
        calls = attempt.calls
        text = calls.fresh() or calls.bearer.text(attempt.credential.token(max_wait=attempt.left))
        self.outcome = continuation(_Details(attempt.left, attempt.metadata(text)), request)

    def is_sent_again(self, error: object = None, end: float | None = None) -> bool:
        """Judge the last try, which is over, or has a response. A refused one is sent again, with the next token.

        `error`: that of the last try; `end`: when its reader gives up. Raises `grpc.FutureTimeoutError` then, and goes
        on from there when asked again.
        """
        if self._step is None:
            # An error that another interceptor has let pass tells more than what gRPC makes of it.
            self._answer = error if isinstance(error, grpc.RpcError) and hasattr(error, "code") else self.outcome
            self._steps = self._attempt.steps(grpc.StatusCode.OK if self._is_read else self._answer.code())
            self._step = next(self._steps, None)
        while self._step is not None:
            self._perform(self._step, end)
            was, self._step = self._step, None
            if was == "send":
                return True
            self._step = next(self._steps, None)
        return False

    def _perform(self, step: Step, end: float | None) -> None:
        attempt = self._attempt
        call = attempt.refusal
        assert call is not None  # it has the steps
        match step:
            case "challenges":
                # A stream that has a response may go on for long, and only its end brings this metadata.
                call.challenges = [] if self._is_read else challenges_in(self._answer.trailing_metadata())
            case "take":
                call.token = self._taken(call, end)
            case "rewind":
                call.rewound = attempt.can_be_sent_again and not self._is_cancelled
            case "send":
                self.outcome = self._continuation(_Details(attempt.left, attempt.metadata(call.text)), self._request)
                if self._is_cancelled:  # meanwhile, when there was only the last try to cancel
                    self.outcome.cancel()
            case _:  # there is nothing to drain, and no rule that looks at a body
                pass

    def _taken(self, call: RefusedCall, end: float | None) -> Token:
        left = self._attempt.left
        patience = None if end is None else max(end - monotonic(), 0.0)
        if patience is None or (left is not None and left <= patience):
            return self._attempt.credential.token(refused=call.refused, max_wait=left)
        try:
            return self._attempt.credential.token(refused=call.refused, max_wait=patience)
        except WaitTimeout:
            raise grpc.FutureTimeoutError from None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        while True:
            tried = self.outcome
            try:
                response = next(tried)
            except StopIteration:
                self.is_sent_again()
                raise
            except grpc.RpcError as error:
                if self._is_read or not self._settle(tried, error):
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
        end = None if timeout is None else monotonic() + timeout
        while self._error is None:
            tried = self.outcome
            error = tried.exception(None if end is None else max(end - monotonic(), 0.0))
            try:
                if not self._settle(tried, error, end):
                    return error
            except OnerefreshError:
                break
        return self._error

    def _settle(self, tried: Any, error: object = None, end: float | None = None) -> bool:
        """As `is_sent_again`, in one thread; True for others, which look at the call once more after it.

        What fails about that is the call's error from now on.
        """
        mine = Latch()
        try:
            other = self._judging.setdefault("", mine)  # one step in C: one thread alone finds its own there
            if other is mine:
                return self.outcome is not tried or self.is_sent_again(error, end)
            if not other.wait(TIMEOUT_MAX if end is None else end - monotonic()):
                raise grpc.FutureTimeoutError
            return True
        except OnerefreshError as failed:
            self._error, self._step = failed, None
            raise
        finally:
            if self._judging.get("") is mine:
                del self._judging[""]
                mine.set()

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call `fn` with this call when it is over; where it is refused, when its replay is."""
        tried = self.outcome

        def judge() -> None:
            try:
                is_sent_again = self._settle(tried, tried.exception())
            except OnerefreshError:
                is_sent_again = False
            if is_sent_again:
                self.add_done_callback(fn)
            else:
                fn(self)

        def over(_: object) -> None:
            if tried.code() is grpc.StatusCode.UNAUTHENTICATED:
                # This is gRPC's own thread, which the replay needs, and so it must not wait.
                try:
                    start(judge, "onerefresh-grpc", daemon=True)
                except RuntimeError:  # none can start any more, so the refusal is the answer
                    fn(self)
            else:
                fn(self)

        tried.add_done_callback(over)

    def cancel(self) -> bool:
        """Cancel the call. It is not sent again after that."""
        self._is_cancelled = True
        return bool(self.outcome.cancel())

    def __getattr__(self, name: str) -> Any:
        if name == "outcome":  # not there yet
            raise AttributeError(name)
        return getattr(self.outcome, name)
