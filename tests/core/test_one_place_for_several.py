"""Objects that name one place by its URL share one store: who closes one of them takes nothing from the others."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.core.calls import PATIENCE, Refresher, expired, first_token, listening, wait_for

from onerefresh import Credential, Credentials, policy
from onerefresh.credential import watch
from onerefresh.credential.background import background_tasks
from onerefresh.events import Kind
from onerefresh.stores import open_store
from onerefresh.stores.sqlite import SQLiteStore


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.db"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FIRST_LOOK", (0.0, 0.0))
    monkeypatch.setattr(policy, "LOOK_SELDOM", 0.05)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def assert_comes_back(file: Path, key: str = "acme") -> None:
    """What the store loses comes back without any call."""
    with listening() as heard:
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("DELETE FROM records")
        wait_for(heard, Kind.RESTORED)
        until(lambda: SQLiteStore(file).load(key) is not None)


def others_of(file: Path) -> dict[str, Callable[[], None]]:
    """What else there is in the process, and closes."""
    url = f"sqlite:///{file}"

    def another_name() -> None:
        with Credential("beta", Refresher(), token=first_token(refresh_token="beta"), store=url) as beta:
            beta.token()

    def the_same_name() -> None:
        with Credential("acme", Refresher(), store=url) as acme:
            acme.token()

    def many() -> None:
        with Credentials(Refresher(), store=url) as customers:
            customers["beta"].login(first_token(refresh_token="beta"))

    return {"another name": another_name, "the same name": the_same_name, "many": many}


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("other", ["another name", "the same name", "many"])
@pytest.mark.parametrize("mine", ["Credential", "Credentials"])
def test_the_looks_for_the_others_go_on(file: Path, other: str, mine: str) -> None:
    """Before, nobody looked at that store any more, for as long as the process lived."""
    url = f"sqlite:///{file}"
    made = Credential("acme", Refresher(), store=url) if mine == "Credential" else Credentials(Refresher(), store=url)
    with made:
        acme = made if isinstance(made, Credential) else made["acme"]
        acme.login(first_token())
        others_of(file)[other]()
        assert_comes_back(file)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("asks", ["token", "current"])
def test_what_is_opened_again_is_looked_at_again(file: Path, asks: str) -> None:
    """Before, the object that had closed left word that somebody looks, as long as anybody had a reference to it."""
    url = f"sqlite:///{file}"
    first = Credential("acme", Refresher(), store=url)
    first.login(first_token())
    first.close()
    with Credential("acme", Refresher(), store=url) as again:
        served = again.token() if asks == "token" else again.current() or again.token()
        assert served.generation == 1
        assert_comes_back(file)
    assert first.key == "acme"


def test_what_is_left_to_do_for_the_others_is_done(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as to bring a spooled token into the store."""
    url = f"sqlite:///{file}"
    monkeypatch.setattr(SQLiteStore, "may_go_back", True)
    with Credential("acme", Refresher(), store=url) as acme:
        acme.login(expired())
        acme.token()
        store = open_store(url)

        def left_to_do() -> list[str]:
            work = background_tasks._works.get(id(store))
            return [] if work is None else [due[2]._key for due in work.due]  # type: ignore[attr-defined]  # a Runner

        until(lambda: left_to_do() == ["acme"])
        with Credential("beta", Refresher(), token=first_token(), store=url):
            pass
        assert left_to_do() == ["acme"]
    assert left_to_do() == []


@pytest.mark.usefixtures("soon")
def test_the_last_one_ends_the_looks(file: Path) -> None:
    url = f"sqlite:///{file}"
    several = [Credential(name, Refresher(), store=url) for name in ("acme", "beta")]
    store = open_store(url)
    for one in several:
        one.login(first_token(refresh_token=one.key))
    several[0].close()
    several[0].close()
    assert id(store) in watch.watch._eyes
    several[1].close()
    until(lambda: id(store) not in watch.watch._eyes)
