"""Token, Secret, and what is understood of a token response."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerefresh import LoginRequired, RefreshProtocolError, Secret, Token
from onerefresh.record_text import token_from_fields, token_to_fields
from onerefresh.token_response import odd_type, parse_answer

NOW = 1_800_000_000.0


def jwt(**claims: object) -> str:
    def part(content: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part(claims)}.signature"


def parsed(**answer: object) -> Token:
    return parse_answer({"access_token": "a", **answer}, at=NOW)


# --- Expiry ---


@pytest.mark.parametrize(
    ("answer", "expires_at"),
    [
        ({}, None),
        ({"expires_in": 3600}, NOW + 3600),
        ({"expires_in": 0.5}, NOW + 0.5),
        ({"expires_in": "3600"}, NOW + 3600),
        ({"expires_in": " 3600 "}, NOW + 3600),
        ({"expires_in": "3600.5"}, NOW + 3600.5),
        ({"expiresIn": 60}, NOW + 60),
        ({"expires_in": 0}, None),
        ({"expires_in": "0"}, None),
        ({"expires_in": -5}, NOW + 300),
        ({"expires_in": None}, None),
        ({"expires_in": ""}, None),
        ({"expires_in": "never"}, None),
        ({"expires_in": "soon"}, NOW + 300),
        ({"expires_in": True}, NOW + 300),
        ({"expires_in": [3600]}, NOW + 300),
        ({"expires_in": math.nan}, NOW + 300),
        ({"expires_in": math.inf}, NOW + 300),
        ({"expires_in": 10**400}, NOW + 300),
        ({"expires_at": NOW + 60}, NOW + 60),
        ({"expires_at": str(NOW + 60)}, NOW + 60),
        ({"expiresAt": (NOW + 60) * 1000}, NOW + 60),
        ({"expires_at": NOW - 60}, NOW - 60),
        ({"expires_at": 0}, None),
        ({"expires_in": 60, "expires_at": 5}, NOW + 60),
        ({"expires_in": 0, "expires_at": NOW + 60}, NOW + 60),
        ({"expires_at": "2027-01-15T09:00:00Z"}, NOW + 3600),
        ({"expires_at": "2027-01-15T09:00:00"}, NOW + 300),
    ],
)
def test_the_expiry_of_an_answer(answer: dict[str, object], expires_at: float | None) -> None:
    assert parsed(**answer).expires_at == expires_at


@pytest.mark.parametrize(
    ("access", "answer", "expires_at"),
    [
        (jwt(exp=NOW + 60), {}, NOW + 60),
        (jwt(exp=NOW + 60), {"expires_in": 10}, NOW + 10),
        (jwt(exp=NOW + 60), {"expires_in": 0}, None),
        (jwt(exp=str(NOW + 60)), {}, NOW + 60),
        (jwt(sub="x"), {}, None),
        (jwt(exp="soon"), {}, NOW + 300),
        (jwt(exp=(NOW + 60) * 1000), {}, NOW + 60),
        (jwt(exp=None), {}, None),
        ("a.b.c", {}, None),
        ("a.%%%.c", {}, None),
        ("a.!.c", {}, None),
        (f"a.{base64.urlsafe_b64encode(b'[1]').decode()}.c", {}, None),
        (f"a.{base64.urlsafe_b64encode(b'[' * 100_000).decode()}.c", {}, None),
        ("a.b", {}, None),
        ("...", {}, None),
    ],
)
def test_a_jwt_tells_its_expiry_only_where_nothing_else_does(
    access: str, answer: dict[str, object], expires_at: float | None
) -> None:
    assert parse_answer({"access_token": access, **answer}, at=NOW).expires_at == expires_at


def test_a_jwt_tells_its_expiry_to_who_makes_a_token_by_hand() -> None:
    access = jwt(exp=NOW + 60)
    assert Token(access).expires_at == NOW + 60
    assert Token(Secret(access), "refresh", expires_in=None).expires_at == NOW + 60
    assert Token(access, expires_in=10, issued_at=NOW).expires_at == NOW + 10
    assert Token(access, expires_at=NOW + 20).expires_at == NOW + 20
    assert Token(access, expires_at=None).expires_at is None, "said in so many words: it is not known"
    assert Token("opaque").expires_at is None


def test_a_token_that_does_not_know_its_expiry_does_not_learn_it_on_its_way() -> None:
    """An ``expires_in`` of 0 says that the expiry is not known, whatever the JWT claims."""
    token = parse_answer({"access_token": jwt(exp=NOW + 60), "expires_in": 0}, at=NOW)
    stored = token_from_fields(token_to_fields(token.numbered("family", 1)))
    assert [one.expires_at for one in (token.numbered("family", 1), token.following(token), stored)] == [None] * 3


@pytest.mark.parametrize(
    ("access", "answer", "issued_at", "expires_at"),
    [
        pytest.param("a", {"expires_in": 3600}, NOW, NOW + 3600, id="nobody knows when it came"),
        pytest.param("a", {}, NOW, None, id="nothing is known"),
        pytest.param("a", {"expires_in": 3600, "expires_at": NOW + 60}, NOW - 3540, NOW + 60, id="a moment wins"),
        pytest.param("a", {"expires_at": NOW - 60}, NOW, NOW - 60, id="it has expired"),
        pytest.param("a", {"expires_in": 60, "expires_at": NOW + 3600}, NOW, NOW + 3600, id="not from the future"),
        pytest.param(jwt(exp=NOW + 60), {"expires_in": 3600}, NOW - 3540, NOW + 60, id="exp wins"),
        pytest.param(jwt(exp=NOW + 60, iat=NOW - 40), {}, NOW - 40, NOW + 60, id="exp and iat"),
        pytest.param(jwt(exp=NOW + 60, iat=NOW - 40), {"expires_in": 0}, NOW, None, id="it is not known"),
        pytest.param(jwt(exp=NOW + 60, iat=NOW + 61), {}, NOW, NOW + 60, id="a iat that makes no sense"),
        pytest.param(jwt(iat=NOW - 40), {"expires_in": 100}, NOW - 40, NOW + 60, id="iat counts"),
        pytest.param(jwt(iat=NOW + 40), {"expires_in": 100}, NOW, NOW + 100, id="an iat of a clock that is ahead"),
        pytest.param(jwt(iat="x"), {"expires_in": 100}, NOW, NOW + 100, id="an iat that is none"),
    ],
)
def test_an_answer_that_was_kept_for_a_while_counts_from_its_own_time(
    access: str, answer: dict[str, object], issued_at: float, expires_at: float | None
) -> None:
    token = parse_answer({"access_token": access, **answer}, at=NOW, kept=True)
    assert (token.issued_at, token.expires_at) == (issued_at, expires_at)


# --- Names and values ---


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": "a", "refresh_token": "r"},
        {"accessToken": "a", "refreshToken": "r"},
        {"access": "a", "refresh": "r"},
        {"AccessToken": "a", "RefreshToken": "r"},
        {"token": "a", "refresh_token": "r"},
        {"access_token": "a", "token": "another", "refresh_token": "r"},
        {"access_token": "a", "accessToken": "other", "refresh_token": "r"},
        {"access_token": None, "access": "a", "refresh": "r"},
    ],
)
def test_the_names_that_servers_use_are_understood(answer: dict[str, object]) -> None:
    token = parse_answer(answer, at=NOW)
    assert (token.reveal(), token.reveal_refresh_token()) == ("a", "r")


@pytest.mark.parametrize("written", ["Bearer a", "bearer  a", "BEARER a"])
def test_the_word_bearer_before_a_token_is_no_part_of_it(written: str) -> None:
    """Else a client would send ``Bearer Bearer a``."""
    assert parse_answer({"token": written}, at=NOW).reveal() == "a"
    assert parse_answer({"access_token": "x", "id_token": written}, at=NOW, bearer_field="id_token").reveal() == "a"
    for whole in ("Bearer", "Bearer-a", "Bearers a", "a Bearer b"):
        assert parse_answer({"token": whole}, at=NOW).reveal() == whole


@pytest.mark.parametrize("value", [None, "", 5, ["r"], {}])
def test_a_refresh_token_that_is_none_is_none(value: object) -> None:
    token = parsed(refresh_token=value)
    assert token.refresh_token is None
    with pytest.raises(LoginRequired, match="log in again"):
        token.reveal_refresh_token()


@pytest.mark.parametrize(
    ("scope", "kept"),
    [("read write", "read write"), (["read", "write"], "read write"), ("", ""), (None, None), (5, None), ({}, None)],
)
def test_the_scope_of_an_answer(scope: object, kept: str | None) -> None:
    assert parsed(scope=scope).scope == kept


def test_what_else_was_answered_is_kept_as_extra() -> None:
    token = parsed(refresh_token="r", expires_in=5, scope="s", id_token="i", token_type="Bearer", account={"id": 7})
    assert dict(token.extra) == {"id_token": "i", "token_type": "Bearer", "account": {"id": 7}}
    with pytest.raises(TypeError):
        token.extra["more"] = 1  # type: ignore[index]  # it is read-only


@pytest.mark.parametrize("name", ["token_type", "tokenType"])
@pytest.mark.parametrize(
    ("said", "shown"),
    [("DPoP", "DPoP"), ("dpop", "DPoP"), ("mac", "mac"), ("MAC", "mac"), ("N_A", "N_A"), (" n_a ", "N_A")],
)
def test_a_token_that_is_no_bearer_token_is_refused(said: str, shown: str, name: str) -> None:
    for answer in ({"access_token": "a", name: said}, Token("a", extra={name: said})):
        with pytest.raises(RefreshProtocolError, match=f"of type '{shown}'.*issue bearer tokens"):
            parse_answer(answer, at=NOW)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({}, None),
        ({"token_type": "Bearer"}, None),
        ({"token_type": "bearer"}, None),
        ({"token_type": " BEARER "}, None),
        ({"token_type": ""}, None),
        ({"token_type": None}, None),
        ({"token_type": 5}, None),
        ({"token_type": "bot"}, "'bot'"),
        ({"tokenType": "JWT"}, "'JWT'"),
        ({"token_type": "urn:ietf:params:oauth:token-type:jwt"}, "an unknown one"),
        ({"token_type": "secret"}, "an unknown one"),
        ({"token_type": "refresh"}, "an unknown one"),
    ],
)
def test_other_types_are_used_and_named_where_that_shows_no_secret(answer: dict[str, object], said: str | None) -> None:
    token = parse_answer({"access_token": "a-secret", "refresh_token": "a-refresh-token", **answer}, at=NOW)
    assert odd_type(token) == said


def test_a_token_is_taken_as_it_is() -> None:
    token = Token("a", expires_in=60, issued_at=NOW - 30)
    assert parse_answer(token, at=NOW) is token
    assert token.expires_at == NOW + 30


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"access_token": ""},
        {"access_token": " "},
        {"access_token": None},
        {"access_token": 5},
        {"access_token": ["a"]},
        {"tokens": "a"},
        {"token": {"access": "a"}},
        None,
        "a",
        b"a",
        5,
        [("access_token", "a")],
    ],
)
def test_an_answer_without_a_usable_access_token_is_refused(answer: Any) -> None:
    with pytest.raises(RefreshProtocolError, match="access_token"):
        parse_answer(answer, at=NOW)


def test_an_answer_that_holds_other_names_is_refused_with_them() -> None:
    with pytest.raises(RefreshProtocolError, match=r"jwt, ok.*Token\(access_token="):
        parse_answer({"jwt": "a", "ok": True}, at=NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(
    st.dictionaries(
        st.sampled_from(["access_token", "refresh_token", "expires_in", "expires_at", "scope", "access", "id_token"]),
        JSON,
    )
)
def test_any_answer_is_a_token_or_one_clear_error_and_survives_the_store(answer: Mapping[str, object]) -> None:
    try:
        token = parse_answer(answer, at=NOW)
    except RefreshProtocolError:
        return
    assert token.reveal()
    assert token.expires_at is None or math.isfinite(token.expires_at)
    again = token_from_fields(json.loads(json.dumps(token_to_fields(token))))
    assert (again.access_token, again.refresh_token) == (token.access_token, token.refresh_token)
    assert (again.expires_at, again.issued_at, again.scope) == (token.expires_at, token.issued_at, token.scope)
    assert again.extra.keys() == token.extra.keys()


# --- Tokens ---


def test_a_token_never_changes() -> None:
    token = Token("a", "r")
    with pytest.raises(AttributeError):
        token.generation = 5  # type: ignore[misc]  # it is frozen


@pytest.mark.parametrize("text", ["", None, Secret("")])
def test_a_token_needs_an_access_token(text: Any) -> None:
    with pytest.raises(RefreshProtocolError, match="non-empty access_token"):
        Token(text)


def test_tokens_are_told_apart_by_their_number_and_not_by_their_text() -> None:
    token = Token("a", "r")
    assert token.identity == ("", 0)
    assert token.numbered("family", 1).identity != token.numbered("family", 2).identity
    assert token.numbered("family", 1) == token.numbered("family", 1)
    assert token.numbered("family", 1) != token.numbered("family", 2)


def test_an_answer_goes_on_with_what_it_does_not_repeat() -> None:
    before = Token("a", "r", scope="read", extra={"account": 7, "tenant": "t"})
    after = Token("b", extra={"tenant": "u"}).following(before)
    assert (after.reveal(), after.reveal_refresh_token(), after.scope) == ("b", "r", "read")
    assert dict(after.extra) == {"account": 7, "tenant": "u"}
    assert Token("b", "s", scope="").following(before).scope == ""
    assert Token("b", "s").following(before).reveal_refresh_token() == "s"


def test_a_family_is_named_by_its_refresh_token_else_by_its_access_token() -> None:
    assert Token("a", "r").seed_fingerprint() == Token("b", "r").seed_fingerprint() == Secret("r").fingerprint()
    assert Token("a").seed_fingerprint() == Secret("a").fingerprint()


def test_extra_that_json_cannot_hold_is_kept_as_text_rather_than_costing_the_token() -> None:
    fields = json.loads(json.dumps(token_to_fields(Token("a", extra={"when": {1, 2}, "kind": Token}))))
    assert token_from_fields(fields).extra["when"] == [1, 2]
    assert "Token" in str(token_from_fields(fields).extra["kind"])


# --- Secrets ---


def test_a_secret_is_compared_by_its_text_and_with_secrets_alone() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert bool(Secret("a"))
    assert not Secret("")


@given(st.text(alphabet=st.characters(codec=None)))
def test_a_fingerprint_reveals_nothing_and_tells_secrets_apart(text: str) -> None:
    assert len(Secret(text).fingerprint()) == 16
    assert Secret(text).fingerprint() != Secret(f"{text}x").fingerprint()
    assert Secret(text) == Secret(text)
