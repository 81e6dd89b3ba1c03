"""Many seeds, in as many processes as are wanted."""
# Not in __main__: a spawned process does not load that of a package.

from __future__ import annotations

import collections
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from tests.simulator.run import simulate
from tests.simulator.scenario import Scenario

__all__ = ["batches"]

BATCH = 500
"""Seeds of one batch at most: fewer where so many would leave a process without work."""


def batches(
    seeds: range, jobs: int, scenario_of: Callable[[int], Scenario] = Scenario.mixed
) -> Iterator[tuple[dict[str, int], list[str]]]:
    """Run the seeds; for each batch of them, how many runs ended in which way, and what to say of those that failed."""
    run = partial(_batch, scenario_of)
    size = max(min(BATCH, -(-len(seeds) // jobs)), 1)
    parts: Iterable[range] = (seeds[start : start + size] for start in range(0, len(seeds), size))
    if jobs == 1:
        yield from map(run, parts)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(run, parts)


def _batch(scenario_of: Callable[[int], Scenario], seeds: range) -> tuple[dict[str, int], list[str]]:
    ends, failures = collections.Counter[str](), []
    for seed in seeds:
        report = simulate(scenario_of(seed))
        if report.broken is not None:
            failures.append(f"seed {seed}: {report.broken}")
        else:
            ends[f"{report.scenario.manner.kind}: {report.end}"] += 1
    return ends, failures
