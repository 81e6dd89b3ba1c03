"""One run of the demo: a test server in its own process, worker processes, and a token that dies in the middle.

Every worker makes the first half of its calls. When all have done so, they make the second half. When all of these
calls have reached the API and none is answered, the access token is revoked. Nothing waits for time to pass.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from onerefresh.cli.demo_worker import KEY
from onerefresh.credential import Credential
from onerefresh.errors import OnerefreshError
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.real_time import monotonic
from onerefresh.testing import Entry, RemoteServer
from onerefresh.testing.process import child_environment

__all__ = ["Finished", "Stage", "Watch", "Way", "run_calls"]

Way: TypeAlias = Literal["usual", "onerefresh"]
Message: TypeAlias = Mapping[str, Any]
Stage: TypeAlias = Literal["starting", "first half", "revoked", "done"]
Watch: TypeAlias = Callable[[Stage, int], None]
"""A function that is called with the stage, and how many calls have ended."""

PATIENCE = 60.0
"""Seconds without a message of any worker after which the demo gives up."""
TOKEN_SECONDS, API_SECONDS = 0.1, 0.02
"""Seconds that the token endpoint and the API take for an answer, as real ones do."""


@dataclass(slots=True)
class Finished:
    """The results of a run.

    `messages`: the reports of the workers. `revoked_at`: when the token was revoked, in seconds on the monotonic clock.
    """

    calls: int
    messages: list[Message] = field(default_factory=list)
    revoked_at: float = 0.0
    seconds: float = 0.0
    token_requests: int = 0
    refreshes: int = 0
    reuse_detected: int = 0
    session: str = ""
    log: list[Entry] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Message]:
        return [message for message in self.messages if message["kind"] == kind]

    @property
    def answered(self) -> int:
        return sum(not call["problem"] for call in self.of_kind("call"))

    @property
    def problems(self) -> Counter[str]:
        return Counter(call["problem"] for call in self.of_kind("call") if call["problem"])

    @property
    def refused(self) -> list[Message]:
        """The calls whose first attempt was refused."""
        names = {entry.call for entry in self.log if entry.kind == "api" and entry.outcome == "refused"}
        return [call for call in self.of_kind("call") if call["call"] in names]

    @property
    def is_well(self) -> bool:
        """Whether every call was answered, with one token request for each new generation."""
        return (
            self.answered == self.calls
            and self.token_requests == self.refreshes > 0
            and self.reuse_detected == 0
            and self.session == "alive"
        )


def run_calls(way: Way, workers: int, calls: int, watch: Watch) -> Finished:
    """Make `calls` calls in each of so many worker processes, in the given way.

    Raises `OnerefreshError` where a worker process dies.
    """
    finished = Finished(workers * calls)
    watch("starting", 0)
    with tempfile.TemporaryDirectory(prefix="onerefresh-demo-") as folder, RemoteServer.start() as server:
        server.expect_reuse()
        server.delay("token", TOKEN_SECONDS)
        server.delay("api", API_SECONDS)
        job = _job(way, server, Path(folder))
        with _crew(job, workers, calls, folder) as crew:
            _make_calls(crew, server, finished, watch)
        counters = server.counters
        finished.token_requests, finished.refreshes = counters.token_requests, counters.refreshes
        finished.reuse_detected, finished.session = counters.reuse_detected, server.session
        finished.log = server.log
    watch("done", finished.calls)
    return finished


def _make_calls(crew: _Crew, server: RemoteServer, finished: Finished, watch: Watch) -> None:
    stage: Stage = "first half"
    ended = 0

    def hear(message: Message) -> None:
        nonlocal ended
        finished.messages.append(message)
        if message["kind"] == "call":
            ended += 1
            watch(stage, ended)

    crew.wait_for_all("ready", hear)
    begun = monotonic()
    crew.go_on()
    crew.wait_for_all("ready", hear)
    server.hold("api")
    crew.go_on()
    try:
        server.wait_for("api", finished.calls - ended, timeout=PATIENCE)
    except TimeoutError:
        raise OnerefreshError("not all calls of the demo have reached the API; this machine may be very busy") from None
    finished.revoked_at = monotonic()
    server.revoke_access()
    stage = "revoked"
    watch(stage, ended)
    server.release("api")
    crew.wait_for_all("done", hear)
    finished.seconds = monotonic() - begun


def _job(way: Way, server: RemoteServer, folder: Path) -> dict[str, Any]:
    """The job of every worker. The first token is in the store, or in the file, that all of them share."""
    assert server.client_secret is not None
    job: dict[str, Any] = {
        "way": way,
        "api_url": server.api_url,
        "token_url": server.token_url,
        "client_id": server.client_id,
        "client_secret": server.client_secret,
    }
    if way == "usual":
        path = folder / "token.json"
        path.write_text(json.dumps(server.issue()), "utf-8")
        return {**job, "file": str(path)}
    # The store would refuse a temporary folder to which everybody can write and that is not sticky.
    store = f"sqlite:///{folder / 'store.db'}?trusted_folders={quote(str(folder.resolve().parent))}"
    endpoint = TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)
    Credential(KEY, endpoint, store=store).login(server.issue())
    return {**job, "store": store}


class _Crew:
    """The worker processes. Their messages arrive in one queue."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes
        self._said: queue.SimpleQueue[tuple[int, Message | None]] = queue.SimpleQueue()
        for number, process in enumerate(processes, 1):
            threading.Thread(target=self._listen, args=(number, process), daemon=True).start()

    def _listen(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._said.put((number, json.loads(line)))
        self._said.put((number, None))

    def wait_for_all(self, kind: str, hear: Callable[[Message], None]) -> None:
        """Pass their messages on until each process has sent this kind."""
        silent = set(range(1, len(self._processes) + 1))
        while silent:
            try:
                number, message = self._said.get(timeout=PATIENCE)
            except queue.Empty:
                raise OnerefreshError(f"the demo has received nothing from its workers for {PATIENCE:.0f} s") from None
            if message is not None:
                hear({**message, "process": number})
                silent -= {number} if message["kind"] == kind else set()
            elif number in silent:
                raise OnerefreshError(f"worker process {number} of the demo has died; its own output is above")

    def go_on(self) -> None:
        for process in self._processes:
            _write_line(process, "")


@contextlib.contextmanager
def _crew(job: Mapping[str, Any], workers: int, calls: int, folder: str) -> Iterator[_Crew]:
    """Worker processes that know their job and wait; ended on leaving."""
    environment = {**child_environment(), "ONEREFRESH_STATE": folder}
    processes: list[subprocess.Popen[str]] = []
    try:
        for number in range(1, workers + 1):
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "onerefresh.cli.demo_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                text=True,
            )
            processes.append(process)
            names = [f"{number}.{call}" for call in range(1, calls + 1)]
            _write_line(process, json.dumps({**job, "halves": [names[: calls // 2], names[calls // 2 :]]}))
        yield _Crew(processes)
    finally:
        for process in processes:
            _end(process)


def _write_line(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has died, which the wait for its messages reports
        process.stdin.write(line + "\n")
        process.stdin.flush()


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended already
        process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
