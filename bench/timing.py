"""Two things timed against each other in one run, so that a busy machine troubles both alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Pair", "Spread", "against", "jitter", "percentile"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The quartiles of several figures."""

    lower: float
    median: float
    upper: float


def jitter(figures: Sequence[float]) -> Spread:
    """The quartiles of at least two figures."""
    return Spread(*statistics.quantiles(figures, n=4, method="inclusive"))


def percentile(figures: Sequence[float], share: float) -> float:
    """The smallest figure that is not exceeded by this share of them."""
    return sorted(figures)[max(math.ceil(share * len(figures)), 1) - 1]


@dataclass(frozen=True, slots=True)
class Pair:
    """Nanoseconds of each turn of both, turn by turn."""

    ours: tuple[int, ...]
    bare: tuple[int, ...]

    @property
    def ratio(self) -> Spread:
        """Ours against the bare one, each turn against its neighbour."""
        return jitter([ours / bare for ours, bare in zip(self.ours, self.bare, strict=True)])


def against(ours: Callable[[], object], bare: Callable[[], object], *, turns: int) -> Pair:
    """Time both, `turns` times in alternating order, after one turn of each that does not count."""
    ours()
    bare()
    taken: dict[Callable[[], object], list[int]] = {ours: [], bare: []}
    gc.collect()
    gc.freeze()  # what is there already is not looked at between the turns
    gc.disable()
    try:
        for turn in range(turns):
            for work in (ours, bare) if turn % 2 else (bare, ours):
                began = time.perf_counter_ns()
                work()
                taken[work].append(time.perf_counter_ns() - began)
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    return Pair(tuple(taken[ours]), tuple(taken[bare]))
