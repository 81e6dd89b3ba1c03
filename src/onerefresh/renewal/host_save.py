"""Saving by the host application: with ``save=``, no caller gets a token before the application has it."""

from __future__ import annotations

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.policy import backoff
from onerefresh.renewal.world import Loaded, World
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.token import Token

SAVE_TRIES = 3
"""How often ``save`` is tried before `SaveFailed` is raised."""


async def save_with_host(world: World, loaded: Loaded, token: Token) -> None:
    """Let the host application save the token before any caller gets it. Raises `SaveFailed` after a few tries.

    A refresh and a login may be saved at the same time. The one that finds a newer token in the record afterwards saves
    that one, so the newest token is saved last.
    """
    while True:
        await _hand_over(world, token)
        if loaded.record is None:
            return
        try:
            await world.cas(loaded.version, records.saved(loaded.record))
        except (Conflict, StoreOutcomeUnknown):
            loaded = await world.load()
            newer = loaded.record.token if loaded.record is not None else None
            if newer is not None and newer.identity != token.identity:
                token = newer
                continue
        return


async def _hand_over(world: World, token: Token) -> None:
    for tries in range(1, SAVE_TRIES + 1):
        try:
            await world.save(token)
            return
        except errors.SaveFailed:
            if tries == SAVE_TRIES:
                raise
            await world.sleep(backoff(tries, (await world.now()).jitter), holds_the_exit=True)
