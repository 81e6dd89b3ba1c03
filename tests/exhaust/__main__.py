"""Every schedule of two and three processes, to the end: `python -m tests.exhaust`."""

from __future__ import annotations

import argparse
import functools
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.exhaust.explore import Result, explore, told
from tests.exhaust.setups import Server, Setup, Store

BEGIN, END = "<!-- exhausted -->", "<!-- end of exhausted -->"
STARTS: tuple[dict[str, bool], ...] = ({}, {"knows": False}, {"refused": True})


def setups(bounds: Iterable[tuple[int, int]]) -> list[Setup]:
    """All kinds of servers and stores within each bound (processes, faults), each from every start."""
    kinds = itertools.product(Server, Store, STARTS)
    return [
        Setup(server, store, processes, faults, **start)
        for (processes, faults), (server, store, start) in itertools.product(bounds, list(kinds))
    ]


def run(chosen: list[Setup], jobs: int, most: int | None) -> Iterator[Result]:
    """Explore each, the largest first: a process for each, which takes its memory with it."""
    chosen = sorted(chosen, key=lambda setup: (setup.faults, setup.processes, setup.has_lock), reverse=True)
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(functools.partial(explore, most=most), chosen)


def table(results: list[Result]) -> str:
    """A row for each bound, server and store; the starts are added up."""
    rows = ["| processes | faults | server | store | states | merged schedules | seconds | result |"]
    rows += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    groups: dict[tuple[int, int, int, int], list[Result]] = {}
    servers, stores = list(Server), list(Store)
    for result in results:
        setup = result.setup
        key = (setup.processes, setup.faults, servers.index(setup.server), stores.index(setup.store))
        groups.setdefault(key, []).append(result)
    for (processes, faults, server, store), found in sorted(groups.items()):
        states, merged = sum(one.states for one in found), sum(one.merged for one in found)
        seconds = sum(one.seconds for one in found)
        rows.append(
            f"| {processes} | {faults} | {servers[server].value} | {stores[store].value} "
            f"| {states:,} | {merged:,} | {seconds:.0f} | {_said(found)} |"
        )
    return "\n".join(rows)


def _said(found: list[Result]) -> str:
    broken = [one for one in found if one.broken is not None]
    if broken:
        return f"**{broken[0].broken}**"
    if not all(one.complete for one in found):
        return "not to the end"
    return "no promise broken"


def _write(page: Path, text: str) -> None:
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")


def _bound(text: str) -> tuple[int, int]:
    processes, _, faults = text.partition(":")
    return int(processes), int(faults)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.exhaust", description=__doc__)
    parser.add_argument("bounds", nargs="*", type=_bound, default=[(2, 2), (3, 1)], help="PROCESSES:FAULTS, …")
    parser.add_argument("--server", choices=[kind.name.lower() for kind in Server])
    parser.add_argument("--store", choices=[kind.name.lower() for kind in Store])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--most", type=int, help="give an exploration up after so many states")
    parser.add_argument("--page", type=Path, help="write the table into this page")
    arguments = parser.parse_args()
    chosen = [
        setup
        for setup in setups(arguments.bounds)
        if arguments.server in (None, setup.server.name.lower()) and arguments.store in (None, setup.store.name.lower())
    ]
    results: list[Result] = []
    began = time.monotonic()
    for result in run(chosen, arguments.jobs, arguments.most):
        results.append(result)
        ends = ", ".join(f"{count} {end}" for end, count in sorted(result.ends.items()))
        print(
            f"{len(results)}/{len(chosen)} {result.setup}: {result.states} states, {result.merged} merged, "
            f"{result.deepest} deep, {result.seconds:.1f} s; ends: {ends}; {_said([result])}",
            flush=True,
        )
        if result.broken is not None:
            print(told(result.setup, result.schedule), flush=True)
    print(f"\n{table(results)}\n\n{sum(one.states for one in results):,} states in {time.monotonic() - began:.0f} s")
    if arguments.page is not None:
        _write(arguments.page, table(results))
    return 1 if any(result.broken is not None for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
