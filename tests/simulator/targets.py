"""Promises about the targets of an API: one refuses whatever token is sent, others are good, and some flap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.broken import Broken
from tests.simulator.ideas import Idea
from tests.simulator.server import GOOD

from onerefresh.damping import Target
from onerefresh.policy import EARLY_REFRESHES

if TYPE_CHECKING:
    from tests.simulator.process import Process
    from tests.simulator.world import World

    from onerefresh.token import Token

__all__ = ["Targets", "target_of"]


def target_of(path: str) -> Target | None:
    """What a client integration says of a call to this path; nothing where callers do not say it."""
    return ("https://api", path) if path else None


class Targets:
    """What the targets of one run have accepted and refused."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._taken: set[tuple[Process, tuple[str, int]]] = set()  # by the good one

    def accepted(self, process: Process, token: Token, path: str) -> None:
        """A call was accepted, and its process remembers that."""
        if path == GOOD:
            self._taken.add((process, token.identity))

    def refused_again(self, process: Process, token: Token, path: str) -> None:
        """A replay was refused: what its target had accepted before is over."""
        if path == GOOD:
            self._taken.discard((process, token.identity))

    def not_renewed(self, process: Process, token: Token, path: str) -> None:
        """A call was refused, and ends with that."""
        world, judge, record = self._world, self._world.judge, self._world.store.record
        if path != GOOD or not world.scenario.watches(Idea.BAD_TARGET) or (process, token.identity) not in self._taken:
            return
        if judge.struck_faults or judge.unordered or world.clocks_were_set or world.server.rejects_everything:
            return
        if record is None or record.identity != token.identity:
            return  # it was refreshed since, or the session has ended
        if record.floor is not None and len(record.floor.early) >= EARLY_REFRESHES:
            return
        if record.own_targets is not None and record.own_targets.count:
            return  # such a refusal was let through before, and they are counted
        raise Broken(
            "a token that a target had accepted and refuses is refreshed at once",
            f"{process.name}: generation {token.generation} was not",
        )
