"""Which method of a store tells of a change: `subscribe` or `wait`, of the class that is derived last."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.core.calls import PATIENCE
from tests.core.waking import KEY, Own, Waiting, Wakings, all_threads_end, around_each, subscribe, until

from onerefresh import wakeups
from onerefresh.pause import Wakeup
from onerefresh.store import POLL, Store
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.memory import MemoryStore


class MemoryThatWaits(MemoryStore):
    """Derived from a store of the package, it overrides `wait` alone."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def wait(self, key: str, version: str, timeout: float) -> None:
        self.waits += 1
        super().wait(key, version, timeout)


class Subscribing(Own):
    """It has a `subscribe` of its own. What it returns is `answer`, or raised."""

    def __init__(self, answer: object = None) -> None:
        self.answer, self.wakes = answer, list[Callable[[], object]]()

    def subscribe(self, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup | None:
        self.wakes.append(wake)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]  # a user's store may return anything


class WaitingAndSubscribing(Waiting, Subscribing):
    """Both, from two classes: the first one counts."""

    def __init__(self) -> None:
        Waiting.__init__(self)
        Subscribing.__init__(self, Wakeup(print))


class SubscribingInTheEnd(MemoryThatWaits):
    """Derived from one that waits, it overrides `subscribe`."""

    def subscribe(self, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup:
        return Wakeup(wake, 7.0)


@around_each
def test_a_class_that_overrides_only_wait_is_asked_by_wait(wrapped: Callable[[Store], Store]) -> None:
    store, wake = MemoryThatWaits(), Wakings()
    version = store.cas("acme", None, "before")
    with all_threads_end():
        subscribe(wrapped(store), wake, version=version)
        until(lambda: store.waits)
        store.cas("acme", version, "after")
        assert wake.woken.wait(PATIENCE)
    assert wake.count == 1


@around_each
def test_the_class_that_is_derived_last_decides(wrapped: Callable[[Store], Store]) -> None:
    last, first = SubscribingInTheEnd(), WaitingAndSubscribing()
    assert subscribe(wrapped(last), print).within == 7.0
    assert last.waits == 0
    with all_threads_end():
        wakeup = subscribe(wrapped(first), print)
        first.until(1)
        wakeup.end()
    assert first.wakes == []


@around_each
def test_a_store_of_the_package_is_asked_by_subscribe(wrapped: Callable[[Store], Store]) -> None:
    store, wake = MemoryStore(), Wakings()
    version = store.cas("acme", None, "before")
    subscribe(wrapped(store), wake, version=version)
    assert not wakeups._waiting
    store.cas("acme", version, "after")
    assert wake.count == 1
    ended = subscribe(wrapped(store), wake, version="2")
    ended.end()
    store.cas("acme", "2", "again")
    assert wake.count == 1


def test_an_encrypted_store_that_overrides_something_is_asked_itself() -> None:
    class WaitsItself(EncryptedStore):
        def wait(self, key: str, version: str, timeout: float) -> None:
            raise AssertionError("its subscribe is asked")

        def subscribe(self, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup:
            return Wakeup(wake, 7.0)

    class WaitsOnly(EncryptedStore):
        waits = 0

        def wait(self, key: str, version: str, timeout: float) -> None:
            self.waits += 1
            super().wait(key, version, timeout)

    assert subscribe(WaitsItself(MemoryStore(), lambda: KEY), print).within == 7.0
    store = WaitsOnly(MemoryStore(), lambda: KEY)
    version = store.cas("acme", None, "before")
    with all_threads_end():
        wakeup = subscribe(store, print, version=version)
        until(lambda: store.waits)
        wakeup.end()


# --- A `subscribe` of one's own ---


def test_one_that_cannot_tell_may_still_wait() -> None:
    class Both(Waiting):
        def subscribe(self, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup | None:
            return None

    store = Both()
    with all_threads_end():
        wakeup = subscribe(store, print)
        store.until(1)
        wakeup.end()


@around_each
@pytest.mark.parametrize("answer", [None, ValueError("test"), "no wakeup", Wakeup(print, POLL)])
def test_whatever_it_returns_or_raises_does_no_harm(wrapped: Callable[[Store], Store], answer: object) -> None:
    wakeup = subscribe(wrapped(Subscribing(answer)), print)
    assert wakeup.within == POLL
    wakeup.end()


def test_an_end_that_raises_does_no_harm() -> None:
    def end() -> None:
        raise ValueError("test")

    wakeup = subscribe(Subscribing(Wakeup(end)), print)
    wakeup.end()
    wakeup.end()
