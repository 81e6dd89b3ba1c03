"""A real FastAPI service with two processes, by the code of `docs/backends.md`."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from tests.backends.conftest import Age, log_in, status_of
from tests.backends.program import PATIENCE, Program, until_sent

pytestmark = pytest.mark.slow

UVICORN = ("uvicorn", "--fd", "{fd}", "--log-level", "info")


async def calls(url: str, count: int) -> Counter[int]:
    """The statuses of so many calls at once."""
    async with httpx2.AsyncClient(timeout=PATIENCE, limits=httpx2.Limits(max_connections=count)) as client:
        return Counter(answer.status_code for answer in await asyncio.gather(*(client.get(url) for _ in range(count))))


@pytest.mark.parametrize("kind", ["postgres"])
def test_two_processes_send_one_token_request_for_eighty_calls_at_once(
    new_program: Callable[..., Program], kind: str
) -> None:
    program = new_program(kind)
    log_in(program, "customer-42")
    server = program.server
    with program.serving(*UVICORN, "--workers", "2", "service:app") as site, ThreadPoolExecutor(1) as pool:
        server.hold("api")
        all_calls = pool.submit(asyncio.run, calls(f"{site.url}/customer-42/items", 80))
        server.wait_for("api", 80, timeout=PATIENCE)
        server.revoke_access()
        server.release("api")
        assert all_calls.result() == {200: 80}
    assert server.counters.token_requests == 1


def test_a_token_is_had_for_a_client_of_ones_own_and_errors_are_explained(new_program: Callable[..., Program]) -> None:
    program = new_program()
    log_in(program, "customer-42", Age.EXPIRED)
    with program.serving(*UVICORN, "service:app") as site:
        answer = httpx2.get(f"{site.url}/customer-42/session", timeout=PATIENCE)
        assert answer.json()["scope"] == "read write"
        missing = httpx2.get(f"{site.url}/nobody/session", timeout=PATIENCE)
        assert (missing.status_code, missing.text) == (409, "please connect your Acme account again")
        wrong = httpx2.get(f"{site.url}/%07/session", timeout=PATIENCE)  # no name that a credential may have
        assert wrong.status_code == 500


def test_a_service_that_ends_waits_for_the_refresh_under_way(new_program: Callable[..., Program]) -> None:
    program = new_program()
    log_in(program, "customer-42", Age.AGEING)
    server = program.server
    server.hold("token_sent")
    with program.serving(*UVICORN, "service:app") as site:
        until_sent(server, lambda: httpx2.get(f"{site.url}/customer-42/items", timeout=PATIENCE).raise_for_status())
        site.running.process.send_signal(signal.SIGINT)
        server.release("token_sent")
        site.running.process.wait(PATIENCE)
    assert status_of(program, "customer-42").generation == 2
    assert "Application shutdown complete" in site.running.log
