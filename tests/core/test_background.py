"""What is left to do after a renewal: one thread for each store, and none when there is nothing left."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from tests.core.calls import PATIENCE, Refresher, expired, listening
from tests.effects import EFFECTS, Effect, Sleep

from onerefresh import Credential, Credentials, threads
from onerefresh.credential import background as background_room
from onerefresh.credential import opened
from onerefresh.credential.background import BackgroundTasks
from onerefresh.credential.registry import known_of
from onerefresh.credential.run import CredentialRun
from onerefresh.events import Kind
from onerefresh.flight import Flight
from onerefresh.host_limiter import HostLimiter
from onerefresh.renewal import recovery
from onerefresh.runner import Runner
from onerefresh.stores.memory import MemoryStore
from onerefresh.token import Token
from onerefresh.user_code import Functions


class ForgetfulStore(MemoryStore):
    """A store that may lose what it acknowledged, as when a replica takes its place."""

    may_go_back = True


class Steps:
    """Stands for a runner: performs nothing but counting."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.done: list[str] = []

    def run_until_it_sleeps(self, rest: Coroutine[Effect[Any], Any, None]) -> float | None:
        try:
            effect = rest.send(None)
        except StopIteration:
            return None
        assert isinstance(effect, Sleep)
        self.done.append(threading.current_thread().name)
        return effect.seconds


async def naps(count: int, seconds: float) -> None:
    for _ in range(count):
        await EFFECTS.sleep(seconds)


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def background_jobs() -> list[threads.Job]:
    return [job for job in list(threads._jobs) if job.name == "onerefresh background"]


@pytest.fixture(autouse=True)
def _alone() -> None:
    """What other tests of this process have left to do has a thread, too, and it may stay for a minute."""
    background_room.background_tasks._give_up()
    until(lambda: not background_jobs())


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(recovery, "LOOKS", (0.02, 0.04, 0.06))
    yield
    background_room.background_tasks._give_up()  # half a time to live is too long to wait for here
    until(lambda: not background_jobs())


def test_many_share_one_thread_which_ends_with_the_last(soon: None) -> None:
    care, steps = BackgroundTasks(), Steps()
    for _ in range(20):
        care.look_after(steps, naps(3, 0.01))  # type: ignore[arg-type]  # all that it asks of a runner
    until(lambda: len(steps.done) == 60)
    until(lambda: not background_jobs())
    assert set(steps.done) == {"onerefresh background"}


@pytest.mark.parametrize("failure", [ValueError("a defect"), SystemExit(1)])
def test_what_fails_does_not_end_the_care_for_the_others(
    failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Steps):
        def run_until_it_sleeps(self, rest: Any) -> float | None:
            rest.close()
            raise failure

    care, steps = BackgroundTasks(), Steps()
    care.look_after(Failing(), naps(1, 0.0))  # type: ignore[arg-type]  # as above
    care.look_after(steps, naps(1, 0.0))  # type: ignore[arg-type]
    until(lambda: steps.done)
    until(lambda: not background_jobs())
    assert "a background task for a saved token" in caplog.text


def test_a_store_that_closes_is_left_alone() -> None:
    care, steps, others = BackgroundTasks(), Steps(), Steps()
    care.look_after(steps, naps(2, 3600.0))  # type: ignore[arg-type]  # as above
    care.look_after(others, naps(2, 3600.0))  # type: ignore[arg-type]
    until(lambda: steps.done and others.done)
    care.leave(steps.store)
    assert [place for place, work in care._works.items() if work.due] == [id(others.store)]
    care.leave(others.store)
    until(lambda: not background_jobs())


def test_a_store_that_closes_while_it_is_looked_at_is_left_alone() -> None:
    class Slow(Steps):
        def run_until_it_sleeps(self, rest: Coroutine[Effect[Any], Any, None]) -> float | None:
            at_it.set()
            assert may_go_on.wait(PATIENCE)
            return super().run_until_it_sleeps(rest)

    at_it, may_go_on = threading.Event(), threading.Event()
    care, steps = BackgroundTasks(), Slow()
    care.look_after(steps, naps(2, 3600.0))  # type: ignore[arg-type]  # as above
    assert at_it.wait(PATIENCE)
    care.leave(steps.store)
    may_go_on.set()
    until(lambda: not background_jobs())
    assert care._works == {}


def test_a_store_that_hangs_holds_up_the_care_for_no_other() -> None:
    """Before, one thread looked after all stores, one after the other."""
    hangs, go_on = threading.Event(), threading.Event()

    class Hanging(Steps):
        def run_until_it_sleeps(self, rest: Coroutine[Effect[Any], Any, None]) -> float | None:
            hangs.set()
            assert go_on.wait(3 * PATIENCE)
            return super().run_until_it_sleeps(rest)

    care, hanging, steps = BackgroundTasks(), Hanging(), Steps()
    care.look_after(hanging, naps(1, 0.0))  # type: ignore[arg-type]  # as above
    assert hangs.wait(PATIENCE)
    try:
        care.look_after(steps, naps(3, 0.0))  # type: ignore[arg-type]
        until(lambda: len(steps.done) == 3)
        care.leave(hanging.store)  # it closes, and is opened again
        hanging.run_until_it_sleeps = steps.run_until_it_sleeps  # type: ignore[method-assign]
        care.look_after(hanging, naps(3, 0.0))  # type: ignore[arg-type]
        until(lambda: len(steps.done) == 6)
    finally:
        go_on.set()
    until(lambda: not background_jobs())


@pytest.mark.seconds
def test_the_interpreter_does_not_wait_for_a_store_that_hangs() -> None:
    """Before, a process whose store hung for ever while its new token was looked after did not end."""
    program = [sys.executable, "-c", HANGS]
    done = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (0, "it hangs\n"), done.stderr


HANGS = """
import threading
from onerefresh import Credential
from onerefresh.stores.memory import MemoryStore

class Hanging(MemoryStore):
    may_go_back = True
    def load(self, key):
        if threading.current_thread().name == "onerefresh background":
            hangs.set()
            threading.Event().wait()
        return super().load(key)

hangs = threading.Event()
acme = Credential("acme", lambda token: {"access_token": "a2", "refresh_token": "r2"}, store=Hanging())
acme.token(refused=acme.login({"access_token": "a1", "refresh_token": "r1"}))
hangs.wait()
acme.close()
print("it hangs")
"""


def test_many_credentials_that_close_leave_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "open_store", lambda _: ForgetfulStore())
    with Credentials(Refresher(), store="redis://of-their-own") as tenants:
        tenants["acme"].login(expired())
        tenants["acme"].token()
        assert background_jobs() != []
    until(lambda: not background_jobs())


def test_a_store_that_forgets_is_given_the_token_again(soon: None) -> None:
    store = ForgetfulStore()
    credential = Credential("acme", Refresher(), token=expired(), store=store)
    with listening() as events:
        token = credential.token()
        store._records.clear()
        until(lambda: Kind.RESTORED in [event.kind for event in events])
    assert credential.status().generation == token.generation == 2


@pytest.mark.parametrize("since", ["refreshed", "logged in", "logged out"])
def test_a_process_knows_which_token_it_has_gone_on_from(since: str) -> None:
    """Only the newest may be brought back into a store that has lost the whole record."""
    store = MemoryStore()
    credential = Credential("acme", Refresher(expires_in=None), token=expired(), store=store)
    first = credential.token()

    def outdates(token: Token) -> bool:
        return known_of(credential._memory).outdates(token)

    assert not outdates(first)
    if since == "refreshed":
        credential.replayed(first, accepted=True)
        assert not outdates(credential.token(refused=first))
    elif since == "logged in":
        credential.login({"access_token": "access-a", "refresh_token": "refresh-a"})
    else:
        credential.logout()
    assert outdates(first)


def test_a_store_that_keeps_its_word_is_not_looked_at_again() -> None:
    credential = Credential("acme", Refresher(), token=expired(), store=MemoryStore())
    credential.token()
    assert background_jobs() == []


def test_the_runner_stops_at_a_sleep_and_goes_on_after_it() -> None:
    seen: list[object] = []

    async def rest() -> None:
        seen.append((await runner.load()).record)
        await runner.sleep(7.0)
        seen.append((await runner.load()).record)

    credential = Credential("acme", Refresher())
    run = CredentialRun(credential._memory, credential._options, None, Flight[Any]())
    runner = Runner("acme", MemoryStore(), run, Functions(Refresher()))
    coroutine = rest()
    assert (runner.run_until_it_sleeps(coroutine), seen) == (7.0, [None])
    assert (runner.run_until_it_sleeps(coroutine), seen) == (None, [None, None])


class RevokesAtAHost(Refresher):
    host = "auth.example:443"

    def revoke(self, token: Token) -> None:
        assert token.generation == 1


def test_a_revocation_in_the_background_leaves_its_turn_at_the_host() -> None:
    """The renewal has ended before. So nobody left the turn, and in the end the host had none for its tenants."""

    async def rest() -> None:
        assert await runner.revoke(Token(access_token="a", refresh_token="r", generation=1)) == ""
        await runner.sleep(7.0)

    turns, refresher = HostLimiter(1), RevokesAtAHost()
    credential = Credential("acme", refresher)
    run = CredentialRun(credential._memory, credential._options, None, Flight[Any]())
    runner = Runner("acme", MemoryStore(), run, Functions(refresher), turns=turns)
    coroutine = rest()
    assert runner.run_until_it_sleeps(coroutine) == 7.0
    assert turns.queue(refresher.host, tenant="globex").is_granted
    assert runner.run_until_it_sleeps(coroutine) is None
