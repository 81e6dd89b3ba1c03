"""Refreshers that count and wait at a gate, and callers that do to an API what a client integration does."""

from __future__ import annotations

import _thread
import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from onerefresh import Credential, Token, events, timekeeper, workers
from onerefresh.events import Event, Kind
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import AuthServer, RemoteServer

T = TypeVar("T")
PATIENCE = 20.0
"""Seconds after which a test that waits for something that never comes gives up."""
start_new_thread = _thread.start_new_thread
"""The real one, where a test puts another one in its place."""


class Refresher:
    """Counts its calls; the n-th gives ``access-n``. A `gated` one waits in the middle until `leave` is set."""

    def __init__(self, *, gated: bool = False, expires_in: float | None = 3600.0, timeout: float = 10.0) -> None:
        self.calls = 0
        self.given: list[Token] = []
        self.entered = threading.Event()
        self.leave = threading.Event()
        self.failure: BaseException | None = None
        self.expires_in = expires_in
        self.timeout = timeout
        if not gated:
            self.leave.set()

    def __call__(self, token: Token) -> dict[str, object]:
        self.begin(token)
        if not self.leave.wait(PATIENCE):
            raise AssertionError("the gate was never opened")
        return self.end()

    def begin(self, token: Token) -> None:
        self.calls += 1
        self.given.append(token)
        self.entered.set()

    def end(self) -> dict[str, object]:
        if self.failure is not None:
            raise self.failure
        answer: dict[str, object] = {"access_token": f"access-{self.calls}", "refresh_token": f"refresh-{self.calls}"}
        return answer if self.expires_in is None else {**answer, "expires_in": self.expires_in}

    async def on_a_loop(self, token: Token) -> dict[str, object]:
        """The same as an async refresher; it waits without blocking its loop."""
        self.begin(token)
        while not self.leave.is_set():
            await asyncio.sleep(0.005)
        return self.end()

    def wait_until_entered(self) -> None:
        assert self.entered.wait(PATIENCE), "the refresher was not called"


def of_another_process(store: MemoryStore) -> MemoryStore:
    """The same place as `store`, as another process has it."""
    other = MemoryStore()
    other.__dict__ = store.__dict__
    return other


def first_token(**others: object) -> dict[str, object]:
    """A first token response, whose expiry nobody knows unless it is given."""
    return {"access_token": "access-0", "refresh_token": "refresh-0", **others}


def expired() -> dict[str, object]:
    return first_token(expires_at=1_000_000_000)


def in_threads(functions: Sequence[Callable[[], T]]) -> list[T]:
    """Run them all at once, each on a thread of its own; their results in order. Raises the first that was raised."""
    with ThreadPoolExecutor(len(functions)) as pool:
        futures = [pool.submit(function) for function in functions]
        return [future.result(PATIENCE) for future in futures]


def outcomes(functions: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """As `in_threads`, with what was raised in the place of a result."""

    def tried(function: Callable[[], T]) -> T | Exception:
        try:
            return function()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            return error

    return in_threads([lambda function=function: tried(function) for function in functions])  # type: ignore[misc]  # bound now


@contextmanager
def listening() -> Iterator[list[Event]]:
    """The events that happen meanwhile."""
    heard: list[Event] = []
    stop = events.subscribe(heard.append)
    try:
        yield heard
    finally:
        stop()


def wait_for(heard: list[Event], kind: Kind) -> None:
    """Until such an event is among those heard."""
    deadline = time.monotonic() + PATIENCE
    while kind not in [event.kind for event in heard]:
        assert time.monotonic() < deadline, f"no event {kind}"
        time.sleep(0.005)


def post(url: str, *, seconds: float = PATIENCE, **fields: object) -> dict[str, object]:
    """A token request as a user's own refresher sends it. Raises what urllib raises."""
    request = urllib.request.Request(url, json.dumps(fields).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def refresher_of(server: AuthServer | RemoteServer) -> Callable[[Token], dict[str, object]]:
    """A blocking refresher of one's own, for the server's plain JSON endpoint."""
    url = server.json_refresh_url
    return lambda token: post(url, refresh_token=token.reveal_refresh_token())


def status_of(url: str, token: Token) -> int:
    """The status of one API call with this token."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token.reveal()}"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            error.read()
        return error.code


def call(credential: Credential, url: str) -> int:
    """One call, replayed once after a 401: what a blocking client integration does."""
    token = credential.current() or credential.token()
    status = status_of(url, token)
    if status != 401:
        return status
    following = credential.token(refused=token)
    if following.identity == token.identity:
        return status
    status = status_of(url, following)
    credential.replayed(following, accepted=status != 401)
    return status


async def acall(credential: Credential, url: str) -> int:
    """As `call`, in a task."""
    token = credential.current() or await credential.atoken()
    status = await asyncio.to_thread(status_of, url, token)
    if status != 401:
        return status
    following = await credential.atoken(refused=token)
    if following.identity == token.identity:
        return status
    status = await asyncio.to_thread(status_of, url, following)
    credential.replayed(following, accepted=status != 401)
    return status


def until(holds: Callable[[], object]) -> None:
    """Wait until `holds()` is true, which another thread will see to."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never comes to that"
        time.sleep(0.001)


def until_renewals_are_over() -> None:
    """Wait until no renewal of this process runs or pauses."""
    until(lambda: not (workers._busy or workers._ready or timekeeper._live))


def until_no_thread_is_left() -> None:
    """Wait until no renewal is left, nor a thread that could take another one's work."""
    until_renewals_are_over()
    until(lambda: not (workers._free or timekeeper._threads))


def only(count: int) -> Callable[..., int]:
    """In the place of `start_new_thread`: starts so many threads of ours, and no more."""
    left = [count]

    def start(function: Callable[..., object], *arguments: Any) -> int:
        left[0] -= function.__name__ == "_begin"
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        return start_new_thread(function, *arguments)

    return start
