"""`bearer_field`: another field of the answer is the token that the API gets, with its own end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.core.calls import Refresher, first_token, listening
from tests.core.test_token import jwt

from onerefresh import ConfigurationError, Credential, Credentials, RefreshProtocolError, Token
from onerefresh.config import parse
from onerefresh.events import Kind
from onerefresh.oauth2 import TokenEndpoint, TokenRequest, TokenResponse
from onerefresh.stores.memory import MemoryStore
from onerefresh.token_response import parse_answer

NOW = 1_800_000_000.0
ID = jwt(exp=NOW + 600, iat=NOW)


def parsed(**answer: object) -> Token:
    return parse_answer({"access_token": "a", "refresh_token": "r", **answer}, at=NOW, bearer_field="id_token")


class WithId(Refresher):
    """Its answers have an id_token beside the access token, unless it is left out."""

    without = False

    def end(self) -> dict[str, object]:
        answer = super().end()
        return answer if self.without else {**answer, "id_token": f"id-{self.calls}", "idle": "x"}


def first(**others: object) -> dict[str, object]:
    return {**first_token(id_token="id-0"), **others}


# --- The end of what is sent ---


@pytest.mark.parametrize(
    ("answer", "expires_at"),
    [
        ({"id_token": ID, "expires_in": 3600}, NOW + 600),
        ({"id_token": ID, "id_token_expires_in": 60, "expires_in": 3600}, NOW + 60),
        ({"id_token": "opaque", "expires_in": 3600}, NOW + 3600),
        ({"id_token": "opaque", "idTokenExpiresAt": NOW + 60, "expires_in": 3600}, NOW + 60),
        ({"id_token": "opaque"}, None),
        ({"idToken": jwt(exp=(NOW + 60) * 1000)}, NOW + 60),
        ({"access_token": jwt(exp=NOW + 60), "id_token": ID}, NOW + 600),
        ({"id_token": jwt(exp="soon"), "expires_in": 3600}, NOW + 300),
    ],
)
def test_it_is_that_of_the_field(answer: dict[str, object], expires_at: float | None) -> None:
    token = parsed(**answer)
    assert token.expires_at == expires_at
    assert token.reveal() in {answer.get("id_token"), answer.get("idToken")}
    assert token.extra["access_token"] == answer.get("access_token", "a")
    assert not {"id_token", "idToken"} & set(token.extra)


def test_the_access_token_may_be_missing() -> None:
    token = parse_answer({"id_token": ID, "refresh_token": "r"}, at=NOW, bearer_field="id_token")
    assert (token.reveal(), token.expires_at, dict(token.extra)) == (ID, NOW + 600, {"access_token": None})


# --- In credentials of each kind ---


def test_tokens_of_first_answers_refreshes_and_logins_are_those_of_the_field() -> None:
    ways: list[Callable[[Refresher], Credential]] = [
        lambda refresher: Credential("acme", refresher, token=first(), bearer_field="id_token"),
        lambda refresher: logged_in(Credential("acme", refresher, bearer_field="id_token")),
        lambda refresher: Credentials(
            refresher, store=MemoryStore(), token_for=lambda key: first(), bearer_field="id_token"
        )["acme"],
        lambda refresher: Credential("acme", Stating(refresher), token=first()),
    ]
    for way in ways:
        credential = way(WithId())
        assert credential.bearer() == "id-0"
        token = credential.token(refused=credential.token())
        assert (token.reveal(), token.extra["access_token"]) == ("id-1", "access-1")
        assert credential.token().reveal_refresh_token() == "refresh-1"


def logged_in(credential: Credential) -> Credential:
    credential.login(first())
    return credential


class Stating:
    """A refresher that states the field itself."""

    bearer_field = "id_token"

    def __init__(self, refresher: Refresher) -> None:
        self.refresher = refresher

    def __call__(self, token: Token) -> dict[str, object]:
        return self.refresher(token)


def test_obtain_may_give_it() -> None:
    credential = Credential("acme", WithId(), obtain=lambda: first(), bearer_field="id_token")
    assert credential.bearer() == "id-0"


def test_a_record_works_for_readers_without_the_argument(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/tokens.db"
    with Credential("acme", WithId(), token=first(expires_at=1), store=place, bearer_field="id_token") as credential:
        assert credential.bearer() == "id-1"
    with Credential("acme", WithId(), store=place) as reader:
        assert reader.bearer() == "id-1"
    with Credential("acme", WithId(), store=place, bearer_field="id_token") as credential:
        assert credential.bearer() == "id-1"


def test_a_session_that_was_stored_before_changes_with_its_next_refresh(tmp_path: Path) -> None:
    place, refresher = f"sqlite:///{tmp_path}/tokens.db", WithId()
    with Credential("acme", refresher, token=first(), store=place) as before:
        assert before.bearer() == "access-0"
    with Credential("acme", refresher, store=place, bearer_field="id_token") as credential:
        assert credential.token(refused=credential.token()).reveal() == "id-1"


def test_a_refresh_token_alone_is_enough_here_too() -> None:
    credential = Credential("acme", WithId(), token={"refresh_token": "refresh-0"}, bearer_field="id_token")
    assert credential.bearer() == "id-1"
    beside = Credential("acme", WithId(), token=first_token(), bearer_field="id_token")
    assert beside.bearer() == "id-1", "an access token alone is nothing for this API"


# --- Answers without the field ---


def test_an_answer_without_it_is_unusable_and_its_refresh_token_is_kept() -> None:
    refresher = WithId()
    refresher.without = True
    credential = Credential("acme", refresher, token=first(expires_at=1), bearer_field="id_token")
    with pytest.raises(RefreshProtocolError, match=r"no usable 'id_token' in the answer, which bearer_field names"):
        credential.token()
    refresher.without = False
    assert credential.retry().reveal() == "id-2"
    assert refresher.given[1].reveal_refresh_token() == "refresh-1"


def test_a_first_answer_without_it_and_without_a_refresh_token_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"token=: no usable 'id_token'.*scope openid"):
        Credential("acme", WithId(), token={"access_token": "a"}, bearer_field="id_token")
    with pytest.raises(ConfigurationError, match=r"login\(\): no usable 'jwt'.*look at bearer_field"):
        Credential("acme", WithId(), bearer_field="jwt").login(Token("a", "r"))


# --- Settings ---


@pytest.mark.parametrize("name", ["", " ", 5, True, ["id_token"], "a\nb", "x" * 200])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="bearer_field must be the name of a field"):
        Credential("acme", WithId(), token=first(), bearer_field=name)
    with pytest.raises(ConfigurationError, match="bearer_field must be the name of a field"):
        TokenEndpoint("https://acme.com/token", client_id="me", bearer_field=name)
    with pytest.raises(ConfigurationError, match="bearer_field must be the name of a field"):
        Credentials(WithId(), store=MemoryStore(), bearer_field=name)


def test_two_names_contradict_each_other() -> None:
    with pytest.raises(ConfigurationError, match="names a different field than the refresher does"):
        Credential("acme", Stating(WithId()), token=first(), bearer_field="jwt")
    assert Credential("acme", Stating(WithId()), token=first(), bearer_field="id_token").bearer() == "id-0"
    assert Credential("acme", WithId(), token=first(), bearer_field="access_token").bearer() == "access-0"


# --- Token endpoints ---


class Server:
    """Answers each request with an id_token, and keeps what it was asked."""

    def __init__(self, **answer: object) -> None:
        self.answer: dict[str, object] = answer
        self.asked: list[dict[str, list[str]]] = []

    def __call__(self, request: TokenRequest) -> TokenResponse:
        self.asked.append(parse_qs(request.body.decode()))
        answer = {"id_token": jwt(exp=time.time() + 600), "refresh_token": "refresh-1", **self.answer}
        return TokenResponse(200, {}, json.dumps({name: value for name, value in answer.items() if value}).encode())


def endpoint(server: Server, **settings: Any) -> TokenEndpoint:
    return TokenEndpoint("https://acme.com/token", client_id="me", send=server, **settings)


@pytest.mark.parametrize("where", ["endpoint", "credential"])
def test_a_token_endpoint_gives_it(where: str) -> None:
    name: dict[str, Any] = {"bearer_field": "id_token"}
    server = Server(access_token="access-1", expires_in=3600)
    login = endpoint(server, **(name if where == "endpoint" else {}))
    credential = Credential("acme", login, token=first(expires_at=1), **(name if where == "credential" else {}))
    token = credential.token()
    assert token.reveal().count(".") == 2
    assert token.expires_at == pytest.approx(time.time() + 600, abs=10)
    assert token.extra["access_token"] == "access-1"
    assert server.asked[0]["refresh_token"] == ["refresh-0"]


def test_a_token_endpoint_need_not_give_an_access_token() -> None:
    credential = Credential("acme", endpoint(Server(), bearer_field="id_token"), token=first(expires_at=1))
    assert credential.bearer().count(".") == 2


def test_a_token_endpoint_that_does_not_give_it_is_told_and_its_refresh_token_is_kept() -> None:
    server = Server(access_token="access-1", id_token=None)
    credential = Credential("acme", endpoint(server, bearer_field="id_token"), token=first(expires_at=1))
    for _ in range(2):
        with pytest.raises(RefreshProtocolError, match="no usable 'id_token' in the answer"):
            credential.retry() if server.asked else credential.token()
    assert [asked["refresh_token"] for asked in server.asked] == [["refresh-0"], ["refresh-1"]]


def test_the_answer_s_access_token_is_revoked_not_what_was_sent() -> None:
    server = Server()
    login = endpoint(server, bearer_field="id_token", revocation_url="https://acme.com/revoke")
    credential = Credential("acme", login, token={"access_token": "access-0", "id_token": "id-0"})
    with listening() as heard:
        credential.logout()
    assert [asked["token"] for asked in server.asked] == [["access-0"]]
    assert Kind.REVOKED in [event.kind for event in heard]


def test_the_configuration_file_names_it() -> None:
    lines = '[credentials.acme]\ntoken_endpoint = "https://a.com/token"\nclient_id = "me"\nbearer_field = "id_token"\n'
    entry = parse(lines, Path("/srv/onerefresh.toml")).named("acme")
    assert entry.options["bearer_field"] == entry.endpoint["bearer_field"] == "id_token"
    with pytest.raises(ConfigurationError, match="bearer_field must be the name of a field"):
        parse(lines.replace('"id_token"', '" "'), Path("/srv/onerefresh.toml"))
