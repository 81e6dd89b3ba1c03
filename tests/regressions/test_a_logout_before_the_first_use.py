"""A logout of a seed that the store had not seen yet did not last: the next call adopted the seed as news."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.core.calls import Refresher, first_token

from onerefresh import Credential, LoginRequired


def test_the_seed_is_not_adopted_after_a_logout(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'tokens.db'}"
    credential = Credential("acme", Refresher(), token=first_token(), store=store)
    credential.logout()
    with pytest.raises(LoginRequired, match="logged out"):
        credential.token()
    with pytest.raises(LoginRequired, match="logged out"):
        Credential("acme", Refresher(), token=first_token(), store=store).token()


def test_nor_is_one_that_was_ignored_before_the_logout(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'tokens.db'}"
    Credential("acme", Refresher(), token=first_token(), store=store).token()
    other = Credential("acme", Refresher(), token=first_token(refresh_token="refresh-other"), store=store)
    other.token()
    other.logout()
    with pytest.raises(LoginRequired, match="logged out"):
        other.token()
