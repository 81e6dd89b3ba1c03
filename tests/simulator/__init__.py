"""The protocol under a deterministic simulation: many processes, virtual time, and everything that can go wrong.

    report = simulate(seed=4711, account=True)
    print(report)                       # who did what when, and the verdict
    print(report.account.mermaid())     # the same as a sequence diagram

The real record, renewal and credential code runs; stores, servers, hosts, clocks and time are simulated. The same seed
is always the same run. ``python -m tests.simulator --help`` runs many.
"""

from __future__ import annotations

from tests.simulator.broken import Broken
from tests.simulator.excuses import Excuse
from tests.simulator.faults import PLANS, Fault, Happening, Point, What
from tests.simulator.ideas import LANDED, Idea
from tests.simulator.run import Report, simulate
from tests.simulator.scenario import Scenario
from tests.simulator.server import Kind, Manner

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
