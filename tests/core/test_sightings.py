"""Since when a process has known of the servers of a store, and which of its credentials that unsettles."""

from __future__ import annotations

import pytest

from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.sightings import Servers, Sightings
from onerefresh.store import StoreTime

WAIT = 5.0


def at(seconds: float, server: str | None, *, single_host: bool = False) -> Instant:
    moment = None if server is None else StoreTime(server, seconds, single_host=single_host)
    return Instant(wall=1_800_000_000.0 + seconds, monotonic=seconds, shared=moment, jitter=0.0)


@pytest.mark.parametrize(
    ("seen", "unsettled"),
    [
        ([at(0.0, "a")], False),  # nobody can tell a first start from a failover
        ([at(0.0, None)], False),
        ([at(0.0, "a"), at(1.0, "a")], False),
        ([at(0.0, "a"), at(1.0, None)], False),
        ([at(0.0, "a"), at(1.0, "b")], True),
        ([at(0.0, "a"), at(1.0, "b"), at(5.9, "b")], True),
        ([at(0.0, "a"), at(1.0, "b"), at(6.1, "b")], False),
        ([at(0.0, "a"), at(1.0, "b"), at(7.0, "a")], True),  # it lacks what the other one took
        ([at(0.0, "a"), at(1.0, "b"), at(7.0, "a"), at(12.1, "a")], False),
        (
            [at(0.0, "a", single_host=True), at(1.0, "b", single_host=True)],
            False,
        ),  # one machine: all who knew more are gone
    ],
)
def test_a_record_on_another_server_is_trusted_after_a_while(seen: list[Instant], unsettled: bool) -> None:
    sightings = Sightings()
    for now in seen[:-1]:
        sightings.sees(now)
    assert sightings.is_unsettled(seen[-1], WAIT) is unsettled


def test_what_one_credential_has_seen_counts_for_those_that_are_asked_later() -> None:
    servers = Servers()
    first, later = Sightings(servers), Sightings(servers)
    first.sees(at(0.0, "a"))
    first.sees(at(100.0, "b"))
    assert later.is_unsettled(at(101.0, "b"), WAIT)
    assert not later.is_unsettled(at(106.0, "b"), WAIT)


def test_a_server_that_comes_back_is_new_for_those_too_that_did_not_ask_meanwhile() -> None:
    servers = Servers()
    silent = Sightings(servers)
    silent.sees(at(0.0, "a"))
    for seconds, server in ((1.0, "a"), (3.0, "b"), (20.0, "a")):
        servers.sees(at(seconds, server), has_the_note=True)
    assert silent.is_unsettled(at(21.0, "a"), WAIT)
    assert not silent.is_unsettled(at(25.1, "a"), WAIT)


def test_servers_that_share_the_records_of_a_cluster_are_no_news_to_each_other() -> None:
    servers = Servers()
    one, other = Sightings(servers), Sightings(servers)
    for seconds in (0.0, 10.0, 20.0):
        servers.sees(at(seconds, "a"), has_the_note=True)
        one.sees(at(seconds + 1.0, "b"))
        other.sees(at(seconds + 2.0, "a"))
    assert not one.is_unsettled(at(30.0, "b"), WAIT)
    assert not other.is_unsettled(at(30.0, "a"), WAIT)


def test_a_credential_that_is_asked_long_after_a_failover_does_not_wait_again() -> None:
    servers = Servers()
    asked, silent = Sightings(servers), Sightings(servers)
    for sightings in (asked, silent):
        sightings.sees(at(0.0, "a"))
    assert asked.is_unsettled(at(100.0, "b"), WAIT)
    assert not silent.is_unsettled(at(200.0, "b"), WAIT)
