"""A renewal that began before a login in its own process, and a store that then lost the record.

The old session must not come back: the next call would speak for another account.
"""

from __future__ import annotations

import pytest
from tests.core.driver import NEXT, START, Process, World, make_request, needy, refusing
from tests.effects import Cas, Effects, Knowing, Watch

from onerefresh.errors import OnerefreshError
from onerefresh.events import Kind
from onerefresh.renewal.renew import renew
from onerefresh.token import Token

SECOND = Token("access-second", "refresh-second", expires_in=3600.0, issued_at=START)


class Memory(Knowing):
    """What the process knows."""

    def __init__(self, world: World) -> None:
        super().__init__(newest=world.token)
        self.world = world

    def renewal(self) -> Process[object]:
        return Process(self.world, renew(Effects(self), make_request(**refusing(self.world))))

    def log_in(self) -> None:
        self.knows(newest=self.world.logs_in(SECOND))


def test_a_renewal_that_waited_brings_back_what_is_known_now() -> None:
    world = needy(None, NEXT)
    memory = Memory(world)
    world.lease()
    waiting = memory.renewal().until(Watch)
    memory.log_in()
    world.put(None)
    waiting.finish()
    assert (world.token, world.sent) == (memory.known().newest, [])


def test_a_late_commit_does_not_fill_the_place_of_a_login() -> None:
    world = needy(None, NEXT)
    memory = Memory(world)
    late = memory.renewal().until(Cas, 2)
    memory.log_in()
    world.put(None)
    late.finish()
    assert world.token == memory.known().newest
    assert Kind.ORPHANED in world.kinds()


def test_nor_does_it_undo_a_logout() -> None:
    world = needy(None, NEXT)
    memory = Memory(world)
    late = memory.renewal().until(Cas, 2)
    memory.knows(newest=None)
    world.put(None)
    with pytest.raises(OnerefreshError):
        late.finish()
    assert world.record is None
