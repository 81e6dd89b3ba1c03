"""The look in the background at whether a store still has what this process knows."""

from __future__ import annotations

import gc
import time
import weakref
from pathlib import Path

import pytest
from tests.core.calls import PATIENCE, Refresher, first_token, listening, wait_for

from onerefresh import Credential
from onerefresh.events import Kind
from onerefresh.losses import report_losses
from onerefresh.record_text import decode
from onerefresh.stores.memory import MemoryStore


class Lossy(MemoryStore):
    """It may lose writes."""

    may_go_back = True

    def forget(self) -> None:
        self._records.clear()


def test_a_loss_before_the_first_look_is_seen_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process found the record gone, and left the note that the first look of this one finds."""
    monkeypatch.setattr("onerefresh.credential.watch.FIRST_LOOK", (0.2, 0.2))
    monkeypatch.setattr("onerefresh.policy.LOOK_EVERY", 600.0)
    store = Lossy()
    with listening() as heard, Credential("acme", Refresher(), store=store) as credential:
        credential.login(first_token())
        credential.token()
        store.forget()
        assert report_losses(store, ["acme"])
        wait_for(heard, Kind.RESTORED)
        found = store.load("acme")
        assert found is not None
        assert decode(found.body, "acme").generation == 1


def test_a_credential_that_was_refreshed_is_gone_with_its_last_reference(tmp_path: Path) -> None:
    """With it goes its store: nothing waits for the garbage collector."""
    gc.disable()
    try:
        credential = Credential("acme", Refresher(), store=f"sqlite:///{tmp_path}/tokens.db")
        credential.token(refused=credential.login(first_token()))
        shared, deadline = weakref.ref(credential._shared), time.monotonic() + PATIENCE
        del credential
        while shared() is not None:  # the thread of the refresh has to end
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        gc.enable()
