"""Defects that are planted in the protocol: an exploration that does not find them proves nothing.

Most are taken from the simulator's mutation gate, by their words; each says where its exploration finds it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.exhaust.setups import Server, Setup, Store

from onerefresh.testing.simulator.mutants import MUTANTS

__all__ = ["DEFECTS", "Defect"]


@dataclass(frozen=True, slots=True)
class Defect:
    """`without`: what is done in a rule's place. `breaks`: the promise that is broken by it."""

    without: str
    setup: Setup
    breaks: str
    replace: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext

    def __str__(self) -> str:
        return self.without


def _gate(without: str, setup: Setup, breaks: str) -> Defect:
    mutant = next(mutant for mutant in MUTANTS if mutant.without == without)
    return Defect(without, setup, breaks, mutant.replace)


DEFECTS = (
    Defect(
        "claims are written whatever is there",
        Setup(Server.REVOKE, Store.BARE, faults=0, blind=True),
        "the store never goes backwards",
    ),
    _gate(
        "only the owner of the lease commits",
        Setup(Server.REJECT, Store.CLOCK, faults=1),
        "a new token is not given up",
    ),
    _gate(
        "a dead record is never revived",
        Setup(Server.REJECT, Store.CLOCK, faults=1),
        "a new token is not given up",
    ),
    _gate(
        "a commit does not know its own earlier write",
        Setup(Server.REJECT, Store.CLOCK, faults=1),
        "what is said is so",
    ),
    _gate(
        "invalid_grant is believed at once",
        Setup(Server.REJECT, Store.BARE, faults=1),
        "a session is declared dead only after a wait for a late commit",
    ),
    _gate(
        "a dispute is never noticed",
        Setup(Server.REJECT, Store.CLOCK, faults=1),
        "a session is declared dead only after a wait for a late commit",
    ),
    _gate(
        "a lease is over at first sight",
        Setup(Server.REVOKE, Store.CLOCK, faults=0),
        "nobody is taken over from within his time to live",
    ),
    _gate("no gate before sending", Setup(Server.REVOKE, Store.CLOCK, faults=1), "the credential survives"),
    _gate("no death is ever proven", Setup(Server.REJECT, Store.FLOCK, faults=1), "a proven death holds nobody up"),
    _gate(
        "30 s to live, whatever the grace window",
        Setup(Server.GRACE, Store.CLOCK, faults=1),
        "the credential survives",
    ),
    _gate(
        "the commit gives up when the store is down",
        Setup(Server.REJECT, Store.CLOCK, faults=1),
        "a new token is not given up",
    ),
    _gate("the spool is never read", Setup(Server.REJECT, Store.CLOCK, faults=2), "nothing stays in the spool"),
    _gate(
        "the new token is handed out before it is saved",
        Setup(Server.REJECT, Store.CLOCK, faults=0),
        "nobody uses a token that was not saved",
    ),
)
