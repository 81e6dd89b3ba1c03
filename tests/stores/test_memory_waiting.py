"""Waiting for a change of a record in memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from onerefresh.locks import inside
from onerefresh.pause import Wakeup
from onerefresh.store import Conflict
from onerefresh.stores.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.cas("acme", None, "first")
    store.cas("other", None, "first")
    return store


def subscribe(store: MemoryStore, wake: Callable[[], object], version: str = "1", key: str = "acme") -> Wakeup:
    return store.subscribe(key, version, 0.0, wake)


def test_each_is_woken_once_by_the_first_change_of_its_key(store: MemoryStore) -> None:
    woken: list[str] = []
    for name in ("one", "two"):
        assert subscribe(store, lambda name=name: woken.append(name)).within == math.inf  # type: ignore[misc]  # bound at once
    subscribe(store, lambda: woken.append("other"), "2", "other")
    assert woken == []
    version = store.cas("acme", "1", "second")
    assert woken == ["one", "two"]
    store.cas("acme", version, "third")
    assert woken == ["one", "two"]
    store.cas("other", "2", "second")
    assert woken == ["one", "two", "other"]
    assert store._waiting == {}


def test_a_removal_wakes_who_waits(store: MemoryStore) -> None:
    woken: list[None] = []
    subscribe(store, lambda: woken.append(None))
    with pytest.raises(Conflict):
        store.remove("acme", "no version")
    assert woken == []
    store.remove("acme", "1")
    assert woken == [None]
    assert subscribe(store, print, "").within == math.inf


def test_a_write_that_conflicts_wakes_nobody(store: MemoryStore) -> None:
    woken: list[None] = []
    subscribe(store, lambda: woken.append(None))
    with pytest.raises(Conflict):
        store.cas("acme", "no version", "body")
    assert woken == []


def test_who_has_not_seen_the_last_change_need_not_wait(store: MemoryStore) -> None:
    for key, version in (("acme", "another version"), ("acme", ""), ("nothing", "1")):
        assert subscribe(store, print, version, key).within == 0.0
    assert subscribe(store, print, "", "nothing").within == math.inf


def test_who_has_ended_is_not_woken_also_where_the_same_function_still_waits(store: MemoryStore) -> None:
    woken: list[None] = []
    first, _second = (subscribe(store, lambda: woken.append(None)) for _ in range(2))
    with store._lock:  # a destructor may run anywhere
        first.end()
    first.end()
    store.cas("acme", "1", "second")
    assert woken == [None]


def test_who_is_woken_holds_no_lock_and_may_subscribe_and_write(store: MemoryStore) -> None:
    heard: list[object] = []

    def wake() -> None:
        heard.append(inside())
        subscribe(store, lambda: heard.append("again"), "3")
        store.cas("acme", "3", "third")

    subscribe(store, wake)
    store.cas("acme", "1", "second")
    assert heard == [False, "again"]
