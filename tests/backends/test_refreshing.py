"""The cron job of `docs/backends.md`, twice at once, and its customers who come and go."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from tests.backends.conftest import Age, log_in, status_of
from tests.backends.program import Program

from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow


def counted(said: str) -> dict[str, int]:
    """The numbers of the summary that it printed."""
    return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", said)}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_two_runs_at_once_refresh_each_customer_once(new_program: Callable[..., Program], kind: str) -> None:
    program = new_program(kind)
    for number in range(20):
        log_in(program, f"due-{number}", Age.AGEING)
    log_in(program, "fresh")
    with program.run("refresh.py") as one, program.run("refresh.py") as other:
        summaries = [counted(one.finished()), counted(other.finished())]
    assert program.server.counters.token_requests == 20
    assert program.server.counters.reuse_detected == 0
    assert sum(summary["refreshed"] for summary in summaries) == 20
    assert all(summary["failed"] + summary["unreadable"] + summary["needs_login"] == 0 for summary in summaries)
    assert all(status_of(program, f"due-{number}").generation == 2 for number in range(20))
    assert status_of(program, "fresh").generation == 1


def test_the_job_for_idle_customers_leaves_those_alone_whose_tokens_were_used_lately(
    new_program: Callable[..., Program],
) -> None:
    program = new_program("redis")
    for number in range(3):
        log_in(program, f"busy-{number}", Age.AGEING)
    with program.run("keep_alive.py") as job:
        said = counted(job.finished())
    assert (said["looked_at"], said["refreshed"], program.server.counters.token_requests) == (3, 0, 0)


VISIT = """
import customers

answer, log = ANSWER, []
log.append(customers.is_connected("new"))
customers.connected("new", answer)
log.append(customers.is_connected("new"))
customers.disconnected("new")
log.append(customers.is_connected("new"))
customers.deleted("new")
log.append(customers.is_connected("new"))
print(log)
"""


def test_customers_connect_disconnect_and_are_deleted(new_program: Callable[..., Program]) -> None:
    program = new_program()
    program.add("visit.py", VISIT.replace("ANSWER", repr(program.server.issue())))
    with program.run("visit.py") as visit:
        assert "[False, True, False, False]" in visit.finished()
    assert status_of(program, "new").state == "empty"


REGIONS = """
import regions

for customer in ("us-1", "eu-1"):
    print(customer, regions.credentials[customer].token().generation)
"""


def test_customers_have_token_endpoints_of_their_own(
    new_program: Callable[..., Program], new_auth_server: Callable[..., AuthServer]
) -> None:
    program = new_program()
    europe = new_auth_server(client_id="backend")
    program.change("regions.py", "https://us.acme.com", program.server.url)
    program.change("regions.py", "https://eu.acme.com", europe.url)
    log_in(program, "us-1", Age.EXPIRED)
    log_in(program, "eu-1", Age.EXPIRED, by=europe)
    program.add("both.py", REGIONS)
    with program.run("both.py") as both:
        assert both.finished().split() == ["us-1", "2", "eu-1", "2"]
    assert program.server.counters.token_requests == europe.counters.token_requests == 1


MOVING = """
import moving

token = moving.credentials["customer-1"].token()
print(token.generation, moving.credentials["customer-1"].token(refused=token).generation)
"""


def test_workers_begin_with_the_rows_of_an_old_table(new_program: Callable[..., Program]) -> None:
    program = new_program()
    row = {**program.server.issue(), "expires_at": 1_000_000_000}
    program.add("table.json", json.dumps({"customer-1": row}))
    program.add("worker.py", MOVING)
    with program.run("worker.py") as first:
        assert first.finished().split()[0] == "2"
    with program.run("worker.py") as later:
        assert later.finished().split()[0] == "2"
    assert program.server.counters.token_requests == 1
    assert program.server.counters.reuse_detected == 0
