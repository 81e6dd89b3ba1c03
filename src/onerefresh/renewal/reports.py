"""The events of a renewal, and the error for a store that contradicts itself."""

from __future__ import annotations

from onerefresh import errors
from onerefresh.events import Event, Kind
from onerefresh.record import Record
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.world import World

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
        f"it was moved to {name}, where its session goes on: open that store in the place of this one"
    )


async def report(
    world: World,
    kind: Kind,
    request: RenewalRequest,
    record: Record | None,
    detail: str = "",
    *,
    attempt: str | None = None,
) -> None:
    """Report an event about `record`."""
    await world.emit(Event(kind, request.key, record.generation if record else 0, attempt, detail))
