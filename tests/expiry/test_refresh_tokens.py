"""The refresh token's own end, as answers state it and as a person gives it."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.core.driver import START

from onerefresh import ConfigurationError, Token
from onerefresh.token_response import parse_answer


def jwt(**claims: float) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()}.signature"


@pytest.mark.parametrize(
    ("fields", "ends_after"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"refresh_expires_in": 1800}, 1800.0, id="Keycloak"),
        pytest.param({"refresh_expires_in": 0}, None, id="Keycloak: an offline token does not end"),
        pytest.param(
            {"refresh_expires_in": 0, "refresh_token": jwt(exp=START + 60.0)}, None, id="whatever the JWT says"
        ),
        pytest.param({"refresh_token_expires_in": 15897600}, 15897600.0, id="GitHub"),
        pytest.param({"refresh_token_expires_in": "15897600"}, 15897600.0, id="GitHub, as a form"),
        pytest.param({"x_refresh_token_expires_in": 8726400}, 8726400.0, id="Intuit"),
        pytest.param({"refresh_token_expires_at": START + 600.0}, 600.0, id="a moment"),
        pytest.param({"refresh_token_expires_at": (START + 600.0) * 1000}, 600.0, id="in milliseconds"),
        pytest.param({"refresh_token_expires_at": "2027-01-15T09:00:00Z"}, 3600.0, id="a date"),
        pytest.param({"refreshTokenExpiresAt": "2027-01-15T09:00:00Z"}, 3600.0, id="in another case"),
        pytest.param({"refreshTokenExpiresIn": 600}, 600.0, id="a lifetime in another case"),
        pytest.param({"refresh_token_expiry": START + 600.0}, 600.0, id="an expiry"),
        pytest.param({"refresh_token_expires_in_ms": 600_000}, 600.0, id="milliseconds"),
        pytest.param({"refresh_token": jwt(exp=START + 86_400.0)}, 86_400.0, id="a JWT's own end"),
        pytest.param({"refresh_token": jwt(iat=START)}, None, id="a JWT that does not end"),
        pytest.param({"refresh_token": jwt(exp=START + 1800.0), "refresh_expires_in": 1800}, 1800.0, id="both say it"),
        pytest.param({"refresh_expires_in": -1}, None, id="a number below 0 says nothing"),
        pytest.param({"refresh_expires_in": "soon"}, None, id="what is not understood says nothing"),
        pytest.param({"refresh_expires_in": True}, None, id="nor does a truth value"),
        pytest.param({"refresh_expires_in": [60]}, None, id="nor a list"),
        pytest.param({"refresh": "r-2", "refresh_exp": START + 600.0}, 600.0, id="another name of the token"),
    ],
)
def test_the_end_is_read_under_the_names_that_servers_use(fields: dict[str, object], ends_after: float | None) -> None:
    answer = {"access_token": "b", "refresh_token": "r-2", "expires_in": 300, **fields}
    for kept in (False, True):
        token = parse_answer(answer, at=START, kept=kept)
        assert (token.refresh_expires_at and token.refresh_expires_at - START) == ends_after
        assert token.expires_at == START + 300.0, "the access token ends when it did"


def test_the_end_of_an_old_answer_counts_from_its_own_time() -> None:
    days = 86_400.0
    kept = {"refresh_token": "r", "refresh_token_expires_in": 30 * days, "obtained_at": START - 10 * days}
    for access in ({}, {"access_token": "a", "expires_in": 3600}):
        token = parse_answer({**kept, **access}, at=START, kept=True)
        assert token.refresh_expires_at == START + 20 * days


@pytest.mark.parametrize(
    ("given", "ends_after"),
    [
        ({"refresh_expires_in": 600.0}, 600.0),
        ({"refresh_expires_in": 0}, None),
        ({"refresh_expires_in": timedelta(minutes=10)}, 600.0),
        ({"refresh_expires_at": START + 600.0}, 600.0),
        ({"refresh_expires_at": datetime(2027, 1, 15, 9, tzinfo=UTC)}, 3600.0),
        ({"refresh_expires_at": "2027-01-15T09:00:00Z"}, 3600.0),
        ({"refresh_expires_at": None}, None),
        ({}, None),
    ],
)
def test_a_token_made_by_hand_takes_it_in_every_way(given: dict[str, Any], ends_after: float | None) -> None:
    token = Token("a", "r", issued_at=START, **given)
    assert (token.refresh_expires_at and token.refresh_expires_at - START) == ends_after


def test_its_refresh_token_may_tell_its_own_end() -> None:
    refresh = jwt(exp=START + 600.0)
    assert Token("a", refresh, issued_at=START).refresh_expires_at == START + 600.0
    assert Token("a", refresh, issued_at=START, refresh_expires_at=None).refresh_expires_at is None


@pytest.mark.parametrize(
    "given",
    [
        {"refresh_expires_at": "soon"},
        {"refresh_expires_at": datetime(2027, 1, 15, 9, tzinfo=UTC).replace(tzinfo=None)},
        {"refresh_expires_at": True},
        {"refresh_expires_in": "soon"},
        {"refresh_expires_in": math.nan},
        {"refresh_expires_in": [60]},
        {"refresh_expires_at": ""},
    ],
)
def test_what_is_not_understood_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="refresh_expires_"):
        Token("a", "r", issued_at=START, **given)
