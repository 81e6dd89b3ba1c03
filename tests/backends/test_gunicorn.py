"""Real gunicorn with four workers that share customers' credentials, by the code of `docs/backends.md`."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from tests.backends.conftest import Age, log_in
from tests.backends.program import PATIENCE, Program
from tests.repetition import long

pytestmark = [pytest.mark.slow, pytest.mark.long]

WORKERS = 4
GUNICORN = ("gunicorn", "--bind", "fd://{fd}", "--workers", str(WORKERS), "--no-control-socket")

PRELOADED = """
import requests
from web import ACME, BearerAuth, app, credentials

requests.get(f"{ACME}/api/items", auth=BearerAuth(credentials["customer-42"], ACME), timeout=10).raise_for_status()
"""


def calls(url: str, count: int) -> Counter[int]:
    """The statuses of so many parallel calls."""

    with httpx2.Client(timeout=PATIENCE) as client, ThreadPoolExecutor(16) as pool:
        return Counter(answer.status_code for answer in pool.map(client.get, [url] * count))


def call(url: str) -> str:
    """What came of one call: its status, or the error of a connection that was cut off."""
    try:
        return str(httpx2.get(url, timeout=PATIENCE).status_code)
    except httpx2.TransportError as error:
        return type(error).__name__


@pytest.mark.parametrize("kind", ["postgres", *long("sqlite", "redis")])
def test_four_workers_send_one_token_request_for_two_hundred_calls_with_a_refused_token(
    new_program: Callable[..., Program], kind: str
) -> None:
    program = new_program(kind)
    log_in(program, "customer-42")
    server = program.server
    with program.serving(*GUNICORN, "web:app") as site, ThreadPoolExecutor(1) as pool:
        server.hold("api")
        all_calls = pool.submit(calls, f"{site.url}/customer-42", 200)
        server.wait_for("api", WORKERS, timeout=PATIENCE)  # a sync worker serves one call: each has the old token now
        server.revoke_access()
        server.release("api")
        assert all_calls.result() == {200: 200}
    assert server.counters.token_requests == 1
    assert server.counters.reuse_detected == 0


@pytest.mark.parametrize("kind", ["redis"])
def test_an_expired_token_of_each_customer_is_refreshed_once(new_program: Callable[..., Program], kind: str) -> None:
    program = new_program(kind)
    customers = [f"customer-{number}" for number in range(5)]
    for customer in customers:
        log_in(program, customer, Age.EXPIRED)
    with program.serving(*GUNICORN, "web:app") as site, ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda customer: calls(f"{site.url}/{customer}", 40), customers))
    assert answers == [{200: 40}] * 5
    assert program.server.counters.token_requests == 5


@pytest.mark.parametrize("kind", ["sqlite", *long("redis", "postgres")])
def test_a_credential_that_was_used_before_the_fork_is_shared_by_the_workers(
    new_program: Callable[..., Program], kind: str
) -> None:
    program = new_program(kind)
    log_in(program, "customer-42")
    program.add("preloaded.py", PRELOADED)
    server = program.server
    with program.serving(*GUNICORN, "--preload", "preloaded:app") as site, ThreadPoolExecutor(1) as pool:
        server.wait_for("api", timeout=PATIENCE)  # the parent's call
        server.hold("api")
        all_calls = pool.submit(calls, f"{site.url}/customer-42", 40)
        server.wait_for("api", WORKERS, timeout=PATIENCE)
        server.revoke_access()
        server.release("api")
        assert all_calls.result() == {200: 40}
    assert server.counters.token_requests == 1


def test_workers_that_gunicorn_kills_in_the_middle_of_a_refresh_lose_no_session(
    new_program: Callable[..., Program],
) -> None:
    program = new_program("sqlite", mode="grace", grace=3600)
    program.change("tokens.py", "max_wait=20", "max_wait=20, profile='grace:3600'")
    log_in(program, "customer-42", Age.EXPIRED)
    server = program.server
    # Long enough for what follows on a busy machine: a worker that is slow then would be killed as well.
    with program.serving(*GUNICORN, "--timeout", "3", "--graceful-timeout", "1", "web:app") as site:
        before = set(site.running.children())
        server.hold("token_sent")  # the refresh token is spent, and the answer does not come
        with ThreadPoolExecutor(WORKERS) as pool:
            lost = list(pool.map(call, [f"{site.url}/customer-42"] * WORKERS))
        assert "200" not in lost
        server.release("token_sent")
        assert calls(f"{site.url}/customer-42", 20) == {200: 20}
        assert not before & set(site.running.children())
    assert server.session == "alive"
    assert server.counters.refreshes == 1
    assert server.counters.reuse_detected == 0


@pytest.mark.parametrize("kind", ["postgres"])
def test_a_refresh_whose_worker_is_killed_is_taken_over_after_the_time_to_live(
    new_program: Callable[..., Program], kind: str
) -> None:
    program = new_program(kind, mode="grace", grace=3600)
    program.change("tokens.py", "max_wait=20", "max_wait=20, profile='grace:6'")
    program.change("tokens.py", 'client_id="backend"', 'client_id="backend", timeout=0.9')
    log_in(program, "customer-42", Age.EXPIRED)
    server = program.server
    server.hold("token_sent")
    with program.serving(*GUNICORN, "--workers", "1", "web:app") as first, ThreadPoolExecutor(1) as pool:
        lost = pool.submit(call, f"{first.url}/customer-42")
        server.wait_for("token_sent", timeout=PATIENCE)
        [worker] = first.running.children()
        os.kill(worker, signal.SIGKILL)
        assert lost.result() != "200"
        server.release("token_sent")
        assert calls(f"{first.url}/customer-42", 20) == {200: 20}
    assert server.session == "alive"
    assert server.counters.refreshes == 1


def test_each_error_becomes_the_answer_that_the_guide_says(new_program: Callable[..., Program]) -> None:
    program = new_program("sqlite")
    log_in(program, "dead", Age.EXPIRED)
    log_in(program, "unlucky", Age.EXPIRED)
    server = program.server
    with program.serving(*GUNICORN, "--workers", "1", "web:app") as site:
        server.fail_next(count=None, status=503, headers={"Retry-After": "77"})
        unlucky = httpx2.get(f"{site.url}/unlucky", timeout=PATIENCE)
        assert unlucky.status_code == 503
        assert 70 <= int(unlucky.headers["retry-after"]) <= 77
        server.recover()
        server.revoke_family()
        for customer in ("dead", "nobody"):
            answer = httpx2.get(f"{site.url}/{customer}", timeout=PATIENCE)
            assert (answer.status_code, answer.text) == (409, "please connect your Acme account again")


def test_a_worker_that_ends_in_order_waits_for_the_refresh_under_way(new_program: Callable[..., Program]) -> None:
    program = new_program("sqlite")
    log_in(program, "customer-42", Age.EXPIRED)
    server = program.server
    server.hold("token_sent")
    words = (*GUNICORN, "--workers", "1", "--graceful-timeout", "20", "web:app")
    with program.serving(*words) as site, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(call, f"{site.url}/customer-42")
        server.wait_for("token_sent", timeout=PATIENCE)
        site.running.process.send_signal(signal.SIGTERM)
        while "Handling signal: term" not in site.running.said:
            time.sleep(0.02)
        server.release("token_sent")
        assert answer.result() == "200"
        site.running.finished()
    assert server.counters.token_requests == 1
