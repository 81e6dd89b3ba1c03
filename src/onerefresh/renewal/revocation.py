"""Revoking tokens that are of no use any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onerefresh.events import Kind
from onerefresh.record import Record
from onerefresh.renewal.reports import report
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.world import World
from onerefresh.token import Token

__all__ = ["LoggedOut", "revoke", "revoke_all", "revoke_if_logged_out"]


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """What a logout has done at the server; here and in the store, the session is over in any case.

    * `revocation`: ``"revoked"`` if the server has confirmed that it revoked the token; ``"not_confirmed"`` if it has
      not, so that the token may live on there; ``"no_endpoint"`` if the refresher has no way to revoke tokens (a
      `TokenEndpoint` without ``revocation_url``, a function), so that the server was not told; ``"no_token"`` if there
      was nothing to revoke.
    * `detail`: with ``"not_confirmed"``: why, in words. It holds no secret.
    """

    revocation: Literal["revoked", "not_confirmed", "no_endpoint", "no_token"]
    detail: str = ""


async def revoke_all(world: World, record: Record | None, tokens: list[Token], request: RenewalRequest) -> LoggedOut:
    """Revoke all tokens at the server; the worst result of them."""
    found = LoggedOut("no_token")
    for token in tokens:
        found = worst_of(found, await revoke(world, record, token, request))
    return found


_WORSE = ("no_token", "revoked", "no_endpoint", "not_confirmed")


def worst_of(one: LoggedOut, other: LoggedOut) -> LoggedOut:
    """The result that leaves more of a session at the server; the later one of two that leave as much."""
    return other if _WORSE.index(other.revocation) >= _WORSE.index(one.revocation) else one


async def revoke_if_logged_out(world: World, record: Record | None, token: Token, request: RenewalRequest) -> None:
    """Revoke the token if a logout has overtaken it, where the server can do that.

    After a move to another store the session lives on, and the server might end it.
    """
    if record is not None and record.is_logged_out and record.moved_to is None:
        await revoke(world, record, token, request)


async def revoke(world: World, record: Record | None, token: Token, request: RenewalRequest) -> LoggedOut:
    """Revoke the token at the server, and report the result as an event.

    A token of another owner is not sent to this owner's server.
    """
    if record is not None and request.is_foreign(record.owner):
        foreign = f"it belongs to another {record.owner}"
        await report(world, Kind.NOT_REVOKED, request, record, foreign)
        return LoggedOut("not_confirmed", foreign)
    problem = await world.revoke(token)
    if problem is None:
        return LoggedOut("no_endpoint")
    await report(world, Kind.NOT_REVOKED if problem else Kind.REVOKED, request, record, problem)
    return LoggedOut("not_confirmed", problem) if problem else LoggedOut("revoked")
