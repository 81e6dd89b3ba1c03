"""The limit on renewals at once at each host: first come, first served, and nobody waits for another host."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from tests.core.calls import PATIENCE, Refresher, listening
from tests.core.driver import Process, World, does, failed, make_request, needy, seed
from tests.effects import EFFECTS, Cas, Load, Queue

from onerefresh import Credentials, Token, host_limiter, timekeeper
from onerefresh.events import Kind
from onerefresh.hiring import MOST_HELD_UP, SIZE
from onerefresh.host_limiter import MOST_SLOW, SLOW, SLOW_AT_FIRST, SLOW_AT_LEAST, HostLimiter, Slot
from onerefresh.latches import Latch
from onerefresh.renewal import renew
from onerefresh.verdict import FailureKind


@pytest.fixture(autouse=True)
def _no_timer_remains() -> Iterator[None]:
    """By a clock that stands still, a limiter looks for ever."""
    host_limiter._beyond.clear()
    yield
    host_limiter._beyond.clear()
    for timer in list(timekeeper._live):
        timer.cancel()


def test_as_many_as_the_limit_have_their_turn_and_the_others_follow_in_order() -> None:
    limiter = HostLimiter(2)
    first, second, third, fourth = (limiter.queue("a.example") for _ in range(4))
    assert [place.is_granted for place in (first, second, third, fourth)] == [True, True, False, False]
    second.leave()
    assert (third.is_granted, fourth.is_granted) == (True, False)
    first.leave()
    assert fourth.is_granted


def test_another_host_has_turns_of_its_own() -> None:
    limiter = HostLimiter(1)
    assert limiter.queue("a.example").is_granted
    assert not limiter.queue("a.example").is_granted
    assert limiter.queue("b.example").is_granted


def test_who_gives_up_in_the_queue_keeps_nobody_up() -> None:
    limiter = HostLimiter(1)
    first, second, third = (limiter.queue("a.example") for _ in range(3))
    second.leave()
    first.leave()
    assert third.is_granted
    third.leave()
    assert limiter.queue("a.example").is_granted


def test_nothing_is_kept_of_a_host_where_nobody_is() -> None:
    limiter = HostLimiter(1)
    first, second = limiter.queue("a.example"), limiter.queue("a.example")
    first.leave()
    second.leave()
    assert limiter._queues == {}


def test_how_long_renewals_take_is_remembered_of_only_so_many_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenants may bring servers of their own, whose names they type in."""
    monkeypatch.setattr(host_limiter, "MOST_KNOWN", 3)
    limiter = HostLimiter(1)
    for number in (0, 1, 2, 0, 3, 4):
        limiter.queue(f"{number}.example").leave(answered=True)
    assert list(limiter._usual) == ["0.example", "3.example", "4.example"]


# --- Slow renewals ---


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def granted(*slots: Slot) -> list[bool]:
    slots[0]._limiter.look("a.example")
    return [slot.is_granted for slot in slots]


def test_a_slot_that_is_held_for_long_no_longer_counts() -> None:
    clock = Clock()
    limiter = HostLimiter(2, clock)
    hanging, waiting = [limiter.queue("a.example") for _ in range(2)], [limiter.queue("a.example") for _ in range(3)]
    clock.now = SLOW_AT_FIRST - 0.1
    assert granted(*waiting) == [False, False, False]
    clock.now = SLOW_AT_FIRST
    assert granted(*waiting) == [True, True, False]
    for slot in hanging:
        slot.leave()
    assert granted(waiting[2]) == [False], "room is where two others make some"
    waiting[0].leave()
    assert granted(waiting[2]) == [True]


class Passing(Clock):
    """A clock that goes on at each look."""

    step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_a_slot_that_becomes_slow_while_another_one_begins_to_wait_makes_room_for_it() -> None:
    """It was still counted when the other one came, and was slow already when the next look was to be arranged."""
    clock = Passing()
    limiter = HostLimiter(1, clock)
    limiter.queue("a.example")
    clock.step = 0.75 * SLOW_AT_FIRST
    waiting, woken = limiter.queue("a.example"), Latch()
    waiting.wakes(woken.set)
    clock.step = 0.0
    assert woken.wait(PATIENCE)
    assert waiting.is_granted


def test_what_is_long_is_learned_from_renewals_that_were_answered() -> None:
    clock = Clock()
    limiter = HostLimiter(1, clock)
    for seconds, answered in ((1.0, True), (1.0, True), (30.0, False)):
        slot = limiter.queue("a.example")
        clock.now += seconds
        slot.leave(answered=answered)
    assert limiter._queues == {}
    limiter.queue("a.example")
    waiting = limiter.queue("a.example")
    clock.now += SLOW - 0.1
    assert granted(waiting) == [False]
    clock.now += 0.1
    assert granted(waiting) == [True]


def test_a_few_tenants_that_are_answered_late_do_not_make_that_usual() -> None:
    """Each of them kept healthy tenants waiting for longer: one in ten that took 9 s, for 3 to 8 s."""
    clock = Clock()
    limiter = HostLimiter(1, clock)
    for seconds in [*[0.1] * 9, 9.0] * 10:
        slot = limiter.queue("a.example")
        clock.now += seconds
        slot.leave(answered=True)
    limiter.queue("a.example")
    waiting = limiter.queue("a.example")
    clock.now += 1.0
    assert granted(waiting) == [True]


def test_a_host_that_has_become_slow_is_known_as_such_soon() -> None:
    clock = Clock()
    limiter = HostLimiter(1, clock)
    for seconds in [*[0.1] * 9, *[9.0] * 12]:
        slot = limiter.queue("a.example")
        clock.now += seconds
        slot.leave(answered=True)
    limiter.queue("a.example")
    waiting = limiter.queue("a.example")
    clock.now += 9.0
    assert granted(waiting) == [False]


def test_however_quick_a_host_is_a_renewal_may_take_a_moment() -> None:
    clock = Clock()
    limiter = HostLimiter(1, clock)
    limiter.queue("a.example").leave(answered=True)
    limiter.queue("a.example")
    waiting = limiter.queue("a.example")
    clock.now += SLOW_AT_LEAST - 0.01
    assert granted(waiting) == [False]
    clock.now += 0.01
    assert granted(waiting) == [True]


def test_slow_ones_are_only_so_many() -> None:
    clock = Clock()
    limiter = HostLimiter(2, clock)
    slots = [limiter.queue("a.example") for _ in range(20)]
    for _ in range(20):
        clock.now += SLOW_AT_FIRST
        granted(*slots)
    assert granted(*slots) == [True] * 2 * (1 + MOST_SLOW) + [False] * (20 - 2 * (1 + MOST_SLOW))
    slots[0].leave()
    clock.now += SLOW_AT_FIRST
    assert granted(slots[8]) == [True]


def hanging_at(limiter: HostLimiter, clock: Clock, *hosts: str) -> list[list[Slot]]:
    """Of each host, 100 slots, of which as many were granted as there is room for, and none was given back."""
    slots = [[limiter.queue(host) for _ in range(100)] for host in hosts]
    for _ in range(20):
        clock.now += SLOW_AT_FIRST
        for host in hosts:
            limiter.look(host)
    return slots


def test_several_hosts_that_hang_share_the_slots_beyond_their_limits() -> None:
    """Each of them took as many as one alone: two hosts together took all threads there are."""
    clock = Clock()
    limiter, other = HostLimiter(16, clock), HostLimiter(16, clock)
    [first] = hanging_at(limiter, clock, "a.example")
    assert sum(granted(*first)) == 16 * (1 + MOST_SLOW), "one alone has as many as its limit allows"
    rest = [*hanging_at(limiter, clock, "b.example"), *hanging_at(other, clock, "c.example", "d.example")]
    assert [sum(slot.is_granted for slot in slots) for slots in rest] == [32, 16, 16], "the next one has the others"


def test_a_host_gets_its_share_of_the_slots_beyond_the_limits_once_another_one_gives_some_back() -> None:
    clock = Clock()
    limiter = HostLimiter(16, clock)
    first, second = [*hanging_at(limiter, clock, "a.example"), *hanging_at(limiter, clock, "b.example")]
    for slot in first:
        slot.leave()
    assert limiter._queues["b.example"].timer is not None, "it looks again"
    limiter.look("b.example")
    assert sum(slot.is_granted for slot in second) == 48, "those that are slow no longer count"


def test_the_hosts_that_hang_leave_threads_to_all_others() -> None:
    hosts = 5
    assert hosts * 16 + host_limiter.MOST_BEYOND + SIZE <= SIZE + MOST_HELD_UP


def test_each_that_is_granted_a_slot_is_woken_once_and_nobody_else() -> None:
    limiter = HostLimiter(1, Clock())
    slots = [limiter.queue("a.example") for _ in range(100)]
    woken: list[int] = []
    for number, slot in enumerate(slots):
        slot.wakes(partial(woken.append, number))
    slots[0].leave()
    slots[1].leave()
    assert woken == [0, 1, 2]


def test_however_many_wait_one_timer_looks_for_room() -> None:
    clock = Clock()
    limiter = HostLimiter(1, clock)
    slots = [limiter.queue("a.example") for _ in range(100)]
    timer = limiter._queues["a.example"].timer
    assert timer is not None
    for slot in slots:
        slot.leave()
    assert timer.call is None, "it is cancelled with the last that waits"


def hung(limiter: HostLimiter, clock: Clock, *tenants: str) -> None:
    """These tenants have hung at the host, one after the other."""
    for tenant in tenants:
        slot = limiter.queue("a.example", tenant=tenant)
        clock.now += SLOW_AT_FIRST + 0.1
        slot.leave()


def test_a_tenant_that_has_hung_gets_its_slot_after_others_but_gets_it() -> None:
    clock = Clock()
    limiter = HostLimiter(1, clock)
    hung(limiter, clock, "bad")
    first = limiter.queue("a.example", tenant="first")
    bad = limiter.queue("a.example", tenant="bad")
    good = [limiter.queue("a.example", tenant=f"good {number}") for number in range(4)]
    order = []
    waiting = [bad, *good]
    first.leave()
    while waiting:
        [slot] = [slot for slot in waiting if slot.is_granted]
        order.append(slot)
        waiting.remove(slot)
        slot.leave(answered=True)
    assert order == [good[0], good[1], bad, good[2], good[3]]  # the first one counts, too


def test_those_that_have_hung_leave_the_last_slots_to_the_others() -> None:
    clock = Clock()
    limiter = HostLimiter(2, clock)
    names = [f"bad {number}" for number in range(20)]
    hung(limiter, clock, *names)
    bad = [limiter.queue("a.example", tenant=name) for name in names]
    for _ in range(20):
        clock.now += SLOW_AT_FIRST + 0.1
        limiter.look("a.example")
    assert sum(slot.is_granted for slot in bad) == 2 * MOST_SLOW
    assert [limiter.queue("a.example", tenant=f"good {number}").is_granted for number in range(3)] == [
        True,
        True,
        False,
    ]


def test_nothing_looks_again_and_again_for_those_that_leave_the_last_slots() -> None:
    clock = Clock()
    limiter = HostLimiter(1, clock)
    names = [f"bad {number}" for number in range(10)]
    hung(limiter, clock, *names)
    for name in names:
        limiter.queue("a.example", tenant=name)
    for _ in range(10):
        clock.now += SLOW_AT_FIRST + 0.1
        limiter.look("a.example")
    queue = limiter._queues["a.example"]
    assert (len(queue.held), queue.next_in(clock.now), queue.timer) == (MOST_SLOW, None, None)


def test_a_tenant_that_is_answered_again_waits_no_longer_than_others() -> None:
    clock = Clock()
    limiter = HostLimiter(1, clock)
    hung(limiter, clock, "bad")
    limiter.queue("a.example", tenant="bad").leave(answered=True)
    first, bad, good = [limiter.queue("a.example", tenant=name) for name in ("first", "bad", "good")]
    first.leave()
    assert (bad.is_granted, good.is_granted) == (True, False)


def test_one_that_leaves_before_it_was_slow_has_not_hung() -> None:
    clock = Clock()
    limiter = HostLimiter(1, clock)
    limiter.queue("a.example", tenant="quick").leave()
    assert not limiter._hung


def test_each_knows_how_many_are_before_it() -> None:
    limiter = HostLimiter(1)
    assert [limiter.queue("a.example").behind for _ in range(4)] == [0, 1, 2, 3]


def test_nothing_but_time_makes_room_where_all_hang() -> None:
    limiter = HostLimiter(1)
    limiter.queue("quick.example").leave(answered=True)
    limiter.queue("quick.example")
    slots = [limiter.queue("quick.example") for _ in range(MOST_SLOW)]
    woken = [Latch() for _ in slots]
    for slot, latch in zip(slots, woken, strict=True):
        slot.wakes(latch.set)
    assert [latch.wait(PATIENCE) for latch in woken] == [True] * MOST_SLOW


@pytest.mark.seconds
def test_healthy_tenants_of_a_host_are_served_while_others_of_it_hang() -> None:
    go_on, hanging = threading.Event(), threading.Semaphore(0)

    class SomeHang(Refresher):
        host = "login.example:443"

        def __call__(self, token: Token) -> dict[str, object]:
            if token.reveal().startswith("bad"):
                hanging.release()
                assert go_on.wait(PATIENCE)
            return {"access_token": "next", "refresh_token": "next", "expires_in": 3600}

    keys = [*(f"bad-{number}" for number in range(40)), *(f"good-{number}" for number in range(60))]
    with Credentials(SomeHang(), store="memory", max_wait=PATIENCE) as credentials:
        for key in keys:
            credentials[key].login(Token(key, key, issued_at=0.0, expires_at=1.0))
        with listening() as events, ThreadPoolExecutor(len(keys)) as pool:
            waiting = {key: pool.submit(credentials[key].token) for key in keys}
            for key in keys[40:]:
                assert waiting[key].result(PATIENCE).generation == 2
            assert not any(waiting[key].done() for key in keys[:40])
            go_on.set()
            assert {found.result(PATIENCE).generation for found in waiting.values()} == {2}
    queued = [event.detail for event in events if event.kind is Kind.QUEUED]
    assert queued
    assert all("others at login.example:443, and nothing was sent yet" in detail for detail in queued)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_all_turns_free() -> None:
    limiter = HostLimiter(1)
    limiter.queue("a.example")
    child = os.fork()
    if child == 0:
        os._exit(0 if limiter.queue("a.example").is_granted else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not limiter.queue("a.example").is_granted


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
