"""Deleting a tenant who is gone, and purging what a deletion leaves: in the store, and in the one it is moved from.

`there` is that other store, or None.
"""

from __future__ import annotations

from collections.abc import Callable

from onerefresh import errors
from onerefresh.record import State
from onerefresh.renewal import commands
from onerefresh.renewal.reports import MOST_ROUNDS, unsettled
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.revocation import LoggedOut, worst_of
from onerefresh.renewal.world import World
from onerefresh.store import Conflict, StoreOutcomeUnknown

__all__ = ["delete", "purge"]


async def delete(world: World, request: RenewalRequest, there: World | None, ended: Callable[[], object]) -> LoggedOut:
    """End the session wherever it is. A move that is under way meanwhile finds that it has ended.

    `ended`: called for each of its records, before what was in there is revoked.
    """
    before: LoggedOut | None = None
    if there is not None:
        try:
            before = await commands.delete(there, request, ended)
        except errors.CredentialMoved:
            await there.clear_spool()
    try:
        here = await commands.delete(world, request, ended)
    except errors.CredentialMoved:
        if before is None:  # it is in a third store
            raise
        return before
    return here if before is None else worst_of(before, here)


async def purge(world: World, request: RenewalRequest, there: World | None = None) -> None:
    """Remove the emptied record that a logout, a deletion or a move has left, and the spool.

    Raises `ConfigurationError` where there is still a session, and where a store cannot remove records.
    """
    await _purge(world, request)
    if there is not None:
        await _purge(there, request)


async def _purge(world: World, request: RenewalRequest) -> None:
    for _ in range(MOST_ROUNDS):
        loaded = await world.load()
        record = loaded.record
        if record is None or loaded.version is None:
            await world.clear_spool()
            return
        if record.state is not State.EMPTY or record.token is not None:
            message = "it has a session: delete it first (Credentials.delete, or onerefresh logout NAME)"
            raise errors.ConfigurationError(message, credential=request.key)
        try:
            await world.remove(loaded.version)
        except (Conflict, StoreOutcomeUnknown):
            continue  # what is there now decides
    raise unsettled().about(request.key)
