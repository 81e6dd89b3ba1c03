"""Two processes are one session where they log in with one stored token: the second login takes back nothing newer.

Where the server rotates refresh tokens, that login is refused; tests/regressions/test_a_login_with_a_spent_token.py
has these cases.
"""

from __future__ import annotations

import pytest
from tests.core.calls import refresher_of

from onerefresh import ConfigurationError, Credential
from onerefresh.testing import AuthServer


@pytest.fixture
def first(auth_server: AuthServer) -> dict[str, object]:
    return auth_server.issue()


def test_the_newer_token_stays(
    auth_server: AuthServer, first: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = f"sqlite:///{tmp_path_factory.mktemp('store')}/tokens.db"
    with Credential("acme", refresher_of(auth_server), store=store) as acme:
        before = acme.login(first)
        newer = acme.token(refused=before)
        with pytest.raises(ConfigurationError, match="already spent"):
            acme.login(first)
        assert acme.token().identity == newer.identity
    assert auth_server.session == "alive"


def test_a_new_login_takes_its_place(auth_server: AuthServer, first: dict[str, object]) -> None:
    with Credential("acme", refresher_of(auth_server)) as acme:
        acme.token(refused=acme.login(first))
        other = acme.login(auth_server.issue())
        assert acme.token().identity == other.identity


def test_where_the_profile_says_that_nothing_is_spent_the_newer_token_stays_too(
    auth_server: AuthServer, first: dict[str, object]
) -> None:
    with Credential("acme", refresher_of(auth_server), profile="static") as acme:
        newer = acme.token(refused=acme.login(first))
        assert acme.login(first).identity == newer.identity
    assert auth_server.session == "alive"


def test_where_the_record_is_lost_the_newest_that_is_known_is_logged_in_with(
    auth_server: AuthServer, first: dict[str, object]
) -> None:
    with Credential("acme", refresher_of(auth_server), profile="static") as acme:
        newer = acme.token(refused=acme.login(first))
        acme._memory.store._records.clear()  # type: ignore[attr-defined]  # the memory store's
        again = acme.login(first)
        assert again.access_token == newer.access_token
        acme.token(refused=again)
    assert auth_server.counters.reuse_detected == 0
