"""The protocol under a deterministic simulation: many processes, virtual time, and everything that can go wrong.

    report = simulate(seed=4711, account=True)
    print(report)                       # who did what when, and the verdict
    print(report.account.mermaid())     # the same as a sequence diagram

The real record, renewal and credential code runs; stores, servers, hosts, clocks and time are simulated. The same seed
is always the same run. ``python -m onerefresh.testing.simulator --help`` runs many.
"""

from __future__ import annotations

from onerefresh.testing.simulator.broken import Broken
from onerefresh.testing.simulator.excuses import Excuse
from onerefresh.testing.simulator.faults import PLANS, Fault, Happening, Point, What
from onerefresh.testing.simulator.ideas import LANDED, Idea
from onerefresh.testing.simulator.run import Report, simulate
from onerefresh.testing.simulator.scenario import Scenario
from onerefresh.testing.simulator.server import Kind, Manner

__all__ = [
    "LANDED",
    "PLANS",
    "Broken",
    "Excuse",
    "Fault",
    "Happening",
    "Idea",
    "Kind",
    "Manner",
    "Point",
    "Report",
    "Scenario",
    "What",
    "simulate",
]
