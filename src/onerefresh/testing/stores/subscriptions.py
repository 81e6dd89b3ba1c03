"""The contract of `Store.subscribe`, as tests. A store that returns None keeps it, too."""

from __future__ import annotations

import math
import threading

from onerefresh.errors import ConfigurationError
from onerefresh.real_time import monotonic
from onerefresh.store import Store
from onerefresh.testing.stores.recording import PATIENCE, soon

__all__ = ["Sleeper", "Subscriptions", "looks_until_changed"]

ROUNDS = 20


class Sleeper:
    """A reader that has just read `version`, and subscribes. `since`: when the read began, if not now."""

    def __init__(self, store: Store, key: str, version: str, since: float | None = None) -> None:
        self.woken = threading.Event()
        at = monotonic() if since is None else since
        self._wakeup = soon(lambda: store.subscribe(key, version, at, self.woken.set))

    @property
    def within(self) -> float:
        """Seconds after which it reads the record, whether it is woken or not."""
        return self._wakeup.within if self._wakeup is not None else 0.0

    def end(self) -> None:
        if self._wakeup is not None:
            soon(self._wakeup.end)

    def is_over(self) -> bool:
        """Whether the wait comes to its end."""
        return self.woken.wait(min(self.within, PATIENCE)) or self.within < PATIENCE


def looks_until_changed(store: Store, key: str, version: str) -> bool:
    """Read and wait, as a renewal does, until there is another version; whether each wait came to its end."""
    while True:
        since = monotonic()
        found = store.load(key)
        if (found.version if found is not None else "") != version:
            return True
        sleeper = Sleeper(store, key, version, since)
        try:
            if not sleeper.is_over():
                return False
        finally:
            sleeper.end()


class Subscriptions:
    """A part of the contract of every store."""

    def test_no_change_is_missed_by_who_subscribes(self, store: Store, again: Store) -> None:
        version, answers = store.cas("acme", None, "body"), list[bool]()
        for number in range(ROUNDS):
            old = version
            waiter = threading.Thread(target=lambda old=old: answers.append(looks_until_changed(store, "acme", old)))
            waiter.start()
            version = (store, again)[number % 2].cas("acme", old, "body")
            waiter.join(2 * PATIENCE)
        assert answers == [True] * ROUNDS

    def test_many_who_subscribe_miss_no_change(self, store: Store, again: Store) -> None:
        keys = [f"key {number % 7}" for number in range(28)]
        versions, answers = {key: store.cas(key, None, "body") for key in set(keys)}, list[bool]()
        waiters = [
            threading.Thread(target=lambda key=key: answers.append(looks_until_changed(store, key, versions[key])))
            for key in keys
        ]
        for waiter in waiters:
            waiter.start()
        for key, version in versions.items():
            again.cas(key, version, "after")
        for waiter in waiters:
            waiter.join(2 * PATIENCE)
        assert answers == [True] * len(keys)

    def test_a_first_record_is_not_missed_by_who_subscribes(self, store: Store, again: Store) -> None:
        answers = list[bool]()
        waiter = threading.Thread(target=lambda: answers.append(looks_until_changed(store, "acme", "")))
        waiter.start()
        again.cas("acme", None, "first")
        waiter.join(2 * PATIENCE)
        assert answers == [True]

    def test_a_change_between_the_read_and_the_subscription_is_not_missed(self, store: Store, again: Store) -> None:
        for others in (False, True):  # whether the store listens to the key already
            since, version = monotonic(), _written(store)
            first = Sleeper(store, "acme", version) if others else None
            after = again.cas("acme", version, "after")
            late = Sleeper(store, "acme", version, since)
            assert late.is_over()
            late.end()
            if first is not None:
                assert first.is_over()
                first.end()
            assert store.load("acme") == (after, "after")

    def test_a_removal_is_not_missed_by_who_subscribes(self, store: Store, again: Store) -> None:
        version, answers = _written(store), list[bool]()
        waiter = threading.Thread(target=lambda: answers.append(looks_until_changed(store, "acme", version)))
        waiter.start()
        try:
            again.remove("acme", version)
        except ConfigurationError:
            again.cas("acme", version, "after")  # this store does not remove records
        waiter.join(2 * PATIENCE)
        assert answers == [True]

    def test_a_subscription_may_end_at_any_time_and_again(self, store: Store, again: Store) -> None:
        version = _written(store)
        ended, stays = Sleeper(store, "acme", version), Sleeper(store, "acme", version)
        for _ in range(2):
            ended.end()
        again.cas("acme", version, "after")
        assert stays.is_over()
        for _ in range(2):
            stays.end()
            ended.end()

    def test_subscribing_takes_no_longer_where_the_record_is_held(self, store: Store, again: Store) -> None:
        version, hold = _written(store), again.hold("acme")
        assert hold is not None
        sleeper = Sleeper(store, "acme", version)
        again.cas("acme", version, "after")
        hold.release()
        assert sleeper.is_over()
        sleeper.end()

    def test_a_subscription_lasts_for_a_time_that_is_a_number(self, store: Store) -> None:
        sleeper = Sleeper(store, "nothing", "")
        sleeper.end()
        assert sleeper.within >= 0.0
        assert not math.isnan(sleeper.within)


def _written(store: Store) -> str:
    found = store.load("acme")
    return store.cas("acme", found.version if found is not None else None, "body")
