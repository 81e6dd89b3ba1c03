"""A caller may leave at any point: the refresh goes on, and the client's pool is as good as before."""

from __future__ import annotations

import functools
import random
from collections.abc import Awaitable, Callable

import anyio
import pytest
from tests.clients.conftest import refresher
from tests.clients.drivers import FORMS, Driver, Options, steps

from onerefresh import Credential
from onerefresh.testing import AuthServer
from onerefresh.testing.gates import Point

pytestmark = pytest.mark.slow

CANCELLABLE = [name for name, form in FORMS.items() if form.cancellable]


def arrival(server: AuthServer, point: Point, count: int = 1) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        await anyio.to_thread.run_sync(server.wait_for, point, count)

    return wait


def assert_sound(driver: Driver, server: AuthServer, pool: int) -> None:
    """Every connection of the pool can still be had, and a refusal is still answered by one refresh."""
    driver.credential.token()  # a refresh that somebody began and left may still be under way
    driver.credential.login(server.issue())  # a token that was just refreshed would not be refreshed again
    before = server.counters.token_requests
    server.revoke_access()
    answers = driver.together([f"{server.api_url}/after/{number}" for number in range(4 * pool)])
    assert [answer.status for answer in answers] == [200] * (4 * pool)
    assert server.counters.token_requests == before + 1


@pytest.mark.parametrize("name", CANCELLABLE)
def test_who_waits_for_the_refresh_may_leave_and_the_others_get_its_token(
    name: str, server: AuthServer, credential: Credential
) -> None:
    with FORMS[name](credential, server.url, Options(pool=1)) as driver:
        server.revoke_access()
        server.hold("token")
        assert driver.cancelled(server.api_url + "/leaves", arrival(server, "token"))
        stays = driver.soon("GET", server.api_url + "/stays")
        server.release("token")
        assert stays.result(30).json()["generation"] == 2
        assert server.counters.token_requests == 1
        assert_sound(driver, server, 1)


@pytest.mark.parametrize("name", CANCELLABLE)
@pytest.mark.parametrize("point", ["api", "refusal"])
def test_who_waits_for_the_api_may_leave(name: str, point: Point, server: AuthServer, credential: Credential) -> None:
    with FORMS[name](credential, server.url, Options(pool=1)) as driver:
        server.revoke_access()
        server.hold(point)
        assert driver.cancelled(server.api_url + "/leaves", arrival(server, point))
        server.release(point)
        assert server.counters.token_requests == 0
        assert_sound(driver, server, 1)


@pytest.mark.parametrize("name", CANCELLABLE)
def test_who_waits_for_the_replay_may_leave(name: str, server: AuthServer, credential: Credential) -> None:
    with FORMS[name](credential, server.url, Options(pool=1)) as driver:
        server.revoke_access()
        server.hold("api", every=2)
        assert driver.cancelled(server.api_url + "/leaves", arrival(server, "api", 2))
        server.release("api")
        assert server.counters.token_requests == 1
        assert_sound(driver, server, 1)


@pytest.mark.parametrize("name", CANCELLABLE)
@pytest.mark.parametrize("seed", range(3))
def test_calls_that_leave_at_random_points_leave_nothing_behind(name: str, seed: int, server: AuthServer) -> None:
    credential = Credential("acme", refresher(server), token=server.issue())
    chosen = random.Random(seed)
    left = 0
    with FORMS[name](credential, server.url, Options(pool=2)) as driver:
        for number in range(40):
            if number % 2:
                server.revoke_access()
            turns = functools.partial(steps, int(chosen.paretovariate(0.6)) % 3000)
            left += driver.cancelled(f"{server.api_url}/{number}?bytes=200000", turns)
        assert left > 0
        if driver.pool_survives_cancellation:
            assert_sound(driver, server, 2)
    with FORMS[name](credential, server.url, Options(pool=2)) as driver:
        assert_sound(driver, server, 2)
    assert server.session == "alive"
