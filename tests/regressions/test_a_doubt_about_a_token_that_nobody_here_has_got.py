"""A process hears of a doubtful end, or of an outage, of a generation that it has never had; then the store is emptied.

It forgot the session, and took its own first token for one of a session that was over: a proven end, it seemed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.core.calls import first_token
from tests.regressions.test_stores_of_ones_own import Dictionary

from onerefresh import Credential, LoginRequired, OnerefreshError, RefreshUnavailable, Token
from onerefresh.record_text import decode

FAILURES: dict[str, tuple[Callable[[], OnerefreshError], type[OnerefreshError]]] = {
    "doubtful": (lambda: LoginRequired("it said no", proven=False), LoginRequired),
    "proven": (lambda: LoginRequired("it said no"), LoginRequired),
    "an outage": (lambda: RefreshUnavailable("it is down", retry_after=600.0), RefreshUnavailable),
}


pytestmark = pytest.mark.usefixtures("short_recovery")


@pytest.mark.seconds
@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("has_seed", [False, True])
def test_it_is_said_again_and_nothing_is_sent(*, how: str, has_seed: bool) -> None:
    failure, expected = FAILURES[how]
    store, theirs, sent = Dictionary(), Dictionary(), []
    theirs.records = store.records
    seed = first_token(access_token="the first access token", refresh_token="the first refresh token")

    def refresh(token: Token) -> dict[str, object]:
        sent.append(token.generation)
        if token.generation > 1:
            raise failure()
        return {"access_token": "the second access token", "refresh_token": "the second one", "expires_in": 1e-6}

    with Credential("acme", refresh, token=seed if has_seed else None, store=store) as mine:
        mine_has = mine.token() if has_seed else mine.login(seed)
        with Credential("acme", refresh, store=theirs) as other:
            theirs.writes = 100
            other.token(refused=mine_has)
            with pytest.raises(expected):
                other.token()
        store.writes = 200
        for _ in range(2):
            with pytest.raises(expected) as told:
                mine.token(refused=mine_has)
            assert getattr(told.value, "proven", None) is (None if how == "an outage" else how == "proven")
            assert told.value.generation == 2
            assert sent == [1, 2]
            mine._memory.failed = None
            store.records.clear()
        with pytest.raises(expected):
            mine.token(refused=mine_has)
        assert decode(store.records["acme"].body, "acme").generation == 2
        assert sent == [1, 2]
