"""Revoking tokens that are of no use any more."""

from __future__ import annotations

from onerefresh.events import Kind
from onerefresh.record import Record
from onerefresh.renewal.reports import report
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.world import World
from onerefresh.token import Token


async def revoke_if_logged_out(world: World, record: Record | None, token: Token, request: RenewalRequest) -> None:
    """Revoke the token if a logout has overtaken it, where the server can do that.

    After a move to another store the session lives on, and the server might end it.
    """
    if record is not None and record.is_logged_out and record.moved_to is None:
        await revoke(world, record, token, request)


async def revoke(world: World, record: Record | None, token: Token, request: RenewalRequest) -> None:
    """Revoke the token at the server, and report the result as an event.

    A token of another owner is not sent to this owner's server.
    """
    if record is not None and request.is_foreign(record.owner):
        await report(world, Kind.NOT_REVOKED, request, record, f"it belongs to another {record.owner}")
        return
    problem = await world.revoke(token)
    if problem is not None:
        await report(world, Kind.NOT_REVOKED if problem else Kind.REVOKED, request, record, problem)
