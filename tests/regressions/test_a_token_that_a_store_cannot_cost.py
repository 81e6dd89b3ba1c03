"""Between the answer and the commit nothing that a store raises may throw the new token away."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.core.calls import until_renewals_are_over

from onerefresh import Credential, Token, events
from onerefresh.errors import ConfigurationError, StoreUnavailable
from onerefresh.record_text import decode
from onerefresh.store import Conflict, Store, StoreTime, Versioned


class Moody(Store):
    """A store of somebody's own, which raises `mood` at the next use of `method`."""

    name = "moody"

    def __init__(self) -> None:
        self.kept: dict[str, Versioned] = {}
        self.method, self.mood = "", Exception()
        self.writes = 0

    def _strike(self, method: str) -> None:
        if method == self.method:
            self.method = ""
            raise self.mood

    def load(self, key: str) -> Versioned | None:
        return self.kept.get(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        self._strike("cas")
        present = self.kept.get(key)
        if (present.version if present else None) != expected:
            raise Conflict
        self.writes += 1
        self.kept[key] = Versioned(str(self.writes), body)
        return str(self.writes)

    def moment(self) -> StoreTime | None:
        self._strike("moment")
        return None

    def seal(self, key: str, text: str) -> str:
        self._strike("seal")
        return text


@pytest.mark.parametrize(
    ("method", "mood"),
    [
        ("cas", ConfigurationError("the key is gone")),
        ("cas", RuntimeError("a driver's own error")),
        ("moment", RuntimeError("a driver's own error")),
    ],
)
def test_a_new_token_is_saved_although_the_store_raised_something(
    method: str, mood: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))
    store = Moody()
    refreshes = []

    def refresh(token: Token) -> dict[str, object]:
        refreshes.append(token.generation)
        store.method, store.mood = method, mood
        return {"access_token": "new", "refresh_token": "new refresh", "expires_in": 3600}

    first = {"access_token": "old", "refresh_token": "old refresh", "expires_in": 3600}
    with Credential("acme", refresh, token=first, store=store) as credential:
        assert credential.token(refused=credential.token()).generation == 2
    until_renewals_are_over()
    assert '"new refresh"' in store.kept["acme"].body
    assert (refreshes, store.method) == ([1], "")


@pytest.mark.parametrize("mood", [ConfigurationError("the key is gone"), RuntimeError("a driver's own error")])
def test_a_spool_that_cannot_be_encrypted_is_said_and_the_token_saved_later(
    mood: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))
    store = Moody()

    def refresh(token: Token) -> dict[str, object]:
        store.method, store.mood = "cas", ConfigurationError("the key is gone")
        return {"access_token": "new", "refresh_token": "new refresh", "expires_in": 3600}

    def heard(event: events.Event) -> None:
        told.append(event.kind)

    def seal(key: str, text: str) -> str:
        raise mood

    told: list[events.Kind] = []
    monkeypatch.setattr(store, "seal", seal)
    first = {"access_token": "old", "refresh_token": "old refresh", "expires_in": 3600}
    unsubscribe = events.subscribe(heard)
    try:
        with Credential("acme", refresh, token=first, store=store) as credential:
            with pytest.raises(StoreUnavailable, match="neither in the store nor in the spool"):
                credential.token(refused=credential.token())
        until_renewals_are_over()
    finally:
        unsubscribe()
    assert '"new refresh"' in store.kept["acme"].body
    assert told.index(events.Kind.UNSAVED) < told.index(events.Kind.REFRESHED)


@pytest.mark.parametrize("levels", [90, 5_000])
def test_an_answer_that_is_nested_deeper_than_json_can_be_costs_no_token(levels: int) -> None:
    claims: dict[str, object] = {}
    for _ in range(levels):
        claims = {"in": claims}

    def refresh(token: Token) -> dict[str, object]:
        return {"access_token": "new", "refresh_token": "new refresh", "expires_in": 3600, "claims": claims}

    store = Moody()
    first = {"access_token": "old", "refresh_token": "old refresh", "expires_in": 3600}
    with Credential("acme", refresh, token=first, store=store) as credential:
        assert credential.token(refused=credential.token()).generation == 2
    assert '"new refresh"' in store.kept["acme"].body
    assert decode(store.kept["acme"].body, "acme").generation == 2
