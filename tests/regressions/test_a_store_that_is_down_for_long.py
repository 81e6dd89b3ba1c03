"""A new token lies in the spool, its process lives, and the store is down for longer than the renewal tries to save."""

from __future__ import annotations

import pytest
from tests.core.driver import Process, RotatingServer, World, make_request, refusing, seed, store_goes_down
from tests.effects import EFFECTS, Cas, Sleep

from onerefresh.errors import OnerefreshError
from onerefresh.record import State
from onerefresh.renewal.renew import renew


@pytest.mark.parametrize("seconds", [0, 60, 600])
def test_the_spooled_token_is_saved_as_soon_as_the_store_is_back(seconds: float) -> None:
    world = World(server=RotatingServer("revoke_family"))
    world.starts(seed(lives=300.0))
    request = make_request(**refusing(world))
    holder = Process(world, renew(EFFECTS, request), host="holder", faults={(Cas, 2): store_goes_down})
    with pytest.raises(OnerefreshError):
        holder.finish()
    (rest,) = world.left_to_do
    after = Process(world, rest, host="holder")
    down_until = world.now + seconds
    after.until(Sleep)
    while world.now < down_until:
        after.until(Sleep)
    world.down = False
    after.finish()
    assert (world.present.generation, world.spools) == (2, {})

    world.now += 300.0
    assert Process(world, renew(EFFECTS, request), host="another").finish().token.generation == 2
    assert (world.present.state, len(world.sent)) == (State.IDLE, 1)


def test_what_another_has_saved_from_the_spool_is_not_saved_again() -> None:
    world = World(server=RotatingServer("revoke_family"))
    world.starts(seed(lives=300.0))
    request = make_request(**refusing(world))
    with pytest.raises(OnerefreshError):
        Process(world, renew(EFFECTS, request), faults={(Cas, 2): store_goes_down}).finish()
    world.down = False
    world.run(renew(EFFECTS, request))
    version = world.version
    Process(world, world.left_to_do[0]).finish()
    assert world.version == version
