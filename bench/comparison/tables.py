"""The results as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.comparison.run import CANCELLED, EXPIRED, OUTAGE, OVER, PROCESSES_4, REFUSED, Result, Scenario, Subscription
from bench.report import table

__all__ = ["short_table", "tables"]

FIGURES: dict[str, Callable[[Result], int | str]] = {
    "token requests": lambda result: result.token_requests,
    "reuses": lambda result: result.reuses,
    "answered": lambda result: result.answered,
    "session": lambda result: result.session,
}


def tables(lines: Sequence[Subscription]) -> dict[str, str]:
    """For docs/comparison.md, by the mark where each belongs."""
    named = {
        "expired": EXPIRED,
        "refused": REFUSED,
        "processes": PROCESSES_4,
        "cancelled": CANCELLED,
        "outage": OUTAGE,
        "over": OVER,
    }
    return {mark: _one(lines, scenario) for mark, scenario in named.items()}


def _one(lines: Sequence[Subscription], scenario: Scenario) -> str:
    body = [
        [line.contender.title, line.contender.where, *(line.cell(scenario, figure) for figure in FIGURES.values())]
        for line in lines
        if scenario.name in line.results
    ]
    return table(["", "in", *FIGURES], body)


def short_table(lines: Sequence[Subscription]) -> str:
    """For the README: one process and four, with a token whose expiry is known."""
    wanted = [
        ("token requests", EXPIRED, "token requests"),
        ("answered", EXPIRED, "answered"),
        ("in 4 processes: token requests", PROCESSES_4, "token requests"),
        ("answered", PROCESSES_4, "answered"),
        ("session then", PROCESSES_4, "session"),
    ]
    body = [
        [
            line.contender.title,
            line.contender.where,
            *(line.cell(scenario, FIGURES[figure]) for _, scenario, figure in wanted),
        ]
        for line in lines
    ]
    return table(["", "in", *(head for head, _, _ in wanted)], body)
