"""A process patched by gevent, as gunicorn's and Locust's are: blocking calls work, and nothing blocks the hub."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.core.calls import Refresher, refresher_of
from tests.core.children import Child

from onerefresh import Credential
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow


class Script(Child):
    scripts = "tests.interleavings.scripts"


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_hundred_greenlets_share_one_refresh(auth_server: AuthServer, store: str, tmp_path: Path) -> None:
    url = "memory" if store == "memory" else f"sqlite:///{tmp_path}/tokens.db"
    first = auth_server.issue()
    auth_server.revoke_access()
    auth_server.hold("token_sent")
    with Script("greenlets", store=url, url=auth_server.json_refresh_url, api=auth_server.api_url) as child:
        child.tell(f"{first['access_token']} {first['refresh_token']}")
        auth_server.wait_for("api", 100)
        auth_server.wait_for("token_sent")
        child.tell("go on")
        assert child.line() == "the hub is free"
        auth_server.release("token_sent")
        assert child.rest() == ["100 of 100, generation 2"]
        assert child.wait() == 0
    assert auth_server.counters.token_requests == 1


@pytest.fixture
def store(auth_server: AuthServer, tmp_path: Path) -> str:
    """A store with the server's first token."""
    url = f"sqlite:///{tmp_path}/tokens.db"
    with Credential("acme", refresher_of(auth_server), token=auth_server.issue(), store=url) as first:
        first.token()
    return url


def test_waiting_for_another_process_does_not_block_the_hub(store: str) -> None:
    refresher = Refresher(gated=True)
    holder = Credential("acme", refresher, store=store)
    waiting = threading.Thread(target=lambda: holder.token(refused=holder.token()))
    waiting.start()
    refresher.wait_until_entered()
    try:
        with Script("greenlets_behind_another", store=store, url="never asked") as child:
            assert child.line() == "did not wait for long"
            child.tell("go on")
            assert child.line() == "the hub is free"
            refresher.leave.set()
            assert child.rest() == ["generations [2]"]
            assert child.wait() == 0
    finally:
        refresher.leave.set()
        waiting.join()
    assert refresher.calls == 1


@pytest.mark.parametrize("then", ["wait", "leave"])
def test_greenlets_that_are_killed_or_time_out_leave_the_refresh_alone(
    auth_server: AuthServer, store: str, then: str
) -> None:
    auth_server.hold("token_sent")
    with Script("greenlets_killed", store=store, url=auth_server.json_refresh_url, then=then) as child:
        auth_server.wait_for("token_sent")
        child.tell("go on")
        assert [child.line(), child.line()] == ["timed out", "killed"]
        auth_server.release("token_sent")
        assert child.rest() == (["generations [2, 2, 2, 2, 2]"] if then == "wait" else [])
        assert child.wait() == 0
    assert auth_server.counters.token_requests == 1
    with Credential("acme", Refresher(), store=store) as elsewhere:
        assert elsewhere.token().generation == 2


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_credential_made_before_the_patch_serves_greenlets(store: str, tmp_path: Path) -> None:
    url = "memory" if store == "memory" else f"sqlite:///{tmp_path}/tokens.db"
    with Script("greenlets_patched_late", store=url) as child:
        assert child.rest() == ["1 refresh, generations [2]"]
        assert child.wait() == 0
