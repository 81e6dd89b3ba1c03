"""Records as an earlier version has left them: without whatever is optional."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulator.hosts import START

from onerefresh.failure import Failure
from onerefresh.record import Grant, Lease, Record, State
from onerefresh.verdict import FailureKind

if TYPE_CHECKING:
    from tests.simulator.world import World

__all__ = ["OLD_RECORDS", "begin_with_old_record"]

OLD_RECORDS = ("idle", "leased", "failed")


def begin_with_old_record(world: World, state: str) -> None:
    """The store holds the first token; `state`: what became of the last attempt to renew it."""
    token = world.seed
    family = token.seed_fingerprint()
    record = Record(
        families=(family,),
        generation=1,
        state=State.IDLE,
        token=token.numbered(family, 1),
    )
    if state == "leased":  # whoever claimed it has died before he sent anything
        record = replace(record, state=State.LEASED, lease=Lease("old", Grant.REFRESH, 30.0))
    elif state == "failed":
        failure = Failure(FailureKind.UNAVAILABLE, "answered 503", count=3, at=START - 1.0, delay=2.0)
        record = replace(record, failure=failure)
    world.store.begin_with(record)
    world.judge.found_before(record)
