"""The looks at the store that each process takes in the background, where its credential offers them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from onerefresh import errors

if TYPE_CHECKING:
    from tests.simulator.people import Account
    from tests.simulator.process import Process

__all__ = ["Looking"]


class Looking:
    """One process's looks: one after the other, with a pause in between; they stop and end with their process."""

    def __init__(self, process: Process, account: Account) -> None:
        self._process = process
        self._account = account
        self._rng = random.Random(f"{process.world.scenario.seed} looks of {process.name}")
        self._begin_later()

    def _begin_later(self) -> None:
        world = self._process.world
        every = world.scenario.look_every
        world.timeline.after(every * self._rng.uniform(0.8, 1.0), self._look)

    def _look(self) -> None:
        process = self._process
        if not process.alive or process.ending:
            return
        look = self._account.look()
        if look is None:
            self._begin_later()
        else:
            process.spawn("look", look, self._ended).looks = self._rng

    def _ended(self, value: object, error: errors.OnerefreshError | None) -> None:
        """It may have failed: the store is down, say."""
        if error is not None:
            self._process.world.say(self._process.name, f"its look failed: {error}")
        self._begin_later()
