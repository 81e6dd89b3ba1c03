"""The contract of every store, as tests: subclass them, and give them a way to open your store."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from onerefresh.errors import ConfigurationError
from onerefresh.store import Conflict, Store, Versioned
from onerefresh.testing.stores.history import check_history
from onerefresh.testing.stores.machine import StoreMachine
from onerefresh.testing.stores.recording import (
    KEY,
    KEYS,
    PATIENCE,
    Opener,
    held_elsewhere,
    record_in_processes,
    record_in_threads,
    soon,
)
from onerefresh.testing.stores.removal import RemovalContract
from onerefresh.testing.stores.subscriptions import Subscriptions

try:
    import pytest
    from hypothesis import settings
    from hypothesis.stateful import run_state_machine_as_test
except ImportError as error:
    raise ConfigurationError(
        f"onerefresh.testing.StoreContract needs {error.name}: pip install 'onerefresh[testing]'"
    ) from None

__all__ = ["SharedStoreContract", "StoreContract"]

T = TypeVar("T")

LONG = 60.0
"""Seconds that a wait may last that something else has to end."""

CLOCK_ERROR = 1.0
"""Seconds by which two readings of the store's clock may differ if different processes took them."""

BODIES = ["", "{}", '{"token": "ä 🗝"}', "x" * 1_000_000, "line\nline\0after"]


class StoreContract(RemovalContract, Subscriptions):
    """The contract of every store. Subclass it with the fixture `opener`; the class's name begins with ``Test``.

    * `rounds`: how much each worker of the histories does.
    * `examples`: the number of random histories.
    * `many`: a number of records that is more than one page of a scan.
    """

    rounds = 20
    examples = 30
    many = 120

    @pytest.fixture
    def opener(self) -> Opener:
        """The function that opens the store. Each call opens the same place, which is empty before the test."""
        raise NotImplementedError("give your test class a fixture `opener`: a function that opens the store")

    @pytest.fixture
    def store(self, opener: Opener) -> Iterator[Store]:
        """The store, which is closed after the test."""
        with closing(opener()) as store:
            yield store

    @pytest.fixture
    def again(self, opener: Opener) -> Iterator[Store]:
        """The same place, opened once more, as by another process."""
        with closing(opener()) as store:
            yield store

    # --- load and cas ---

    def test_nothing_is_stored_at_first(self, store: Store) -> None:
        assert store.load("acme") is None

    @pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
    def test_what_was_written_is_read(self, store: Store, again: Store, key: str) -> None:
        version = store.cas(key, None, "body")
        assert store.load(key) == again.load(key) == (version, "body")

    @pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
    def test_a_body_comes_back_as_it_was(self, store: Store, body: str) -> None:
        version = store.cas("acme", None, body)
        assert store.load("acme") == (version, body)
        version = store.cas("acme", version, body + "!")
        assert store.load("acme") == (version, body + "!")

    def test_keys_are_apart(self, store: Store) -> None:
        for key in KEYS:
            store.cas(key, None, f"of {key}")
        assert [store.load(key).body for key in KEYS] == [f"of {key}" for key in KEYS]  # type: ignore[union-attr]  # stored

    def test_a_first_write_over_a_record_conflicts_and_changes_nothing(self, store: Store, again: Store) -> None:
        version = store.cas("acme", None, "first")
        for opened in (store, again):
            with pytest.raises(Conflict):
                opened.cas("acme", None, "second")
        assert store.load("acme") == (version, "first")

    def test_a_write_over_an_old_version_conflicts_and_changes_nothing(self, store: Store, again: Store) -> None:
        old = store.cas("acme", None, "first")
        new = again.cas("acme", old, "second")
        with pytest.raises(Conflict):
            store.cas("acme", old, "third")
        assert store.load("acme") == (new, "second")

    @pytest.mark.parametrize("version", ["", "0", "1", "no such version"])
    def test_a_write_over_a_version_that_never_was_conflicts(self, store: Store, version: str) -> None:
        with pytest.raises(Conflict):
            store.cas("acme", version, "body")
        assert store.load("acme") is None

    def test_versions_never_come_back_even_for_equal_bodies(self, store: Store) -> None:
        version, seen = store.cas("acme", None, "a"), set()
        for body in ["b", "a", "a", "b", "a"]:
            assert version not in seen
            seen.add(version)
            version = store.cas("acme", version, body)
        assert version not in seen

    # --- Many at once ---

    @pytest.mark.parametrize("expects_a_record", [False, True])
    def test_of_many_writes_over_one_version_one_wins(self, store: Store, again: Store, expects_a_record: bool) -> None:
        expected = store.cas("acme", None, "before") if expects_a_record else None
        start = threading.Barrier(8)

        def write(number: int) -> str | None:
            start.wait(PATIENCE)
            try:
                return (store, again)[number % 2].cas("acme", expected, f"by {number}")
            except Conflict:
                return None

        with ThreadPoolExecutor(8) as pool:
            versions = list(pool.map(write, range(8)))
        [(winner, version)] = [(number, version) for number, version in enumerate(versions) if version is not None]
        assert store.load("acme") == again.load("acme") == (version, f"by {winner}")

    def test_random_histories_agree_with_a_dict(self, store: Store, again: Store) -> None:
        chosen = settings(max_examples=self.examples, stateful_step_count=20, deadline=None)
        run_state_machine_as_test(lambda: StoreMachine([store, again]), settings=chosen)  # type: ignore[arg-type]  # a function will do

    def test_the_history_of_many_threads_is_one_of_a_single_register(self, opener: Opener) -> None:
        # A worker's write fails only if another one succeeds meanwhile: of four, at least every fourth does.
        assert check_history(record_in_threads(opener, rounds=self.rounds)) >= self.rounds

    # --- The hints ---

    def test_waiting_ends_when_the_record_changes(self, store: Store) -> None:
        version = store.cas("acme", None, "before")
        waiter = threading.Thread(target=waits_until_changed, args=(store, "acme", version))
        waiter.start()
        store.cas("acme", version, "after")
        waiter.join(PATIENCE)
        assert not waiter.is_alive()

    def test_waiting_ends_when_the_holder_lets_go(self, store: Store, again: Store) -> None:
        version = store.cas("acme", None, "before")
        hold = again.hold("acme")
        waiter = threading.Thread(target=waits_until_changed, args=(store, "acme", version))
        waiter.start()
        again.cas("acme", version, "after")
        assert hold is not None
        hold.release()
        waiter.join(PATIENCE)
        assert not waiter.is_alive()

    def test_waiting_for_a_version_that_is_gone_ends_at_once(self, store: Store) -> None:
        old = store.cas("acme", None, "before")
        store.cas("acme", old, "after")
        store.wait("acme", old, LONG)

    def test_waiting_ends_when_its_time_is_over(self, store: Store) -> None:
        version = store.cas("acme", None, "body")
        hold = store.hold("acme")
        store.wait("acme", version, 0.01)
        store.wait("acme", version, 0.0)
        assert hold is not None
        hold.release()
        store.wait("acme", version, 0.01)

    def test_waiting_where_nothing_is_stored_does_no_harm(self, store: Store) -> None:
        store.wait("nothing", "", 0.01)
        assert store.load("nothing") is None

    @pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
    def test_a_hold_needs_no_record_and_makes_none(self, store: Store, again: Store, key: str) -> None:
        hold = soon(lambda: store.hold(key))
        assert hold is not None
        assert again.load(key) is None
        hold.release()

    def test_a_hold_that_proves_something_excludes_others_until_it_is_released(
        self, store: Store, again: Store
    ) -> None:
        first = store.hold("acme")
        assert first is not None
        if first.death_proof is not None:
            assert soon(lambda: store.hold("acme")) is None
            assert soon(lambda: again.hold("acme")) is None
        other = soon(lambda: again.hold("another"))
        assert other is not None
        first.release()
        second = soon(lambda: again.hold("acme"))
        assert second is not None
        assert second.death_proof == first.death_proof
        assert other.death_proof is None or other.death_proof != first.death_proof
        for hold in (first, second, second, other):
            hold.release()

    def test_a_hold_keeps_nobody_from_reading_and_writing(self, store: Store, again: Store) -> None:
        hold = store.hold("acme")
        assert hold is not None
        version = soon(lambda: again.cas("acme", None, "body"))
        assert soon(lambda: again.load("acme")) == store.load("acme") == (version, "body")
        hold.release()

    def test_the_store_s_clock_goes_on(self, store: Store, again: Store) -> None:
        readings = [store.moment(), again.moment(), store.moment()]
        if readings[0] is not None:
            eras = {reading.clock_epoch for reading in readings if reading is not None}
            first, elsewhere, last = (reading.seconds for reading in readings if reading is not None)
            assert len(eras) == 1
            assert first <= last
            assert first - CLOCK_ERROR <= elsewhere <= last + CLOCK_ERROR

    def test_a_scan_gives_each_record_once(self, store: Store, again: Store) -> None:
        written = {key: store.cas(key, None, f"body of {key}") for key in KEYS}
        try:
            found = list(again.scan())
        except ConfigurationError:
            return  # this store does not list its records
        assert len(found) == len(written)
        assert dict(found) == {key: Versioned(version, f"body of {key}") for key, version in written.items()}

    def test_a_scan_of_many_records_misses_none(self, store: Store) -> None:
        keys = {f"key {number}" for number in range(self.many)}
        for key in keys:
            store.cas(key, None, "body")
        try:
            found = [key for key, _ in store.scan()]
        except ConfigurationError:
            return  # this store does not list its records
        assert set(found) == keys

    def test_nothing_is_found_in_an_empty_store(self, store: Store) -> None:
        try:
            assert list(store.scan()) == []
        except ConfigurationError:
            return  # this store does not list its records

    def test_what_lies_beside_the_store_is_read_by_each_who_opened_it(self, store: Store, again: Store) -> None:
        for text in BODIES:
            assert again.unseal("acme", store.seal("acme", text)) == text

    def test_a_conflict_shows_nothing_of_either_body(self, store: Store) -> None:
        before, after = (f"test-secret-{which}" for which in ("before", "after"))
        store.cas("acme", None, before)
        with pytest.raises(Conflict) as caught:
            store.cas("acme", None, after)
        assert "test-secret" not in shown(caught.value)

    def test_the_name_is_the_place_and_no_secret(self, store: Store, again: Store) -> None:
        store.cas("acme", None, "test-secret-body")
        assert store.name == again.name
        assert "test-secret-body" not in repr(store) + store.name

    def test_closing_may_be_repeated_and_loses_nothing(self, store: Store, opener: Opener) -> None:
        version = store.cas("acme", None, "body")
        store.close()
        store.close()
        with closing(opener()) as opened:
            assert opened.load("acme") == (version, "body")


class SharedStoreContract(StoreContract):
    """The contract of a store that processes share. Its `opener` can be pickled: ``functools.partial(MyStore, …)``."""

    def test_the_history_of_many_processes_is_one_of_a_single_register(self, opener: Opener) -> None:
        assert check_history(record_in_processes(opener, rounds=self.rounds)) >= self.rounds

    def test_a_process_that_is_killed_leaves_what_it_wrote_and_holds_nothing(self, opener: Opener) -> None:
        with closing(opener()) as store:
            with held_elsewhere(opener, "body") as (version, death_proof):
                assert store.load(KEY) == (version, "body")
                free = soon(lambda: store.hold(KEY))
                assert (free is None) == (death_proof is not None)
                if free is not None:
                    free.release()
            assert store.load(KEY) == (version, "body")
            hold = soon(lambda: store.hold(KEY))
            assert hold is not None
            assert hold.death_proof == death_proof
            hold.release()
            store.cas(KEY, version, "after")


def shown(error: BaseException) -> str:
    """Everything that a log would show of an error."""
    return repr(error) + "".join(traceback.format_exception(error))


def waits_until_changed(store: Store, key: str, version: str) -> None:
    while (found := store.load(key)) is not None and found.version == version:
        store.wait(key, version, LONG)
