"""A refresh token is saved before anyone gets the access token that came with it. While the store cannot be written,
nothing is sent."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.promises.helpers import PATIENCE, Kept, at_once, generations

from onerefresh import Credential, Token, WaitTimeout
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer


class Watched:
    """The token endpoint. `seen` is given each answer, before the library has it."""

    def __init__(self, login: TokenEndpoint, seen: Callable[[Token], None]) -> None:
        self._login, self._seen = login, seen

    def __call__(self, token: Token) -> Token:
        answer = self._login(token)
        self._seen(answer)
        return answer


def assert_nobody_has_it_until(
    acme: Credential, first: Token, saving: threading.Event, go_on: Callable[[], None]
) -> None:
    """Many ask; while the new token is being saved none of them has it, and then all have."""

    async def tasks() -> list[Token]:
        return await asyncio.gather(*(acme.atoken(refused=first) for _ in range(5)))

    with ThreadPoolExecutor(10) as pool:
        asking = [pool.submit(acme.token, refused=first) for _ in range(9)]
        tasking = pool.submit(lambda: asyncio.run(tasks()))
        assert saving.wait(PATIENCE)
        with pytest.raises(WaitTimeout):
            acme.token(refused=first, max_wait=0.0)
        assert acme.current() is None
        assert not any([*(one.done() for one in asking), tasking.done()])
        go_on()
        told = [*(one.result(PATIENCE) for one in asking), *tasking.result(PATIENCE)]
    assert generations(told) == {2}


def test_the_store_has_it_first(auth_server: AuthServer, login: TokenEndpoint) -> None:
    store = Kept()

    def seen(answer: Token) -> None:
        store.held_at = answer.reveal_refresh_token()

    with Credential("acme", Watched(login, seen), token=auth_server.issue(), store=store) as acme:
        assert_nobody_has_it_until(acme, acme.token(), store.reached, store.go_on.set)
    assert auth_server.counters.token_requests == 1


def test_a_host_that_saves_tokens_itself_has_it_first(auth_server: AuthServer, login: TokenEndpoint) -> None:
    saving, go_on = threading.Event(), threading.Event()

    def save(token: Token) -> None:
        saving.set()
        assert go_on.wait(PATIENCE)

    with Credential("acme", login, token=auth_server.issue(), save=save) as acme:
        assert_nobody_has_it_until(acme, acme.token(), saving, go_on.set)
    assert auth_server.counters.token_requests == 1


def test_the_file_has_it_when_somebody_gets_it(
    auth_server: AuthServer, login: TokenEndpoint, url: str, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir(mode=0o700)
    with Credential("acme", login, token=auth_server.issue(), store=url) as acme:
        acme.token(refused=acme.token())
        shutil.copy2(tmp_path / "tokens" / "tokens.db", tmp_path / "copy" / "tokens.db")
        with Credential("acme", login, store=f"sqlite:///{tmp_path}/copy/tokens.db") as copied:
            assert copied.token().reveal() == acme.token().reveal()
    assert auth_server.counters.token_requests == 1


@pytest.mark.parametrize("trouble", ["is_full", "is_down"])
def test_nothing_is_sent_while_a_store_cannot_be_written(
    auth_server: AuthServer, login: TokenEndpoint, trouble: str
) -> None:
    store = Kept()
    with Credential("acme", login, token=auth_server.issue(), store=store) as acme:
        first = acme.token()
        setattr(store, trouble, True)
        for _ in range(2):
            told = at_once([lambda: acme.token(refused=first)] * 20)
            assert generations(told) == {"StoreUnavailable"}
        assert auth_server.counters.token_requests == 0
        setattr(store, trouble, False)
        assert acme.token(refused=first).generation == 2
    assert auth_server.counters.token_requests == 1


def test_nothing_is_sent_while_the_file_cannot_be_written(
    auth_server: AuthServer, login: TokenEndpoint, url: str, tmp_path: Path
) -> None:
    folder, away = tmp_path / "tokens", tmp_path / "away"
    with Credential("acme", login, token=auth_server.issue(), store=url) as acme:
        first = acme.token()
        folder.rename(away)
        folder.write_text("where the folder should be")
        assert generations(at_once([lambda: acme.token(refused=first)] * 20)) == {"StoreUnavailable"}
        assert auth_server.counters.token_requests == 0
        folder.unlink()
        away.rename(folder)
        assert acme.token(refused=first).generation == 2
    assert auth_server.counters.token_requests == 1
