"""An expiry that is not understood, and first tokens that are old, as programs see them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import Refresher, expired, first_token, listening

from onerefresh import ConfigurationError, Credential, Credentials, Secret, Token
from onerefresh.events import Event, Kind
from onerefresh.expiry import CAUTIOUS_LIFE
from onerefresh.record_text import decode
from onerefresh.stores.memory import MemoryStore

DAY = 86_400.0


class Odd(Refresher):
    """Its answers state an expiry that nobody understands."""

    def end(self) -> dict[str, object]:
        return {**super().end(), "expires_in": "in a very-secret while"}


def said(heard: list[Event]) -> list[str]:
    return [event.detail for event in heard if event.kind is Kind.ODD_EXPIRY]


def life_of(token: Token) -> float:
    assert token.expires_at is not None
    return token.expires_at - token.issued_at


# --- Answers ---


def test_an_answer_whose_expiry_is_not_understood_serves_for_a_while_and_says_so() -> None:
    refresher = Odd()
    with listening() as heard:
        credential = Credential("acme", refresher, token=expired())
        tokens = [credential.token() for _ in range(20)]
    assert {token.generation for token in tokens} == {2}
    assert refresher.calls == 1, "it is not refreshed for each call"
    assert life_of(tokens[0]) == CAUTIOUS_LIFE, "nor never"
    shape = "a text of 22 characters that is not a date, a number or a duration"
    assert said(heard) == [f"expires_in is {shape}; the token is used for 300 s"]
    assert not any("secret" in str(event) for event in heard)


def test_a_token_made_by_the_refresher_with_a_time_that_is_not_understood_is_not_lost() -> None:
    def refresh(token: Token) -> Token:
        return Token("access-1", "refresh-1", expires_at="in a very-secret while")

    with listening() as heard:
        credential = Credential("acme", refresh, token=expired())
        token = credential.token()
        assert (token.reveal(), token.reveal_refresh_token(), life_of(token)) == (
            "access-1",
            "refresh-1",
            CAUTIOUS_LIFE,
        )
        assert credential.token().identity == token.identity
    shape = "a text of 22 characters that is not a date, a number or a duration"
    assert said(heard) == [f"expires_at is {shape}; the token is used for 300 s"]
    assert not any("secret" in str(event) for event in heard)


@pytest.mark.parametrize(
    ("answer", "life"),
    [
        ({"expires_in": 3_600_000, "expires_in_sec": 3600}, 3600.0),
        ({"expires_in": 7 * DAY * 1000}, 7 * DAY),
        ({"expires_in_ms": 900_000}, 900.0),
        ({"expiry_date": "in an hour, in ms"}, 3600.0),
        ({"expires": "in an hour, as an HTTP date"}, 3600.0),
        ({"expires_at": "in an hour, in ISO 8601"}, 3600.0),
        ({"expires_in": "in an hour, as a moment"}, 3600.0),
    ],
)
def test_a_refresher_s_answer_states_it_in_any_way(answer: dict[str, Any], life: float) -> None:
    ways: dict[str, Callable[[datetime], object]] = {
        "in an hour, in ms": lambda moment: int(moment.timestamp() * 1000),
        "in an hour, as an HTTP date": lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "in an hour, in ISO 8601": lambda moment: moment.isoformat(),
        "in an hour, as a moment": lambda moment: str(int(moment.timestamp())),
    }
    soon = datetime.now(UTC) + timedelta(hours=1)
    answer = {name: ways[value](soon) if value in ways else value for name, value in answer.items()}
    credential = Credential("acme", lambda token: {"token": "access-1", **answer}, token=expired())
    with listening() as heard:
        assert life_of(credential.token()) == pytest.approx(life, abs=10.0)
    assert said(heard) == []


# --- First tokens ---


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("way", ["token=", "login"])
def test_a_first_token_whose_expiry_is_not_understood_says_so_where_its_session_begins(
    store: str, way: str, tmp_path: Path
) -> None:
    place = "memory" if store == "memory" else f"sqlite:///{tmp_path}/tokens.db"
    first = first_token(expires_at="soon")
    with listening() as heard:
        if way == "token=":
            credential = Credential("acme", Refresher(), token=first, store=place)
        else:
            credential = Credential("acme", Refresher(), store=place)
            credential.login(first)
        assert life_of(credential.token()) == CAUTIOUS_LIFE
        if store == "sqlite":
            with Credential("acme", Refresher(), token=first, store=place) as again:
                again.token()
    shape = "a text of 4 characters that is not a date, a number or a duration"
    assert said(heard) == [f"expires_at is {shape}; the token is used for 300 s"]


def test_one_that_nobody_can_refresh_is_used_until_it_is_refused() -> None:
    with listening() as heard:
        credential = Credential("acme", Refresher(), token={"access_token": "access-0", "expires_at": "soon"})
        assert credential.token().expires_at is None
    assert said(heard)[0].endswith("nobody can refresh the token, so it is used until the API refuses it")


def test_a_file_of_requests_oauthlib_of_ten_days_ago_is_not_fresh() -> None:
    then = time.time() - 10 * DAY
    file = {**first_token(), "token_type": "Bearer", "scope": ["read"], "expires_in": 3600, "expires_at": then + 3600}
    ways: list[Callable[[], Credential]] = [
        lambda: Credential("acme", Refresher(), token=file),
        lambda: Credentials(Refresher(), store=MemoryStore(), token_for=lambda key: file)["acme"],
        lambda: logged_in(file),
        lambda: Credential("acme", Refresher(), token={**first_token(), "expires_in": 3600, "created_at": int(then)}),
        lambda: Credential("acme", Refresher(), token={**first_token(), "expires_in": 3600, "obtained_at": then * 1e3}),
    ]
    for begin in ways:
        credential = begin()
        assert credential.current() is None
        assert credential.token().reveal() == "access-1"


def test_a_login_that_nobody_can_refresh_is_new_whatever_clocks_say() -> None:
    over = {"access_token": "access-0", "expires_in": 3600, "expires_at": time.time() - 60.0}
    credential = logged_in(over)
    assert credential.bearer() == "access-0"


def logged_in(answer: dict[str, object]) -> Credential:
    credential = Credential("acme", Refresher())
    credential.login(answer)
    return credential


# --- A refresh token alone ---


@pytest.mark.parametrize(
    "first",
    [
        {"refresh_token": "refresh-0"},
        {"refresh_token": "refresh-0", "access_token": None, "scope": "read"},
        {"refreshToken": "refresh-0", "expires_in": 3600},
        Token(None, "refresh-0"),
        Token("", Secret("refresh-0"), scope="read"),
    ],
)
def test_a_refresh_token_alone_is_refreshed_before_its_first_use(first: Any, tmp_path: Path) -> None:
    refresher = Refresher()
    for number, credential in enumerate(
        [
            Credential("acme", refresher, token=first),
            Credential("acme", refresher, token=first, store=f"sqlite:///{tmp_path}/tokens.db"),
            Credentials(refresher, store=MemoryStore(), token_for=lambda key: first)["acme"],
            logged_in_with(refresher, first),
        ]
    ):
        assert credential.current() is None
        assert [credential.bearer() for _ in range(3)] == [f"access-{number + 1}"] * 3
        assert refresher.given[-1].reveal_refresh_token() == "refresh-0"
    assert refresher.calls == 4


def logged_in_with(refresher: Refresher, first: Any) -> Credential:
    credential = Credential("acme", refresher)
    token = credential.login(first)
    assert not token.has_access_token
    return credential


def test_a_host_that_saves_it_may_give_it_back() -> None:
    """A login is saved before the first refresh: the host's table has the stand-in for the access token."""
    rows: list[dict[str, object]] = []

    def save(token: Token) -> None:
        rows.append({"access_token": token.reveal(), "refresh_token": token.reveal_refresh_token()})

    credential = Credential("acme", Refresher(), save=save)
    credential.login({"refresh_token": "refresh-0"})
    again = Credential("another", Refresher(), token=rows[0], save=save)
    assert again.current() is None
    assert again.bearer() == "access-1"
    assert rows[1] == {"access_token": "access-1", "refresh_token": "refresh-1"}


def test_its_record_is_one_that_every_version_reads() -> None:
    store = MemoryStore()
    Credential("acme", Refresher(), token={"refresh_token": "refresh-0"}, store=store)
    found = store.load("acme")
    assert found is not None
    token = json.loads(found.body)["token"]
    assert token["access_token"].startswith(" "), "no header can carry it, in any version"
    assert token["expires_at"] <= token["issued_at"]
    record = decode(found.body, "acme")
    assert record.token is not None
    assert not record.token.has_access_token
    assert [secret.reveal() for secret in record.token.secrets] == ["refresh-0"], "the stand-in is no secret"


def test_a_refresh_token_alone_is_no_answer_of_a_refresher() -> None:
    credential = Credential("acme", lambda token: {"refresh_token": "refresh-1"}, token=expired())
    with pytest.raises(Exception, match="no usable 'access_token' in the answer"):
        credential.token()


def test_a_token_without_an_access_token_in_an_answer_keeps_its_refresh_token() -> None:
    def refresh(token: Token) -> Token:
        given.append(token.reveal_refresh_token())
        return Token(None, "refresh-1")

    given: list[str] = []
    credential = Credential("acme", refresh, token=expired())
    with pytest.raises(Exception, match="the answer has no access token"):
        credential.token()
    with pytest.raises(Exception, match="the answer has no access token"):
        credential.retry()
    assert given == ["refresh-0", "refresh-1"]


@pytest.mark.parametrize(
    "first", [{"error": "invalid_grant", "refresh_token": "r"}, {"access_token": 5, "refresh_token": "r"}]
)
def test_an_answer_with_an_error_or_a_strange_access_token_is_no_first_token(first: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="no usable 'access_token'"):
        Credential("acme", Refresher(), token=first)
