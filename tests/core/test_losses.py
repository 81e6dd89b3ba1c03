"""The note of losses: what it says, and what it keeps of others."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest
from tests.core.calls import PATIENCE
from tests.regressions.test_stores_of_ones_own import Dictionary

from onerefresh import losses
from onerefresh.errors import StoreUnavailable
from onerefresh.loss_reports import Reports
from onerefresh.losses import (
    KEY,
    LONGEST_COMPARING,
    MOST,
    Beats,
    Losses,
    compares,
    digest,
    read_losses,
    read_note,
    report_losses,
)
from onerefresh.renewal.world import NO_NOTE
from onerefresh.store import Versioned


def fields(store: Dictionary) -> dict[str, object]:
    found: dict[str, object] = json.loads(store.records[KEY].body)
    found.pop("checksum", None)  # of what was there
    return found


def put(store: Dictionary, found: dict[str, object]) -> None:
    store.cas(KEY, store.records[KEY].version, json.dumps(found))


def names(*keys: str) -> frozenset[str]:
    return frozenset(map(digest, keys))


# --- What newer versions write ---


def test_what_a_newer_version_has_added_to_the_note_is_kept() -> None:
    """Before, each report made a record of its own, without it."""
    store = Dictionary()
    assert report_losses(store, ["acme"])
    put(store, fields(store) | {"added": [1], "history": [[1, 2.0, "as noted"]]})
    assert report_losses(store, ["beta"])
    assert compares(store, "this", over=False)
    assert (fields(store)["added"], fields(store)["history"]) == ([1], [[1, 2.0, "as noted"]])


@pytest.mark.parametrize("write", [lambda store: report_losses(store, ["b"]), lambda s: compares(s, "x", over=False)])
def test_a_note_that_only_a_newer_version_can_write_is_left_alone(write: Callable[[Dictionary], str]) -> None:
    """Before, it was written over with schema 1."""
    store = Dictionary()
    report_losses(store, ["acme"])
    put(store, fields(store) | {"schema": 2})
    before = store.records[KEY]
    assert write(store) == NO_NOTE
    assert store.records[KEY] == before
    assert read_note(store, "acme") is None


# --- What was lost since ---


def test_a_note_that_took_the_place_of_another_one_says_that_anything_may_be_lost() -> None:
    """Before, one loss in the first note and three in the second counted as two more, and the first was not named."""
    store = Dictionary()
    report_losses(store, ["acme"])
    earlier = read_losses(store)
    store.records.clear()
    report_losses(store, ["beta", "gamma", "delta"])
    assert read_losses(store).since(earlier) is None
    assert read_losses(store).named_since(earlier) == names("beta", "gamma", "delta")


def test_so_does_a_note_that_went_back_and_was_written_since() -> None:
    store = Dictionary()
    report_losses(store, ["acme"])
    old = store.records[KEY]
    report_losses(store, ["beta"])
    earlier = read_losses(store)
    store.records[KEY] = old
    report_losses(store, ["gamma", "delta"])
    assert read_losses(store).since(earlier) is None
    assert read_losses(store).named_since(earlier) == frozenset()


def test_the_first_note_says_what_is_in_it() -> None:
    store = Dictionary()
    earlier = read_losses(store)
    report_losses(store, ["acme"])
    assert read_losses(store).since(earlier) == names("acme")


@pytest.mark.parametrize("count", [1, 101, MOST, MOST + 1])
def test_so_many_losses_are_named_between_two_looks(count: int) -> None:
    """Before, of more than a hundred it was only known that there were some."""
    store = Dictionary()
    report_losses(store, ["first"])
    earlier = read_losses(store)
    lost = [f"tenant-{number}" for number in range(count)]
    report_losses(store, lost)
    since = read_losses(store).since(earlier)
    assert since == (names(*lost) if count <= MOST else None)


def test_a_process_that_is_still_comparing_says_so_and_nothing_is_lost_by_that() -> None:
    store = Dictionary()
    report_losses(store, ["acme"])
    before = read_losses(store)
    for over in (False, False, True):
        compares(store, "this", over=over)
    compares(store, "other", over=False)
    now = read_losses(store)
    assert now.since(before) == frozenset()
    assert list(now.comparing) == ["other"]
    compares(store, "this", over=False)
    first = read_losses(store).comparing["this"]
    compares(store, "this", over=False)
    assert read_losses(store).comparing["this"] > first


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_a_process_whose_clock_is_wrong_leaves_nobody_out(monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    """They are still comparing: whoever read the note then sent an older copy before they had brought back theirs."""
    store, real = Dictionary(), time.time
    compares(store, "other", over=False)
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    for over in (False, True):
        compares(store, "this", over=over)
        assert "other" in read_losses(store).comparing
    monkeypatch.setattr(time, "time", real)
    compares(store, "a third", over=False)
    assert list(read_losses(store).comparing) == ["other", "a third"]


def test_one_that_has_said_nothing_for_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    store, beats, now = Dictionary(), Beats(), time.monotonic()
    compares(store, "dead", over=False)
    beats.sees(read_losses(store))
    monkeypatch.setattr(losses, "monotonic", lambda: now + LONGEST_COMPARING / 2)
    compares(store, "other", over=False)
    beats.sees(read_losses(store))
    monkeypatch.setattr(losses, "monotonic", lambda: now + LONGEST_COMPARING + 1.0)
    beats.sees(read_losses(store))
    assert beats.silent() == {"dead"}
    compares(store, "this", over=False, silent=beats.silent())
    assert list(read_losses(store).comparing) == ["other", "this"]


@pytest.mark.parametrize("comparing", [None, [1], {"a": "b"}, {"a": None}, "text"])
@pytest.mark.parametrize("name", [None, 7, [1]])
def test_odd_fields_in_the_note_cost_nothing(comparing: object, name: object) -> None:
    store = Dictionary()
    report_losses(store, ["acme"])
    put(store, fields(store) | {"comparing": comparing, "id": name, "lost": "odd"})
    assert read_losses(store) == Losses(store.records[KEY].version, 1)
    assert report_losses(store, ["beta"])
    assert compares(store, "this", over=False)


# --- Writing it ---


@pytest.mark.parametrize("error", [StoreUnavailable("down"), OSError("the answer was lost")])
def test_a_write_of_the_note_that_fails_once_is_tried_again(error: Exception) -> None:
    """Before, that ended it, and no holder of a newer token learned of the loss."""

    class Once(Dictionary):
        def load(self, key: str) -> Versioned | None:
            failed, self.failed = self.failed, True
            if not failed and isinstance(error, StoreUnavailable):
                raise error
            return super().load(key)

        failed = False

    store = Once()
    mark = report_losses(store, ["acme"])
    note = read_note(store, "acme")
    assert note is not None
    assert note.still_says(mark)


def test_a_store_that_is_down_is_not_waited_for() -> None:
    class Down(Dictionary):
        def load(self, key: str) -> Versioned | None:
            raise StoreUnavailable("down")

    assert report_losses(Down(), ["acme"]) == ""


def test_of_all_threads_that_report_at_the_same_time_one_writes_for_all() -> None:
    """Before, a hundred of them wrote for longer than a recovery lease lasts, and most gave up."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Dictionary):
        def cas(self, key: str, expected: str | None, body: str) -> str:
            begun.set()
            assert go_on.wait(PATIENCE)
            return super().cas(key, expected, body)

    store, reports, marks = Slow(), Reports(), list[str]()
    threads = [
        threading.Thread(target=lambda key=f"k{number}": marks.append(reports.report(store, [key])))
        for number in range(20)
    ]
    threads[0].start()
    assert begun.wait(PATIENCE)
    for thread in threads[1:]:
        thread.start()
    while len(reports._desk_of(store).asked) < 19:
        assert threads[0].is_alive()
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert store.writes == 2
    assert read_losses(store).total == len(marks) == 20
    note = read_note(store, "k7")
    assert note is not None
    assert all(note.still_says(mark) for mark in marks)
    reports.after_fork()
    assert reports.report(store, ["late"])


def test_the_note_still_says_what_it_said_though_others_came_in_its_place() -> None:
    store = Dictionary()
    mark = report_losses(store, ["acme"])
    report_losses(store, [f"tenant-{number}" for number in range(MOST)])
    note = read_note(store, "acme")
    assert note is not None
    assert not note.is_named
    assert note.still_says(mark)
    for other in ("", NO_NOTE, "another:1", f"{note.id}:{note.total + 1}", f"{note.id}:", "::"):
        assert not note.still_says(other)
