"""The clock of a Redis server: read along with answers, and never compared where it means something else."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from tests.servers.valkey import Valkey

from onerefresh.stores.redis import RedisStore
from onerefresh.stores.redis.clock import ServerClock


class Machine:
    """This machine's clock, by hand."""

    seconds = 1000.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr("onerefresh.stores.redis.clock.shared_seconds", lambda: machine.seconds)
    return machine


def hears(clock: ServerClock, machine: Machine, at: float, *, server: str | None = "a", took: float = 0.0) -> None:
    began, machine.seconds = machine.seconds, machine.seconds + took
    clock.sees(server, (b"%d" % int(at), b"%d" % (at % 1 * 1e6)), began, machine.seconds)


def test_it_goes_on_by_itself_between_answers(machine: Machine) -> None:
    clock = ServerClock()
    assert (clock.asked, clock.now()) == (False, None)
    hears(clock, machine, 5000.5)
    assert clock.asked
    machine.seconds += 100.0
    assert clock.now() == ("a", 5100.5, False)


def test_it_does_not_tremble_with_the_network(machine: Machine) -> None:
    clock = ServerClock()
    hears(clock, machine, 5000.0)
    hears(clock, machine, 4999.9)
    assert clock.now() == ("a", 5000.0, False)
    hears(clock, machine, 5001.0)
    assert clock.now() == ("a", 5001.0, False)


def test_an_answer_that_was_long_on_its_way_says_nothing(machine: Machine) -> None:
    clock = ServerClock()
    hears(clock, machine, 5000.0, took=1.0)
    assert (clock.asked, clock.now()) == (True, None)
    hears(clock, machine, 6000.0)
    hears(clock, machine, 9000.0, took=1.0)
    assert clock.now() == ("a", 6001.0, False)


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_somebody_sets_begins_an_era_of_this_process(machine: Machine, jump: float) -> None:
    clock = ServerClock()
    hears(clock, machine, 5000.0)
    hears(clock, machine, 5000.0 + jump)
    first = clock.now()
    assert first is not None
    assert first.seconds == 5000.0 + jump
    assert first.clock_epoch != "a"
    hears(clock, machine, 5000.0 + jump)
    assert clock.now() == first
    hears(clock, machine, 5000.0)
    again = clock.now()
    assert again is not None
    assert again.clock_epoch not in ("a", first.clock_epoch)


def test_each_thread_has_the_clock_of_the_server_that_answered_it(machine: Machine) -> None:
    clock, elsewhere = ServerClock(), []
    hears(clock, machine, 5000.0, server="a")

    def ask_another() -> None:
        hears(clock, machine, 7000.0, server="b")
        elsewhere.append(clock.now())

    thread = threading.Thread(target=ask_another)
    thread.start()
    thread.join()
    assert elsewhere == [("b", 7000.0, False)]
    assert clock.now() == ("a", 5000.0, False)


def test_a_server_that_does_not_say_which_it_is_has_no_clock(machine: Machine) -> None:
    clock = ServerClock()
    hears(clock, machine, 5000.0)
    hears(clock, machine, 5000.0, server=None)
    assert (clock.asked, clock.now()) == (True, None)


def test_it_is_the_server_s(server: Valkey) -> None:
    with closing(RedisStore(server.url)) as asked, closing(RedisStore(server.url)) as read:
        read.load("acme")
        seconds, _ = server.do("TIME")
        for moment in (asked.moment(), read.moment()):
            assert moment is not None
            assert abs(moment.seconds - int(seconds)) < 10.0
            assert moment.clock_epoch == server.do("INFO", "server")["run_id"]
            assert not moment.single_host


def test_a_server_that_is_started_anew_begins_an_era(own_server: Valkey) -> None:
    with closing(RedisStore(own_server.url)) as store:
        store.load("acme")
        before = store.moment()
        own_server.restart()
        store.load("acme")
        after = store.moment()
        assert before is not None
        assert after is not None
        assert before.clock_epoch != after.clock_epoch
