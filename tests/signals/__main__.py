"""A storm of signals over the library, after one over a naive version of it, which it has to catch."""

from __future__ import annotations

import argparse
import random
import sys

from tests.signals.storms import AIMS, WAYS, Storm, catches, storm

CAUGHT = 5
"""Times that the naive version has to be caught before the storm is believed."""
EACH = 500
"""Rounds of one process: whatever a round leaves behind meets those that follow."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.signals", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20_000, help="in all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--python", default=sys.executable, help="another Python: it needs nothing but itself")
    parser.add_argument("--only", help="the way of this name")
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)
    caught = list(catches(CAUGHT, 40, chance)) if chosen.only is None else []
    if chosen.only is None and len(caught) < CAUGHT:
        print(f"the storm caught the naive version {len(caught)} times only, of 40")
        return 1
    print(f"seed {chosen.seed}: the naive version was caught {len(caught)} times", flush=True)
    kinds = [(way, aim) for way in WAYS for aim in AIMS if chosen.only in (None, way)]
    found: list[Storm] = []
    while sum(one.rounds for one in found) < chosen.rounds:
        way, aim = kinds[len(found) % len(kinds)]
        one = storm(way, aim, EACH, chance.randrange(10**6), python=chosen.python)
        found.append(one)
        print(
            f"{way}, by {aim}: {one.rounds} rounds, {one.hits} interrupts, {one.seconds:.0f} s {one.wrong}", flush=True
        )
        if one.wrong:
            return 1
    print(
        f"{sum(one.rounds for one in found)} rounds, {sum(one.hits for one in found)} interrupts, and nothing is wrong"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
