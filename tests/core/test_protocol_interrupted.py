"""The renewal, paused or ended at each of its effects."""

from __future__ import annotations

import pytest
from tests.core.driver import (
    NEXT,
    Process,
    RotatingServer,
    World,
    failed,
    make_request,
    needy,
    refusing,
)
from tests.effects import EFFECTS, Cas, Emit, Now, Send, Watch

from onerefresh import errors
from onerefresh.record import State
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.renew import renew
from onerefresh.verdict import FailureKind


def effects_of_a_renewal() -> int:
    world = needy(None, NEXT)
    process = Process(world, renew(EFFECTS, make_request(**refusing(world))), death_proof="flock 1")
    process.finish()
    return len(process.trace)


def paused_after(world: World, steps: int) -> Process[Outcome]:
    process = Process(world, renew(EFFECTS, make_request(**refusing(world))), death_proof="flock 1")
    for _ in range(steps):
        process.step()
    return process


@pytest.mark.parametrize("kind", ["reject_only", "revoke_family", "grace"])
@pytest.mark.parametrize("steps", range(effects_of_a_renewal()))
@pytest.mark.parametrize("frozen", [False, True])
def test_a_holder_that_is_paused_anywhere_costs_no_session(kind: str, steps: int, frozen: bool) -> None:
    """Another process goes on meanwhile, until it has a token or waits; then the first one wakes up."""
    world = World(server=RotatingServer(kind))
    world.starts()
    refused = refusing(world)
    first = paused_after(world, steps)
    second = Process(world, renew(EFFECTS, make_request(**refused)), death_proof="flock 1")
    second.until_over_or(Watch, 60 if frozen else 3)
    results = [first.finish(), second.finish()]
    assert world.server is not None
    assert [result.token.generation for result in results] == [2, 2]
    assert world.token.reveal_refresh_token() == world.server.latest
    assert (world.server.reused, world.server.issued) == (0, 1)


@pytest.mark.parametrize("kind", ["reject_only", "revoke_family", "grace"])
@pytest.mark.parametrize("steps", range(effects_of_a_renewal()))
def test_a_holder_that_crashes_anywhere_costs_a_session_only_where_no_client_can_help(kind: str, steps: int) -> None:
    server = RotatingServer(kind)
    world = World(server=server)
    world.starts()
    refused = refusing(world)
    paused_after(world, steps).crash()
    is_lost = server.issued == 1 and world.present.generation == 1
    later = Process(world, renew(EFFECTS, make_request(**refused)), death_proof="flock 1")
    if is_lost and kind != "grace":
        with pytest.raises(errors.LoginRequired):
            later.finish()
        assert world.present.state is State.DEAD
    else:
        assert later.finish().token.generation == 2
        assert world.token.reveal_refresh_token() == server.latest
    assert world.now < 5.0, "its death was proven, so nobody waits for its time to live"


def test_events_never_hold_a_token() -> None:
    world = needy(None, failed(FailureKind.NO_ANSWER), NEXT)
    process = Process(world, renew(EFFECTS, make_request("static", **refusing(world))))
    process.finish()
    told = [repr(effect) for effect in process.trace if isinstance(effect, (Emit, Cas, Send, Now))]
    assert told
    assert not [text for text in told if "refresh-" in text or "access-" in text]
