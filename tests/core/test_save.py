"""`save=`: the host owns the storage, and has each new token before anybody else."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from tests.core.calls import PATIENCE, Refresher, expired, first_token, in_threads, outcomes

from onerefresh import ConfigurationError, Credential, LoginRequired, SaveFailed, Token

pytestmark = pytest.mark.slow


class Host:
    """Keeps tokens, unless told to fail: `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.tries = 0
        self.kept: list[Token] = []
        self.entered = threading.Event()
        self.leave = threading.Event()
        self.leave.set()

    def keep(self, token: Token) -> None:
        self.begin()
        assert self.leave.wait(PATIENCE)
        self.kept.append(token)

    async def keep_async(self, token: Token) -> None:
        self.begin()
        while not self.leave.is_set():
            await asyncio.sleep(0.005)
        self.kept.append(token)

    def begin(self) -> None:
        self.tries += 1
        self.entered.set()
        if self.failures:
            self.failures -= 1
            raise OSError("the disk is full")


def test_the_host_has_the_token_before_anybody_gets_it() -> None:
    host, refresher = Host(), Refresher()
    host.leave.clear()
    credential = Credential("acme", refresher, token=expired(), save=host.keep)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.extend(outcomes([credential.token] * 5)))
    waiting.start()
    assert host.entered.wait(PATIENCE)
    assert (got, credential.current()) == ([], None)
    host.leave.set()
    waiting.join(PATIENCE)
    assert [token.generation for token in got] == [2] * 5
    assert [token.reveal_refresh_token() for token in host.kept] == ["refresh-1"]
    assert (host.kept[0].generation, refresher.calls) == (2, 1)


def test_the_first_token_came_from_the_host_and_is_not_given_back() -> None:
    host = Host()
    assert Credential("acme", Refresher(), token=first_token(), save=host.keep).bearer() == "access-0"
    assert host.tries == 0


def test_each_token_is_saved_once() -> None:
    host, refresher = Host(), Refresher()
    credential = Credential("acme", refresher, token=expired(), save=host.keep)
    in_threads([credential.token] * 20)
    following = credential.token()
    credential.replayed(following, accepted=True)
    credential.token(refused=following)
    assert [token.generation for token in host.kept] == [2, 3]


def test_a_save_that_fails_for_a_moment_is_tried_again() -> None:
    host, refresher = Host(failures=2), Refresher()
    credential = Credential("acme", refresher, token=expired(), save=host.keep)
    assert credential.token().generation == 2
    assert (host.tries, len(host.kept), refresher.calls) == (3, 1, 1)


def test_a_save_that_goes_on_failing_is_told_and_the_next_call_saves_first() -> None:
    host, refresher = Host(failures=3), Refresher()
    credential = Credential("acme", refresher, token=expired(), save=host.keep)
    with pytest.raises(SaveFailed, match="OSError") as caught:
        credential.token()
    assert (caught.value.credential, caught.value.generation) == ("acme", 2)
    assert credential.current() is None
    assert credential.token().reveal() == "access-1"
    assert [token.reveal() for token in host.kept] == ["access-1"]
    assert refresher.calls == 1


def test_the_exception_of_save_is_found_behind_what_callers_are_raised() -> None:
    credential = Credential("acme", Refresher(), token=expired(), save=Host(failures=99).keep)
    with pytest.raises(SaveFailed) as caught:
        credential.token()
    shared = caught.value.__cause__
    assert isinstance(shared, SaveFailed)
    assert isinstance(shared.__cause__, OSError)


@pytest.mark.long
def test_a_refused_token_is_not_given_again_while_its_successor_is_not_saved() -> None:
    host, refresher = Host(failures=6), Refresher()
    credential = Credential("acme", refresher, token=first_token(), save=host.keep)
    refused = credential.token()
    for _ in range(2):
        with pytest.raises(SaveFailed):
            credential.token(refused=refused)
    assert credential.current() is None
    assert credential.token().generation == 2
    assert refresher.calls == 1


def test_an_async_save_is_awaited_on_the_loop_of_the_call() -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    host = Host()

    async def save(token: Token) -> None:
        loops.append(asyncio.get_running_loop())
        await host.keep_async(token)

    credential = Credential("acme", Refresher(), token=expired(), save=save)

    async def run() -> asyncio.AbstractEventLoop:
        assert (await credential.atoken()).generation == 2
        return asyncio.get_running_loop()

    here = asyncio.run(run())
    assert loops == [here]
    assert len(host.kept) == 1


def test_an_async_save_runs_on_the_loop_that_was_named() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def save(token: Token) -> None:
        loops.append(asyncio.get_running_loop())

    async def run() -> None:
        here = asyncio.get_running_loop()
        credential = Credential("acme", Refresher(), token=expired(), save=save, loop=here)
        token = await asyncio.to_thread(credential.token)
        assert token.generation == 2
        assert loops == [here]

    asyncio.run(run())


def test_an_async_save_without_any_loop_runs_on_a_private_one() -> None:
    host = Host()
    assert Credential("acme", Refresher(), token=expired(), save=host.keep_async).token().generation == 2
    assert len(host.kept) == 1


def test_a_login_is_saved_too() -> None:
    host = Host()
    credential = Credential("acme", Refresher(), save=host.keep)
    credential.login(first_token())
    assert [token.reveal() for token in host.kept] == ["access-0"]
    assert credential.bearer() == "access-0"


def test_a_login_that_could_not_be_saved_is_saved_by_the_next_call_and_replaces_the_old_session() -> None:
    host, refresher = Host(failures=3), Refresher()
    credential = Credential("acme", refresher, token=first_token(), save=host.keep)
    assert credential.bearer() == "access-0"
    with pytest.raises(SaveFailed):
        credential.login(first_token(access_token="access-new", refresh_token="refresh-new"))
    assert credential.token().reveal() == "access-new"
    assert [token.reveal() for token in host.kept] == ["access-new"]
    assert refresher.calls == 0


def test_a_save_that_asks_for_a_token_gets_an_error_and_no_deadlock() -> None:
    told: list[Exception] = []

    def save(token: Token) -> None:
        try:
            credential.token()
        except ConfigurationError as error:
            told.append(error)

    credential = Credential("acme", Refresher(), token=expired(), save=save)
    assert credential.token().generation == 2
    assert len(told) == 1


def test_a_dead_session_is_not_saved() -> None:
    host, refresher = Host(), Refresher()
    refresher.failure = LoginRequired("revoked")
    with pytest.raises(LoginRequired):
        Credential("acme", refresher, token=expired(), save=host.keep).token()
    assert host.tries == 0


def test_closing_waits_for_the_save() -> None:
    host = Host()
    host.leave.clear()
    credential = Credential("acme", Refresher(), token=expired(), save=host.keep)
    waiting = threading.Thread(target=lambda: outcomes([credential.token]))
    waiting.start()
    assert host.entered.wait(PATIENCE)
    closing = threading.Thread(target=credential.close)
    closing.start()
    host.leave.set()
    closing.join(PATIENCE)
    assert len(host.kept) == 1
    waiting.join(PATIENCE)


def test_closing_saves_what_could_not_be_saved_before() -> None:
    host = Host(failures=3)
    acme = Credential("acme", Refresher(), token=expired(), save=host.keep)
    with pytest.raises(SaveFailed):
        acme.token()
    acme.close()
    assert [token.generation for token in host.kept] == [2]


@pytest.mark.long
def test_closing_keeps_the_credential_open_while_its_token_is_in_memory_only() -> None:
    host = Host(failures=6)
    acme = Credential("acme", Refresher(), token=expired(), save=host.keep)
    with pytest.raises(SaveFailed):
        acme.token()
    with pytest.raises(SaveFailed):
        asyncio.run(acme.aclose())
    assert acme.token().generation == 2
    assert [token.generation for token in host.kept] == [2]
    acme.close()
