"""What the rounds came to, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report import table
from tests.chaos.rounds import SOMEWHERE, Round

__all__ = ["by_fault", "summary"]

HEAD = (
    "what happens",
    "rounds",
    "calls answered",
    "`LoginRequired`",
    "`RefreshOutcomeUnknown`",
    "no store or no API",
    "token requests",
    "generations",
    "sessions lost",
    "longest wait",
)


def by_fault(rounds: Sequence[Round]) -> str:
    """One line for each kind of fault, in Markdown."""
    names = list(dict.fromkeys(one.name for one in rounds))
    return table(HEAD, [_line(name, [one for one in rounds if one.name == name]) for name in names])


def _line(name: str, rounds: Sequence[Round]) -> tuple[str, ...]:
    counts = (
        len(rounds),
        sum(one.answered for one in rounds),
        sum(one.told_to_log_in for one in rounds),
        sum(one.told_unknown for one in rounds),
        sum(one.told_unavailable for one in rounds),
        sum(one.requests for one in rounds),
        sum(one.generations for one in rounds),
        sum(one.lost is not None for one in rounds),
    )
    longest = max(one.longest for one in rounds)
    return (name, *map(str, counts), f"{longest:.1f} s" if longest else "none was answered")


def summary(rounds: Sequence[Round], seconds: float, seed: int) -> str:
    """The totals of all rounds on one store, with both servers."""
    killed, stopped = sum(one.was_killed for one in rounds), sum(one.was_stopped for one in rounds)
    random_ones = [one for one in rounds if one.name == SOMEWHERE]
    saved = sum(one.was_saved for one in random_ones)
    reasons = sorted({one.lost for one in rounds if one.lost is not None})
    points = (
        f"{len(random_ones)} random kill points around the save: {saved} behind it, {len(random_ones) - saved} before."
    )
    lines = [
        f"{len(rounds)} rounds in {seconds:.0f} s, seed {seed}: {killed} processes killed, {stopped} stopped.",
        *([points] if random_ones else []),
        f"After each of the {len(rounds)} the record was whole.",
        *(f"A lost session was told as: *{reason}*." for reason in reasons),
    ]
    return "\n".join(f"* {line}" for line in lines)
