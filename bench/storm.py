"""Eight processes whose token is refused at the same moment, on one SQLite file, at a token endpoint that takes 50 ms.

Run as a program it is one of the eight.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

from bench.report import Row, milliseconds
from bench.timing import Spread, jitter
from onerefresh import Credential, policy
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import RemoteServer

ROOT = Path(__file__).parents[1]
PROCESSES = 8
ENDPOINT_SECONDS = 0.05
NOTICE = 0.1
"""Seconds from the word to the start, so that every process has heard it."""


def measure(rounds: int) -> list[Row]:
    """Each round asks the endpoint once for another session, and then lets the processes loose."""
    alone: list[int] = []
    waited: list[int] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(RemoteServer.start())
        server.delay("token", ENDPOINT_SECONDS)
        client = {"client_id": server.client_id, "client_secret": server.client_secret}
        endpoint = TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)
        token = Credential("alone", endpoint, token=server.issue()).token()
        job = {"url": server.token_url, "client": client, "seed": server.issue(), "store": f"sqlite:///{folder}/db"}
        crowd = [stack.enter_context(Member(job)) for _ in range(PROCESSES)]
        for member in crowd:
            assert member.heard() == 0, "every process begins with the seed"
        for number in range(rounds + 1):
            began = time.perf_counter_ns()
            token = endpoint(token)
            asked = time.perf_counter_ns() - began
            before = server.counters.token_requests
            start = time.monotonic_ns() + int(NOTICE * 1e9)
            for member in crowd:
                member.tell(start)
            found = [member.heard() for member in crowd]
            requests = server.counters.token_requests - before
            assert requests == 1, f"{requests} token requests in one storm"
            if number:  # the first round warms everybody up
                alone.append(asked)
                waited += found
    return rows(alone, waited)


def rows(alone: list[int], waited: list[int]) -> list[Row]:
    """From nanoseconds: of the endpoint in each round, and of each process in each round."""
    endpoint = jitter(alone)
    cuts = sorted(waited)
    return [
        Row("the token endpoint, asked by one", milliseconds(endpoint), ""),
        Row("a process, 50 of 100", _share(cuts, 0.5, endpoint), ""),
        Row("a process, 99 of 100", _share(cuts, 0.99, endpoint), "≤ 1.6 of the endpoint"),
    ]


def _share(waited: list[int], share: float, endpoint: Spread) -> str:
    found = waited[min(int(share * len(waited)), len(waited) - 1)]
    return f"{found / 1e6:.1f} ms, {found / endpoint.median:.2f} of the endpoint"


class Member:
    """One of the processes, as its parent sees it. `program`: the module that it runs."""

    def __init__(self, job: dict[str, Any], program: str = "bench.storm") -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._write(job)

    def tell(self, word: object) -> None:
        """When to begin, on the monotonic clock that all processes share; or what else its program expects."""
        self._write(word)

    def heard(self) -> Any:
        """Nanoseconds from the start until it had the new token; 0 from a process that is ready."""
        return json.loads(self._pipe(self._child.stdout).readline())

    def _write(self, value: object) -> None:
        pipe = self._pipe(self._child.stdin)
        pipe.write(json.dumps(value) + "\n")
        pipe.flush()

    def _pipe(self, pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._child.communicate()


def take_part() -> None:
    policy.EARLY_REFRESHES = sys.maxsize  # one storm after the other: that is no API which refuses fresh tokens
    job = json.loads(sys.stdin.readline())
    endpoint = TokenEndpoint(job["url"], **job["client"])
    endpoint.prepare()  # loads the HTTP client, as in a process that has refreshed before
    credential = Credential("storm", endpoint, token=job["seed"], store=job["store"])
    token = credential.token()
    print(token.generation - 1, flush=True)
    for line in sys.stdin:
        start = int(line)
        credential.replayed(token, accepted=True)  # the API has taken it for a while, and now it does not
        time.sleep(max(start - time.monotonic_ns(), 0) / 1e9)
        token = credential.token(refused=token)
        print(time.monotonic_ns() - start, flush=True)


if __name__ == "__main__":
    take_part()
