"""One call of gRPC, from the first try to the replay: what the interceptors do with it, blocking or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import grpc

from onerefresh.clients.bearer import UNAUTHORIZED, HeaderText
from onerefresh.clients.call import Calls, RefusedCall, Step
from onerefresh.credential import Credential
from onerefresh.damping import Target
from onerefresh.one_object import OneObject
from onerefresh.real_time import monotonic

__all__ = ["Attempt", "ChannelCalls", "challenges_in"]

_HEADER: Final = "authorization"
_ORIGIN: Final = "https://grpc"
"""Stands for the channel's target, which no interceptor is told."""
_NOT_OF_THE_API: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)
"""What gRPC itself says as well, so that it does not show what the API thinks of the token."""


class ChannelCalls(OneObject):
    """The calls that interceptors make with `credential`. Raises `ConfigurationError` where that is none."""

    def __init__(self, credential: Credential) -> None:
        self.of = Calls(
            credential,
            _ORIGIN,
            header=_HEADER,
            scheme="Bearer",
            refused_statuses=UNAUTHORIZED,
            apart="send that request by a channel without this interceptor",
        )

    def concern(self, details: Any) -> bool:
        """Whether the call gets our token: its caller brings neither ``authorization`` nor call credentials."""
        found = [value for name, value in details.metadata or () if name == _HEADER]
        if any(isinstance(value, HeaderText) for value in found):
            return False  # another interceptor of this kind sees to it
        if not found and getattr(details, "credentials", None) is None:
            return True
        # An insecure channel answers UNAUTHENTICATED to call credentials by itself, which refuses no token.
        ways_out = "leave metadata and credentials= of the call out, or use a channel without this interceptor"
        self.of.passes_through(_HEADER, ways_out)
        return False


class Attempt:
    """A call that is sent at most twice: its next step, and what is left of its time.

    `details`: as the interceptor got them; `can_be_sent_again`: False for a stream of requests, which is used up.
    """

    def __init__(self, calls: ChannelCalls, details: Any, *, can_be_sent_again: bool) -> None:
        self.calls, self.credential, self.details = calls.of, calls.of.credential, details
        self.can_be_sent_again = can_be_sent_again
        self._end = None if details.timeout is None else monotonic() + details.timeout
        method = details.method
        self._target: Target = ("grpc", method.decode() if isinstance(method, bytes) else method)
        self._sent: HeaderText | None = None
        self.refusal: RefusedCall | None = None
        self._steps: Iterator[Step] = iter(())

    @property
    def left(self) -> float | None:
        """Seconds until the call's time is over; None where it has no end."""
        return None if self._end is None else max(self._end - monotonic(), 0.0)

    def metadata(self, text: HeaderText) -> list[tuple[str, Any]]:
        """The call's metadata with this token."""
        self._sent = text
        return [*(self.details.metadata or ()), (_HEADER, text)]

    def steps(self, code: grpc.StatusCode) -> Iterator[Step]:
        """What is to be done about an answer with this code; see `Step`. After ``send``, ask again."""
        first, self._sent = self._sent, None
        if first is None or code in _NOT_OF_THE_API:
            return iter(())
        status = 401 if code is grpc.StatusCode.UNAUTHENTICATED else 403 if code is not grpc.StatusCode.OK else 200
        if self.refusal is None:
            self.refusal = self.calls.answered(first, status, self._target)
            self._steps = iter(self.refusal or ())
        else:
            self.refusal.status = status
        return self._steps


def challenges_in(metadata: Iterable[Any] | None) -> list[str]:
    """The challenges that stand in trailing metadata."""
    return [value for name, value in metadata or () if name == "www-authenticate" and isinstance(value, str)]
