"""refresh_due for sessions that nobody uses: their refresh tokens would die of disuse, or end."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from tests.credentials.tenants import DUE, endpoint, generations, issued, log_in

from onerefresh import ConfigurationError, Credentials, Token
from onerefresh.credentials import Summary
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import AuthServer

DAY = 86_400.0


def unused(server: AuthServer, days: float, **others: Any) -> Token:
    token = issued(server, ends_in=-1.0)
    return replace(token, issued_at=time.time() - days * DAY, expires_at=time.time() - days * DAY + 3600.0, **others)


def test_refresh_tokens_that_nobody_used_for_long_are_used(auth_server: AuthServer) -> None:
    store = MemoryStore()
    with Credentials(endpoint(auth_server), store=store) as credentials:
        credentials["idle"].login(unused(auth_server, 21.0))
        credentials["busy"].login(unused(auth_server, 1.0))
        credentials["near"].login(unused(auth_server, 1.0, refresh_expires_at=time.time() + 0.1 * DAY))
        maximum = {"refresh_expires_at": time.time() + 0.1 * DAY, "refresh_end_moves": False}
        credentials["at its maximum"].login(unused(auth_server, 1.0, **maximum))
        credentials["far"].login(unused(auth_server, 1.0, refresh_expires_at=time.time() + 9 * DAY))
        summary = credentials.refresh_due(unused_for=20 * DAY)
        assert summary == Summary(looked_at=5, refreshed=2)
        assert credentials.refresh_due(unused_for=20 * DAY) == Summary(looked_at=5)
    assert generations(store, "idle", "busy", "near", "at its maximum", "far") == [2, 1, 2, 1, 1]


def test_both_are_for_whoever_wants_both(auth_server: AuthServer) -> None:
    with Credentials(endpoint(auth_server), store=MemoryStore()) as credentials:
        credentials["idle"].login(unused(auth_server, 21.0))
        log_in(credentials, auth_server, "due", **DUE)
        log_in(credentials, auth_server, "fresh")
        assert credentials.refresh_due(within=600, unused_for=20 * DAY) == Summary(looked_at=3, refreshed=2)


def test_a_refresh_token_that_ends_within_the_horizon_is_due(auth_server: AuthServer) -> None:
    with Credentials(endpoint(auth_server), store=MemoryStore()) as credentials:
        token = issued(auth_server)
        credentials["a"].login(replace(token, issued_at=time.time() - DAY, refresh_expires_at=time.time() + 500.0))
        assert credentials.refresh_due(within=600).refreshed == 1


@pytest.mark.parametrize("unused_for", [0, -1, True, "60", float("nan"), [60]])
def test_what_is_no_time_is_refused(unused_for: Any, auth_server: AuthServer) -> None:
    with Credentials(endpoint(auth_server), store=MemoryStore()) as credentials:
        with pytest.raises(ConfigurationError, match="unused_for must be"):
            credentials.refresh_due(unused_for=unused_for)


def test_so_is_no_horizon_at_all(auth_server: AuthServer) -> None:
    with Credentials(endpoint(auth_server), store=MemoryStore()) as credentials:
        with pytest.raises(ConfigurationError, match="within=SECONDS, unused_for=SECONDS, or both"):
            credentials.refresh_due()
