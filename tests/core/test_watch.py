"""The look in the background at whether a store still has what this process knows."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.core.calls import PATIENCE, Refresher, first_token, listening, wait_for

from onerefresh import Credential, LoginRequired, RefreshOutcomeUnknown
from onerefresh.credential.background import background_tasks
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
        memory, deadline = weakref.ref(credential._memory), time.monotonic() + PATIENCE
        del credential
        while memory() is not None:  # the thread of the refresh has to end
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        gc.enable()


def assert_is_looked_at(store: Lossy, credential: Credential) -> None:
    """What the store loses comes back without any call."""
    with listening() as heard:
        store.forget()
        assert report_losses(store, ["acme"])
        wait_for(heard, Kind.RESTORED)
    assert store.load("acme") is not None


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onerefresh.credential.watch.FIRST_LOOK", (0.0, 0.0))
    monkeypatch.setattr("onerefresh.policy.LOOK_EVERY", 0.05)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_process_that_has_only_logged_in_looks(*, is_async: bool) -> None:
    """As one does that gives its fresh token to a client, which asks for `current()` or `bearer()`."""
    store = Lossy()
    with Credential("acme", Refresher(), store=store) as credential:
        if is_async:
            asyncio.run(credential.alogin(first_token()))
        else:
            credential.login(first_token())
        assert credential.bearer() == "access-0"
        assert_is_looked_at(store, credential)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("calls", [False, True])
def test_a_process_that_logs_in_after_a_logout_looks_again(*, calls: bool) -> None:
    """Meanwhile there is nothing to look after."""
    store = Lossy()
    with Credential("acme", Refresher(), store=store) as credential:
        credential.login(first_token())
        credential.logout()
        credential.login(first_token(refresh_token="another"))
        if calls:
            credential.token()
        assert_is_looked_at(store, credential)


@pytest.mark.usefixtures("soon")
def test_a_process_whose_session_another_one_has_ended_and_begun_anew_looks_again() -> None:
    store = Lossy()
    another = Lossy()
    another.__dict__ = store.__dict__
    with Credential("acme", Refresher(), store=store) as mine, Credential("acme", Refresher(), store=another) as other:
        token = mine.login(first_token())
        other.logout()
        with pytest.raises(LoginRequired):
            mine.token(refused=token)
        other.login(first_token(refresh_token="another"))
        other._memory.watched = True
        mine._memory.failed = None
        assert mine.token().generation == 3
        assert mine._memory.watched


@pytest.mark.seconds
def test_a_claim_is_put_back_no_more_once_its_refresher_has_not_returned_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("onerefresh.profile.Profile.time_to_live", lambda *_: 0.2)
    refresher = Refresher(gated=True, timeout=0.05)
    with Credential("acme", refresher, store=Lossy()) as credential:
        token = credential.login(first_token())
        with pytest.raises(RefreshOutcomeUnknown):
            credential.token(refused=token)
        assert credential._memory.under_way
        assert credential._memory.leased is None
        refresher.leave.set()
        background_tasks.leave(credential._memory.store)


@pytest.mark.parametrize("knows", ["nothing", "an older token"])
def test_a_process_looks_after_what_it_sends_also_where_no_caller_has_got_that_token(knows: str) -> None:
    store, refresher = Lossy(), Refresher(gated=True)
    others = Lossy()
    others.__dict__ = store.__dict__
    with Credential("acme", refresher, store=store) as credential, ThreadPoolExecutor(1) as pool:
        with Credential("acme", Refresher(expires_in=0.001), store=others) as other:
            first = other.login(first_token())
            if knows == "an older token":
                credential.token()
            other.token(refused=first)
        asking = pool.submit(credential.token, refused=first)
        refresher.wait_until_entered()
        memory = credential._memory
        try:
            assert memory.watched
            assert memory.known is not None
            assert memory.known.identity == (first.family, 2)
        finally:
            refresher.leave.set()
        assert asking.result(PATIENCE).generation == 3
    for one in (store, others):
        background_tasks.leave(one)
