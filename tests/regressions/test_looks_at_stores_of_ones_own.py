"""Looks in the background at stores that users write: whatever they are, what they have lost is brought back."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import pytest
from tests.core.calls import Refresher, first_token
from tests.regressions.test_stores_of_ones_own import Dictionary

from onerefresh import Credential, policy
from onerefresh.losses import KEY, Losses, read_losses, report_losses
from onerefresh.store import Store, Versioned

PATIENCE = 10.0


class Picky(Dictionary):
    """One that holds credentials alone."""

    def load(self, key: str) -> Versioned | None:
        if not key.isprintable():
            raise ValueError("no name of a file")
        return super().load(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        if not key.isprintable():
            raise ValueError("no name of a file")
        return super().cas(key, expected, body)


@dataclasses.dataclass
class Compared(Dictionary):
    """One that says when it equals another, and so has no hash."""

    place: str = "here"

    def __post_init__(self) -> None:
        super().__init__()


@pytest.fixture
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "LOOK_SELDOM", 0.1)


def comes_back(store: Dictionary, key: str = "acme") -> bool:
    deadline = time.monotonic() + PATIENCE
    while key not in store.records and time.monotonic() < deadline:
        time.sleep(0.01)
    return key in store.records


@pytest.mark.usefixtures("short_looks")
@pytest.mark.parametrize("make", [Dictionary, Picky, Compared])
def test_a_record_that_is_lost_comes_back_whatever_the_store_is(make: Callable[[], Dictionary]) -> None:
    store = make()
    credential = Credential("acme", Refresher(), token=first_token(), store=store)
    assert credential.token().generation == 1
    for _ in range(2):  # the first time has not ended the looks
        del store.records["acme"]
        assert comes_back(store)


@pytest.mark.usefixtures("short_looks")
@pytest.mark.parametrize("text", ["", "{}", "nothing", '{"schema":1}', '{"schema":99}', '{"sealed":1}'])
def test_a_note_that_cannot_be_read_costs_no_look(text: str) -> None:
    store = Dictionary()
    credential = Credential("acme", Refresher(), token=first_token(), store=store)
    assert credential.token().generation == 1
    store.records[KEY] = Versioned("damaged", text)
    del store.records["acme"]
    assert comes_back(store)


def test_a_note_that_is_damaged_is_written_anew() -> None:
    store = Dictionary()
    store.records[KEY] = Versioned("damaged", "nothing")
    assert read_losses(store) == Losses("damaged")
    assert report_losses(store, ["acme"])
    assert read_losses(store).total == 1


def test_nobody_who_asks_hears_that_a_store_cannot_hold_the_note(short_looks: None) -> None:
    store: Store = Picky()
    credential = Credential("acme", Refresher(), token=first_token(), store=store)
    first = credential.token()
    assert isinstance(store, Picky)
    del store.records["acme"]
    assert credential.token(refused=first).generation == 2


def test_all_who_find_their_records_lost_at_once_say_so() -> None:
    class Contended(Dictionary):
        """Others write the note before each of the first writes here."""

        others = 12

        def cas(self, key: str, expected: str | None, body: str) -> str:
            if self.others:
                self.others -= 1
                super().cas(key, expected, body)
            return super().cas(key, expected, body)

    store = Contended()
    assert report_losses(store, ["acme"])
