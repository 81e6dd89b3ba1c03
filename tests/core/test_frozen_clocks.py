"""Tests of users' programs freeze time: waiting goes on in real time, and expiry follows the time that they set."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import freezegun
import pytest
import requests
import time_machine
import trio
import trio.testing
from tests.core.calls import PATIENCE, Refresher, first_token
from tests.package import PACKAGE

from onerefresh import Credential, LoginRequired, RefreshUnavailable, Token, WaitTimeout
from onerefresh.clients.requests import BearerAuth
from onerefresh.hiring import AT_ONCE
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer
from onerefresh.workers import hand_over

HOUR = 3600.0
WHILE = HOUR / 6
"""Seconds that pass at most, by a clock that jumps, until a test looks at it."""
DESTINATIONS = [1_326_511_294.0, 4_070_908_800.0]
"""In 2012 and in 2099."""
Shift = Callable[[float], object]


@contextmanager
def freezegun_at(at: float, *, tick: bool = False) -> Iterator[Shift]:
    with freezegun.freeze_time(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)), tick=tick) as frozen:
        yield lambda seconds: frozen.tick(seconds)


@contextmanager
def time_machine_at(at: float, *, tick: bool = False) -> Iterator[Shift]:
    with time_machine.travel(at, tick=tick) as traveller:
        yield traveller.shift


@contextmanager
def mocked_at(at: float) -> Iterator[Shift]:
    """What is written without any tool."""
    with mock.patch("time.time", return_value=at) as wall, mock.patch("time.monotonic", return_value=7.0):

        def shift(seconds: float) -> None:
            wall.return_value += seconds

        yield shift


@contextmanager
def freezegun_that_jumps(at: float) -> Iterator[Shift]:
    """Each look at the clock moves it on."""
    with freezegun.freeze_time(dt.datetime.fromtimestamp(at, dt.UTC), auto_tick_seconds=15) as frozen:
        yield lambda seconds: frozen.tick(seconds)


@contextmanager
def freezegun_around_another(at: float) -> Iterator[Shift]:
    with freezegun.freeze_time("2020-01-01"), freezegun_at(at) as shift:
        yield shift


TOOLS = {
    "freezegun": freezegun_at,
    "freezegun that ticks": lambda at: freezegun_at(at, tick=True),
    "freezegun that jumps": freezegun_that_jumps,
    "nested": freezegun_around_another,
    "time-machine": time_machine_at,
    "time-machine that ticks": lambda at: time_machine_at(at, tick=True),
    "a mock": mocked_at,
}


CASES = [*zip(TOOLS, itertools.cycle(DESTINATIONS), strict=False), ("freezegun", DESTINATIONS[1])]


@pytest.fixture(params=CASES, ids=lambda pair: f"{pair[0]} {pair[1]:.0f}")
def shift(request: pytest.FixtureRequest) -> Iterator[Shift]:
    """A function that moves the frozen time on, by so many seconds."""
    tool, at = request.param
    with ExitStack() as frozen:
        yield frozen.enter_context(TOOLS[tool](at))
        # freezegun's clock fails in a thread that is in the middle of reading it when time goes on.
        for _ in range(1_000):
            if not {"onerefresh renewals", "onerefresh events"} & {thread.name for thread in threading.enumerate()}:
                break
            threading.Event().wait(0.005)
        else:
            pytest.fail("a thread of the test still runs")


def test_a_token_is_fresh_until_the_frozen_time_has_moved_past_its_life(shift: Shift) -> None:
    refresh = Refresher(expires_in=HOUR)
    acme = Credential("acme", refresh, token=first_token(expires_in=HOUR))
    assert acme.token().reveal() == "access-0"
    for number in range(1, 13):  # more than a server's tokens may expire too early within a minute of real time
        shift(HOUR / 4)
        acme.token()
        assert refresh.calls == number - 1, "a quarter of its life is over"
        shift(3 * HOUR / 4 + 1.0)
        token = acme.token()
        assert token.reveal() == f"access-{number}"
        assert token.expires_at == pytest.approx(time.time() + HOUR, abs=WHILE)
        current = acme.current()
        assert current is not None
        assert current.reveal() == token.reveal()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_refresh_that_fails_at_first_is_tried_again(
    shift: Shift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path))
    calls = []

    def refresh(token: Token) -> dict[str, object]:
        calls.append(token)
        if len(calls) < 3:
            raise RefreshUnavailable("503")
        return {"access_token": f"access-{len(calls)}", "refresh_token": "next", "expires_in": HOUR}

    acme = Credential("acme", refresh, token=first_token(expires_in=HOUR), store=kind)
    with acme:
        assert acme.token(refused=acme.token(), max_wait=PATIENCE).reveal() == "access-3"
        shift(HOUR)
        assert acme.token().reveal() == "access-4"


def test_a_wait_ends_although_no_clock_goes_on(shift: Shift) -> None:
    refresh = Refresher(gated=True)
    acme = Credential("acme", refresh, token=first_token())
    refused = acme.token()
    with pytest.raises(WaitTimeout):
        acme.token(refused=refused, max_wait=0.05)

    async def wait() -> None:
        with pytest.raises(WaitTimeout):
            await acme.atoken(refused=refused, max_wait=0.05)

    asyncio.run(wait())
    trio.run(wait)
    refresh.leave.set()
    assert acme.token(refused=refused).reveal() == "access-1"
    assert refresh.calls == 1


def test_tasks_and_threads_share_one_refresh(shift: Shift) -> None:
    refresh = Refresher(expires_in=HOUR)
    acme = Credential("acme", refresh, token=first_token(expires_in=HOUR))
    shift(2 * HOUR)

    async def storm() -> list[Token]:
        return list(await asyncio.gather(*(acme.atoken() for _ in range(20))))

    with ThreadPoolExecutor(8) as pool:
        others = list(pool.map(lambda _: acme.token(), range(20)))
    assert {token.reveal() for token in [*asyncio.run(storm()), *others]} == {"access-1"}
    assert refresh.calls == 1


def test_an_async_refresher_works(shift: Shift) -> None:
    async def refresh(token: Token) -> dict[str, object]:
        return {"access_token": "access-1", "refresh_token": "next", "expires_in": HOUR}

    async def call() -> Token:
        acme = Credential("acme", refresh, token=first_token(expires_in=HOUR))
        shift(2 * HOUR)
        return await acme.atoken()

    token = asyncio.run(call())
    assert token.expires_at == pytest.approx(time.time() + HOUR, abs=WHILE)


def test_a_session_that_is_over_is_over_for_a_moment_only(shift: Shift) -> None:
    """A failure is remembered for a second, so that a login elsewhere heals this process."""

    def refresh(token: Token) -> dict[str, object]:
        raise LoginRequired("no")

    acme = Credential("acme", refresh, token=first_token(expires_in=HOUR))
    shift(2 * HOUR)
    with pytest.raises(LoginRequired):
        acme.token()
    acme.login(first_token(access_token="access-7", refresh_token="refresh-7", expires_in=HOUR))
    assert acme.token().reveal() == "access-7"


def test_a_client_is_answered_and_sends_one_token_request(shift: Shift, auth_server: AuthServer) -> None:
    login = TokenEndpoint(
        auth_server.token_url, client_id=auth_server.client_id, client_secret=auth_server.client_secret
    )
    acme = Credential("acme", login, token=auth_server.issue())
    auth_server.revoke_access()
    with requests.Session() as session, ThreadPoolExecutor(8) as pool:
        session.auth = BearerAuth(acme, auth_server.url)
        urls = [f"{auth_server.api_url}/items/{number}" for number in range(20)]
        answers = list(pool.map(session.get, urls))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert auth_server.counters.token_requests == 1


def test_time_may_freeze_and_thaw_while_a_refresh_is_under_way() -> None:
    refresh = Refresher(gated=True, expires_in=HOUR)
    acme = Credential("acme", refresh, token=first_token())
    refused = acme.token()
    found: list[Token] = []
    caller = threading.Thread(target=lambda: found.append(acme.token(refused=refused)))
    caller.start()
    refresh.wait_until_entered()
    for tool in TOOLS.values():
        for at in DESTINATIONS:
            with tool(at) as shift:
                shift(HOUR)
    refresh.leave.set()
    caller.join(PATIENCE)
    assert [token.reveal() for token in found] == ["access-1"]
    assert acme.token().reveal() == "access-1"


SCRIPT = """
import freezegun

with freezegun.freeze_time("2012-01-14") as frozen:
    from onerefresh import Credential, RefreshUnavailable, WaitTimeout

    calls = []

    def refresh(token):
        calls.append(token)
        if len(calls) < 2:
            raise RefreshUnavailable("503")
        return {"access_token": f"access-{len(calls)}", "refresh_token": "next", "expires_in": 3600}

    acme = Credential("acme", refresh, token={"access_token": "a", "refresh_token": "r", "expires_in": 3600})
    frozen.tick(7200)
    print(acme.token().reveal())
print(acme.token().reveal())
"""


def test_a_program_may_import_it_while_time_is_frozen() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["access-2", "access-3"], "by the real time, the token of 2012 is over"


def test_work_is_done_although_a_test_has_replaced_the_clock_of_the_processor() -> None:
    """A list of readings for the user's own code has none for the threads of renewals."""
    gate, done, count = threading.Barrier(AT_ONCE + 1), threading.Semaphore(0), 3
    with mock.patch("time.process_time", side_effect=[]):
        for _ in range(AT_ONCE):
            assert hand_over(lambda: gate.wait(PATIENCE))
        for _ in range(count):
            assert hand_over(done.release)
        for _ in range(count):
            assert done.acquire(timeout=PATIENCE)
        gate.wait(PATIENCE)


@pytest.mark.parametrize("name", ["threading.Thread", "threading.Thread.start"])
def test_work_is_done_although_a_test_has_replaced_the_threads(name: str) -> None:
    """A mock starts nothing: work waited for such a thread, and all that came after the test, too."""
    during, after = threading.Event(), threading.Event()
    with mock.patch(name):
        assert hand_over(during.set)
        assert during.wait(PATIENCE)
    assert hand_over(after.set)
    assert after.wait(PATIENCE)


def test_no_module_of_the_package_waits_by_a_clock_that_a_test_can_stop() -> None:
    """`onerefresh.real_time` has the one to wait by."""
    for path in PACKAGE.rglob("*.py"):
        clocks = r"(?<!`)time\.(?:monotonic|perf_counter|process_time)\b|from time import"
        found = re.findall(clocks, path.read_text("utf-8"))
        assert path.name == "real_time.py" or not found, path


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("tool", ["freezegun", "time-machine", "a mock"])
@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_stores_on_servers_wait_in_real_time(
    new_store: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, tool: str
) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path))
    refresh, url = Refresher(expires_in=HOUR), new_store(kind)
    refresh.failure = RefreshUnavailable("503")
    with TOOLS[tool](DESTINATIONS[1]) as shift:
        acme = Credential("acme", refresh, token=first_token(expires_in=HOUR), store=url)
        refused = acme.token()
        waiting = threading.Thread(target=acme.token, kwargs={"refused": refused, "max_wait": PATIENCE})
        waiting.start()
        refresh.wait_until_entered()
        refresh.failure = None
        waiting.join(PATIENCE)
        assert acme.token().generation == 2
        shift(2 * HOUR)
        assert acme.token().generation == 3
        acme.close()
