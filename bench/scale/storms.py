"""Eight processes with 64 tasks each whose token is refused at the same moment, in each store.

Run as a program it is one of the eight.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from psycopg_pool import ConnectionPool

from bench.scale.places import Place
from bench.storm import ENDPOINT_SECONDS, NOTICE, Member
from bench.timing import jitter, percentile
from onerefresh import Credential, Token, policy
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.stores import open_store
from onerefresh.stores.postgres import PostgresStore
from onerefresh.testing import RemoteServer

PROCESSES = 8
TASKS = 64
REST = 4.0
"""Seconds from one storm to the next: what is kept open between the steps of one renewal is closed by then, as it is
where tokens live for an hour."""


@dataclass(frozen=True, slots=True)
class How:
    """How storms are made.

    `pool`: each process brings its own pool of connections. `first`: as if none had been before, so that nobody has a
    head start. `rest`: seconds between them.
    """

    rounds: int
    processes: int = PROCESSES
    pool: bool = False
    first: bool = False
    rest: float = REST


def measure(place: Place, how: How, aim: str = "", *, between: Callable[[float], object] = time.sleep) -> list[str]:
    """One line of the table, for the store at `place`. `between`: what passes the seconds between two storms."""
    name = place.name
    if how.pool:
        name += ", its connections from a pool"
    if how.first:
        name += ", nobody has a head start"
    return [name, str(how.processes), *figures(*storms(place, how, between)), aim]


def storms(
    place: Place, how: How, between: Callable[[float], object] = time.sleep
) -> tuple[list[int], list[list[int]]]:
    """Nanoseconds that the endpoint took for one who asked it alone, and that each task of each storm waited."""
    alone: list[int] = []
    waited: list[list[int]] = []
    with ExitStack() as stack:
        server = stack.enter_context(RemoteServer.start())
        server.delay("token", ENDPOINT_SECONDS)
        client = {"client_id": server.client_id, "client_secret": server.client_secret}
        endpoint = TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)
        token = Credential("alone", endpoint, token=server.issue()).token()
        shared = {"name": f"storm-{secrets.token_hex(4)}", "store": place.url, "pool": how.pool, "first": how.first}
        job = {"url": server.token_url, "client": client, **shared}
        with Credential(str(shared["name"]), endpoint, store=place.url) as person:
            person.login(server.issue())
        crowd = [stack.enter_context(Member(job, "bench.scale.storms")) for _ in range(how.processes)]
        for member in crowd:
            assert member.heard() == 0, "every process begins with the first token"
        for number in range(how.rounds + 1):
            if number > 1:
                between(how.rest)
            began = time.perf_counter_ns()
            token = endpoint(token)
            asked = time.perf_counter_ns() - began
            before = server.counters.token_requests
            start = time.monotonic_ns() + int(NOTICE * 1e9)
            for member in crowd:
                member.tell(start)
            found = [nanoseconds for member in crowd for nanoseconds in member.heard()]
            requests = server.counters.token_requests - before
            assert requests == 1, f"{requests} token requests in one storm"
            if number:  # the first round warms everybody up
                alone.append(asked)
                waited.append(found)
    return alone, waited


def figures(alone: list[int], waited: list[list[int]]) -> list[str]:
    """From nanoseconds: of the endpoint in each round, and of each task in each round.

    Of all storms together 99 of 100 is decided by the worst one or two, in which something else took the machine: so it
    is told of the median storm, too.
    """
    endpoint = jitter(alone).median
    all_tasks = [nanoseconds for found in waited for nanoseconds in found]
    shares = [
        percentile(all_tasks, 0.5),
        statistics.median(percentile(found, 0.99) for found in waited),
        percentile(all_tasks, 0.99),
    ]
    return [f"{endpoint / 1e6:.1f} ms", *(f"{share / 1e6:.1f} ms, {share / endpoint:.2f}" for share in shares)]


def take_part() -> None:
    policy.EARLY_REFRESHES = sys.maxsize  # one storm after the other: that is no API which refuses fresh tokens
    logging.disable(logging.WARNING)  # Redis is not durable, which is said once for each process
    job = json.loads(sys.stdin.readline())
    endpoint = TokenEndpoint(job["url"], **job["client"])
    endpoint.prepare()  # loads the HTTP client, as in a process that has refreshed before
    pool = ConnectionPool(job["store"], min_size=2, open=True) if job["pool"] else None
    store = PostgresStore(pool) if pool is not None else open_store(job["store"])
    if job["first"]:
        store.head_start = 0.0
    credential = Credential(job["name"], endpoint, store=store)
    token = credential.token()
    print(token.generation - 1, flush=True)
    for text in sys.stdin:
        credential.replayed(token, accepted=True)  # the API has taken it for a while, and now it does not
        print(json.dumps(asyncio.run(_one_storm(credential, token, int(text)))), flush=True)
        token = credential.token()


async def _one_storm(credential: Credential, refused: Token, start: int) -> list[int]:
    async def call() -> int:
        await asyncio.sleep(max(start - time.monotonic_ns(), 0) / 1e9)
        await credential.atoken(refused=refused)
        return time.monotonic_ns() - start

    return await asyncio.gather(*(call() for _ in range(TASKS)))


if __name__ == "__main__":
    take_part()
