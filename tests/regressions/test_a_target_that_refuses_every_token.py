"""One polled endpoint that always answers 401 once kept every good one at 401 after the token had really ended.

The damping of refused replays belonged to the whole credential: for 39 seconds, and for ten minutes at most. It belongs
to what was refused. What a record lets through beside it is counted.
"""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.core.calls import until
from tests.promises.helpers import Kept
from tests.regressions.targets import LIVES, ORIGIN, Process, World, run

from onerefresh.damping import HANDFUL, print_of
from onerefresh.record_text import decode

# --- The complaint ---


@pytest.mark.seconds
@pytest.mark.parametrize("after", [3, 15, 35, 75, 160, 320, 700])
def test_a_token_that_ends_is_refreshed_at_once_whatever_one_endpoint_answers(
    world: World, process: Process, after: int
) -> None:
    def both() -> None:
        assert process.get("/good") == 200
        assert process.get("/bad") == 401

    run(world, both, after)
    generation = world.generation
    world.end_the_token()
    assert process.get("/good") == 200, "and not 401 for the rest of the pause"
    assert world.generation == generation + 1


def test_it_is_so_in_a_process_that_never_called_the_bad_one(world: World, process: Process) -> None:
    other = Process(world)
    for _ in range(40):
        assert process.get("/bad") == 401
        world.skipped += 1.0
        other.get("/good")  # it takes the present token when its own is refused, or ages
    assert other.credential.token().generation < world.generation
    world.ended |= set(range(1, world.generation))
    assert [other.get("/good"), other.get("/good")] == [200, 200]
    requests = len(world.refreshed_at)
    world.end_the_token()
    assert other.get("/good") == 200
    assert len(world.refreshed_at) == requests + 1
    other.credential.close()


def test_a_target_that_never_accepted_the_token_has_no_news(world: World, process: Process) -> None:
    assert process.get("/good") == 200
    assert process.get("/bad") == 401
    requests = len(world.refreshed_at)
    world.end_the_token()
    assert process.get("/another") == 401
    assert process.get("/good") == 401, "it had accepted the generation before"
    assert len(world.refreshed_at) == requests
    world.skipped += 10.0
    assert process.get("/another") == 200, "as ever, once the pause is over"


def test_the_bad_one_stays_damped_after_a_replay_that_another_one_accepts(world: World, process: Process) -> None:
    assert process.get("/bad") == 401
    assert process.get("/good") == 200
    world.end_the_token()
    assert process.get("/good") == 200
    assert len(world.refreshed_at) == 2
    assert process.get("/bad") == 401
    world.skipped += 9.0
    assert process.get("/bad") == 401
    assert len(world.refreshed_at) == 2, "it has still refused a replay only just now"


def test_one_that_is_mended_ends_its_damping(world: World, process: Process) -> None:
    assert process.get("/bad") == 401
    world.bad = lambda path, generation: False
    world.skipped += 11.0
    world.end_the_token()
    assert process.get("/bad") == 200
    record = decode(world.store.records["acme"].body, "acme")
    assert record.probation is None
    assert record.targets is not None
    assert record.targets.refused == ()
    world.end_the_token()
    assert process.get("/another") == 200, "nothing is known against any target"


# --- What is remembered ---


def test_a_process_remembers_a_handful_of_targets_of_the_present_token_and_no_path(
    world: World, process: Process
) -> None:
    for number in range(1000):
        assert process.get(f"/items/{number}") == 200
    takers = process.credential._memory.takers
    assert takers is not None
    assert len(takers.targets) == HANDFUL
    assert all(type(one) is int for one in takers.targets)
    world.end_the_token()
    assert process.get("/items/1") == 200
    takers = process.credential._memory.takers
    assert takers is not None
    assert (takers.identity[1], len(takers.targets)) == (world.generation, 1)


@pytest.mark.parametrize("comes_first", [True, False])
def test_a_poller_is_remembered_beside_many_targets_that_are_called_once(
    world: World, process: Process, comes_first: bool
) -> None:
    once = [f"/once/{number}" for number in range(1000 if comes_first else HANDFUL)]
    assert process.get("/bad") == 401
    for path in ["/poll", *once] if comes_first else [*once, "/poll", "/poll"]:
        assert process.get(path) == 200
    world.end_the_token()
    assert process.get("/poll") == 200
    assert len(world.refreshed_at) == 2


@pytest.mark.parametrize("is_shared", [True, False], ids=["one client", "two clients"])
def test_what_a_target_accepts_after_a_refused_replay_counts_in_each_client(
    world: World, process: Process, is_shared: bool
) -> None:
    """Its replicas disagreed for a moment: another call was accepted before the replay was refused, and again after."""
    process.get("/good")
    other = copy.copy(process)
    if not is_shared:
        other.renew_the_client()

    def before_the_replay() -> None:
        assert other.get("/good") == 200
        world.bad = lambda path, generation: True

    world.end_the_token()
    process.before_the_replay = before_the_replay
    assert process.get("/good") == 401
    world.bad = lambda path, generation: False
    assert other.get("/good") == 200
    world.end_the_token()
    assert other.get("/good") == 200
    assert len(world.refreshed_at) == 2, "it had accepted this very token"


def test_the_record_has_prints_alone(world: World, process: Process) -> None:
    assert process.get("/bad/user/ann@example.com") == 401
    body = world.store.records["acme"].body
    assert "ann@example.com" not in body
    assert "api.acme.com" not in body
    record = decode(body, "acme")
    assert record.targets is not None
    assert record.targets.family == record.family
    print_ = print_of((ORIGIN, "/bad/user/ann@example.com"), "acme")
    assert [one.target for one in record.targets.refused] == [print_]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_a_server_answers_that_is_busy_or_broken_says_nothing_of_its_target(
    world: World, process: Process, status: int
) -> None:
    calls, _ = process._calls, process.credential.token()
    sent = calls.fresh()
    assert sent is not None
    assert calls.answered(sent, status, (ORIGIN, "/good")) is None
    assert process.credential._memory.takers is None
    assert calls.answered(sent, 404, (ORIGIN, "/good")) is None
    assert process.credential._memory.takers is not None


def test_a_late_answer_to_a_call_with_an_older_token_is_none_of_the_present_one(world: World, process: Process) -> None:
    calls, _ = process._calls, process.credential.token()
    sent = calls.fresh()
    assert sent is not None
    world.end_the_token()
    assert process.get("/good") == 200
    before = process.credential._memory.takers
    assert calls.answered(sent, 200, (ORIGIN, "/late")) is None
    assert process.credential._memory.takers is before


def test_one_that_accepts_the_token_again_has_news_again(world: World, process: Process) -> None:
    """Its replicas disagreed about the token for a moment."""
    assert process.get("/good") == 200
    world.end_the_token()
    world.bad = lambda path, generation: True
    assert process.get("/good") == 401, "and a refused replay"
    world.bad = lambda path, generation: False
    assert process.get("/good") == 200
    world.end_the_token()
    assert process.get("/good") == 200
    assert len(world.refreshed_at) == 2


def test_a_login_begins_anew(world: World, process: Process) -> None:
    assert process.get("/bad") == 401
    process.credential.login({"access_token": "new", "refresh_token": "new", "expires_in": LIVES})
    record = decode(world.store.records["acme"].body, "acme")
    assert (record.targets, record.probation) == (None, None)


# --- Who waits with whom ---


def test_news_that_come_while_another_refusal_is_damped_are_heard(
    world: World, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The good one's caller waits for the renewal that the bad one's has begun, which refreshes nothing."""
    assert [process.get("/bad"), process.get("/good")] == [401, 200]
    world.skipped += 2.0  # refusals are looked up in the record again
    world.end_the_token()
    reached, go_on, load = threading.Event(), threading.Event(), Kept.load

    def held(store: Kept, key: str) -> Any:
        reached.set()
        assert go_on.wait(20.0)
        return load(store, key)

    with ThreadPoolExecutor(2) as pool:
        monkeypatch.setattr(Kept, "load", held)
        bad = pool.submit(process.get, "/bad")
        assert reached.wait(20.0)
        monkeypatch.setattr(Kept, "load", load)
        flight = process.credential._memory.flying
        assert flight is not None
        good = pool.submit(process.get, "/good")
        until(lambda: len(flight._waiting) == 2)
        go_on.set()
        assert (bad.result(20.0), good.result(20.0)) == (401, 200)
    assert len(world.refreshed_at) == 2


def test_whoever_names_no_target_ends_the_damping_of_all_but_those_that_are_named(
    world: World, process: Process
) -> None:
    """Some code of the user's own calls `token(refused=…)` beside a client."""
    assert process.get("/bad") == 401
    by_hand = Process(world, knows_targets=False)
    world.skipped += 5.0
    by_hand.credential.replayed(by_hand.credential.token(), accepted=True)
    for command in world.commands:
        assert command.wait(20.0)
    assert decode(world.store.records["acme"].body, "acme").probation is None
    requests = len(world.refreshed_at)
    assert process.get("/bad") == 401
    assert len(world.refreshed_at) == requests
    world.end_the_token()
    assert by_hand.get("/another") == 200
    by_hand.credential.close()
