"""A host of a token endpoint that does not answer takes neither slots nor time from the tenants of others."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.credentials.tenants import DUE, PATIENCE, endpoint, log_in, until

from onerefresh import ConfigurationError, Credentials, RefreshUnavailable, Token
from onerefresh.credentials import Result, Summary, What, due
from onerefresh.credentials.due import Run
from onerefresh.credentials.due_filter import Due
from onerefresh.credentials.host_answers import PROBES, STRIKES, HostAnswers
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer

EACH = 60


class Both:
    """Tenants of a host that answers, and as many of one that does not."""

    def __init__(self, answering: AuthServer, silent: AuthServer) -> None:
        self.servers = {"good": answering, "bad": silent}
        self.keys = [f"{name}-{number}" for number in range(EACH) for name in self.servers]
        refreshers = {name: endpoint(server, timeout=PATIENCE) for name, server in self.servers.items()}

        def refresher_for(key: str) -> TokenEndpoint:
            return refreshers[key.partition("-")[0]]

        self.credentials = Credentials(None, refresher_for=refresher_for, store="memory", limit=None)
        for key in self.keys:
            log_in(self.credentials, self.servers[key.partition("-")[0]], key, **DUE)

    def refresh(self, progress: Callable[[Result, Summary], object] | None = None) -> Summary:
        return self.credentials.refresh_due(within=600, keys=self.keys, rate=None, progress=progress)


@pytest.fixture
def both(new_auth_server: Callable[..., AuthServer]) -> Both:
    return Both(new_auth_server(), new_auth_server())


def test_while_one_host_hangs_all_tenants_of_another_are_refreshed(both: Both) -> None:
    silent, results = both.servers["bad"], Counter[What]()
    silent.hold("token")
    silent.fail_next(None, status=503)
    with both.credentials, ThreadPoolExecutor(1) as pool:
        run = pool.submit(both.refresh, lambda result, _: results.update([result.what]))
        until(lambda: results[What.REFRESHED] == EACH, "the host that hangs holds them up")
        silent.wait_for("token", PROBES)
        assert results == {What.REFRESHED: EACH}
        assert not run.done()
        silent.release("token")
        summary = run.result(PATIENCE)
    assert summary == Summary(
        looked_at=2 * EACH, refreshed=EACH, failed=PROBES, postponed=EACH - PROBES, errors=summary.errors
    )
    assert silent.counters.token_requests == PROBES
    postponed = [error for error in summary.errors if "has not answered others" in error.message]
    assert len(postponed) == EACH - PROBES
    assert {type(error) for error in postponed} == {RefreshUnavailable}


def test_a_host_that_hangs_gets_one_renewal_before_those_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that hangs takes a thread, and the first four took all the threads that there are at once."""
    monkeypatch.setattr(due, "SOON", PATIENCE)
    begun, leave = Counter[str](), threading.Event()
    before: list[int] = []  # how many of the host that hangs had begun, at each of the other host

    class Asks:
        def __init__(self, host: str) -> None:
            self.host = self.identity = host

        def __call__(self, token: Token) -> dict[str, object]:
            begun[self.host] += 1
            if self.host == "answers:443":
                before.append(begun["hangs:443"])
            else:
                assert leave.wait(PATIENCE)
            return {"access_token": "new", "refresh_token": f"new {token.reveal()}", "expires_in": 3600}

    asks = {"good": Asks("answers:443"), "bad": Asks("hangs:443")}
    keys, now = [f"{name}-{number}" for number in range(EACH) for name in asks], time.time()
    with (
        Credentials(None, refresher_for=lambda key: asks[key.partition("-")[0]], store="memory") as credentials,
        ThreadPoolExecutor(1) as pool,
    ):
        for key in keys:
            credentials[key].login(Token(key, f"refresh {key}", issued_at=now - 3600.0, expires_at=now + 60.0))
        run = pool.submit(credentials.refresh_due, within=600, keys=keys, rate=None)
        until(lambda: len(before) == EACH, "the host that hangs holds them up")
        leave.set()
        assert run.result(PATIENCE).refreshed == 2 * EACH
    assert max(before) <= 1


@pytest.mark.seconds
def test_a_host_that_answers_again_is_asked_for_all_in_the_next_run(both: Both) -> None:
    silent = both.servers["bad"]
    silent.fail_next(None, status=503, headers={"Retry-After": "0"})
    with both.credentials:
        first = both.refresh()
        silent.recover()
        second = both.refresh()
    assert (first.refreshed, first.failed + first.postponed) == (EACH, EACH)
    assert first.failed <= STRIKES + PROBES
    assert EACH - first.failed <= second.refreshed <= EACH  # those that failed rest for a moment


def test_tenants_whose_sessions_are_over_make_no_host_silent(both: Both) -> None:
    ended = both.servers["bad"]
    with both.credentials:
        ended.fail_next(PROBES, status=400, body={"error": "invalid_grant"})
        summary = both.refresh()
    assert (summary.refreshed, summary.postponed) == (2 * EACH - PROBES, 0)


@pytest.mark.seconds
def test_what_failed_the_last_time_comes_last(new_auth_server: Callable[..., AuthServer]) -> None:
    server, order = new_auth_server(), list[str]()
    keys = [f"tenant-{number}" for number in range(20)]
    failed = set(keys[:10])
    with Credentials(endpoint(server), store="memory") as credentials:
        log_in(credentials, server, *keys, **DUE)
        server.fail_next(len(failed), status=503, headers={"Retry-After": "0"})
        for key in failed:
            assert credentials.refresh_due(within=600, keys=[key]).failed == 1
        until(lambda: not any(credentials[key].status().retry_after for key in failed), "they rest")
        credentials.refresh_due(
            within=600, keys=keys, at_once=1, rate=None, progress=lambda result, _: order.append(result.key)
        )
    assert set(order[:10]) == set(keys) - failed
    assert set(order[10:]) == failed


def test_functions_that_hang_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """They state no host, so nothing is known but that they take long."""
    monkeypatch.setattr("onerefresh.credentials.due.SLOW", 0.0)
    go_on, results = threading.Event(), Counter[What]()

    def refresher(token: Token) -> dict[str, object]:
        if token.reveal().startswith("bad"):
            assert go_on.wait(PATIENCE)
        return {"access_token": "next", "refresh_token": "next", "expires_in": 3600}

    now, keys = time.time(), [f"{name}-{number}" for number in range(6) for name in ("bad", "good")]
    with Credentials(refresher, store="memory") as credentials, ThreadPoolExecutor(1) as pool:
        for key in keys:
            credentials[key].login(Token(key, key, issued_at=now - 3600.0, expires_at=now + 60.0))
        run = pool.submit(
            credentials.refresh_due, within=600, keys=keys, rate=None, at_once=2,
            progress=lambda result, _: results.update([result.what]),
        )  # fmt: skip
        until(lambda: results[What.REFRESHED] == 6, "those that hang hold them up")
        go_on.set()
        assert run.result(PATIENCE).refreshed == 12


def test_a_host_that_is_left_alone_already_is_not_asked_for_each_tenant(auth_server: AuthServer) -> None:
    """Each tried, one after the other as the rate allows, and was told that nothing is sent."""
    keys = [f"tenant-{number}" for number in range(40)]
    with Credentials(endpoint(auth_server), store="memory") as credentials:
        log_in(credentials, auth_server, *keys, **DUE)
        auth_server.fail_next(None, status=503, headers={"Retry-After": "30"})
        for key in keys[:2]:
            assert credentials.refresh_due(within=600, keys=[key]).failed == 1
        summary = credentials.refresh_due(within=600, keys=keys[2:], rate=None)
    assert summary.failed <= STRIKES + PROBES
    assert summary.failed + summary.postponed == len(keys) - 2
    assert auth_server.counters.token_requests == 2


class Counting(HostAnswers):
    """It counts how often it is asked about a renewal."""

    asked = 0

    def may_begin(self, host: str | None) -> bool:
        self.asked += 1
        return super().may_begin(host)


class Locked:
    """A refresher whose client secret cannot be read, which says nothing about the host."""

    identity, host = "acme", "login.acme.com:443"

    def __call__(self, token: Token) -> dict[str, object]:
        raise NotImplementedError

    def prepare(self) -> None:
        raise ConfigurationError("the vault is sealed")


def nothing_is_learned(number: int) -> Summary:
    """A run over so many tenants whose host is neither known to answer nor to be silent."""
    now, keys = time.time(), [f"tenant-{each}" for each in range(number)]
    with Credentials(Locked(), store="memory") as credentials:
        for key in keys:
            credentials[key].login(Token(key, key, issued_at=now - 3600.0, expires_at=now + 60.0))
        return credentials.refresh_due(within=600, keys=keys, rate=None)


@pytest.mark.seconds
def test_each_is_looked_at_a_few_times_where_nothing_is_learned_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """With each renewal that ended, all that were kept were moved: hours for a hundred thousand."""
    hosts = Counting()
    monkeypatch.setattr("onerefresh.credentials.due.HostAnswers", lambda: hosts)
    summary = nothing_is_learned(300)
    assert (summary.failed, summary.postponed) == (300, 0)
    assert hosts.asked < 10 * 300


def test_those_that_are_kept_go_on_where_others_have_refreshed_the_ones_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """No renewal begins for these, after whose end the next one would go on."""
    begun: set[str] = set()

    def is_done(_: Run, one: Due) -> bool:
        done = len(begun) >= PROBES
        begun.add(one.key)
        return done

    monkeypatch.setattr(Run, "_is_done", is_done)
    summary = nothing_is_learned(40)
    assert (summary.failed, summary.adopted) == (PROBES, 40 - PROBES)


# --- The rule ---


@pytest.mark.parametrize(
    ("answers", "may_begin", "is_silent"),
    [
        ([], True, False),
        ([False] * (STRIKES - 1), True, False),
        ([False] * STRIKES, True, True),
        ([False] * STRIKES + [True], True, False),
        ([True] + [False] * STRIKES, True, False),
        ([None] * STRIKES, True, False),
    ],
)
def test_what_answers_say_of_their_host(answers: list[bool | None], may_begin: bool, is_silent: bool) -> None:
    hosts = HostAnswers()
    for answered in answers:
        hosts.begins("host")
        hosts.ends("host", answered=answered)
    assert (hosts.may_begin("host"), hosts.is_silent("host")) == (may_begin, is_silent)
    assert hosts.may_begin("another")
    assert not hosts.is_silent("another")


def test_before_its_first_answer_a_host_gets_one_and_then_a_few_at_a_time() -> None:
    hosts = HostAnswers()
    assert hosts.begins("host")
    assert not hosts.begins(None)
    assert not hosts.may_begin("host")
    assert hosts.may_begin("another")
    assert hosts.may_begin(None)
    hosts.takes_long("host")
    for _ in range(PROBES - 1):
        assert hosts.may_begin("host")
        assert not hosts.begins("host")
    assert not hosts.may_begin("host")
    assert hosts.room("another") == 1
    hosts.ends("host", answered=True)
    for _ in range(10 * PROBES):
        assert hosts.may_begin("host")
        hosts.begins("host")


def test_a_host_that_fails_at_once_is_asked_again_until_it_is_left_alone() -> None:
    hosts = HostAnswers()
    for _ in range(STRIKES):
        assert (hosts.room("host"), hosts.is_silent("host")) == (1, False)
        hosts.begins("host")
        hosts.ends("host", answered=False)
    assert hosts.is_silent("host")
