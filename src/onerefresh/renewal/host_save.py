"""The host's own save: with ``save=``, nobody is given a token before the host has it."""

from __future__ import annotations

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.policy import backoff
from onerefresh.renewal.world import Loaded, World
from onerefresh.store import Conflict, StoreOutcomeUnknown
from onerefresh.token import Token

SAVE_TRIES = 3


async def save_with_host(world: World, loaded: Loaded, token: Token) -> None:
    """Let the host save the token before anybody gets it; a few tries, then `SaveFailed`.

    A refresh and a login may be saved at once: the one that finds a newer token afterwards saves that one, so it comes
    last.
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
