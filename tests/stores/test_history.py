"""The checker of histories sees each way in which a store can be wrong, and the contract fails for wrong stores."""

from __future__ import annotations

import contextlib
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from onerefresh import ConfigurationError, StoreUnavailable
from onerefresh.store import Versioned
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing.stores.history import NOTHING, Did, HistoryBroken, Mark, Operation, check_history
from onerefresh.testing.stores.recording import held_elsewhere, record_in_processes, record_in_threads

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(480)]

ROOT = Path(__file__).parents[2]
A1, A2, A3 = (Mark(generation, f"ann {generation}") for generation in (1, 2, 3))
B1, B2 = (Mark(generation, f"bob {generation}") for generation in (1, 2))


def ann(did: Did, begin: int, end: int, mark: Mark = NOTHING, version: str | None = None) -> Operation:
    return Operation("ann", did, begin, end, mark, version)


def bob(did: Did, begin: int, end: int, mark: Mark = NOTHING, version: str | None = None) -> Operation:
    return Operation("bob", did, begin, end, mark, version)


GOOD = {
    "nothing": [ann(Did.READ, 0, 1)],
    "one after the other": [
        ann(Did.READ, 0, 1),
        ann(Did.WRITTEN, 2, 3, A1, "v1"),
        bob(Did.READ, 4, 5, A1, "v1"),
        bob(Did.WRITTEN, 6, 7, B2, "v2"),
        ann(Did.READ, 8, 9, B2, "v2"),
    ],
    "a read during a write sees it": [
        ann(Did.WRITTEN, 0, 9, A1),
        bob(Did.READ, 1, 2, A1),
        ann(Did.READ, 10, 11, A1),
    ],
    "a read during a write does not see it": [
        ann(Did.WRITTEN, 0, 9, A1),
        bob(Did.READ, 1, 2),
        ann(Did.READ, 10, 11, A1),
    ],
    "two reads that overlap see one before the other": [
        ann(Did.WRITTEN, 0, 9, A1),
        bob(Did.READ, 1, 4, A1),
        ann(Did.READ, 3, 8),
        ann(Did.READ, 10, 11, A1),
    ],
    "a conflict with a write that is under way": [
        ann(Did.WRITTEN, 0, 9, A1),
        bob(Did.CONFLICT, 1, 2, B1),
        ann(Did.READ, 10, 11, A1),
    ],
    "an unknown write that was applied": [
        ann(Did.UNKNOWN, 0, 1, A1),
        bob(Did.READ, 2, 3, A1),
        bob(Did.WRITTEN, 4, 5, B2),
        ann(Did.READ, 6, 7, B2),
    ],
    "an unknown write that was not applied": [
        ann(Did.UNKNOWN, 0, 1, A1),
        bob(Did.WRITTEN, 2, 3, B1),
        ann(Did.READ, 4, 5, B1),
    ],
    "a write that was not": [ann(Did.UNAVAILABLE, 0, 1, A1), ann(Did.READ, 2, 3)],
    "one hold after the other": [ann(Did.HELD, 0, 3), bob(Did.HELD, 3, 5), ann(Did.READ, 6, 7)],
}

WRONG = {
    "generation 1 was lost": [ann(Did.WRITTEN, 0, 1, A1), ann(Did.READ, 2, 3)],
    "two writes have the same generation": [
        ann(Did.WRITTEN, 0, 5, A1),
        bob(Did.WRITTEN, 1, 6, B1),
        ann(Did.READ, 7, 8, B1),
    ],
    "was surely never written": [ann(Did.WRITTEN, 0, 1, A2), ann(Did.READ, 2, 3, A2)],
    "was surely never written, but": [bob(Did.UNAVAILABLE, 0, 1, B1), ann(Did.READ, 2, 3, B1)],
    "a write that was certainly not applied was read": [
        bob(Did.CONFLICT, 0, 9, B1),
        ann(Did.WRITTEN, 1, 2, A1),
        bob(Did.READ, 3, 4, B1),
        ann(Did.READ, 10, 11, A1),
    ],
    "it was read before it was written": [
        bob(Did.READ, 0, 1, A1),
        ann(Did.WRITTEN, 2, 3, A1),
        ann(Did.READ, 4, 5, A1),
    ],
    "an older state came back: bob read nothing": [
        ann(Did.WRITTEN, 0, 1, A1),
        bob(Did.READ, 2, 3),
        ann(Did.READ, 4, 5, A1),
    ],
    "an older state came back: ann read nothing": [
        ann(Did.WRITTEN, 0, 9, A1),
        bob(Did.READ, 1, 2, A1),
        ann(Did.READ, 3, 4),
        ann(Did.READ, 10, 11, A1),
    ],
    "an older state came back: bob wrote 1": [
        ann(Did.WRITTEN, 0, 1, A2),
        bob(Did.WRITTEN, 2, 3, B1),
        ann(Did.READ, 4, 5, A2),
    ],
    "no other process had written": [bob(Did.CONFLICT, 0, 1, B1), ann(Did.WRITTEN, 2, 3, A1), ann(Did.READ, 4, 5, A1)],
    "no other process had written: bob": [bob(Did.CONFLICT, 0, 1, B1), ann(Did.READ, 4, 5)],
    "version 'v' was used twice": [
        ann(Did.WRITTEN, 0, 1, A1, "v"),
        ann(Did.WRITTEN, 2, 3, A2, "v"),
        ann(Did.READ, 4, 5, A2, "v"),
    ],
    "has two versions": [ann(Did.WRITTEN, 0, 1, A1, "v"), ann(Did.READ, 4, 5, A1, "w")],
    "two processes had the hold at the same time": [ann(Did.HELD, 0, 3), bob(Did.HELD, 2, 5), ann(Did.READ, 6, 7)],
}


@pytest.mark.parametrize("which", GOOD)
def test_a_history_of_a_register_is_good_in_whatever_order_it_is_told(which: str) -> None:
    history = list(GOOD[which])
    writes = max(operation.mark.generation for operation in history if operation.did is Did.READ)
    for _ in range(5):
        assert check_history(history) == writes
        random.shuffle(history)


@pytest.mark.parametrize("what", WRONG)
def test_a_history_that_no_register_has_is_told(what: str) -> None:
    with pytest.raises(HistoryBroken, match=re.escape(what)):
        check_history(WRONG[what])


@pytest.mark.parametrize("body", ["", "body", "one by ann", "²by", "1 ann", "- by ann"])
def test_a_body_that_nobody_wrote_is_told(body: str) -> None:
    with pytest.raises(HistoryBroken, match="no process wrote"):
        Mark.parse(body)


def test_a_mark_is_read_as_it_was_written() -> None:
    assert Mark.parse(str(A3)) == A3


def test_an_opener_that_cannot_go_to_another_process_is_told() -> None:
    store = MemoryStore()
    with pytest.raises(ConfigurationError, match=r"functools\.partial"):
        record_in_processes(lambda: store)
    with pytest.raises(ConfigurationError, match=r"functools\.partial"), held_elsewhere(lambda: store, "body"):
        pass


def test_processes_that_share_nothing_are_told() -> None:
    with pytest.raises(HistoryBroken):
        check_history(record_in_processes(MemoryStore, workers=2, rounds=2))


class Failing(MemoryStore):
    """Says that it is unavailable when it is `down`, and then does what it was asked, if it is `deceitful`."""

    def __init__(self, *, deceitful: bool) -> None:
        super().__init__()
        self.deceitful, self.down = deceitful, threading.Event()

    def cas(self, key: str, expected: str | None, body: str) -> str:
        down = self.down.is_set()
        if not down or self.deceitful:
            version = super().cas(key, expected, body)
        if down:
            raise StoreUnavailable("down")
        return version

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        self.down.set()
        yield
        self.down.clear()


def test_a_failed_write_that_was_applied_is_told() -> None:
    honest, deceitful = Failing(deceitful=False), Failing(deceitful=True)
    check_history(record_in_threads(lambda: honest, workers=2, outage=honest.outage))
    with pytest.raises(HistoryBroken, match="surely"):
        check_history(record_in_threads(lambda: deceitful, workers=1, outage=deceitful.outage))


def test_what_a_worker_raises_is_raised_though_the_others_wait_for_it() -> None:
    class Broken(MemoryStore):
        def load(self, key: str) -> Versioned | None:
            if threading.current_thread().name.endswith("_1"):
                raise StoreUnavailable("down")
            return super().load(key)

    store = Broken()
    with pytest.raises(StoreUnavailable, match="down"):
        record_in_threads(lambda: store)


WRONG_STORES = {
    "that never conflicts": (
        """
        def cas(self, key, expected, body):
            found = self.load(key)
            return super().cas(key, found.version if found else None, body)
        """,
        {
            "test_a_write_over_an_old_version_conflicts_and_changes_nothing",
            "test_random_histories_agree_with_a_dict",
            "test_the_history_of_many_threads_is_one_of_a_single_register",
        },
    ),
    "that applies what it calls a conflict": (
        """
        def cas(self, key, expected, body):
            try:
                return super().cas(key, expected, body)
            except Conflict:
                self._records[key] = Versioned(self._records[key].version + "!", body) if key in self._records else None
                raise
        """,
        {
            "test_a_first_write_over_a_record_conflicts_and_changes_nothing",
            "test_random_histories_agree_with_a_dict",
        },
    ),
    "whose versions come back": (
        """
        def cas(self, key, expected, body):
            self._writes %= 2
            return super().cas(key, expected, body)
        """,
        {
            "test_versions_never_come_back_even_for_equal_bodies",
            "test_random_histories_agree_with_a_dict",
            "test_the_history_of_many_threads_is_one_of_a_single_register",
        },
    ),
    "that remembers what it has read": (
        """
        def __init__(self):
            super().__init__()
            self._read = {}

        def load(self, key):
            self._looks = getattr(self, "_looks", 0) + 1
            if self._looks % 5 == 0 and key in self._read:
                return self._read[key]
            found = super().load(key)
            if found:
                self._read.setdefault(key, found)
            return found
        """,
        {"test_random_histories_agree_with_a_dict", "test_the_history_of_many_threads_is_one_of_a_single_register"},
    ),
    "whose hold is anybody's": (
        """
        def hold(self, key):
            hold = AdvisoryLock()
            hold.death_proof = "mine"
            return hold
        """,
        {"test_a_hold_that_proves_something_excludes_others_until_it_is_released"},
    ),
    "that shows what it holds": (
        """
        def cas(self, key, expected, body):
            try:
                return super().cas(key, expected, body)
            except Conflict:
                raise Conflict(body) from None
        """,
        {"test_a_conflict_shows_nothing_of_either_body"},
    ),
    "that wakes with an error": (
        """
        def wait(self, key, version, timeout):
            raise TimeoutError
        """,
        {
            "test_waiting_ends_when_its_time_is_over",
            "test_waiting_where_nothing_is_stored_does_no_harm",
            "test_waiting_for_a_version_that_is_gone_ends_at_once",
        },
    ),
    "that forgets who subscribes": (
        """
        def subscribe(self, key, version, since, wake):
            return Wakeup(print)
        """,
        {
            "test_a_change_between_the_read_and_the_subscription_is_not_missed",
            "test_a_subscription_may_end_at_any_time_and_again",
        },
    ),
    "that misses what changed before": (
        """
        def subscribe(self, key, version, since, wake):
            present = self.load(key)
            return super().subscribe(key, present.version if present else "", since, wake)
        """,
        {"test_a_change_between_the_read_and_the_subscription_is_not_missed"},
    ),
}

WRONG_TESTS = '''
import pytest
from onerefresh.pause import Wakeup
from onerefresh.store import AdvisoryLock, Conflict, Versioned
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import StoreContract

class WrongStore(MemoryStore):
    """A store {which}."""
{methods}

class TestWrongStore(StoreContract):
    examples = 20

    @pytest.fixture
    def opener(self):
        store = WrongStore()
        return lambda: store
'''


QUICK = """
from hypothesis import Phase, settings

settings.register_profile("found is enough", phases=[Phase.generate])
settings.load_profile("found is enough")

from onerefresh.testing.stores import subscriptions

subscriptions.PATIENCE = 1.0  # what never comes is given up
"""


def test_the_contract_fails_for_each_wrong_store_and_says_where(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(QUICK)
    expected = set()
    for number, (which, (methods, names)) in enumerate(WRONG_STORES.items()):
        indented = "\n".join(line[4:] for line in methods.splitlines())
        (tmp_path / f"test_{number}.py").write_text(WRONG_TESTS.format(which=which, methods=indented))
        expected |= {(number, name) for name in names}
    arguments = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path), "--tb=no", "-rf"]
    chosen = " or ".join(sorted({name for _, name in expected} | {"test_what_was_written_is_read"}))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, "-k", chosen, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    failed = re.findall(r"^FAILED \S*test_(\d+)\.py::TestWrongStore::(\w+)", done.stdout, re.MULTILINE)
    assert {(int(number), name) for number, name in failed} >= expected, done.stdout + done.stderr
    assert "test_what_was_written_is_read" not in {name for _, name in failed}
