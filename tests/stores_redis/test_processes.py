"""Real processes on one Redis: many at once, forked, and patched by gevent."""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import Refresher, refresher_of
from tests.core.children import Child
from tests.processes.conftest import Process
from tests.servers.valkey import Cluster, Valkey, until

from onerefresh import Credential
from onerefresh.stores.redis import RedisStore
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow
LEASE = 0.6
"""Seconds that an attempt lives here."""


class Script(Child):
    scripts = "tests.stores_redis.scripts"


class GreenletScript(Child):
    scripts = "tests.interleavings.scripts"


def clients(server: Valkey) -> dict[str, str]:
    """Who is connected: the connection's id, and what it does."""
    with server.client() as client:
        me = str(client.client_id())
        told: list[dict[str, str]] = client.client_list()
        return {one["id"]: one["sub"] for one in told if one["id"] != me}


@pytest.mark.long
@pytest.mark.parametrize("place", ["server", "cluster"])
def test_the_calls_of_many_processes_share_one_refresh(
    request: pytest.FixtureRequest, auth_server: AuthServer, place: str
) -> None:
    found: Valkey | Cluster = request.getfixturevalue(place)
    config = {"store": found.url, "json_refresh_url": auth_server.json_refresh_url, "api_url": auth_server.api_url}
    with Credential("acme", lambda token: token, store=found.url) as credential:
        credential.login(auth_server.issue())
    auth_server.revoke_access()
    with ExitStack() as processes:
        started = [processes.enter_context(Process(config)) for _ in range(4)]
        for process in started:
            process.until("ready")
        for process in started:
            process.do("calls", count=8)
        for process in started:
            assert process.until("statuses") == [200] * 8
            process.finish()
    assert auth_server.counters.token_requests == 1


def test_a_holder_that_is_killed_is_taken_over_once_its_time_is_over_by_the_server_s_clock(
    server: Valkey, auth_server: AuthServer
) -> None:
    """A process that has just started has not watched the attempt: only the server's clock tells its age."""
    config: dict[str, Any] = {
        "store": server.url,
        "json_refresh_url": auth_server.json_refresh_url,
        "api_url": auth_server.api_url,
        "http_timeout": 0.2,
        "patches": {"onerefresh.profile.SHORTEST_LEASE": LEASE},
    }
    with Credential("acme", lambda token: token, store=server.url) as credential:
        seed = {name: value for name, value in auth_server.issue().items() if name != "expires_in"}
        credential.login({**seed, "expires_at": 1_000_000_000})
    with Process({**config, "gates": ["before sending"]}) as holder:
        holder.until("ready")
        holder.do("token").until_gate("before sending")
        holder.kill()
    with closing(RedisStore(server.url)) as store:
        begin = store.moment()
        assert begin is not None
        until(lambda: (now := store.moment()) is not None and now.seconds > begin.seconds + LEASE)
    with Process(config) as fresh:
        fresh.until("ready")
        assert fresh.do("token").until("token") == 2
        assert fresh.events("taken_over")
        assert not fresh.events("waiting"), "it has watched nothing"
        fresh.finish()
    assert auth_server.counters.token_requests == 1


def test_a_forked_child_leaves_the_connections_of_its_parent_alone(own_server: Valkey) -> None:
    with Script("fork", store=own_server.url) as child:
        until(lambda: "1" in clients(own_server).values())
        before = clients(own_server)
        child.tell()
        for _ in range(5):
            assert child.line() == "a child ended with 0"
        until(lambda: clients(own_server).keys() == before.keys())
        child.tell()
        assert child.rest() == ["the parent was woken"]
        assert child.wait() == 0


def test_a_child_that_is_forked_in_the_middle_of_other_threads_writes_can_use_the_store(server: Valkey) -> None:
    with Script("fork_in_the_middle", store=server.url) as child:
        assert child.rest() == ["0"] * 21
        assert child.wait() == 0


@pytest.mark.parametrize("refused", ["yes", "no"])
def test_a_child_that_is_forked_in_the_middle_of_a_refresh_waits_for_it(server: Valkey, refused: str) -> None:
    with Child("fork_in_flight", store=server.url, refused=refused) as child:
        told = child.rest()
        assert child.wait() == 0
    assert "the child got the parent's token of generation 2" in told
    assert "refreshed by the child" not in told


def test_a_hundred_greenlets_share_one_refresh(server: Valkey, auth_server: AuthServer) -> None:
    first = auth_server.issue()
    auth_server.revoke_access()
    auth_server.hold("token_sent")
    options = {"store": server.url, "url": auth_server.json_refresh_url, "api": auth_server.api_url}
    with GreenletScript("greenlets", **options) as child:
        child.tell(f"{first['access_token']} {first['refresh_token']}")
        auth_server.wait_for("api", 100)
        auth_server.wait_for("token_sent")
        child.tell("go on")
        assert child.line() == "the hub is free"
        auth_server.release("token_sent")
        assert child.rest() == ["100 of 100, generation 2"]
        assert child.wait() == 0
    assert auth_server.counters.token_requests == 1


def test_waiting_for_another_process_does_not_block_the_hub(server: Valkey, auth_server: AuthServer) -> None:
    with Credential("acme", refresher_of(auth_server), store=server.url) as person:
        person.login(auth_server.issue())
    refresher = Refresher(gated=True)
    with Credential("acme", refresher, store=server.url) as holder:
        waiting = threading.Thread(target=lambda: holder.token(refused=holder.token()))
        waiting.start()
        refresher.wait_until_entered()
        try:
            with GreenletScript("greenlets_behind_another", store=server.url, url="never asked") as child:
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


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    with Script("server", folder=tmp_path) as child:
        number = int(child.line())
        assert Path(f"/proc/{number}").exists()
    until(lambda: not Path(f"/proc/{number}/exe").exists())
