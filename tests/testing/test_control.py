"""Gates and other handles, the same for a server in threads and for one in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from onerefresh.testing import AuthServer, Counters, RemoteServer, ReuseDetected
from onerefresh.testing.control import Control

STARTS: dict[str, Callable[..., Control]] = {"threads": AuthServer, "process": RemoteServer.start}


@pytest.fixture(params=STARTS)
def start(request: pytest.FixtureRequest) -> Callable[..., Control]:
    return STARTS[request.param]


@pytest.fixture
def server(start: Callable[..., Control]) -> Iterator[Control]:
    with start() as server:
        yield server


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def refresh(client: httpx2.Client, server: Control, seed: dict[str, object]) -> httpx2.Response:
    return client.post(server.json_refresh_url, json={"refresh_token": seed["refresh_token"]})


def call(client: httpx2.Client, server: Control, token: object) -> httpx2.Response:
    return client.get(server.api_url + "/items", headers={"Authorization": f"Bearer {token}"})


def test_a_held_token_request_has_spent_nothing(
    client: httpx2.Client, server: Control, pool: ThreadPoolExecutor
) -> None:
    seed = server.issue()
    server.hold("token")
    running = pool.submit(refresh, client, server, seed)
    server.wait_for("token")
    assert (server.counters.token_requests, server.counters.refreshes) == (1, 0)
    assert not running.done()
    server.release("token")
    assert running.result().status_code == 200
    assert server.counters.refreshes == 1


def test_a_token_request_held_before_its_answer_has_rotated(
    client: httpx2.Client, server: Control, pool: ThreadPoolExecutor
) -> None:
    seed = server.issue()
    server.hold("token_sent")
    running = pool.submit(refresh, client, server, seed)
    server.wait_for("token_sent")
    assert server.counters.refreshes == 1
    assert server.log == []
    server.release("token_sent")
    assert running.result().status_code == 200


def test_held_calls_can_be_let_go_one_by_one(client: httpx2.Client, server: Control, pool: ThreadPoolExecutor) -> None:
    token = server.issue()["access_token"]
    server.hold("api")
    running = [pool.submit(call, client, server, token) for _ in range(3)]
    server.wait_for("api", 3)
    answered = threading.Semaphore(0)
    for future in running:
        future.add_done_callback(lambda _: answered.release())
    server.release("api", 1)
    assert answered.acquire(timeout=20)
    assert sum(future.done() for future in running) == 1
    server.release("api")
    assert [future.result().status_code for future in running] == [200] * 3
    assert call(client, server, token).status_code == 200


def test_a_call_is_judged_when_it_leaves_the_gate(
    client: httpx2.Client, server: Control, pool: ThreadPoolExecutor
) -> None:
    token = server.issue()["access_token"]
    server.hold("api")
    running = pool.submit(call, client, server, token)
    server.wait_for("api")
    server.revoke_access()
    server.release("api")
    assert running.result().status_code == 401


def test_holding_again_at_once_still_lets_the_earlier_ones_go(
    client: httpx2.Client, server: Control, pool: ThreadPoolExecutor
) -> None:
    token = server.issue()["access_token"]
    server.hold("api")
    first = pool.submit(call, client, server, token)
    server.wait_for("api")
    server.release("api")
    server.hold("api")
    assert first.result().status_code == 200
    second = pool.submit(call, client, server, token)
    server.wait_for("api")
    assert not second.done()
    server.release("api")
    assert second.result().status_code == 200


def test_every_second_refusal_is_late_until_the_api_has_accepted_a_call(
    client: httpx2.Client, server: Control, pool: ThreadPoolExecutor
) -> None:
    seed = server.issue()
    server.revoke_access()
    server.late_refusals()
    calls: list[Future[httpx2.Response]] = [pool.submit(call, client, server, seed["access_token"]) for _ in range(10)]
    server.wait_for("refusal", 10)
    renewed = refresh(client, server, seed).json()
    assert call(client, server, renewed["access_token"]).status_code == 200
    assert [future.result().status_code for future in calls] == [401] * 10
    outcomes = [(entry.kind, entry.outcome) for entry in server.log]
    accepted = outcomes.index(("api", "accepted"))
    assert outcomes[:accepted].count(("api", "refused")) == 5
    assert outcomes[accepted:].count(("api", "refused")) == 5


def test_waiting_for_requests_that_do_not_come_times_out(server: Control) -> None:
    with pytest.raises(TimeoutError, match="0 of 1 requests reached 'token'"):
        server.wait_for("token", timeout=0.01)


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda server: server.hold("tokens"), "unknown point 'tokens': use one of token, token_sent"),
        (lambda server: server.hold("token", every=0), "every must be a whole number"),
        (lambda server: server.refuse_with("rudely"), "unknown challenge 'rudely'"),
        (lambda server: server.revoke_family("x"), "never issued here"),
        (lambda server: server.session, "call issue"),
    ],
)
def test_wrong_arguments_are_told_wherever_the_server_runs(
    server: Control, use: Callable[[Any], object], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        use(server)


def test_a_delay_is_for_its_point_alone_and_ends_with_the_server(
    client: httpx2.Client, start: Callable[..., Control], pool: ThreadPoolExecutor
) -> None:
    with start() as server:
        seed = server.issue()
        server.delay("token", 3600)
        running = pool.submit(refresh, client, server, seed)
        server.wait_for("token")
        assert call(client, server, seed["access_token"]).status_code == 200
        assert not running.done()
    assert isinstance(running.exception(), httpx2.TransportError)


def test_failures_and_losses_can_be_ordered(client: httpx2.Client, server: Control) -> None:
    seed = server.issue()
    server.fail_next(status=429, headers={"Retry-After": "7"}, body={"error": "slow_down"})
    failed = refresh(client, server, seed)
    assert (failed.status_code, failed.headers["retry-after"], failed.json()) == (429, "7", {"error": "slow_down"})
    server.lose_next_request()
    with pytest.raises(httpx2.RemoteProtocolError):
        refresh(client, server, seed)
    server.lose_next_answer()
    with pytest.raises(httpx2.RemoteProtocolError):
        refresh(client, server, seed)
    assert server.counters == Counters(
        token_requests=3,
        refreshes=1,
        reissues=0,
        reuse_detected=0,
        client_credentials=0,
        revocations=0,
        api={},
        foreign=0,
    )


def test_options_reach_the_server(client: httpx2.Client, start: Callable[..., Control]) -> None:
    with start("grace", grace=3600, expires_in=0.5, client_id="ü", client_secret="+%:") as server:
        assert (server.client_id, server.client_secret) == ("ü", "+%:")
        seed = server.issue()
        assert seed["expires_in"] == 0.5
        assert (
            refresh(client, server, seed).json()["refresh_token"]
            == refresh(client, server, seed).json()["refresh_token"]
        )
        assert server.counters.reissues == 1


def test_wrong_options_are_told_at_once(start: Callable[..., Control]) -> None:
    with pytest.raises(ValueError, match="unknown mode"):
        start("lenient")


def test_unannounced_reuse_fails_at_the_end_of_the_block(client: httpx2.Client, start: Callable[..., Control]) -> None:
    def twice() -> None:
        with start() as server:
            seed = server.issue()
            refresh(client, server, seed)
            refresh(client, server, seed)

    with pytest.raises(ReuseDetected, match=r"1 token request\(s\) used a refresh token that was already spent"):
        twice()


def test_announced_reuse_passes(client: httpx2.Client, start: Callable[..., Control]) -> None:
    with start() as server:
        server.expect_reuse()
        seed = server.issue()
        refresh(client, server, seed)
        refresh(client, server, seed)
        assert server.counters.reuse_detected == 1


def test_a_failing_test_keeps_its_own_error_and_learns_of_the_reuse(
    client: httpx2.Client, start: Callable[..., Control]
) -> None:
    def fail() -> None:
        with start() as server:
            seed = server.issue()
            refresh(client, server, seed)
            refresh(client, server, seed)
            raise KeyError("of the test")

    with pytest.raises(KeyError) as caught:
        fail()
    assert caught.value.__notes__[0].startswith("ReuseDetected: 1 token request(s)")


def test_a_stopped_server_turns_held_requests_away_and_may_be_stopped_again(
    client: httpx2.Client, start: Callable[..., Control], pool: ThreadPoolExecutor
) -> None:
    server = start()
    server.hold("api")
    running = pool.submit(call, client, server, "x")
    server.wait_for("api")
    server.stop()
    server.stop()
    assert isinstance(running.exception(), httpx2.TransportError)
    with pytest.raises(httpx2.ConnectError):
        call(client, server, "x")


def test_no_thread_remains_of_a_stopped_server(client: httpx2.Client) -> None:
    before = set(threading.enumerate())
    with AuthServer() as server:
        call(client, server, "x")
    left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("onerefresh")]
    assert left == []


def test_a_server_in_threads_can_be_steered_from_another_process() -> None:
    with AuthServer() as server:
        script = (
            "import sys; from onerefresh.testing import RemoteServer\n"
            "with RemoteServer(sys.argv[1], sys.stdin.read()) as server:\n"
            "    server.issue(); print(server.sessions)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, server.url],
            input=server.control_key,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.stdout == "['alive']\n"
        assert server.sessions == ["alive"]


def test_control_without_the_key_is_refused(client: httpx2.Client, server: Control) -> None:
    wish = {"operation": "issue", "arguments": {}}
    assert client.post(server.url + "/control", json=wish).status_code == 403
    assert client.post(server.url + "/control", json=wish, headers={"Control-Key": "guess"}).status_code == 403
    with pytest.raises(PermissionError, match="refused control"):
        RemoteServer(server.url, "guess")
    assert server.sessions == []


def test_the_command_line_of_a_server_process_holds_nothing_of_the_test() -> None:
    with RemoteServer.start(client_id="an-id", client_secret="a-secret") as server:
        assert server._child is not None
        assert server._child.args == [sys.executable, "-P", "-m", "onerefresh.testing"]
        assert (server.client_id, server.client_secret) == ("an-id", "a-secret")


def test_a_server_process_ends_with_the_process_that_started_it() -> None:
    script = (
        "import os, signal; from onerefresh.testing import RemoteServer\n"
        "server = RemoteServer.start(); print(server.url, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
    )
    # Both pipes end only once the grandchild, which inherits them, is gone too: `run` has waited for that.
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(done.stdout.strip(), trust_env=False)


def test_a_server_process_that_cannot_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises((RuntimeError, BrokenPipeError)):
        RemoteServer.start()
