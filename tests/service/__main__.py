"""A service for ten minutes, with bad days at once: ``python -m tests.service``.

Four workers share tenants of five providers on PostgreSQL. Two providers are healthy, one hangs, one is dead, one
answers 429. Meanwhile PostgreSQL is killed and started again, and a worker is killed. Then all providers but the dead
one recover. What hangs trades the refresh tokens in when it recovers, long after the workers gave up: those sessions no
client can save, and each is lost with that reason. No other session is lost, but one whose answer died with the killed
worker, and no other refresh token is used twice.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.timing import percentile
from tests.servers.postgres import PostgresServer

from onerefresh.testing import RemoteServer
from onerefresh.testing.settings import Options

WORKERS, TENANTS = 4, 20
HEALTHY = ("good", "fine")
LIVES = 15.0
"""Seconds that an access token lives."""
OPTIONS: Options = {"expires_in": LIVES, "client_id": "backend", "client_secret": None, "client_auth": "none"}
RECOVERS = 45.0
"""Seconds at the end, in which all but the dead provider are well."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.service", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    seconds = parser.parse_args().seconds
    with ExitStack() as stack:
        servers = {}
        for name in (*HEALTHY, "hangs", "dead", "busy"):
            servers[name] = RemoteServer.start(
                expires_in=LIVES, client_id="backend", client_secret=None, client_auth="none"
            )
            stack.callback(servers[name].stop)
        database = stack.enter_context(PostgresServer.start())
        plan = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "plan.json"
        tokens = {f"{name}/{number}": server.issue() for name, server in servers.items() for number in range(TENANTS)}
        providers = {name: server.token_url for name, server in servers.items()}
        plan.write_text(json.dumps({"providers": providers, "tokens": tokens, "store": database.url}), "utf-8")
        servers["hangs"].hold("token")
        servers["busy"].fail_next(None, status=429, headers={"Retry-After": "30"})
        servers["dead"].stop()
        workers = [stack.enter_context(worker(plan)) for _ in range(WORKERS)]
        begun = time.monotonic()
        sleep_until(begun + seconds / 3)
        database.restart()
        print(f"{time.monotonic() - begun:.0f} s: PostgreSQL was started again", flush=True)
        sleep_until(begun + seconds / 2)
        workers[0].send_signal(signal.SIGKILL)
        workers[0] = stack.enter_context(worker(plan))
        print(f"{time.monotonic() - begun:.0f} s: a worker was killed, and another one began", flush=True)
        sleep_until(begun + seconds - RECOVERS)
        servers["hangs"].release("token")
        servers["busy"].recover()
        print(f"{time.monotonic() - begun:.0f} s: the providers have recovered", flush=True)
        sleep_until(begun + seconds)
        return report([ended(one) for one in workers], servers)


def worker(plan: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.service.worker", str(plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def sleep_until(moment: float) -> None:
    time.sleep(max(moment - time.monotonic(), 0.0))


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate("", timeout=60.0)
    found: dict[str, Any] = json.loads(out)
    return found


def report(found: list[dict[str, Any]], servers: dict[str, RemoteServer]) -> int:
    outcomes: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    took: dict[str, list[float]] = {}
    for one in found:
        outcomes.update(one["outcomes"])
        reasons |= one["reasons"]
        for name, figures in one["took"].items():
            took.setdefault(name, []).extend(figures)
    for name, figures in took.items():
        calls = ", ".join(f"{outcome.partition(': ')[2]} {count}" for outcome, count in sorted(outcomes.items())
                          if outcome.startswith(f"{name}: "))  # fmt: skip
        p50, p99 = (percentile(figures, share) * 1e3 for share in (0.5, 0.99))
        print(f"{name}: {calls}; p50 {p50:.0f} ms, p99 {p99:.0f} ms")
        if name != "dead":
            counters = servers[name].counters
            print(f"  token requests {counters.token_requests}, reuses {counters.reuse_detected}, "
                  f"sessions alive {servers[name].sessions.count('alive')} of {TENANTS}")  # fmt: skip
    for where, why in sorted(reasons.items()):
        print(f"{where}: {why}")
    lost = sorted(key.removeprefix("lost ") for key in outcomes if key.startswith("lost "))
    print(f"lost: {lost}")
    reused = sum(servers[name].counters.reuse_detected for name in servers if name not in ("dead", "hangs"))
    beyond_help = [key for key in lost if key.startswith("hangs/")]
    return 1 if reused > 1 or len(lost) - len(beyond_help) > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
