"""Stores that users write: one that names nothing, and one that raises what its driver raised."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.core.calls import Refresher, expired, listening

from onerefresh import Credential, StoreUnavailable
from onerefresh.events import Kind
from onerefresh.store import Conflict, Store, Versioned


class Dictionary(Store):
    """The least that a store is."""

    def __init__(self) -> None:
        self.records: dict[str, Versioned] = {}
        self.writes = 0
        self.raises: dict[int, Exception] = {}
        self._lock = threading.Lock()  # several threads write at the same time

    def load(self, key: str) -> Versioned | None:
        return self.records.get(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        with self._lock:
            present = self.records.get(key)
            if (present.version if present else None) != expected:
                raise Conflict(key)
            self.writes += 1
            version, error = str(self.writes), self.raises.get(self.writes)
            if isinstance(error, StoreUnavailable):
                raise error
            self.records[key] = Versioned(version, body)
        if error is not None:
            raise error
        return version


def test_a_store_that_names_nothing_shares_no_spool_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path))
    store = Dictionary()
    store.raises = dict.fromkeys([3, 4], StoreUnavailable("down"))  # after the seed and the claim
    with listening() as events, pytest.raises(StoreUnavailable, match="neither in the store nor in the spool"):
        Credential("acme", Refresher(), token=expired(), store=store).token()
    assert Kind.UNSAVED in [event.kind for event in events]
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("write", [1, 2, 3], ids=["seed", "claim", "commit"])
def test_a_write_that_was_applied_counts_whatever_the_store_raised_after_it(write: int) -> None:
    store, refresher = Dictionary(), Refresher()
    store.raises = {write: OSError("the driver's own")}
    credential = Credential("acme", refresher, token=expired(), store=store, max_wait=5.0)
    assert credential.token().generation == 2
    assert len(refresher.given) == 1
