"""What every store keeps, as tests. A store's own tests subclass `StoreContract` and `StoreMachine`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from onerefresh.store import Conflict, Store

LONG = 60.0
"""Seconds that a wait may last which is to be ended by something else."""
PATIENCE = 30.0

KEYS = ["acme", "ACME", "äöü", "a/b", "../up", "a b", "' OR 1=1 --", "%", "🗝", "x" * 512]
BODIES = ["", "{}", '{"token": "ä 🗝"}', "x" * 1_000_000, "line\nline\0after"]


class StoreContract:
    """Subclass it with the two fixtures."""

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    @pytest.fixture
    def again(self, store: Store) -> Store:
        """The same place, opened once more: as another process would."""
        raise NotImplementedError

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

    def test_no_change_is_lost_among_many_writers(self, store: Store, again: Store) -> None:
        store.cas("acme", None, "0")

        def add(number: int) -> None:
            opened = (store, again)[number % 2]
            for _ in range(5):
                while True:
                    found = opened.load("acme")
                    assert found is not None
                    try:
                        opened.cas("acme", found.version, str(int(found.body) + 1))
                        break
                    except Conflict:
                        continue

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(4)))
        found = again.load("acme")
        assert found is not None
        assert found.body == "20"

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

    def test_a_hold_that_proves_something_excludes_others_until_it_is_released(
        self, store: Store, again: Store
    ) -> None:
        first = store.hold("acme")
        assert first is not None
        if first.proof is not None:
            assert store.hold("acme") is None
            assert again.hold("acme") is None
        other = again.hold("another")
        assert other is not None
        first.release()
        second = again.hold("acme")
        assert second is not None
        assert second.proof == first.proof
        assert other.proof is None or other.proof != first.proof
        for hold in (first, second, second, other):
            hold.release()

    def test_the_store_s_clock_goes_on(self, store: Store, again: Store) -> None:
        readings = [store.moment(), again.moment(), store.moment()]
        if readings[0] is not None:
            eras = {reading.era for reading in readings if reading is not None}
            seconds = [reading.seconds for reading in readings if reading is not None]
            assert (len(eras), len(seconds)) == (1, 3)
            assert seconds == sorted(seconds)

    def test_the_name_is_the_place_and_no_secret(self, store: Store, again: Store) -> None:
        store.cas("acme", None, "test-secret-body")
        assert store.name == again.name
        assert "test-secret-body" not in repr(store) + store.name

    def test_closing_may_be_repeated(self, store: Store) -> None:
        store.cas("acme", None, "body")
        store.close()
        store.close()


def waits_until_changed(store: Store, key: str, version: str) -> None:
    while (found := store.load(key)) is not None and found.version == version:
        store.wait(key, version, LONG)


class StoreMachine(RuleBasedStateMachine):
    """Random histories, against a dict. Subclass it with `open_store`, which gives the same place each time."""

    versions = Bundle("versions")

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, tuple[str, str]] = {}
        self.seen: set[str] = set()
        self.store = self.open_store()

    def open_store(self) -> Store:
        raise NotImplementedError

    @rule(target=versions, key=st.sampled_from("abc"), body=st.text(max_size=50), version=versions | st.none())
    def write_over(self, key: str, body: str, version: str | None) -> object:
        present = self.model.get(key)
        if (present[0] if present else None) != version:
            with pytest.raises(Conflict):
                self.store.cas(key, version, body)
            return multiple()
        return self._written(key, version, body)

    @rule(target=versions, key=st.sampled_from("abc"), body=st.text(max_size=50))
    def write_over_the_present(self, key: str, body: str) -> str:
        present = self.model.get(key)
        return self._written(key, present[0] if present else None, body)

    @rule(key=st.sampled_from("abc"))
    def hold_and_release(self, key: str) -> None:
        hold = self.store.hold(key)
        assert hold is not None
        hold.release()

    @rule(key=st.sampled_from("abc"))
    def wait(self, key: str) -> None:
        self.store.wait(key, "another version", 0.0)

    @rule()
    def open_it_again(self) -> None:
        self.store = self.open_store()

    @invariant()
    def the_store_holds_what_was_written(self) -> None:
        assert {key: self.store.load(key) for key in "abc"} == {key: self.model.get(key) for key in "abc"}

    def _written(self, key: str, version: str | None, body: str) -> str:
        written = self.store.cas(key, version, body)
        assert written not in self.seen
        self.seen.add(written)
        self.model[key] = (written, body)
        return written
