"""The scenarios, their runs, and the tables."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from bench.comparison.contenders import CONTENDERS, Contender
from bench.comparison.job import Job
from onerefresh.testing import RemoteServer

ROOT = Path(__file__).parents[2]
CALLS = 100
PROCESSES = 4
ENDPOINT_SECONDS = 0.3
OUTAGE_SECONDS = 3.0
PATIENCE = 120.0
"""Seconds after which a run that does not end counts as hanging."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`lives`: seconds until the stored token expires, as far as the client knows; the server refuses it anyway."""

    name: str
    lives: float
    processes: int = 1
    outage: bool = False
    over: bool = False
    cancel: bool = False
    endpoint_seconds: float = ENDPOINT_SECONDS

    def fits(self, contender: Contender) -> bool:
        return contender.module == "tasks" or not self.cancel


EXPIRED = Scenario("expired", lives=-60.0)
REFUSED = Scenario("refused", lives=3600.0)
PROCESSES_4 = Scenario("expired, in 4 processes", lives=-60.0, processes=PROCESSES)
CANCELLED = Scenario("expired, and the call that refreshes is cancelled", lives=-60.0, cancel=True)
OUTAGE = Scenario("expired, and the token endpoint is down for 3 s", lives=-60.0, outage=True)
OVER = Scenario("expired, and the session is over", lives=-60.0, over=True, endpoint_seconds=0.05)
SCENARIOS = (EXPIRED, REFUSED, PROCESSES_4, CANCELLED, OUTAGE, OVER)


@dataclass(frozen=True, slots=True)
class Result:
    """What one run showed. `outcomes`: how often each status or exception came back to a caller."""

    token_requests: int
    reuses: int
    answered: int
    session: str
    outcomes: Counter[str]


def run(server: RemoteServer, contender: Contender, scenario: Scenario) -> Result:
    """Let all calls of one scenario through one contender."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        job = Job(
            server.token_url, server.api_url, server.client_id, server.client_secret or "", str(folder / "token.json")
        )
        token = server.issue()
        del token["expires_in"]
        job.save({**token, "expires_at": int(time.time() + scenario.lives)})
        server.revoke_access()
        server.delay("token", scenario.endpoint_seconds)
        before = server.counters
        order = {
            "contender": contender.key,
            "job": asdict(job),
            "calls": CALLS // scenario.processes,
            "cancel": scenario.cancel,
        }
        workers = [_worker(stack, order) for _ in range(scenario.processes)]
        for worker in workers:
            assert _pipe(worker.stdout).readline() == "ready\n", contender.key
        if scenario.over:
            server.revoke_family()
        if scenario.outage:
            server.fail_for(OUTAGE_SECONDS, status=503)
        if scenario.cancel:
            server.hold("token")
        for worker in workers:
            _say(worker, "go")
        if scenario.cancel:
            server.wait_for("token")
            for worker in workers:
                _say(worker, "arrived")
                assert _pipe(worker.stdout).readline() == "cancelled\n", contender.key
            server.release("token")
        outcomes: Counter[str] = Counter()
        for worker in workers:
            try:
                said, _ = worker.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                worker.kill()
                said, _ = worker.communicate()
            outcomes.update(json.loads(said) if said else {"hangs": CALLS // scenario.processes})
        server.recover()
        after = server.counters
        return Result(
            after.token_requests - before.token_requests,
            after.reuse_detected - before.reuse_detected,
            outcomes["200"],
            server.session,
            outcomes,
        )


def _worker(stack: ExitStack, order: dict[str, object]) -> subprocess.Popen[str]:
    worker = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "bench.comparison.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
    )
    _say(worker, json.dumps(order))
    return worker


def _say(worker: subprocess.Popen[str], line: str) -> None:
    pipe = _pipe(worker.stdin)
    pipe.write(line + "\n")
    pipe.flush()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@dataclass(frozen=True, slots=True)
class Subscription:
    """One contender's results, run after run, scenario after scenario."""

    contender: Contender
    results: dict[str, list[Result]]

    def cell(self, scenario: Scenario, figure: Callable[[Result], int | str]) -> str:
        found = [figure(result) for result in self.results.get(scenario.name, [])]
        numbers = [value for value in found if isinstance(value, int)]
        if not found:
            return ""
        if numbers:
            low, high = min(numbers), max(numbers)
            return str(low) if low == high else f"{low} to {high}"
        return " or ".join(sorted({str(value) for value in found}))


def measure(runs: int, scenarios: Sequence[Scenario] = SCENARIOS) -> Iterator[Subscription]:
    """Every contender through every scenario, `runs` times, on one server that revokes a family on reuse."""
    with RemoteServer.start(mode="revoke_family") as server:
        server.expect_reuse()
        for contender in CONTENDERS:
            results = {
                scenario.name: [run(server, contender, scenario) for _ in range(runs)]
                for scenario in scenarios
                if scenario.fits(contender)
            }
            yield Subscription(contender, results)
