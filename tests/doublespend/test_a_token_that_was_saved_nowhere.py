"""A token request is answered while neither the store nor the spool can be written; then the store comes back.

The process that has the new token must not send the refresh token before it once more.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import PATIENCE, outcomes, refresher_of, status_of
from tests.doublespend.conftest import LOOKS
from tests.servers.valkey import Valkey

from onerefresh import Credential, LoginRequired, StoreUnavailable, Token
from onerefresh.errors import OnerefreshError
from onerefresh.store import Conflict, Store, Versioned
from onerefresh.testing import AuthServer

AFTER = ["empty", "before the claim", "as it was"]
"""What the store holds when it is back."""


class Switched(Store):
    """A dict that can be out of reach. `named`: or else it has no spool at all."""

    def __init__(self, *, named: bool, may_go_back: bool) -> None:
        if named:
            self.name = "a dict"
        self.may_go_back = may_go_back
        self.records: dict[str, Versioned] = {}
        self.is_down = False
        self._lock = threading.Lock()
        self._writes = 0

    def load(self, key: str) -> Versioned | None:
        self._check()
        return self.records.get(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        self._check()
        with self._lock:
            present = self.records.get(key)
            if (present.version if present else None) != expected:
                raise Conflict(key)
            self._writes += 1
            self.records[key] = Versioned(str(self._writes), body)
            return str(self._writes)

    def _check(self) -> None:
        if self.is_down:
            raise StoreUnavailable("it is switched off")


class Trouble(ABC):
    """A place that goes down and comes back: `after`, one of `AFTER`."""

    store: str | Store

    @abstractmethod
    def remember(self) -> None:
        """What it holds now is what it holds ``before the claim``."""

    @abstractmethod
    def go_down(self) -> None: ...

    @abstractmethod
    def come_back(self, after: str) -> None: ...


class OwnStore(Trouble):
    def __init__(self, **options: bool) -> None:
        self.store: Switched = Switched(**options)
        self._before: dict[str, Versioned] = {}

    def remember(self) -> None:
        self._before = dict(self.store.records)

    def go_down(self) -> None:
        self.store.is_down = True

    def come_back(self, after: str) -> None:
        if after != "as it was":
            self.store.records = dict(self._before) if after == "before the claim" else {}
        self.store.is_down = False


class ValkeyInMemory(Trouble):
    """It forgets everything that was written after its last backup."""

    def __init__(self, server: Valkey) -> None:
        self._server, self.store = server, server.url

    def remember(self) -> None:
        self._server.do("SAVE")

    def go_down(self) -> None:
        self._server.kill()

    def come_back(self, after: str) -> None:
        if after == "empty":
            (self._server.folder / "dump.rdb").unlink()
        self._server.start()


class SQLiteFile(Trouble):
    """Its folder is gone for a while."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._away = folder, folder.with_name("away")
        self._file = folder / "tokens.db"
        self.store = f"sqlite:///{self._file}"
        self._rows: list[tuple[str, ...]] = []

    def remember(self) -> None:
        with closing(sqlite3.connect(self._file)) as connection:
            self._rows = connection.execute("SELECT key, version, body FROM records").fetchall()

    def go_down(self) -> None:
        self._folder.rename(self._away)
        self._folder.write_text("a file where the folder should be")

    def come_back(self, after: str) -> None:
        self._folder.unlink()
        if after == "empty":
            return  # the locks in it are gone as well
        if after == "before the claim":
            with closing(sqlite3.connect(self._away / "tokens.db")) as connection, connection:
                connection.execute("DELETE FROM records")
                connection.executemany("INSERT INTO records VALUES (?, ?, ?)", self._rows)
        self._away.rename(self._folder)


KINDS: dict[str, Callable[[Path, ExitStack], Trouble]] = {
    "own store": lambda folder, resources: OwnStore(named=True, may_go_back=False),
    "own store that may lose writes": lambda folder, resources: OwnStore(named=True, may_go_back=True),
    "own store without a name": lambda folder, resources: OwnStore(named=False, may_go_back=False),
    "valkey": lambda folder, resources: ValkeyInMemory(resources.enter_context(Valkey(folder / "valkey"))),
    "sqlite": lambda folder, resources: SQLiteFile(folder / "store"),
}
CASES = [
    pytest.param(kind, after, id=f"{kind}, {after}", marks=[pytest.mark.slow] if kind == "valkey" else [])
    for kind in KINDS
    for after in AFTER
    if (kind, after) != ("valkey", "as it was")
]


class Scene:
    """One process that has a new token, and nowhere to put it."""

    def __init__(self, server: AuthServer, trouble: Trouble) -> None:
        self.server, self.trouble = server, trouble
        self._ask = refresher_of(server)
        self.credential = Credential("acme", self._refresh, token=server.issue(), store=trouble.store)
        self.first = self.credential.token()
        trouble.remember()

    def _refresh(self, token: Token) -> dict[str, object]:
        answer = self._ask(token)
        if self.server.counters.token_requests == 1:
            self.trouble.go_down()
        return answer

    def lose(self) -> None:
        """The new token is answered, and can be saved nowhere; the caller hears so."""
        with pytest.raises(StoreUnavailable, match="neither in the store nor in the spool"):
            self.credential.token(refused=self.first)

    def assert_unharmed(self, told: list[Any]) -> None:
        counters = self.server.counters
        said = (
            f"{counters.reuse_detected} reuses, {counters.token_requests} token requests, session "
            f"{self.server.session}; the callers got {[_shown(one) for one in told]}"
        )
        assert counters.reuse_detected == 0, said
        assert {getattr(one, "generation", one) for one in told} == {2}, said
        assert not any(isinstance(one, OnerefreshError) for one in told), said
        assert (counters.token_requests, self.server.session) == (1, "alive"), said
        assert {status_of(f"{self.server.api_url}/items", one) for one in told} == {200}


def _shown(one: object) -> object:
    return f"{type(one).__name__}: {one}" if isinstance(one, Exception) else getattr(one, "generation", one)


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as resources:
        yield resources


@pytest.fixture
def new_scene(
    new_auth_server: Callable[..., AuthServer], tmp_path: Path, resources: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Scene]:
    """The spool cannot be written: a file is in its place. Stores are looked at often, so that tests are short."""
    for path, value in LOOKS.items():
        monkeypatch.setattr(path, value)
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "spool").write_text("not a folder")
    (tmp_path / "store").mkdir(mode=0o700)

    def make(kind: str) -> Scene:
        server = new_auth_server()
        server.expect_reuse()  # it is counted by the test itself, which says more
        scene = Scene(server, KINDS[kind](tmp_path, resources))
        resources.callback(scene.credential.close)
        return scene

    return make


@pytest.mark.seconds
@pytest.mark.parametrize(("kind", "after"), CASES)
def test_the_next_caller_gets_what_the_process_has_already(
    new_scene: Callable[[str], Scene], kind: str, after: str
) -> None:
    scene = new_scene(kind)
    scene.lose()
    scene.trouble.come_back(after)
    scene.assert_unharmed(outcomes([lambda: scene.credential.token(refused=scene.first)]))


@pytest.mark.parametrize("after", AFTER)
def test_so_do_many_in_threads_and_tasks(new_scene: Callable[[str], Scene], after: str) -> None:
    scene = new_scene("own store")
    credential = scene.credential

    async def tasks() -> list[Token]:
        return await asyncio.gather(*(credential.atoken(refused=scene.first) for _ in range(10)))

    scene.lose()
    scene.trouble.come_back(after)
    with ThreadPoolExecutor(1) as pool:
        also = pool.submit(lambda: asyncio.run(tasks()))
        told = outcomes([lambda: credential.token(refused=scene.first)] * 10)
        scene.assert_unharmed([*told, *also.result(PATIENCE)])


@pytest.mark.seconds
@pytest.mark.parametrize("after", AFTER)
def test_whoever_asks_while_the_store_is_down_is_told_so_and_sends_nothing(
    new_scene: Callable[[str], Scene], after: str
) -> None:
    scene = new_scene("own store")
    scene.lose()
    for _ in range(3):
        with pytest.raises(OnerefreshError) as told:
            scene.credential.token(refused=scene.first, max_wait=0.2)
        assert not isinstance(told.value, LoginRequired)
    scene.trouble.come_back(after)
    came = outcomes([lambda: scene.credential.token(refused=scene.first)])
    if isinstance(came[0], StoreUnavailable):  # by a try that had failed just before, which this caller still joined
        came = outcomes([lambda: scene.credential.token(refused=scene.first)])
    scene.assert_unharmed(came)


def test_another_object_of_the_same_name_gets_it_too(new_scene: Callable[[str], Scene], resources: ExitStack) -> None:
    scene = new_scene("own store")
    store = scene.trouble.store
    another = resources.enter_context(Credential("acme", refresher_of(scene.server), store=store))
    scene.lose()
    scene.trouble.come_back("empty")
    scene.assert_unharmed(outcomes([lambda: another.token(refused=scene.first)]))


def test_a_login_meanwhile_is_the_last_word(new_scene: Callable[[str], Scene]) -> None:
    scene = new_scene("own store")
    scene.lose()
    scene.trouble.come_back("empty")
    token = scene.credential.login(scene.server.issue())
    assert scene.credential.token().reveal() == token.reveal()
    assert scene.server.counters.reuse_detected == 0
    scene.credential.close()
    assert status_of(f"{scene.server.api_url}/items", token) == 200


def test_so_is_a_logout(new_scene: Callable[[str], Scene]) -> None:
    scene = new_scene("own store")
    scene.lose()
    scene.trouble.come_back("as it was")
    scene.credential.logout()
    with pytest.raises(LoginRequired):
        scene.credential.token()
    assert scene.server.counters.token_requests == 1
