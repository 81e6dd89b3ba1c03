"""`obtain=`: a token where there is none, where none can be refreshed, or where the session is dead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from tests.core.calls import Refresher, expired, first_token, in_threads, outcomes

from onerefresh import Credential, LoginRequired, OnerefreshError, RefreshUnavailable, Token
from onerefresh.stores.memory import MemoryStore


class Source:
    """Obtains a token: the n-th gives ``obtained-n``."""

    def __init__(self, *, refreshable: bool = False, expires_in: float = 3600.0) -> None:
        self.calls = 0
        self.refreshable = refreshable
        self.expires_in = expires_in
        self.failure: Exception | None = None

    def __call__(self) -> dict[str, object]:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        answer: dict[str, object] = {"access_token": f"obtained-{self.calls}", "expires_in": self.expires_in}
        return {**answer, "refresh_token": f"new-{self.calls}"} if self.refreshable else answer

    async def on_a_loop(self) -> dict[str, object]:
        await asyncio.sleep(0)
        return self()


def never(token: Token) -> dict[str, object]:
    raise AssertionError("there was nothing to refresh")


def test_the_first_token_is_obtained_once_for_all_callers() -> None:
    source = Source()
    credential = Credential("acme", never, obtain=source)
    tokens = in_threads([credential.token] * 30)
    assert {(token.reveal(), token.generation) for token in tokens} == {("obtained-1", 1)}
    assert source.calls == 1


def test_a_token_that_cannot_be_refreshed_is_obtained_anew_when_it_ends() -> None:
    source = Source()
    credential = Credential("acme", never, obtain=source, token={"access_token": "old", "expires_at": 1_000_000_000})
    assert credential.bearer() == "obtained-1"
    following = credential.token()
    credential.replayed(following, accepted=True)
    assert credential.token(refused=following).reveal() == "obtained-2"


def test_a_token_that_can_be_refreshed_is_refreshed() -> None:
    source, refresher = Source(refreshable=True), Refresher()
    credential = Credential("acme", refresher, obtain=source)
    first = credential.token()
    credential.replayed(first, accepted=True)
    assert credential.token(refused=first).reveal() == "access-1"
    assert [token.reveal_refresh_token() for token in refresher.given] == ["new-1"]
    assert source.calls == 1


class Renewing(Refresher):
    """A refresher that trades the access token itself, as PocketBase has it, and gives no refresh token."""

    renews_from_access = True

    def end(self) -> dict[str, object]:
        return {key: value for key, value in super().end().items() if key != "refresh_token"}


def access_alone(**others: object) -> dict[str, object]:
    return {"access_token": "access-0", "expires_at": 1_000_000_000, **others}


def test_a_refresher_that_renews_from_the_access_token_is_asked_before_the_source() -> None:
    source, refresher = Source(), Renewing()
    credential = Credential("acme", refresher, token=access_alone(), obtain=source)
    first = credential.token()
    credential.replayed(first, accepted=True)
    assert credential.token(refused=first).reveal() == "access-2"
    assert [token.reveal() for token in refresher.given] == ["access-0", "access-1"]
    assert source.calls == 0


def test_where_it_says_that_it_cannot_the_source_is_asked() -> None:
    source, refresher = Source(), Renewing()
    refresher.failure = LoginRequired("this token can be renewed no more")
    credential = Credential("acme", refresher, token=access_alone(), obtain=source)
    assert credential.bearer() == "obtained-1"
    assert (refresher.calls, source.calls) == (1, 1)
    refresher.failure = None
    obtained = credential.token()
    credential.replayed(obtained, accepted=True)
    assert credential.token(refused=obtained).reveal() == "access-2", "what was obtained is renewed again"
    assert (refresher.calls, source.calls) == (2, 1)


def test_an_outage_of_the_refresher_is_no_reason_to_obtain() -> None:
    source, refresher = Source(), Renewing()
    refresher.failure = RefreshUnavailable("down", retry_after=60.0)
    with pytest.raises(RefreshUnavailable):
        Credential("acme", refresher, token=access_alone(), obtain=source).token()
    assert source.calls == 0


def test_a_function_may_declare_it_and_a_mock_does_not() -> None:
    def renew(token: Token) -> dict[str, object]:
        return {"access_token": f"after {token.reveal()}"}

    source = Source()
    assert Credential("acme", renew, token=access_alone(), obtain=source).bearer() == "obtained-1"
    renew.renews_from_access = True  # type: ignore[attr-defined]  # as its docs say
    assert Credential("acme", renew, token=access_alone(), obtain=source).bearer() == "after access-0"
    mock = Mock(side_effect=AssertionError("there was nothing to refresh"), timeout=10.0)
    assert Credential("acme", mock, token=access_alone(), obtain=source).bearer() == "obtained-2"


def test_without_a_source_a_refresher_is_asked_whatever_it_declares() -> None:
    refresher = Refresher()
    assert Credential("acme", refresher, token=access_alone()).bearer() == "access-1"


def test_a_dead_session_is_obtained_anew() -> None:
    source, refresher = Source(), Refresher()
    refresher.failure = LoginRequired("revoked")
    credential = Credential("acme", refresher, token=expired(), obtain=source)
    assert credential.bearer() == "obtained-1"
    assert (refresher.calls, source.calls) == (1, 1)
    assert credential.status().state == "idle"


def test_what_was_logged_out_is_not_obtained_until_somebody_logs_in() -> None:
    source = Source()
    credential = Credential("acme", never, obtain=source)
    credential.token()
    credential.logout()
    with pytest.raises(LoginRequired, match="logged out"):
        credential.token()
    assert credential.login().reveal() == "obtained-2"
    assert credential.bearer() == "obtained-2"


@pytest.mark.parametrize("ask", [Credential.token, Credential.login])
def test_an_async_source_is_awaited(ask: Callable[[Credential], Token]) -> None:
    assert ask(Credential("acme", never, obtain=Source().on_a_loop)).reveal() == "obtained-1"


def test_an_async_source_is_awaited_on_the_loop_that_asks() -> None:
    async def run() -> None:
        credential = Credential("acme", never, obtain=Source().on_a_loop)
        assert (await credential.alogin()).reveal() == "obtained-1"
        assert await credential.abearer() == "obtained-1"

    asyncio.run(run())


def test_a_refresher_may_bring_its_own_source() -> None:
    class Both(Refresher):
        def obtain(self) -> dict[str, object]:
            return {"access_token": "its own"}

    assert Credential("acme", Both()).bearer() == "its own"
    assert Credential("acme", Both(), obtain=Source()).bearer() == "obtained-1"


def test_a_source_that_fails_is_one_error_for_all_and_is_not_asked_by_each_call() -> None:
    source = Source()
    source.failure = RefreshUnavailable("down", retry_after=60.0)
    credential = Credential("acme", never, obtain=source)
    assert {type(error) for error in outcomes([credential.token] * 20)} == {RefreshUnavailable}
    for _ in range(5):
        with pytest.raises(RefreshUnavailable):
            credential.token()
    assert source.calls == 1


def test_a_source_that_is_refused_requires_a_person_and_is_not_asked_by_each_call() -> None:
    source = Source()
    source.failure = LoginRequired("invalid_grant")
    credential = Credential("acme", never, obtain=source)
    for _ in range(10):
        with pytest.raises(LoginRequired, match="no token could be obtained"):
            credential.token()
    assert source.calls == 1
    with pytest.raises(OnerefreshError):
        credential.login()


def test_a_seed_comes_before_the_source() -> None:
    source = Source()
    assert Credential("acme", never, token=first_token(), obtain=source).bearer() == "access-0"
    assert source.calls == 0


def test_another_process_finds_what_was_obtained() -> None:
    store, source = MemoryStore(), Source()
    Credential("acme", never, obtain=source, store=store).token()
    assert Credential("acme", never, obtain=source, store=store).bearer() == "obtained-1"
    assert source.calls == 1


@pytest.mark.parametrize("answer", [None, {}, "text", {"access_token": ""}])
def test_an_answer_without_a_token_is_an_error(answer: Any) -> None:
    with pytest.raises(OnerefreshError, match="access_token"):
        Credential("acme", never, obtain=lambda: answer).token()
