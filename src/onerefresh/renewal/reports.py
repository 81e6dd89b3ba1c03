"""The events of a renewal, and the error for a store that contradicts itself."""

from __future__ import annotations

from onerefresh import errors
from onerefresh.events import UNKNOWN, Event, Facts, Kind
from onerefresh.record import Record
from onerefresh.renewal.attempt import Attempt
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.world import World
from onerefresh.verdict import Verdict

MOST_ROUNDS = 50
"""Most looks at the record, or writes of it, without a wait in between. More means that the store is at fault."""


def unsettled() -> errors.StoreUnavailable:
    """The error for a store that contradicts itself."""
    return errors.StoreUnavailable("the store's record changes faster than it can be written: check the store")


def moved(record: Record) -> errors.CredentialMoved:
    """The error for a record whose session goes on in another store."""
    name = record.moved_to or "another store"
    if record.token is not None:
        return errors.CredentialMoved(
            f"its move to {name} is not finished, and nothing was sent: run onerefresh store copy again, or open that "
            "store with moved_from= this one"
        )
    return errors.CredentialMoved(
        f"it was moved to {name}, where its session goes on: open that store instead of this one"
    )


async def report(
    world: World,
    kind: Kind,
    request: RenewalRequest,
    record: Record | None,
    detail: str = "",
    *,
    attempt: str | None = None,
    facts: Facts = UNKNOWN,
) -> None:
    """Report an event about `record`."""
    await world.emit(Event(kind, request.key, record.generation if record else 0, attempt, detail, facts=facts))


async def tell(
    attempt: Attempt,
    kind: Kind,
    record: Record | None = None,
    detail: str = "",
    *,
    verdict: Verdict | None = None,
    error: str | None = None,
) -> None:
    """Report an event of an attempt, about `record` or the one that it has claimed.

    `verdict`: on its last request. `error`: the class of what the store raised.
    """
    facts = Facts(reason=attempt.reason, error=error)
    if verdict is not None:
        facts = Facts(reason=attempt.reason, status=verdict.status, error=type(verdict.error()).__name__)
    about = record or attempt.leased
    await report(attempt.world, kind, attempt.request, about, detail, attempt=attempt.lease.id, facts=facts)
