"""The contract of a store that cannot be used for a while."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

import pytest

from onerefresh.errors import ConfigurationError, StoreUnavailable
from onerefresh.store import Store, StoreOutcomeUnknown, Versioned
from onerefresh.testing.stores.contract import StoreContract, shown
from onerefresh.testing.stores.history import Did, check_history
from onerefresh.testing.stores.recording import Opener, Outage, record_in_threads, soon
from onerefresh.testing.stores.subscriptions import Sleeper, looks_until_changed

__all__ = ["FailingStoreContract"]

T = TypeVar("T")


class FailingStoreContract(StoreContract):
    """The contract of a store while it is unreachable. Subclass it with the fixture `outage`, too."""

    @pytest.fixture
    def outage(self) -> Outage:
        """The function that makes a context manager, within which no client can use the store.

        Afterwards everything is as before. It is entered while other threads use the store, and must harm nothing.
        """
        raise NotImplementedError("give your test class a fixture `outage`: a function that makes a context manager")

    def test_reading_in_an_outage_says_so(self, store: Store, outage: Outage) -> None:
        version = store.cas("acme", None, "body")
        with outage(), pytest.raises(StoreUnavailable):
            store.load("acme")
        assert store.load("acme") == (version, "body")

    @pytest.mark.parametrize("expects_a_record", [False, True])
    def test_a_write_in_an_outage_is_surely_not_applied_or_of_unknown_outcome(
        self, store: Store, again: Store, outage: Outage, expects_a_record: bool
    ) -> None:
        again.cas("another", None, "body")  # so that the place exists
        version = again.cas("acme", None, "before") if expects_a_record else None
        before = again.load("acme")
        with outage(), pytest.raises((StoreUnavailable, StoreOutcomeUnknown)) as caught:
            store.cas("acme", version, "after")
        found = again.load("acme")
        if found == before:
            found = Versioned(store.cas("acme", version, "after"), "after")
        else:
            assert caught.type is StoreOutcomeUnknown
            assert found is not None
        assert again.load("acme") == store.load("acme") == (found.version, "after")
        assert found.version != version

    def test_a_failed_write_shows_nothing_of_its_body(self, store: Store, outage: Outage) -> None:
        store.cas("another", None, "body")
        body = "-".join(["test", "secret", "body"])  # the traceback quotes this file
        with outage(), pytest.raises((StoreUnavailable, StoreOutcomeUnknown)) as caught:
            store.cas("acme", None, body)
        assert body not in shown(caught.value)

    def test_a_removal_in_an_outage_is_surely_not_applied_or_of_unknown_outcome(
        self, store: Store, again: Store, outage: Outage
    ) -> None:
        version = again.cas("acme", None, "body")
        with outage(), pytest.raises((StoreUnavailable, StoreOutcomeUnknown, ConfigurationError)) as caught:
            store.remove("acme", version)
        if again.load("acme") is None:
            assert caught.type is StoreOutcomeUnknown

    def test_waiting_in_an_outage_ends_and_raises_nothing(self, store: Store, outage: Outage) -> None:
        version = store.cas("acme", None, "body")
        with outage():
            soon(lambda: store.wait("acme", version, 0.01))
            soon(lambda: store.wait("acme", "another version", 0.01))
        store.wait("acme", version, 0.01)

    def test_subscribing_in_an_outage_raises_nothing_and_ends(self, store: Store, outage: Outage) -> None:
        version = store.cas("acme", None, "body")
        with outage():
            sleeper = Sleeper(store, "acme", version)
            sleeper.end()
        assert looks_until_changed(store, "acme", "another version")

    def test_the_hints_in_an_outage_raise_nothing_else(self, store: Store, outage: Outage) -> None:
        store.cas("acme", None, "body")
        with outage():
            held = soon(lambda: tried(lambda: store.hold("acme")))
            if held is not None:
                held.release()
            tried(store.moment)
        hold = soon(lambda: store.hold("acme"))
        assert hold is not None
        hold.release()

    def test_a_hold_from_before_an_outage_can_be_released_in_it(
        self, store: Store, again: Store, outage: Outage
    ) -> None:
        store.cas("acme", None, "body")
        hold = store.hold("acme")
        assert hold is not None
        with outage():
            hold.release()
        free = soon(lambda: again.hold("acme"))
        assert free is not None
        free.release()

    def test_a_history_with_outages_is_one_of_a_single_register(self, opener: Opener, outage: Outage) -> None:
        with closing(opener()) as store:
            store.cas("another", None, "body")
        history = record_in_threads(opener, rounds=self.rounds, outage=outage)
        assert check_history(history) >= 1
        failed = [operation for operation in history if operation.did in (Did.UNAVAILABLE, Did.UNKNOWN)]
        assert failed, "no write failed: check that the outage makes a write fail"


def tried(use: Callable[[], T | None]) -> T | None:
    """The result of `use`; None where the store is unavailable. Anything else is raised."""
    try:
        return use()
    except StoreUnavailable:
        return None
