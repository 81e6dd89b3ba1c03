"""Whoever starts a refresh may be interrupted at any moment of it, and the others still get their token."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import pytest

from onerefresh import Credential, RefreshUnavailable, Token, tasks, workers
from onerefresh.credential import beginning
from onerefresh.credential import credential as credential_module
from onerefresh.credential import launcher as launcher_module

FILES = {
    credential_module.__file__, launcher_module.__file__, beginning.__file__, tasks.__file__, workers.__file__,
}  # fmt: skip


class Interrupted(BaseException):
    """What a signal handler raises, as Ctrl-C does."""


class Interrupter:
    """Raises in this thread at the n-th place where a signal handler could: around the calls of a caller's path."""

    def __init__(self, at: int) -> None:
        self.at, self.seen = at, 0

    def __enter__(self) -> None:
        sys.setprofile(self._profile)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if frame.f_code.co_filename not in FILES or event not in ("call", "return", "c_return"):
            return
        self.seen += 1
        if self.seen == self.at:
            sys.setprofile(None)
            raise Interrupted


def expired(number: int = 1) -> Token:
    """The first token of a session: of each its own, since all objects of one session know its newest token."""
    return Token("old", f"first {number}", expires_at=1)


def background(number: int) -> Token:
    return Token("old", f"first {number}", issued_at=time.time() - 1000, expires_at=time.time() + 10)


@pytest.mark.parametrize(
    ("seed", "ask"),
    [
        (expired, lambda credential: credential.token()),
        (expired, lambda credential: asyncio.run(credential.atoken())),
        (background, lambda credential: credential.current()),
    ],
    ids=["token", "atoken", "current"],
)
def test_an_interrupt_of_the_caller_who_starts_a_refresh_strands_nobody(
    seed: Callable[[int], Token], ask: Callable[[Credential], object]
) -> None:
    interrupted = True
    place = 0
    while interrupted:
        place += 1
        requests: list[Token] = []
        done = threading.Event()

        def refresh(token: Token, requests: list[Token] = requests, done: threading.Event = done) -> Token:
            requests.append(token)
            done.set()
            return Token("new", "second", expires_in=3600)

        credential = Credential("acme", refresh, token=seed(place), max_wait=20.0)
        try:
            with Interrupter(place):
                ask(credential)
            interrupted = False
        except Interrupted:
            pass
        credential.token()  # an ageing one starts its renewal, unless it has begun
        assert done.wait(20.0), f"nobody refreshed after an interrupt at place {place}"
        assert len(requests) == 1, f"{len(requests)} refreshes after an interrupt at place {place}"
    assert place > 10


def test_without_threads_an_async_refresher_fails_instead_of_hanging_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def refresh(_: Token) -> Token:
        raise AssertionError("nothing can run it")

    async def main() -> None:
        await Credential("acme", refresh, token=expired()).atoken()

    monkeypatch.setattr("_thread.start_new_thread", no_more)
    with pytest.raises(RefreshUnavailable, match="no thread can be started"):
        asyncio.run(main())
