"""Refreshers that are mocks, that answer oddly, or that ask other credentials."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from unittest import mock

import pytest

from onerefresh import Answer, Credential, LoginRequired, SaveFailed, Token

pytestmark = pytest.mark.slow

EXPIRED = {"access_token": "old", "refresh_token": "first", "expires_at": 1}
ANSWER = {"access_token": "new", "refresh_token": "second", "expires_in": 3600}


@pytest.mark.parametrize(
    "answer",
    [
        lambda token: {"access_token": "new", "refresh_token": "second", "expires_at": time.time() - 3600},
        lambda token: Token("new", "second", expires_in=0),
        lambda token: token,
    ],
    ids=["a server whose clock is behind", "a lifetime of nothing", "the same token"],
)
def test_answers_that_have_expired_on_arrival_are_not_refreshed_by_every_call(
    answer: Callable[[Token], Answer],
) -> None:
    refresh = mock.Mock(side_effect=answer)
    credential = Credential("acme", refresh, token=EXPIRED)

    tokens = [credential.token() for _ in range(20)]

    assert refresh.call_count == 1
    assert {token.generation for token in tokens} == {2}
    assert not any(token.expires_at is None or token.expires_at < time.time() for token in tokens)


def test_a_first_token_that_has_expired_is_refreshed() -> None:
    credential = Credential("acme", lambda token: ANSWER, token=Token("old", "first", expires_in=0))

    assert credential.token().reveal() == "new"


def test_a_mock_is_a_refresher() -> None:
    refresh = mock.Mock(return_value=ANSWER)

    assert Credential("acme", refresh, token=EXPIRED).token().reveal() == "new"
    refresh.assert_called_once()


@pytest.mark.filterwarnings("error")
def test_an_async_mock_is_a_refresher_and_leaves_no_coroutine_behind() -> None:
    refresh = mock.AsyncMock(return_value=ANSWER)

    assert asyncio.run(Credential("acme", refresh, token=EXPIRED).atoken()).reveal() == "new"
    refresh.assert_awaited_once()
    assert [name for name, *_ in refresh.mock_calls] == [""]


def test_a_mock_that_says_log_in_is_not_asked_for_a_first_token() -> None:
    refresh = mock.Mock(side_effect=LoginRequired("revoked"))

    expired = Token("access-of-old", "refresh-of-old", expires_in=0)
    with pytest.raises(LoginRequired, match="revoked"):
        Credential("acme", refresh, token=expired).token()
    assert [name for name, *_ in refresh.mock_calls] == [""]


def test_a_refresher_may_ask_another_credential_of_the_same_name() -> None:
    inner = Credential("acme", lambda token: ANSWER, token=EXPIRED)
    outer = Credential("acme", lambda token: inner.token(), token=EXPIRED)

    assert outer.token().reveal() == "new"


def test_a_task_that_outlives_the_refresher_may_ask_for_a_token() -> None:
    async def main() -> Token:
        over = asyncio.Event()
        tasks: list[asyncio.Task[Token]] = []
        credential: Credential

        async def ask() -> Token:
            await over.wait()
            return await credential.atoken(refused=credential.current())

        async def refresh(_: Token) -> dict[str, object]:
            tasks.append(asyncio.create_task(ask()))
            return ANSWER

        credential = Credential("acme", refresh, token=EXPIRED)
        await credential.atoken()
        over.set()
        return await tasks[0]

    assert asyncio.run(main()).reveal() == "new"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_save_that_ends_its_thread_has_not_saved(kind: type[BaseException]) -> None:
    save = mock.Mock(side_effect=[kind, kind, kind, None])
    refresh = mock.Mock(return_value=ANSWER)
    credential = Credential("acme", refresh, token=EXPIRED, save=save)

    with pytest.raises(SaveFailed) as raised:
        credential.token()
    shared = raised.value.__cause__
    assert shared is not None
    assert type(shared.__cause__) is kind
    assert credential.token().reveal() == "new"
    assert (save.call_count, refresh.call_count) == (4, 1)
