"""Storms of signals in processes of their own: whatever hangs there hangs nobody else."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.package import ROOT, alone

__all__ = ["AIMS", "WAYS", "Storm", "catches", "storm"]

AIMS = ("timer", "bytecode")
WAYS = ("ask", "ask on a loop", "ask in a file", "age", "people", "close", "due", "records", "fork")
LONG = 60.0
"""Seconds for which a process may last beside its rounds: it sees itself where one of them hangs."""
EACH = 0.1
"""Seconds that a round may take: it takes a few milliseconds, on a machine that is not busy."""


@dataclass(frozen=True, slots=True)
class Storm:
    """What one process came to. `wrong`: what it found; empty where all was well. `hits`: interrupts."""

    way: str
    aim: str
    seed: int
    rounds: int
    hits: int
    seconds: float
    wrong: str = ""


def storm(way: str, aim: str, rounds: int, seed: int, *more: str, python: str = sys.executable) -> Storm:
    """So many rounds, or fewer where something is wrong."""
    began = time.monotonic()
    command = [python, "-m", "tests.signals.scripts.storm", way, aim, str(rounds), str(seed), *more]
    source = {**os.environ, "PYTHONPATH": alone()}
    with subprocess.Popen(
        command, cwd=ROOT, env=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            said, complaint = child.communicate(timeout=LONG + EACH * rounds)
        except subprocess.TimeoutExpired:
            child.kill()
            said, complaint = child.communicate()
            complaint += "\nit hangs, and its own watch did not end it"
    done, hits = (re.findall(r"^(\d+) (\d+)$", said, re.MULTILINE) or [("0", "0")])[-1]
    wrong = "" if child.returncode == 0 else f"status {child.returncode}: {said[-300:]}{complaint[-3000:]}"
    return Storm(way, aim, seed, int(done), int(hits), time.monotonic() - began, wrong)


def catches(wanted: int, at_most: int, chance: random.Random) -> Iterator[Storm]:
    """Storms over a version of the library that waits and starts threads as one would write it: what they find."""
    found = 0
    for number in range(at_most):
        one = storm("ask", AIMS[number % len(AIMS)], 3000, chance.randrange(10**6), "naive")
        if one.wrong:
            found += 1
            yield one
        if found == wanted:
            return
