"""A store loses its records. Whoever asks first has an old copy; somebody else has the newest token, and is silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.repetition import long

if TYPE_CHECKING:
    from tests.doublespend.conftest import Crew

pytestmark = pytest.mark.slow

LOSSES = [
    "valkey flushed",
    "postgres deleted",
    "sqlite removed",
    *long("valkey durable", "valkey restarted", "valkey failed over", "postgres truncated", "sqlite deleted"),
]


@pytest.mark.long
@pytest.mark.parametrize("kind", LOSSES)
def test_an_old_copy_is_not_spent_while_another_process_has_the_newest(
    new_crew: Callable[[str], Crew], kind: str
) -> None:
    crew = new_crew(kind)
    crew.log_in("acme")
    holder, stale = crew.two_generations("acme")
    crew.place.forget()
    answer = stale.ask("expired", seconds=1_000.0)
    crew.assert_unharmed(answer, stale, holder)
    assert crew.place.generation() == 2


@pytest.mark.parametrize("kind", ["postgres deleted", *long("valkey flushed")])
def test_nor_where_the_api_refused_it(new_crew: Callable[[str], Crew], kind: str) -> None:
    crew = new_crew(kind)
    crew.log_in("acme")
    holder, stale = crew.two_generations("acme")
    crew.place.forget()
    answer = stale.ask("refused")
    crew.assert_unharmed(answer, stale, holder)


@pytest.mark.parametrize("kind", ["valkey restarted", "sqlite removed", *long("valkey flushed", "postgres deleted")])
def test_a_caller_who_waits_for_no_longer_than_a_second_hears_so_and_costs_nothing(
    new_crew: Callable[[str], Crew], kind: str
) -> None:
    crew = new_crew(kind)
    crew.log_in("acme")
    holder, stale = crew.two_generations("acme")
    crew.place.forget()
    first = stale.ask("expired", seconds=1_000.0, max_wait=1.0)
    assert first == 2 or first[0] == "WaitTimeout", first
    crew.assert_unharmed(stale.ask("token"), stale, holder)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["valkey durable", *long("valkey flushed", "valkey restarted")])
def test_the_first_token_of_a_new_process_is_not_spent_where_the_store_may_lose_writes(
    new_crew: Callable[[str], Crew], kind: str
) -> None:
    crew = new_crew(kind)
    crew.log_in("acme")
    holder, stale = crew.two_generations("acme")
    stale.finish()  # else it might bring back its copy first, which still serves
    crew.place.forget()
    late = crew.start(token=crew.old_seed())
    crew.assert_unharmed(late.ask("token"), late, holder)


# A new process trusts a store that keeps all.
@pytest.mark.long
@pytest.mark.parametrize("kind", ["valkey flushed", *long("valkey restarted")])
def test_a_copy_that_still_serves_is_handed_out_at_once_and_replaced_later(
    new_crew: Callable[[str], Crew], kind: str
) -> None:
    crew = new_crew(kind)
    crew.log_in("acme")
    holder, stale = crew.two_generations("acme")
    crew.place.forget()
    late = crew.start(token={**crew.seeds["acme"], "expires_in": 1_000})
    assert stale.ask("token", max_wait=1.0) == 1
    assert late.ask("token", max_wait=1.0) in (1, 2)  # the holder may have brought back the second one by now
    assert crew.server.counters.token_requests == 1
    crew.assert_unharmed(stale.ask("expired", seconds=1_000.0), stale, late, holder)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["valkey flushed", *long("postgres deleted")])
def test_a_record_that_another_process_wrote_since_says_nothing_of_the_others(
    new_crew: Callable[[str], Crew], kind: str
) -> None:
    crew = new_crew(kind)
    crew.log_in("acme", "beta")
    holder, stale = crew.two_generations("acme", "beta")
    crew.place.forget()
    crew.log_in("gamma")
    assert crew.start().ask("token", key="gamma") == 1
    crew.assert_unharmed(stale.ask("expired", seconds=1_000.0), stale, holder)
    assert stale.ask("token", key="beta") == 2
    assert crew.server.counters.reuse_detected == 0


@pytest.mark.long
@pytest.mark.parametrize("kind", ["postgres deleted", *long("valkey flushed")])
def test_nor_does_the_one_record_that_is_left(new_crew: Callable[[str], Crew], kind: str) -> None:
    crew = new_crew(kind)
    crew.log_in("acme", "beta")
    holder, stale = crew.two_generations("acme", "beta")
    crew.place.forget(keep="beta")  # the newest that anybody has
    crew.assert_unharmed(stale.ask("expired", seconds=1_000.0), stale, holder)


def test_a_token_in_the_spool_of_the_same_host_counts_too(new_crew: Callable[[str], Crew]) -> None:
    crew = new_crew("valkey flushed")
    crew.log_in("acme")
    stale, holder = crew.start(), crew.start(gates=["answered"])
    assert (holder.ask("token"), stale.ask("token")) == (1, 1)
    holder.do("refused").until_gate("answered")
    with crew.place.down():
        holder.open("answered")
        holder.until_event("spooled")
        holder.kill()
    crew.assert_unharmed(stale.ask("expired", seconds=1_000.0), stale)


# --- Gone back ---


@pytest.mark.long
@pytest.mark.parametrize("kind", ["postgres deleted", "sqlite deleted", *long("valkey restarted")])
def test_the_newest_token_is_brought_back_into_a_store_that_was_restored_though_nobody_asks(
    new_crew: Callable[[str], Crew], kind: str
) -> None:
    crew = new_crew(kind)
    crew.log_in("acme")
    crew.place.remember()
    holder, stale = crew.two_generations("acme")
    crew.place.restore()
    crew.place.until_generation(2)
    crew.assert_unharmed(stale.ask("expired", seconds=1_000.0), stale, holder)


@pytest.mark.long
def test_an_old_copy_is_not_spent_although_a_server_that_was_restored_agrees_with_it(
    new_crew: Callable[[str], Crew],
) -> None:
    crew = new_crew("valkey restarted")
    crew.log_in("acme")
    crew.place.remember()
    holder, stale = crew.two_generations("acme")
    crew.place.restore()
    crew.assert_unharmed(stale.ask("expired", seconds=1_000.0), stale, holder)


# --- Nobody has anything newer ---


@pytest.mark.parametrize("kind", ["valkey flushed", *long("postgres deleted")])
def test_where_nobody_has_anything_newer_the_old_copy_is_tried_once(new_crew: Callable[[str], Crew], kind: str) -> None:
    crew = new_crew(kind)
    crew.log_in("acme")
    only = crew.start()
    assert only.ask("token") == 1
    crew.place.forget()
    crew.assert_unharmed(only.ask("expired", seconds=1_000.0), only)
    assert crew.server.counters.token_requests == 1


# --- The one with the newest is renewing it ---


@pytest.mark.long
@pytest.mark.parametrize("kind", ["postgres deleted", "sqlite deleted", *long("valkey flushed", "valkey restarted")])
def test_an_old_copy_is_not_spent_while_the_newest_is_being_renewed(new_crew: Callable[[str], Crew], kind: str) -> None:
    crew = new_crew(kind)
    crew.log_in("acme")
    holder, stale = crew.start(gates=["answered"]), crew.start()
    assert (holder.ask("token"), stale.ask("token")) == (1, 1)
    crew.refresh("acme")
    assert holder.ask("refused") == 2
    holder.do("expired", seconds=100_000.0).until_gate("answered")  # a slow server
    crew.place.forget()
    stale.do("expired", seconds=100_000.0)
    holder.until_event("restored")  # its claim, too
    holder.open("answered")
    assert holder.until_count(3, "token", "error")[2] == 3
    assert stale.until_count(2, "token", "error")[1] == 3
    assert crew.server.counters.reuse_detected == 0
    assert crew.server.counters.token_requests == 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "knows"),
    [
        ("valkey flushed", "nothing"),
        ("postgres deleted", "an older token"),
        *long(("valkey flushed", "an older token"), ("postgres deleted", "nothing")),
    ],
)
def test_a_request_of_a_process_that_has_never_had_the_token_that_it_spends(
    new_crew: Callable[[str], Crew], kind: str, knows: str
) -> None:
    crew = new_crew(kind)
    crew.log_in("acme")
    late = crew.start(gates=["answered"])
    if knows == "an older token":
        assert late.ask("token") == 1
        crew.refresh("acme")
    stale = crew.start()
    newest = stale.ask("token")
    late.do("expired", seconds=10_000.0).until_gate("answered")
    crew.place.forget()
    stale.do("expired", seconds=10_000.0).until("event", matches=lambda event: "for another process" in event["detail"])
    late.open("answered")
    assert stale.until_count(2, "token", "error")[1] == newest + 1
    counters = crew.server.counters
    assert (counters.reuse_detected, counters.token_requests, crew.server.session) == (0, newest, "alive")
    assert late.calls_answered()
