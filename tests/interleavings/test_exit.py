"""A process that ends while it waits for another's refresh does not wait for it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.core.calls import Refresher, first_token
from tests.core.children import Child

from onerefresh import Credential

pytestmark = pytest.mark.slow


def test_a_process_that_only_watches_ends_at_once(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/tokens.db"
    refresher = Refresher(gated=True)
    holder = Credential("acme", refresher, token=first_token(), store=store)
    first = holder.token()
    refreshing = threading.Thread(target=lambda: holder.token(refused=first))
    refreshing.start()
    try:
        refresher.wait_until_entered()
        with Child("leave", store=store, url="never asked") as child:
            assert child.rest() == ["leaving", "the main thread is over"]
            assert child.wait() == 0
        assert not refresher.leave.is_set()
    finally:
        refresher.leave.set()
        refreshing.join()
    assert refresher.calls == 1
