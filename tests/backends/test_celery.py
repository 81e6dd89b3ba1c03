"""Real Celery with four worker processes that share a customer's credential, by the code of `docs/backends.md`."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.backends.conftest import Age, log_in, status_of
from tests.backends.program import PATIENCE, Program, Running, until_sent

pytestmark = pytest.mark.slow

# A broker that needs no server: messages are files in a folder.
ON_FILES = """
from pathlib import Path

from work import app, fetch

folder = Path(__file__).parent / "queue"
for name in ("messages", "done", "control"):
    (folder / name).mkdir(parents=True, exist_ok=True)
app.conf.broker_transport_options = {
    "data_folder_in": str(folder / "messages"),
    "data_folder_out": str(folder / "messages"),
    "processed_folder": str(folder / "done"),
    "control_folder": str(folder / "control"),
    "polling_interval": 0.1,
}
app.conf.worker_hijack_root_logger = False
"""
SENDING = """
import sys

from on_files import fetch

for number in range(int(sys.argv[1])):
    fetch.delay("customer-42", number)
"""


class Queue:
    """The guide's `work.py` with its workers."""

    def __init__(self, program: Program) -> None:
        program.environment["BROKER"] = "filesystem://"
        program.add("on_files.py", ON_FILES)
        program.add("sending.py", SENDING)
        self._program = program
        self.sent = 0

    def send(self, count: int) -> None:
        with self._program.run("sending.py", str(count)) as sending:
            sending.finished()
        self.sent += count

    def worker(self, processes: int) -> Running:
        return self._program.run(
            "-m", "celery", "-A", "on_files", "worker", "--pool", "prefork", "--concurrency", str(processes),
            "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO",
        )  # fmt: skip


def until(happened: Callable[[], bool], worker: Running) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, worker.said
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgres"])
def test_four_worker_processes_send_one_token_request(new_program: Callable[..., Program], kind: str) -> None:
    program = new_program(kind)
    queue, server = Queue(program), program.server
    log_in(program, "customer-42")
    server.hold("api")
    queue.send(40)
    with queue.worker(4) as worker:
        server.wait_for("api", 4, timeout=PATIENCE)  # a process does one task: each has the old token now
        server.revoke_access()
        server.release("api")
        until(lambda: server.counters.api.get(200) == 40, worker)
        worker.process.terminate()
        worker.finished()
    assert server.counters.token_requests == 1


def test_a_worker_that_ends_waits_for_the_refresh_that_its_last_task_started(
    new_program: Callable[..., Program],
) -> None:
    program = new_program("sqlite")
    queue, server = Queue(program), program.server
    log_in(program, "customer-42", Age.AGEING)
    server.delay("token_sent", 8.0)  # spent, and answered after Celery has lost its patience
    with queue.worker(1) as worker:
        until_sent(server, lambda: queue.send(1))
        until(lambda: server.counters.api.get(200) == queue.sent, worker)  # the tasks have the old token, and are done
        worker.process.terminate()
        worker.finished()
    assert status_of(program, "customer-42").generation == 2
    assert server.session == "alive"


def test_a_task_is_tried_again_when_the_token_endpoint_was_down(new_program: Callable[..., Program]) -> None:
    program = new_program("sqlite")
    program.change("work.py", "retry_backoff=True", "retry_backoff=True, default_retry_delay=1")
    queue, server = Queue(program), program.server
    log_in(program, "customer-42", Age.EXPIRED)
    server.fail_next(status=503, headers={"Retry-After": "6"})
    queue.send(1)
    with queue.worker(1) as worker:
        until(lambda: "Retry in" in worker.said, worker)
        until(lambda: server.counters.api.get(200) == 1, worker)
    assert server.counters.token_requests == 2
