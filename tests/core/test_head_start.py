"""Who refreshed the last time goes first where the store says so: the others begin a little later."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import PATIENCE, Refresher, first_token
from tests.core.driver import NEXT, Process, make_request, needy, refusing
from tests.effects import EFFECTS, Load, Sleep

from onerefresh import Credential, Token
from onerefresh.credential.launcher import Launcher
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.options import CredentialOptions
from onerefresh.flight import Flight
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.renew import renew
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.world import World
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore

HEAD_START = 0.002
FIRST, SECOND = (Token(f"access-{number}").numbered("family", number) for number in (1, 2))
OTHERS = pytest.approx(0.75 * HEAD_START, rel=0.34)  # from half of it to the whole


@pytest.fixture
def gave_way(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how many seconds each renewal gave way."""
    found: list[float] = []

    def noted(world: World, request: RenewalRequest) -> Coroutine[Any, Any, Any]:
        found.append(request.gives_way)
        return renew(world, request)

    monkeypatch.setattr("onerefresh.renewal.renew.renew", noted)
    return found


def elsewhere(path: Path, **others: Any) -> Credential:
    """The credential as another process has it: with a store of its own in the same file."""
    store = SQLiteStore(path / "db")
    store.head_start = HEAD_START
    return Credential("acme", Refresher(), store=store, **others)


def refresh(credential: Credential) -> None:
    token = credential.token()
    credential.replayed(token, accepted=True)  # the API took it for a while
    credential.token(refused=token)


def test_those_who_got_the_last_token_from_another_process_begin_later(tmp_path: Path, gave_way: list[float]) -> None:
    one, other = elsewhere(tmp_path, token=first_token()), elsewhere(tmp_path)
    refused = one.token(), other.token()
    assert gave_way == [0.0, 0.0], "nobody has refreshed yet"
    one.token(refused=refused[0])
    other.token(refused=refused[1])
    assert gave_way[2:] == [0.0, 0.0], "nobody knew who would be first"
    refresh(one)
    assert gave_way[4:] == [0.0], "it refreshed the last time"
    other.token(refused=other.token())
    assert gave_way[5:] == [OTHERS]
    refresh(other)
    assert gave_way[6:] == [OTHERS]
    refresh(other)
    assert gave_way[7:] == [0.0], "now it is the one that refreshed the last time"
    refresh(one)
    assert gave_way[8:] == [0.0], "it has not heard yet"
    refresh(one)
    assert gave_way[9:] == [OTHERS]


@pytest.mark.parametrize(
    ("before", "outcome", "follows"),
    [
        pytest.param(None, Outcome(FIRST), None, id="the first token that it knows"),
        pytest.param(None, Outcome(FIRST, renewed=True), False, id="the first token that it knows, its own"),
        pytest.param(SECOND, Outcome(FIRST, renewed=True), None, id="its own, which came too late"),
        pytest.param(FIRST, Outcome(SECOND), True, id="another process's"),
        pytest.param(FIRST, Outcome(SECOND, renewed=True), False, id="its own"),
        pytest.param(FIRST, Outcome(FIRST, retry_after=5.0), None, id="none, for an outage"),
    ],
)
@pytest.mark.parametrize("did", [True, False])
def test_who_follows(
    monkeypatch: pytest.MonkeyPatch, before: Token | None, outcome: Outcome, *, follows: bool | None, did: bool
) -> None:
    async def renew(world: World, request: RenewalRequest) -> Outcome:
        return outcome

    monkeypatch.setattr("onerefresh.renewal.renew.renew", renew)
    memory = SessionMemory(MemoryStore(), "acme")
    memory.known, memory.follows = before, did
    flight: Flight[Outcome] = Flight()
    Launcher("acme", memory, CredentialOptions.of(Refresher()), None).launch(flight, background=False)
    assert flight.wait(PATIENCE)
    assert memory.follows is (did if follows is None else follows)


@pytest.mark.parametrize(
    ("head_start", "follows", "refused", "gives_way"),
    [
        pytest.param(HEAD_START, True, FIRST.identity, OTHERS, id="it follows"),
        pytest.param(HEAD_START, False, FIRST.identity, 0.0, id="it refreshed the last time"),
        pytest.param(HEAD_START, True, None, 0.0, id="nothing was refused, so there is no storm"),
        pytest.param(0.0, True, FIRST.identity, 0.0, id="as most stores are"),
    ],
)
def test_who_gives_way(head_start: float, *, follows: bool, refused: tuple[str, int] | None, gives_way: object) -> None:
    store = MemoryStore()
    store.head_start = head_start
    memory = SessionMemory(store, "acme")
    memory.follows = follows
    launcher = Launcher("acme", memory, CredentialOptions.of(Refresher()), None)
    assert launcher.request(refused).gives_way == gives_way


@pytest.mark.parametrize("how", ["login", "logout"])
def test_a_login_or_a_logout_here_ends_it(tmp_path: Path, how: str) -> None:
    one, other = elsewhere(tmp_path, token=first_token()), elsewhere(tmp_path)
    one.token()
    first = other.token()
    refresh(one)
    other.token(refused=first)
    assert other._memory.follows
    if how == "login":
        other.login(first_token(refresh_token="refresh-again"))
    else:
        other.logout()
    assert not other._memory.follows


def test_giving_way_is_what_a_renewal_begins_with() -> None:
    world = needy(None, NEXT)
    process = Process(world, renew(EFFECTS, make_request(**refusing(world), gives_way=0.03)))
    process.finish()
    assert process.trace[0] == Sleep(
        0.03, holds_the_exit=True, why="it waits a moment so that the process that refreshed last can go first"
    )
    assert isinstance(process.trace[1], Load)
    assert world.token.reveal() == "access-next"
