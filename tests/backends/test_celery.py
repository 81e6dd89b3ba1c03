"""Real Celery with four worker processes that share a customer's credential, by the code of `docs/backends.md`."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.backends.conftest import Age, log_in, status_of
from tests.backends.program import PATIENCE, Program, Running

pytestmark = [pytest.mark.slow, pytest.mark.long]

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
    fetch.apply_async(("customer-42", number), countdown=number * float(sys.argv[2]))
"""


class Queue:
    """The guide's `work.py` with its workers."""

    def __init__(self, program: Program) -> None:
        program.environment["BROKER"] = "filesystem://"
        program.add("on_files.py", ON_FILES)
        program.add("sending.py", SENDING)
        self._program = program

    def send(self, count: int, every: float = 0.0) -> None:
        """Before a worker runs: it would stumble over a message that is half written."""
        with self._program.run("sending.py", str(count), str(every)) as sending:
            sending.finished()

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


@pytest.mark.parametrize("kind", ["redis"])
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
    queue.send(8, every=2.0)  # a process that has read an ageing token renews it when it is asked again later
    with queue.worker(1) as worker:
        server.wait_for("token_sent", timeout=PATIENCE)
        worker.process.terminate()
        worker.finished()
    assert status_of(program, "customer-42").generation == 2
    assert server.session == "alive"
