"""What a test does with a server, whether the server runs in a thread or in another process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from onerefresh.testing.gates import Point
from onerefresh.testing.log import Counters, Entry


class ReuseDetected(AssertionError):
    """A refresh token was used twice, and the test had not announced that with `expect_reuse`."""


class Foreign:
    """The second origin, to which no token may be sent."""

    def __init__(self, url: str, control: Control) -> None:
        self.url = url
        self._control = control

    @property
    def authorizations(self) -> list[str]:
        """Fingerprints of the tokens in requests, in order, wherever they stood. A careful client leaves this empty.

        A value in an `Authorization` header counts as a token.
        """
        return [entry.presented for entry in self._control.log if entry.kind == "foreign" and entry.presented]


class Control(ABC):
    """Addresses, counters, and the operations by which a test controls the server.

    Leaving the `with` block stops the server, and raises `ReuseDetected` where a refresh token was used twice without
    `expect_reuse`.

    Points are `token` (a token request has arrived, and nothing is spent yet), `token_sent` (rotated, not answered
    yet), `api` (a call has arrived, and its token is not checked yet), `refusal` (a call is about to be refused) and
    `revoke`.
    """

    def __init__(self, description: Mapping[str, Any], control_key: str) -> None:
        self.url: str = description["url"]
        self.token_url: str = self.url + "/token"
        self.json_refresh_url: str = self.url + "/auth/refresh"
        self.revoke_url: str = self.url + "/revoke"
        self.api_url: str = self.url + "/api"
        self.foreign = Foreign(description["foreign_url"], self)
        self.client_id: str = description["client_id"]
        self.client_secret: str | None = description["client_secret"]
        self.control_key = control_key

    def issue(self, *, scope: str | None = None, expires_in: float | None = None) -> dict[str, object]:
        """Log in: return the token answer of a new family, as a token endpoint would send it. `expires_in`: seconds."""
        answer: dict[str, object] = self._ask("issue", scope=scope, expires_in=expires_in)
        return answer

    def hold(self, point: Point, *, every: int = 1) -> None:
        """Hold every request (or every second, third … one) that comes to the point, until `release`."""
        self._ask("hold", point=point, every=every)

    def release(self, point: Point, count: int | None = None) -> None:
        """Let `count` of the requests at the point go on; without a count all of them, and hold no more."""
        self._ask("release", point=point, count=count)

    def wait_for(self, point: Point, count: int = 1, *, timeout: float = 10.0) -> None:
        """Wait until `count` requests have come to the point since it was last held (or since the start).

        Raises `TimeoutError` after `timeout` seconds.
        """
        self._ask("wait_for", point=point, count=count, timeout=timeout)

    def delay(self, point: Point, seconds: float) -> None:
        """Make each request take `seconds` longer at the point, from now on."""
        self._ask("delay", point=point, seconds=seconds)

    def late_refusals(self, *, every: int = 2) -> None:
        """Hold every second (third …) refusal until the API has accepted a call, so that the refusal comes too late."""
        self._ask("hold", point="refusal", every=every, until_accepted=True)

    def lose_next_answer(self, count: int = 1) -> None:
        """Rotate, then close the connection without an answer, for the next `count` refreshes."""
        self._ask("fail", status=None, count=count, after_rotating=True)

    def lose_next_request(self, count: int = 1) -> None:
        """Close the connection of the next `count` token requests before anything is spent."""
        self._ask("fail", status=None, count=count)

    def fail_next(
        self,
        count: int | None = 1,
        *,
        status: int = 500,
        headers: Mapping[str, str] | None = None,
        body: str | Mapping[str, object] | None = None,
        after_rotating: bool = False,
    ) -> None:
        """Answer the next `count` token requests like this (None: all of them, until `recover`).

        A mapping is sent as JSON, a text as it is; None sends an OAuth error body. Nothing is spent, unless
        `after_rotating`.
        """
        self._ask("fail", status=status, headers=headers, body=body, count=count, after_rotating=after_rotating)

    def fail_for(
        self,
        seconds: float,
        *,
        status: int = 500,
        headers: Mapping[str, str] | None = None,
        body: str | Mapping[str, object] | None = None,
    ) -> None:
        """Answer every token request like this for `seconds` from now."""
        self._ask("fail", status=status, headers=headers, body=body, count=None, seconds=seconds)

    def recover(self) -> None:
        """Forget all failures that were ordered and have not happened yet."""
        self._ask("recover")

    def refuse_with(self, challenge: str) -> None:
        """Choose the shape of the API's refusals, by a name in `onerefresh.testing.CHALLENGES`."""
        self._ask("refuse_with", challenge=challenge)

    def revoke_access(self, token: str | None = None) -> None:
        """Revoke all access tokens, or those of the family to which `token` belongs. Refresh tokens stay valid."""
        self._ask("revoke_access", token=token)

    def revoke_family(self, token: str | None = None) -> None:
        """End all sessions, or the one to which `token` belongs: its refresh token is refused from now on."""
        self._ask("revoke_family", token=token)

    def expect_reuse(self) -> None:
        """Announce that this test uses a refresh token twice on purpose."""
        self._ask("expect_reuse")

    @property
    def counters(self) -> Counters:
        """A copy of the counters as they are now."""
        found = self._ask("counters")
        return Counters(**{**found, "api": {int(status): count for status, count in found["api"].items()}})

    @property
    def log(self) -> list[Entry]:
        """All exchanges, in the order of their answers."""
        return [Entry(**entry) for entry in self._ask("log")]

    @property
    def sessions(self) -> list[str]:
        """`alive` or `revoked` for each `issue`, in order."""
        found: list[str] = self._ask("sessions")
        return found

    @property
    def session(self) -> str:
        """The state of the latest session: `alive` or `revoked`."""
        found = self.sessions
        if not found:
            raise ValueError("there is no session yet: call issue()")
        return found[-1]

    def check(self) -> None:
        """Raise `ReuseDetected` if a refresh token was used twice without an announcement."""
        found = self._ask("unannounced_reuse")
        if found:
            raise ReuseDetected(
                f"{found} token request(s) used a refresh token that was already spent: a real server ends the "
                "session for that. If the test means to do it, call expect_reuse()."
            )

    @abstractmethod
    def stop(self) -> None:
        """Stop the server and everything in it. May be repeated."""

    @abstractmethod
    def _ask(self, operation: str, **arguments: Any) -> Any:
        """Perform an operation of the server; return its result, which JSON can hold."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.check()
        except ReuseDetected as reuse:
            if error is None:
                raise
            error.add_note(f"{type(reuse).__name__}: {reuse}")
        finally:
            self.stop()
