"""One process of a run: opens its contender, says that it is ready, makes its calls at the word, says how they went."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.comparison.job import Job

QUEUEING = 0.2
"""Seconds for the other calls to come to where they wait, before the call that refreshes is cancelled."""


def main() -> None:
    logging.disable()  # what goes wrong here goes wrong on purpose
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    module, _, function = order["contender"].partition(".")
    contender = getattr(importlib.import_module(f"bench.comparison.{module}"), function)
    job = Job(**order["job"])
    if module == "threads":
        outcomes = _with_threads(contender, job, order["calls"])
    else:
        outcomes = asyncio.run(_with_tasks(contender, job, order["calls"], cancel=order["cancel"]))
    print(json.dumps(outcomes), flush=True)


def _ready() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _with_threads(contender: Any, job: Job, calls: int) -> Counter[str]:
    with contender(job) as get, ThreadPoolExecutor(calls) as pool:
        start = threading.Barrier(calls + 1)

        def call(number: int) -> str:
            start.wait()
            try:
                return str(get(f"{job.api_url}/{number}"))
            except Exception as error:  # noqa: BLE001 - whatever a contender raises is its answer
                return type(error).__name__

        futures = [pool.submit(call, number) for number in range(calls)]
        _ready()
        start.wait()
        return Counter(future.result() for future in futures)


async def _with_tasks(contender: Any, job: Job, calls: int, *, cancel: bool) -> Counter[str]:
    async with contender(job) as get:

        async def call(number: int) -> str:
            try:
                return str(await get(f"{job.api_url}/{number}"))
            except Exception as error:  # noqa: BLE001 - whatever a contender raises is its answer
                return type(error).__name__

        _ready()
        tasks = [asyncio.create_task(call(0))]
        if cancel:
            await asyncio.to_thread(sys.stdin.readline)  # its token request has arrived
        tasks += [asyncio.create_task(call(number)) for number in range(1, calls)]
        if cancel:
            await asyncio.sleep(QUEUEING)
            tasks[0].cancel()
            print("cancelled", flush=True)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return Counter(result if isinstance(result, str) else type(result).__name__ for result in results)


if __name__ == "__main__":
    main()
