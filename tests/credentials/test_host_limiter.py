"""The limit on renewals at once at each host: first come, first served, and nobody waits for another host."""

from __future__ import annotations

import os

import pytest
from tests.core.driver import Process, World, does, failed, make_request, needy, seed
from tests.effects import EFFECTS, Cas, Load, Queue

from onerefresh import Token
from onerefresh.events import Kind
from onerefresh.host_limiter import HostLimiter
from onerefresh.renewal import renew
from onerefresh.verdict import FailureKind


def test_as_many_as_the_limit_have_their_turn_and_the_others_follow_in_order() -> None:
    limiter = HostLimiter(2)
    first, second, third, fourth = (limiter.queue("a.example") for _ in range(4))
    assert [place.wait(0.0) for place in (first, second, third, fourth)] == [True, True, False, False]
    second.leave()
    assert (third.wait(0.0), fourth.wait(0.0)) == (True, False)
    first.leave()
    assert fourth.wait(0.0)


def test_another_host_has_turns_of_its_own() -> None:
    limiter = HostLimiter(1)
    assert limiter.queue("a.example").wait(0.0)
    assert not limiter.queue("a.example").wait(0.0)
    assert limiter.queue("b.example").wait(0.0)


def test_who_gives_up_in_the_queue_keeps_nobody_up() -> None:
    limiter = HostLimiter(1)
    first, second, third = (limiter.queue("a.example") for _ in range(3))
    second.leave()
    first.leave()
    assert third.wait(0.0)
    third.leave()
    assert limiter.queue("a.example").wait(0.0)


def test_nothing_is_kept_of_a_host_where_nobody_is() -> None:
    limiter = HostLimiter(1)
    first, second = limiter.queue("a.example"), limiter.queue("a.example")
    first.leave()
    second.leave()
    assert limiter._queues == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_all_turns_free() -> None:
    limiter = HostLimiter(1)
    limiter.queue("a.example")
    child = os.fork()
    if child == 0:
        os._exit(0 if limiter.queue("a.example").wait(0.0) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not limiter.queue("a.example").wait(0.0)


# --- The protocol ---

NEXT = Token("access-next", "refresh-next", expires_in=3600.0, issued_at=0.0)


def queued(world: World) -> World:
    world.queue = 1
    return world


def test_a_turn_is_taken_before_the_claim() -> None:
    world = needy(seed(lives=1.0, at=0.0), NEXT)
    process = Process(world, renew.renew(EFFECTS, make_request())).until(Queue)
    assert world.present.lease is None
    process.until(Cas)
    assert world.present.lease is None


def test_after_waiting_for_a_turn_the_record_is_read_again_before_the_claim() -> None:
    world = queued(needy(seed(lives=1.0, at=0.0), NEXT))
    process = Process(world, renew.renew(EFFECTS, make_request())).until(Queue)
    loads = process.seen[Load]
    process.until(Cas)
    assert process.seen[Load] > loads
    assert process.finish().token.reveal() == "access-next"


def test_the_time_in_the_queue_is_not_counted_against_the_attempt() -> None:
    """The second attempt waits for longer than it may live: it is claimed after that, and sent."""
    world = needy(seed(lives=1.0, at=0.0), failed(FailureKind.UNAVAILABLE), NEXT)

    def long_queue(world: World) -> None:
        world.queue, world.now = 1, world.now + 1000.0

    outcome = world.run(renew.renew(EFFECTS, make_request()), faults={(Queue, 2): does(long_queue)})
    assert outcome.token.reveal() == "access-next"
    assert (world.kinds().count(Kind.CLAIMED), len(world.sent)) == (2, 2)


def test_what_another_process_refreshed_during_the_queue_is_adopted_and_nothing_is_sent() -> None:
    world = queued(needy(seed(lives=1.0, at=0.0)))

    def refreshed_elsewhere(world: World) -> None:
        other = world.lease()
        world.commit_by(other, Token("access-other", "refresh-other", expires_in=3600.0, issued_at=world.wall))

    outcome = world.run(renew.renew(EFFECTS, make_request()), faults={(Queue, 1): does(refreshed_elsewhere)})
    assert (outcome.token.reveal(), world.sent) == ("access-other", [])
    assert Kind.CLAIMED not in world.kinds()
