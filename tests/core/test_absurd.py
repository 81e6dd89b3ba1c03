"""What a server says without measure: numbers that no calendar has, scopes and fields that never end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from onerefresh import Credential, Token, errors
from onerefresh.bodies import parse_retry_after
from onerefresh.judge_answer import judge_answer
from onerefresh.judge_exception import judge_exception
from onerefresh.oauth2 import TokenEndpoint, TokenRequest, TokenResponse
from onerefresh.record_text import token_from_fields, token_to_fields
from onerefresh.token_response import parse_answer

ABSURD: list[object] = [
    1e12, 1e15, 1e20, 1e308, -1e308, math.inf, -math.inf, math.nan, 10**400, -(10**400), True, False,
    "1e12", "1e308", "inf", "nan", "-1", "9" * 5000, 5e-324, [], {}, ["1"], "1e999",
]  # fmt: skip


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize("value", ABSURD, ids=map(str, range(len(ABSURD))))
@pytest.mark.parametrize("name", ["expires_in", "expires_at", "expiresIn", "expiresAt"])
@pytest.mark.parametrize("kept", [False, True])
def test_an_absurd_expiry_costs_no_token_and_is_a_date(name: str, value: object, kept: bool) -> None:
    token = parse_answer({"access_token": "a", name: value}, at=1_700_000_000.0, kept=kept)
    stored = token_from_fields(json.loads(json.dumps(token_to_fields(token))))
    for one in (token, stored, token.arrived(1_700_000_000.0, 1_700_000_000.0)):
        moment(one.issued_at)
        assert one.expires_at is None or moment(one.expires_at).year <= 3000


@pytest.mark.parametrize("value", [1e12, 1e308, -1e308, math.inf, math.nan, -5.0, True, "soon", "9" * 5000])
@pytest.mark.parametrize("name", ["expires_in", "expires_at", "issued_at"])
def test_a_token_made_by_hand_has_dates_as_well_or_is_refused(name: str, value: object) -> None:
    given: dict[str, Any] = {name: value}
    try:
        token = Token("a", **given)
    except errors.ConfigurationError as error:
        refusal = error.message
    else:
        refusal = ""
    if refusal:
        assert refusal.startswith(f"{name} is ")
        return
    moment(token.issued_at)
    assert token.expires_at is None or moment(token.expires_at).year <= 3000


def answered(body: bytes) -> TokenEndpoint:
    def send(request: TokenRequest) -> TokenResponse:
        return TokenResponse(200, {}, body)

    return TokenEndpoint("https://login.example/token", client_id="me", send=send)


def test_a_number_of_many_digits_does_not_cost_the_answer_it_stands_in() -> None:
    body = b'{"access_token": "access", "refresh_token": "refresh", "expires_in": %s}' % (b"9" * 5000)
    assert answered(body)(Token("old", "older")).refresh_token is not None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("9" * 90, 86_400.0), ("1e308", 86_400.0), ("9" * 100_000, None), ("Mon, 12 Jan 2970 13:48:10 GMT", 86_400.0)],
)
def test_a_pause_is_a_day_at_most(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value) == seconds


@pytest.mark.parametrize(
    "value", [1e308, math.nan, math.inf, "soon", -5.0, True, 10**400, None], ids=map(str, range(8))
)
def test_a_pause_that_a_refresher_asks_for_is_a_day_at_most(value: float | None) -> None:
    seconds = judge_exception(errors.RefreshUnavailable("later", retry_after=value)).retry_after
    assert seconds is None or 0.0 <= seconds <= 86_400.0


# --- Lengths ---


def test_a_scope_is_cut_between_two() -> None:
    for scope in (" ".join(f"scope:{number}" for number in range(5000)), [f"scope:{number}" for number in range(5000)]):
        token = parse_answer({"access_token": "a", "scope": scope}, at=0.0)
        assert token.scope is not None
        assert len(token.scope) <= 4096
        assert token.scope.split()[-1] in f"{scope}"
        assert all(one.partition(":")[2].isdecimal() for one in token.scope.split())
    assert len(Token("a", scope="x" * 1_000_000).scope or "") <= 4096


def test_extra_does_not_grow_with_each_refresh() -> None:
    def refresh(token: Token) -> Mapping[str, object]:
        fields = {f"field-{token.generation}-{number}": "x" * 1000 for number in range(500)}
        return {"access_token": "access", "refresh_token": "refresh", "id_token": f"id-{token.generation}", **fields}

    with Credential("grows", refresh, token={"access_token": "access", "expires_at": 1_000_000_000}) as credential:
        for _ in range(4):
            token = credential.token(refused=credential.current())
            credential.replayed(token, accepted=True)
            assert len(json.dumps(token_to_fields(token))) < 90_000
        assert token.extra["id_token"] == f"id-{token.generation - 1}"


LARGE: list[object] = ["x" * 1_000_000, ["x" * 100] * 100_000, {"a": {"b": "x" * 100_000}}, 10**200_000, 10**5000]


@pytest.mark.parametrize("value", LARGE, ids=["text", "list", "nested", "number", "a number that cannot be written"])
def test_one_field_that_is_too_large_costs_no_other(value: object) -> None:
    token = parse_answer({"access_token": "a", "large": value, "id_token": "b"}, at=0.0)
    assert dict(token.extra) == {"id_token": "b"}
    after = Token("c", extra={"large": value}).following(token)
    assert dict(after.extra) == {"id_token": "b"}


def test_what_contains_itself_is_too_large() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert dict(Token("a", extra={"endless": endless, "b": 1}).extra) == {"b": 1}


def test_a_challenge_that_is_too_long_is_left_out() -> None:
    body = {"error": "interaction_required", "claims": "x" * 100_000}
    assert judge_answer(400, body).challenge is None
    assert judge_answer(400, body | {"claims": '{\n"access_token": {}}'}).challenge == '{\n"access_token": {}}'


def test_words_of_a_refresher_are_short() -> None:
    raised = errors.LoginRequired("no\n" * 100_000, credential=None)
    detail = judge_exception(raised).detail
    assert len(detail) <= 500
    assert detail.isprintable()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"error": "x" * 1_000_000, "error_description": "̖́" * 500_000}, {}),
        ({"error": "%25" * 300_000, "error_description": "\\u005c" * 100_000}, {}),
        ({"error": [[[]]] * 100_000, "code": {"code": {}}}, {"Location": "https://" + "a." * 500_000}),
        ({f"token{number}": "&#x2" * 100 for number in range(10_000)}, {"Retry-After": "1 " * 500_000}),
        ({"token=" * 100_000: "token=" * 100_000}, {"Location": "/" + "%2" * 500_000}),
    ],
    ids=["combining", "escaped", "nested", "many", "shapes"],
)
@pytest.mark.parametrize("status", [200, 302, 400])
def test_a_large_answer_is_judged_in_no_time(status: int, body: Mapping[str, object], headers: dict[str, str]) -> None:
    login = answered(json.dumps(body).encode())
    begun = time.thread_time()
    judge_answer(status, body, headers)
    with pytest.raises(Exception, match=r"access token|answered"):
        login(Token("access-1234", "refresh-1234"))
    assert time.thread_time() - begun < 1.0
