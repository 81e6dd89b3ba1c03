"""Defects that are planted in the protocol: an exploration that does not find them proves nothing.

Most are taken from the simulator's mutation gate, by their words; each says where its exploration finds it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tests.exhaust.setups import Server, Setup, Store
from tests.simulator.mutants import MUTANTS

from onerefresh import errors, succession
from onerefresh.record import Record
from onerefresh.renewal import answer, commit, recovery
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.world import Loaded, Spooled, World

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


_commit_into = commit.commit_into


async def _owner_commits(world: World, loaded: Loaded, entry: Spooled, *more: Any, **rest: Any) -> Record | None:
    record = loaded.record
    owns = record is not None and record.lease is not None and record.lease.id == entry.attempt
    if record is not None and record.committed_by != entry.attempt and not owns:
        return None
    return await _commit_into(world, loaded, entry, *more, **rest)


async def _forgets_itself(world: World, loaded: Loaded, entry: Spooled, *more: Any, **rest: Any) -> Record | None:
    if not succession.may_commit(loaded.record, entry.family, entry.generation):
        return None
    return await _commit_into(world, loaded, entry, *more, **rest)


async def _gives_up(world: World, loaded: Loaded, entry: Spooled, *more: Any, **rest: Any) -> Record | None:
    try:
        return await _commit_into(world, loaded, entry, *more, **rest)
    except errors.StoreUnavailable:
        return None


async def _hands_out_first(world: World, loaded: Loaded, entry: Spooled, *more: Any, **rest: Any) -> Record | None:
    await world.deliver(Outcome(entry.as_next()))
    return await _commit_into(world, loaded, entry, *more, **rest)


def _commit(without: str, setup: Setup, breaks: str, piece: object) -> Defect:
    """Another way to commit. The simulator's have the same words."""

    @contextlib.contextmanager
    def replaced() -> Iterator[None]:
        with mock.patch.object(recovery, "commit_into", piece), mock.patch.object(answer, "commit_into", piece):
            yield

    return Defect(without, setup, breaks, replaced)


def _gate(without: str, setup: Setup, breaks: str) -> Defect:
    mutant = next(mutant for mutant in MUTANTS if mutant.without == without)
    return Defect(without, setup, breaks, mutant.replace)


DEFECTS = (
    Defect(
        "claims are written whatever is there",
        Setup(Server.REVOKE, Store.BARE, faults=0, blind=True),
        "the store never goes backwards",
    ),
    _commit(
        "only the owner of the lease commits",
        Setup(Server.REJECT, Store.CLOCK, faults=1),
        "a new token is not given up",
        _owner_commits,
    ),
    _gate(
        "a dead record is never revived",
        Setup(Server.REJECT, Store.CLOCK, faults=1),
        "a new token is not given up",
    ),
    _commit(
        "a commit does not know its own earlier write",
        Setup(Server.REJECT, Store.CLOCK, faults=1),
        "what is said is so",
        _forgets_itself,
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
    _commit(
        "the commit gives up when the store is down",
        Setup(Server.REJECT, Store.CLOCK, faults=1),
        "a new token is not given up",
        _gives_up,
    ),
    _gate("the spool is never read", Setup(Server.REJECT, Store.CLOCK, faults=2), "nothing stays in the spool"),
    _commit(
        "the new token is handed out before it is saved",
        Setup(Server.REJECT, Store.CLOCK, faults=0),
        "nobody uses a token that was not saved",
        _hands_out_first,
    ),
)
