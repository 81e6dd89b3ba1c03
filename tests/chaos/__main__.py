"""Kill and stop processes for a while, check everything, and write the figures into docs/explanation/chaos.md."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.report import insert
from tests.chaos.crew import Crew
from tests.chaos.figures import by_fault, summary
from tests.chaos.rounds import FAULTS, SOMEWHERE, Fault, Round, run, somewhere_in_the_save

PAGE = Path(__file__).parents[2] / "docs/explanation/chaos.md"


def faults(chance: random.Random) -> Iterator[Fault]:
    """One cycle: every fault in an order of chance, but one stop for long only, for it takes seconds."""
    long = [fault for fault in FAULTS if fault.stop == "long"]
    cycle = [fault for fault in FAULTS if fault.stop != "long"] + [chance.choice(long)]
    cycle += [somewhere_in_the_save(chance) for _ in range(20)]
    chance.shuffle(cycle)
    yield from cycle


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--points", type=int, default=200, help="random kill points for each kind of server, at least")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--print", action="store_true", help="leave the page as it is")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # none of its processes may stay behind, stopped
    began = time.monotonic()
    chance = random.Random(chosen.seed)
    found: dict[bool, list[Round]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="onerefresh-chaos-") as folder:
        with (
            Crew(Path(folder) / "grace", has_grace=True) as grace,
            Crew(Path(folder) / "strict", has_grace=False) as strict,
        ):
            while time.monotonic() - began < chosen.seconds or not all(
                sum(one.fault.name == SOMEWHERE for one in rounds) >= chosen.points for rounds in found.values()
            ):
                for fault in faults(chance):
                    for crew in (grace, strict):
                        found[crew.has_grace].append(run(crew, fault))
                say(f"{time.monotonic() - began:.0f} s, {sum(map(len, found.values()))} rounds")
    tables = {
        "summary": summary([*found[True], *found[False]], time.monotonic() - began, chosen.seed),
        "grace": by_fault(found[True]),
        "strict": by_fault(found[False]),
    }
    for mark, text in tables.items():
        say(f"\n{mark}\n\n{text}")
        if not chosen.print:
            insert(PAGE, mark, text)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
