"""Kill, stop and cut off for a while, check everything, and write the figures into docs/explanation/chaos.md."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.report import insert
from tests.chaos.crew import Crew
from tests.chaos.figures import by_fault, summary
from tests.chaos.hosts import PARTINGS, part, spread_out
from tests.chaos.kinds import KINDS, Kind, site
from tests.chaos.network import why_not
from tests.chaos.outages import OUTAGES, endure
from tests.chaos.rounds import SOMEWHERE, Round, faults_of, run, somewhere_in_the_save

PAGE = Path(__file__).parents[2] / "docs/explanation/chaos.md"
TWO_SERVERS = {"grace": True, "strict": False}
POINTS_EACH = 20
"""Random kill points in a cycle; a quarter of them where each costs a time to live."""

Rounds = Iterator[Callable[[], Round]]


def cycle(crew: Crew, chance: random.Random) -> Rounds:
    """Everything that can happen to a crew in an order of chance; but one stop for long only, for it takes seconds."""
    faults = faults_of(crew.place)
    long = [fault for fault in faults if fault.stop == "long"]
    chosen = [fault for fault in faults if fault.stop != "long"] + [chance.choice(long)]
    points = POINTS_EACH if crew.place.proves_death else POINTS_EACH // 4
    chosen += [somewhere_in_the_save(chance, crew.place) for _ in range(points)]
    rounds = [lambda fault=fault: run(crew, fault) for fault in chosen]
    if crew.place.is_a_server:
        rounds += [lambda outage=outage: endure(crew, outage, chance) for outage in OUTAGES]
    chance.shuffle(rounds)
    yield from rounds


def on_one_host(kind: Kind, folder: Path, chance: random.Random, *, has_grace: bool) -> Iterator[Rounds]:
    with site(kind, folder, has_grace=has_grace) as crew:
        while True:
            yield cycle(crew, chance)


def on_several(kind: Kind, folder: Path, chance: random.Random, *, has_grace: bool) -> Iterator[Rounds]:
    with spread_out(kind, folder, has_grace=has_grace) as (crew, network):
        while True:
            yield (lambda parting=parting: part(crew, network, parting) for parting in PARTINGS)  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=300.0, help="shared by all stores; each has one cycle at least"
    )
    parser.add_argument("--points", type=int, default=200, help="random kill points of SQLite and a server, at least")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", help="the stores whose names begin so")
    parser.add_argument("--print", action="store_true", help="leave the page as it is")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # none of its processes may stay behind, stopped
    chance = random.Random(chosen.seed)
    tables: dict[str, str] = {}
    places = [place for place in _places() if place[0].startswith(chosen.only or "")]
    if not places:
        parser.error(f"no store's name begins with {chosen.only!r}, or it was left out")
    for name, has_points, open_place in places:
        began, everything = time.monotonic(), list[Round]()
        for server, has_grace in TWO_SERVERS.items():
            with tempfile.TemporaryDirectory(prefix="onerefresh-chaos-") as folder:
                cycles = open_place(Path(folder), chance, has_grace=has_grace)
                seconds = chosen.seconds / len(places) / len(TWO_SERVERS)
                found = _rounds(cycles, seconds, chosen.points if has_points else 0, f"{name} {server}")
            everything += found
            tables[f"{name} {server}"] = by_fault(found)
        tables[name] = summary(everything, time.monotonic() - began, chosen.seed)
    for mark, text in tables.items():
        say(f"\n{mark}\n\n{text}")
        if not chosen.print:
            insert(PAGE, mark, text)


def _places() -> Iterator[tuple[str, bool, Callable[..., Iterator[Rounds]]]]:
    """Each with its name, and whether random kill points are counted there."""
    no_hosts = why_not()
    for kind in KINDS:
        if kind.why_not is not None:
            say(f"left out: {kind.name}: {kind.why_not}")
            continue
        yield kind.name, kind.name == "sqlite", lambda *given, kind=kind, **how: on_one_host(kind, *given, **how)
        if kind.has_hosts and no_hosts is not None:
            say(f"left out: several hosts with {kind.name}: {no_hosts}")
        elif kind.has_hosts:
            yield f"{kind.name} hosts", False, lambda *given, kind=kind, **how: on_several(kind, *given, **how)


def _rounds(cycles: Iterator[Rounds], seconds: float, points: int, name: str) -> list[Round]:
    """Whole cycles, for so many seconds and random kill points at least."""
    began = time.monotonic()
    found: list[Round] = []
    try:
        while not found or time.monotonic() - began < seconds or _points(found) < points:
            for number, one in enumerate(next(cycles)):
                try:
                    found.append(one())
                except BaseException:
                    say(f"{name}: round {len(found) + 1}, number {number + 1} of its cycle")
                    raise
    finally:
        cycles.close()  # type: ignore[attr-defined]  # a generator: it ends what it opened
    say(f"{name}: {len(found)} rounds in {time.monotonic() - began:.0f} s")
    return found


def _points(found: list[Round]) -> int:
    return sum(one.name == SOMEWHERE for one in found)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
