"""The tables of docs/explanation/scale.md."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from bench import tenants
from bench.report import table
from bench.scale import disk, million, operations, places, storms, wakes

__all__ = ["measure"]


def measure(*, quick: bool) -> Iterator[tuple[str, str]]:
    """The mark and the table of each, as soon as it is measured."""
    yield "operations", table(("", "Redis (Valkey)", "PostgreSQL"), operations.measure(quick=quick))
    yield "storms", _storms(quick=quick)
    yield "tenants", _tenants(quick=quick)
    yield "million", _million(quick=quick)
    yield "wakes", _wakes(quick=quick)


def _storms(*, quick: bool) -> str:
    how = storms.How(2, rest=0.3) if quick else storms.How(20)
    synced: list[int] = []

    def between(seconds: float) -> None:
        end = time.monotonic() + seconds
        synced.extend(disk.syncs(postgres.folder, seconds * 0.75))
        time.sleep(max(end - time.monotonic(), seconds * 0.25))

    waits = ("a task, 50 of 100", "99 of 100, median storm", "99 of 100, all storms")
    head = ("store", "processes", "token endpoint, asked by one", *waits, "aim")
    with (
        places.sqlite() as sqlite,
        places.redis() as redis,
        places.postgres() as postgres,
        places.postgres(fsync="off") as without_disk,
    ):
        lines = [
            storms.measure(sqlite, how),
            storms.measure(redis, how, "≤ 1.5"),
            storms.measure(redis, replace(how, processes=2)),
            storms.measure(redis, replace(how, first=True)),
            storms.measure(postgres, how, "≤ 1.8", between=between),
            storms.measure(postgres, replace(how, processes=2), between=between),
            storms.measure(postgres, replace(how, first=True), between=between),
            storms.measure(postgres, replace(how, pool=True), "≤ 1.8", between=between),
            storms.measure(without_disk, how, "≤ 1.8"),
        ]
    return f"{table(head, lines)}\n\n{disk.said(synced)}"


def _tenants(*, quick: bool) -> str:
    rows = tenants.measure(1_000 if quick else 100_000)
    return table(("", "figure", "aim"), [(row.what, row.figure, row.aim) for row in rows])


def _million(*, quick: bool) -> str:
    count, some = (10_000, 20) if quick else (1_000_000, million.OPERATIONS)
    head = ("store", "a record", "load, ms", "compare-and-swap, ms", "`scan()` of all", "`refresh_due` of all")
    lines = []
    for place in places.places:
        with place() as one:
            lines.append(million.line(million.measure(one, count, some)))
    return table(head, lines)


def _wakes(*, quick: bool) -> str:
    rounds = 2 if quick else 9
    head = ("", "connections", "the write", "half have heard", "the last has heard", "the server's memory for each")
    lines = []
    with places.redis() as place:
        for connections in (100,) if quick else (1_000, 10_000):
            lines.append(wakes.line(wakes.measure(place, connections, rounds)))
    for connections in (20,) if quick else (100, 1_000):
        with places.postgres(max_connections=str(connections + 20)) as place:
            lines.append(wakes.line(wakes.measure(place, connections, rounds)))
    with places.redis() as place:
        reads = wakes.reads_a_second(place, 0.2 if quick else 5.0)
    return f"{table(head, lines)}\n\nOne Redis thread answered {reads:,.0f} loads of a record a second."
