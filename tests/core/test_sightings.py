"""What a process remembers of a store's servers and of failures, and how old an attempt may be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onerefresh.failure import Failure
from onerefresh.record import Grant, Lease, Record, State
from onerefresh.refresh_rate import Floor
from onerefresh.renewal.clocks import Instant, age, most_age
from onerefresh.renewal.servers import Servers
from onerefresh.renewal.sightings import GENERATIONS, Sightings
from onerefresh.store import StoreTime
from onerefresh.token import Token
from onerefresh.verdict import FailureKind

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


def written_on(server: str | None, lease_on: str | None = None) -> Record:
    token = Token("access", "refresh").numbered("family", 2)
    lease = Lease("a1", Grant.REFRESH, 30.0, clock_epoch=lease_on) if lease_on else None
    state = State.LEASED if lease else State.IDLE
    return Record(("family",), 2, state, lease=lease, token=token, floor=Floor(2, 0.0, clock_epoch=server))


@pytest.mark.parametrize(
    ("record", "unsettled"),
    [
        (written_on("a"), False),
        (written_on("b"), True),
        (written_on(None), False),  # nothing is known of it
        (written_on("b", lease_on="a"), False),  # another process has waited, and claimed it since
        (written_on("a", lease_on="b"), True),
        (replace(written_on("b"), generation=3), False),  # a login, or an earlier version, does not say it
    ],
)
def test_a_record_tells_a_process_that_begins_after_a_failover(record: Record, unsettled: bool) -> None:
    """It knows of no other server, and would spend an old copy before others have restored theirs."""
    sightings = Sightings()
    assert sightings.is_unsettled(at(0.0, "a"), WAIT, record) is unsettled
    assert sightings.is_unsettled(at(4.9, "a"), WAIT, record) is unsettled
    assert not sightings.is_unsettled(at(5.1, "a"), WAIT, record)


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


def test_the_first_server_of_a_store_is_remembered_once_for_all_credentials() -> None:
    servers = Servers()
    first, later = Sightings(servers), Sightings(servers)
    first.sees(at(0.0, "a"))
    assert first.state is Sightings().state
    later.sees(at(10.0, "b"))
    assert not later.is_unsettled(at(20.0, "b"), WAIT)
    assert later.is_unsettled(at(21.0, "a"), WAIT)  # it may lack what "b" took
    assert not later.is_unsettled(at(26.1, "a"), WAIT)


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


# --- Failures ---


def failed_at(generation: int, kind: FailureKind, *, state: State = State.IDLE) -> Record:
    doubts = int(kind is FailureKind.DEAD and state is State.IDLE)
    failure = Failure(kind, "it failed", at=1_800_000_000.0 + generation, delay=1.0, count=1, doubts=doubts)
    token = Token("access", "refresh").numbered("family", generation)
    return Record(("family",), generation, state, token=token, failure=failure)


def test_a_failure_is_remembered_though_an_older_generation_has_failed_since() -> None:
    """A store that has lost the record shows what became of an older copy: that the later token may be spent stays."""
    sightings = Sightings()
    lost, refused = failed_at(2, FailureKind.NO_ANSWER), failed_at(1, FailureKind.DEAD, state=State.DEAD)
    sightings.remember(lost)
    sightings.remember(refused)
    assert sightings.recalled(replace(lost, failure=None)) == lost
    assert sightings.recalled(replace(refused, state=State.IDLE, failure=None)).state is State.DEAD


def test_the_failure_of_the_last_generation_says_whether_the_session_is_in_doubt() -> None:
    sightings = Sightings()
    sightings.remember(failed_at(2, FailureKind.DEAD))  # refused, and not proven
    sightings.remember(failed_at(1, FailureKind.NO_ANSWER))
    assert sightings.doubts("family")
    sightings.remember(failed_at(3, FailureKind.NO_ANSWER))
    assert not sightings.doubts("family")
    sightings.forget_failures()
    assert not sightings.doubts("family")


def test_the_failures_of_a_few_generations_are_remembered() -> None:
    sightings = Sightings()
    records = [failed_at(generation, FailureKind.NO_ANSWER) for generation in range(1, GENERATIONS + 2)]
    for record in records:
        sightings.remember(record)
    recalled = [sightings.recalled(replace(record, failure=None)) for record in records]
    assert recalled == [replace(records[0], failure=None), *records[1:]]


# --- How old an attempt may be ---


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (Instant(100.0, 100.0, StoreTime("a", 100.0), 0.0), 100.0),
        (Instant(0.0, 0.0, StoreTime("a", 100.0), 0.0), 100.0),  # it slept, and the store's clock went on
        (Instant(100.0, 0.0, StoreTime("b", 1.0), 0.0), 100.0),  # it slept, and another server has taken over
        (Instant(100.0, 0.0, None, 0.0), 100.0),
        (Instant(-3600.0, 2.0, StoreTime("a", 2.0), 0.0), 2.0),  # its wall clock was set back
    ],
)
def test_an_attempt_is_as_old_as_any_clock_says(now: Instant, seconds: float) -> None:
    assert most_age(Instant(0.0, 0.0, StoreTime("a", 0.0), 0.0), now) == seconds


def test_no_wall_clock_ends_a_wait_before_a_request() -> None:
    born, set_forward = Instant(0.0, 0.0, None, 0.0), Instant(3600.0, 2.0, None, 0.0)
    assert age(born, set_forward) == 2.0


def test_a_refusal_that_proves_nothing_is_forgotten() -> None:
    """Another attempt had taken over: it may have spent the refresh token, and may still commit."""
    sightings = Sightings()
    lost, refused = failed_at(2, FailureKind.NO_ANSWER), failed_at(1, FailureKind.DEAD, state=State.DEAD)
    lease = Lease("mine", Grant.REFRESH, 30.0)
    sightings.remember(lost)
    sightings.ends(lease, refused)
    sightings.retract(refused, lease)
    leased = replace(refused, state=State.LEASED, lease=lease, failure=None)
    assert sightings.recalled(leased) == leased
    assert sightings.end_of(leased, knows_a_session=True) is None
    assert sightings.recalled(replace(lost, failure=None)) == lost


@pytest.mark.parametrize("then", ["", "a login"])
def test_what_others_have_noted_since_the_claim_stays_the_last_failure(then: str) -> None:
    """Not if somebody has logged in again with this very token, after the store had lost the record."""
    sightings, theirs = Sightings(), failed_at(1, FailureKind.UNAVAILABLE)
    sightings.remember(theirs)
    mine = failed_at(1, FailureKind.NO_ANSWER)
    assert mine.failure is not None
    mine = replace(mine, failure=replace(mine.failure, at=mine.failure.at + 20.0, lost=True))
    lost = replace(mine, failure=None)
    if then:
        mine, lost = (one.noted("login", 1_800_000_010.0) for one in (mine, lost))
    sightings.ends(Lease("mine", Grant.REFRESH, 30.0), mine)
    assert theirs.failure is not None
    assert sightings.recalled(lost).failure == (mine.failure if then else replace(theirs.failure, lost=True))


@pytest.mark.parametrize("kind", [FailureKind.DEAD, FailureKind.DOUBTFUL])
def test_a_refusal_says_nothing_to_others_here_once_another_attempt_is_seen(kind: FailureKind) -> None:
    """A second renewal of this process looks before the refused one has noticed that it was overtaken."""
    sightings, refused = Sightings(), failed_at(1, kind, state=State.DEAD if kind is FailureKind.DEAD else State.IDLE)
    sightings.ends(Lease("mine", Grant.REFRESH, 30.0), refused)
    taken = replace(refused, state=State.LEASED, lease=Lease("other", Grant.REFRESH, 30.0), failure=None)
    sightings.remember(taken)
    assert sightings.recalled(taken) == taken


def test_a_failure_that_was_first_seen_while_a_token_is_obtained_for_a_dead_session_is_its_death() -> None:
    sightings = Sightings()
    dead = failed_at(1, FailureKind.DEAD, state=State.DEAD)
    obtaining = Lease("other", Grant.OBTAIN, 30.0, origin=State.DEAD)
    sightings.remember(replace(dead, state=State.LEASED, lease=obtaining))
    sightings.remember(dead)
    assert sightings.recalled(replace(dead, state=State.IDLE, failure=None)).state is State.DEAD


@pytest.mark.parametrize(
    ("generation", "lease", "is_kept"),
    [
        (1, None, True),
        (1, Lease("mine", Grant.REFRESH, 30.0), True),
        (1, Lease("recovery-1", Grant.REFRESH, 30.0), True),
        (1, Lease("other", Grant.REFRESH, 30.0), False),
        (2, None, False),
    ],
)
def test_a_refusal_is_not_noted_once_others_are_known_to_have_taken_over(
    generation: int, lease: Lease | None, *, is_kept: bool
) -> None:
    sightings, refused = Sightings(), failed_at(1, FailureKind.DEAD, state=State.DEAD)
    mine = Lease("mine", Grant.REFRESH, 30.0)
    sightings.ends(mine, refused)
    seen = replace(refused, generation=generation, state=State.LEASED if lease else State.IDLE, lease=lease)
    sightings.remember(replace(seen, failure=None))
    claim = replace(refused, state=State.LEASED, lease=mine, failure=None)
    assert (sightings.end_of(claim, knows_a_session=True) is not None) is is_kept
