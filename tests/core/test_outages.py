"""A store is down after two failures in a row, and up with the first success: told once for each outage and process."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from tests.core.calls import Refresher, in_threads, listening, of_another_process

from onerefresh import Credential, Credentials, StoreUnavailable
from onerefresh.credential.look import Look
from onerefresh.credential.registry import memory_of
from onerefresh.events import Event, Kind
from onerefresh.outages import Outages
from onerefresh.store import Conflict, StoreOutcomeUnknown, Unreadable, Versioned
from onerefresh.stores.memory import MemoryStore
from onerefresh.telling import store_news

FAILS, WORKS, UNWRITTEN, WRITTEN = "fails", "works", "cannot be written", "is written"
DOWN, NOTHING = True, None
# Operations at one moment after the other, each with what is told: that it is down, for how long it was, or nothing.
CASES: dict[str, list[tuple[str, float, object]]] = {
    "one failure": [(FAILS, 0.0, NOTHING), (WORKS, 1.0, NOTHING)],
    "two": [(FAILS, 0.0, NOTHING), (FAILS, 1.0, DOWN), (WORKS, 5.0, 5.0)],
    "many": [(FAILS, 0.0, NOTHING), (FAILS, 1.0, DOWN), (FAILS, 2.0, NOTHING), (WORKS, 4.0, 4.0)],
    "one row is locked": [(FAILS, 0.0, NOTHING), (WORKS, 1.0, NOTHING), (FAILS, 2.0, NOTHING), (WORKS, 3.0, NOTHING)],
    "a full disk can be read": [
        (UNWRITTEN, 0.0, NOTHING), (WORKS, 1.0, NOTHING), (UNWRITTEN, 2.0, DOWN), (WORKS, 3.0, NOTHING),
        (UNWRITTEN, 4.0, NOTHING), (WRITTEN, 5.0, 5.0), (WORKS, 6.0, NOTHING),
    ],
    "neither read nor written": [
        (FAILS, 0.0, NOTHING), (UNWRITTEN, 1.0, NOTHING), (FAILS, 2.0, DOWN), (UNWRITTEN, 3.0, NOTHING),
        (WORKS, 4.0, NOTHING), (FAILS, 5.0, NOTHING), (FAILS, 6.0, NOTHING), (WRITTEN, 7.0, 7.0),
    ],
    "one row is locked, others are written": [
        (UNWRITTEN, 0.0, NOTHING), (WRITTEN, 1.0, NOTHING), (UNWRITTEN, 2.0, NOTHING), (WRITTEN, 3.0, NOTHING)
    ],
    "two outages": [
        (FAILS, 0.0, NOTHING), (FAILS, 1.0, DOWN), (WORKS, 2.0, 2.0), (WORKS, 3.0, NOTHING),
        (FAILS, 4.0, NOTHING), (FAILS, 5.0, DOWN), (WORKS, 7.0, 3.0),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_outage_is_told_once(name: str) -> None:
    outages, store = Outages(), MemoryStore()
    for what, at, expected in CASES[name]:
        writes = what in (UNWRITTEN, WRITTEN)
        if what in (FAILS, UNWRITTEN):
            assert outages.failed(store, at, writes=writes) is (expected is DOWN), at
        else:
            assert outages.answered(store, at, writes=writes) == expected, at


def test_each_store_has_its_own_outages() -> None:
    outages, one, other = Outages(), MemoryStore(), MemoryStore()
    assert [outages.failed(one), outages.failed(other), outages.failed(one)] == [False, False, True]
    assert outages.answered(other) is None
    assert outages.answered(one) is not None


def test_a_store_that_is_gone_leaves_nothing_to_the_next_one_with_its_id() -> None:
    outages, gone, other = Outages(), MemoryStore(), MemoryStore()
    outages.failed(gone)
    outages.failed(gone)
    outages._outages[id(other)] = outages._outages.pop(id(gone))
    del gone
    gc.collect()
    assert outages.answered(other) is None
    assert [outages.failed(other), outages.failed(other)] == [False, True]


def test_of_many_threads_one_tells() -> None:
    outages, store = Outages(), MemoryStore()
    assert sum(in_threads([lambda: outages.failed(store)] * 20)) == 1
    assert [one is not None for one in in_threads([lambda: outages.answered(store)] * 20)].count(True) == 1


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (StoreUnavailable("no connection"), True),
        (StoreOutcomeUnknown("the connection was lost"), True),
        (OSError("no route"), True),
        (Conflict("acme"), False),
        (Unreadable("a key is missing"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_counts_as_a_failure(error: Exception, counts: bool) -> None:
    store = MemoryStore()
    found = [store_news("acme", store, error) for _ in range(2)]
    assert [event is not None for event in found] == [False, counts]


class Failing(MemoryStore):
    """Fails while `is_down`, with `error`."""

    name = "failing"
    is_down = False
    error: Exception = StoreUnavailable("the disk is full")

    def load(self, key: str) -> Versioned | None:
        if self.is_down:
            raise self.error
        return super().load(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        if self.is_down:
            raise self.error
        return super().cas(key, expected, body)


def told(heard: list[Event]) -> list[tuple[str, str | None, str | None]]:
    of_stores = [event for event in heard if event.kind in (Kind.STORE_DOWN, Kind.STORE_UP)]
    return [(event.kind.value, event.facts.host, event.facts.error) for event in of_stores]


def test_many_credentials_tell_of_one_outage() -> None:
    store = Failing()
    with listening() as heard, Credentials(Refresher(), store=store) as customers:
        for number in range(5):
            customers[f"customer-{number}"].login({"access_token": "a", "refresh_token": f"r-{number}"})
        store.is_down = True
        for number in range(5, 10):
            with pytest.raises(StoreUnavailable):
                customers[f"customer-{number}"].login({"access_token": "a", "refresh_token": f"r-{number}"})
        assert told(heard) == [("store_down", "failing", "StoreUnavailable")]
        store.is_down = False
        for number in range(5, 10):
            customers[f"customer-{number}"].login({"access_token": "a", "refresh_token": f"r-{number}"})
    assert told(heard) == [("store_down", "failing", "StoreUnavailable"), ("store_up", "failing", None)]
    down, up = (event for event in heard if event.kind in (Kind.STORE_DOWN, Kind.STORE_UP))
    assert down.detail == "failing does not answer: the disk is full"
    assert up.facts.duration is not None
    assert up.facts.duration > 0.0
    assert up.facts.process == down.facts.process


def test_a_look_in_the_background_notices_it_too() -> None:
    store = Failing()
    acme = Credential("acme", Refresher(), store=store)
    acme.login({"access_token": "a", "refresh_token": "r"})
    look, memory = Look(lambda: True), memory_of(store, "acme")
    store.is_down = True
    with listening() as heard:
        look.taken(store, memory)
        look.taken(store, memory)
        look.taken(store, memory)
        store.is_down = False
        look.taken(store, memory)
    assert [kind for kind, _, _ in told(heard)] == ["store_down", "store_up"]


def test_what_a_store_says_shows_no_token() -> None:
    store: Any = Failing()
    acme = Credential("acme", Refresher(), store=store)
    acme.login({"access_token": "access-of-a-customer", "refresh_token": "refresh-0-of-a-customer"})
    store.error = StoreUnavailable("cannot write refresh-0-of-a-customer")
    store.is_down = True
    with listening() as heard:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                acme.status()
        Look(lambda: True).taken(store, memory_of(store, "acme"))
    [down] = [event for event in heard if event.kind is Kind.STORE_DOWN]
    assert "refresh-0" not in repr(down)
    assert down.detail.startswith("failing does not answer: the text is left out")


def test_a_store_of_another_object_is_another_one() -> None:
    store = Failing()
    other = of_another_process(store)
    assert [store_news("acme", each, OSError()) for each in (store, other)] == [None, None]
