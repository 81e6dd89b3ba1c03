"""refresh_due: what ends soon is refreshed once, whoever does it, and trouble with one never stops the rest."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import Refresher, first_token, in_threads, outcomes
from tests.core.children import Child
from tests.credentials.tenants import (
    DUE,
    PATIENCE,
    CountingStore,
    Face,
    endpoint,
    expired,
    generations,
    issued,
    log_in,
    stores,
    until,
)

from onerefresh import (
    ConfigurationError,
    CredentialClosed,
    Credentials,
    LoginRequired,
    StoreUnavailable,
    Token,
    threads,
)
from onerefresh import transitions as records
from onerefresh.credentials import Result, Summary, What
from onerefresh.credentials.host_answers import PROBES
from onerefresh.record_text import encode
from onerefresh.store import Store, Versioned
from onerefresh.stores import open_store
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import AuthServer


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_ends_within_the_horizon_is_refreshed_and_nothing_else(
    kind: str, tmp_path: Path, auth_server: AuthServer
) -> None:
    store = stores(tmp_path)[kind]
    with Credentials(endpoint(auth_server), store=store) as credentials:
        log_in(credentials, auth_server, "a", "b", **DUE)
        log_in(credentials, auth_server, "later", ends_in=700.0)
        log_in(credentials, auth_server, "never", ends_in=None)  # type: ignore[arg-type]  # nobody knows when
        expired(credentials, auth_server, "over")
        summary = credentials.refresh_due(within=600)
    assert summary == Summary(looked_at=5, refreshed=3)
    assert generations(store, "a", "b", "over", "later", "never") == [2, 2, 2, 1, 1]
    assert auth_server.counters.token_requests == 3


def test_what_was_refreshed_serves_at_once_in_this_process(auth_server: AuthServer) -> None:
    with Credentials(endpoint(auth_server), store="memory") as credentials:
        log_in(credentials, auth_server, "a", **DUE)
        assert credentials["a"].token().generation == 1
        credentials.refresh_due(within=600)
        token = credentials["a"].current()
        assert token is not None
        assert token.generation == 2


def test_looking_at_many_keeps_none_of_them(auth_server: AuthServer) -> None:
    store = MemoryStore()
    with Credentials(endpoint(auth_server), store=store) as writer:
        log_in(writer, auth_server, *"abc", **DUE)
    with Credentials(endpoint(auth_server), store=store) as credentials:
        assert credentials.refresh_due(within=600).refreshed == 3
        assert credentials._recent.all() == []


def test_a_second_run_has_nothing_to_do_and_asks_for_nothing(auth_server: AuthServer) -> None:
    store = CountingStore()
    with Credentials(endpoint(auth_server), store=store) as credentials:
        log_in(credentials, auth_server, *"abc", **DUE)
        credentials.refresh_due(within=600)
        store.asked.clear()
        assert credentials.refresh_due(within=600) == Summary(looked_at=3)
        assert store.asked == {"scan": 1}
    assert auth_server.counters.token_requests == 3


@pytest.mark.auth_server(expires_in=300.0)
def test_a_token_that_lives_shorter_than_the_horizon_is_not_refreshed_over_and_over(auth_server: AuthServer) -> None:
    with Credentials(endpoint(auth_server), store="memory") as credentials:
        expired(credentials, auth_server, "a")
        assert [credentials.refresh_due(within=600).refreshed for _ in range(3)] == [1, 0, 0]


@pytest.mark.auth_server(expires_in=300.0)
def test_two_workers_refresh_each_once(auth_server: AuthServer) -> None:
    keys = [f"tenant-{number}" for number in range(30)]
    store = MemoryStore()
    workers = [Credentials(endpoint(auth_server), store=Face(store)) for _ in range(2)]
    log_in(workers[0], auth_server, *keys, **DUE)
    with auth_server_held(auth_server):
        found = in_threads([lambda worker=worker: worker.refresh_due(within=600, rate=None) for worker in workers])  # type: ignore[misc]  # bound now
    for worker in workers:
        worker.close()
    assert sum(summary.refreshed for summary in found) == len(keys)
    assert [summary.failed + summary.needs_login + summary.unreadable for summary in found] == [0, 0]
    assert auth_server.counters.token_requests == len(keys)


class auth_server_held:
    """The server answers once more requests have come than one worker sends before an answer: so both are under way."""

    def __init__(self, server: AuthServer) -> None:
        self._server = server

    def __enter__(self) -> None:
        self._server.hold("token")
        self._opener = threading.Thread(target=self._open)
        self._opener.start()

    def _open(self) -> None:
        self._server.wait_for("token", PROBES + 1, timeout=PATIENCE)
        self._server.release("token")

    def __exit__(self, *error: object) -> None:
        self._opener.join()


def test_what_another_process_refreshes_meanwhile_is_adopted(
    auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records that were listed are old by the time that they are looked at."""
    store = MemoryStore()
    with Credentials(endpoint(auth_server), store=Face(store)) as other:
        log_in(other, auth_server, *"abc", **DUE)

        class Stale(Face):
            def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
                before = list(store.scan())
                assert other.refresh_due(within=600).refreshed == 3
                return iter(before)

        late = Stale(store)
        del late.scan  # what a face has from the other store: now it is its class's own
        with Credentials(endpoint(auth_server), store=late) as credentials:
            monkeypatch.setattr(credentials, "_tenant", None)  # no renewal is begun for it
            assert credentials.refresh_due(within=600) == Summary(looked_at=3, adopted=3)
    assert auth_server.counters.token_requests == 3


# --- How it goes ---


def test_progress_tells_of_each_and_of_all_so_far(auth_server: AuthServer) -> None:
    heard: list[tuple[Result, Summary]] = []
    store = MemoryStore()
    store.cas("damaged", None, "no record")
    with Credentials(endpoint(auth_server), store=store) as credentials:
        log_in(credentials, auth_server, *"abc", **DUE)
        final = credentials.refresh_due(within=600, progress=lambda one, all_: heard.append((one, all_)))
    assert Counter(result.what for result, _ in heard) == {What.REFRESHED: 3, What.UNREADABLE: 1}
    assert {result.key for result, _ in heard} == {"a", "b", "c", "damaged"}
    assert heard[-1][1] == final
    assert [summary.refreshed + summary.unreadable for _, summary in heard] == [1, 2, 3, 4]


def test_what_progress_raises_ends_the_run(auth_server: AuthServer) -> None:
    def stop(result: Result, summary: Summary) -> None:
        raise InterruptedError(result.key)

    keys = [f"tenant-{number}" for number in range(20)]
    with Credentials(endpoint(auth_server), store="memory") as credentials:
        log_in(credentials, auth_server, *keys, **DUE)
        with pytest.raises(InterruptedError):
            credentials.refresh_due(within=600, at_once=2, rate=None, progress=stop)
        assert 1 <= auth_server.counters.token_requests <= 2


def test_no_more_are_under_way_than_at_once(auth_server: AuthServer) -> None:
    auth_server.hold("token")
    keys = [f"tenant-{number}" for number in range(9)]
    with Credentials(endpoint(auth_server), store="memory") as credentials, ThreadPoolExecutor() as pool:
        log_in(credentials, auth_server, *keys, **DUE)
        run = pool.submit(credentials.refresh_due, within=600, at_once=3, rate=None)
        for arrived in range(3, 10):
            auth_server.wait_for("token", min(arrived, 9))
            assert renewals(credentials) <= 3
            auth_server.release("token", 1)
        auth_server.release("token")
        assert run.result(PATIENCE).refreshed == 9


def come_to(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def renewals(credentials: Credentials) -> int:
    flights = [credentials._tenant(f"tenant-{number}")._memory.flying for number in range(9)]
    return sum(flight is not None and not flight.settled for flight in flights)


def test_renewals_begin_no_faster_than_the_rate(auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of the run: how fast the machine is does not matter."""
    began: list[float] = []

    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.1  # each look takes a little
        return now

    monkeypatch.setattr("onerefresh.credentials.due.monotonic", clock)
    with Credentials(endpoint(auth_server), store="memory") as credentials:
        log_in(credentials, auth_server, *"abcd", **DUE)
        tenant_of = credentials._tenant

        def noted(key: str) -> Any:
            began.append(now)
            return tenant_of(key)

        monkeypatch.setattr(credentials, "_tenant", noted)
        assert credentials.refresh_due(within=600, rate=2.0).refreshed == 4
    assert [after - before >= 0.5 for before, after in pairwise(began)] == [True] * 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"within": -1}, "within must be a number"),
        ({"within": "long"}, "within must be a number"),
        ({"rate": 0}, "rate must be a number"),
        ({"rate": "fast"}, "rate must be a number"),
        ({"at_once": 0}, "at_once must be a whole number"),
        ({"keys": "acme"}, "keys must be several strings"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments: dict[str, Any], said: str) -> None:
    with Credentials(Refresher(), store="memory") as credentials:
        with pytest.raises(ConfigurationError, match=said):
            credentials.refresh_due(**{"within": 60, "keys": [], **arguments})


class Unlisted(MemoryStore):
    name = "a store that lists nothing"

    def scan(self) -> Any:
        return Store.scan(self)


def test_a_store_that_cannot_list_its_records_says_so(auth_server: AuthServer) -> None:
    with Credentials(endpoint(auth_server), store=Unlisted()) as credentials:
        with pytest.raises(ConfigurationError, match="pass the keys yourself"):
            credentials.refresh_due(within=60)


# --- Tasks ---


def test_a_task_lets_it_run_beside_its_loop(auth_server: AuthServer) -> None:
    async def run(credentials: Credentials) -> Summary:
        log_in(credentials, auth_server, *"abc", **DUE)
        auth_server.hold("token")
        task = asyncio.create_task(credentials.arefresh_due(within=600))
        await asyncio.to_thread(auth_server.wait_for, "token", 3)
        auth_server.release("token")
        return await task

    with Credentials(endpoint(auth_server), store="memory") as credentials:
        assert asyncio.run(run(credentials)) == Summary(looked_at=3, refreshed=3)


def test_async_refreshers_run_on_the_loop_of_the_task() -> None:
    loops = set()

    async def refresh(token: Token) -> dict[str, object]:
        loops.add(asyncio.get_running_loop())
        return first_token(expires_in=3600)

    async def run(credentials: Credentials) -> asyncio.AbstractEventLoop:
        for key in "abc":
            await credentials[key].alogin(first_token(expires_at=1_000_000_000))
        with pytest.raises(ConfigurationError, match="blocks the event loop"):
            credentials.refresh_due(within=600, keys=[*"abc"])
        assert (await credentials.arefresh_due(within=600, keys=[*"abc"])).refreshed == 3
        return asyncio.get_running_loop()

    with Credentials(refresh, store="memory") as credentials:
        home = asyncio.run(run(credentials))
    assert loops == {home}


def test_an_error_comes_out_where_the_task_waits() -> None:
    def stop(result: Result, summary: Summary) -> None:
        raise InterruptedError

    async def run(credentials: Credentials) -> None:
        with pytest.raises(ConfigurationError, match="keys="):
            await credentials.arefresh_due(within=600)
        with pytest.raises(InterruptedError):
            await credentials.arefresh_due(within=600, keys=["missing"], progress=stop)

    with Credentials(Refresher(), store="memory") as credentials:
        asyncio.run(run(credentials))


def test_a_cancelled_task_ends_the_run(auth_server: AuthServer) -> None:
    keys = [f"tenant-{number}" for number in range(10)]

    async def run(credentials: Credentials) -> None:
        auth_server.hold("token")
        task = asyncio.create_task(credentials.arefresh_due(within=600, at_once=2))
        await asyncio.to_thread(auth_server.wait_for, "token", 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        until(lambda: "onerefresh refresh_due" not in [job.name for job in list(threads._jobs)], "it goes on")
        auth_server.release("token")

    with Credentials(endpoint(auth_server), store="memory") as credentials:
        log_in(credentials, auth_server, *keys, **DUE)
        asyncio.run(run(credentials))
    assert auth_server.counters.token_requests == 2


def test_the_end_of_the_credentials_ends_the_run(auth_server: AuthServer) -> None:
    auth_server.hold("token")
    credentials = Credentials(endpoint(auth_server), store="memory", max_wait=10.0)
    log_in(credentials, auth_server, *"abcd", **DUE)
    with ThreadPoolExecutor() as pool:
        run = pool.submit(outcomes, [lambda: credentials.refresh_due(within=600, at_once=1)])
        auth_server.wait_for("token")
        closing = pool.submit(credentials.close)
        until(lambda: credentials._closed, "it is not closed")
        auth_server.release("token")
        closing.result(PATIENCE)
        (ended,) = run.result(PATIENCE)
    assert isinstance(ended, CredentialClosed)
    assert auth_server.counters.token_requests == 1


# --- Very many ---


class Listed(Store):
    """Lists so many records that are made as they are read; every tenth is due. Nothing is kept of them."""

    name = "listed"

    def __init__(self, count: int, due: Versioned, fresh: Versioned) -> None:
        self.count, self.due, self.fresh = count, due, fresh

    def load(self, key: str) -> Versioned | None:
        raise AssertionError("those that are due are refreshed by nobody here")

    def cas(self, key: str, expected: str | None, body: str) -> str:
        raise AssertionError("as above")

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        for number in range(self.count):
            yield f"tenant-{number}", self.due if number % 10 == 0 else self.fresh


@pytest.mark.seconds
def test_however_many_records_are_looked_at_in_little_memory(auth_server: AuthServer) -> None:
    count = 3_000
    owner = endpoint(auth_server).identity

    def record(token: Token) -> Versioned:
        return Versioned("1", encode(records.new_session(None, token, now=0.0, owner=owner, what="login")))

    store = Listed(count, record(issued(auth_server, ends_in=500.0)), record(issued(auth_server, ends_in=3000.0)))
    tried: list[str] = []

    def tenant_of(key: str) -> Any:
        tried.append(key)
        raise LoginRequired("this is about looking", credential=key)

    with Credentials(endpoint(auth_server), store=store) as credentials:
        credentials._tenant = tenant_of  # type: ignore[method-assign]  # on purpose
        tracemalloc.start()
        try:
            summary = credentials.refresh_due(within=600, rate=None)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (summary.looked_at, summary.failed, len(tried)) == (count, 300, 300)
    assert len(summary.errors) == 100
    assert most < 500_000


class Script(Child):
    scripts = "tests.credentials.scripts"


@pytest.mark.long
@pytest.mark.slow
def test_processes_refresh_each_once(tmp_path: Path, auth_server: AuthServer) -> None:
    keys = [f"tenant-{number}" for number in range(40)]
    url = f"sqlite:///{tmp_path}/tokens.db"
    with Credentials(endpoint(auth_server), store=url) as writer:
        log_in(writer, auth_server, *keys, **DUE)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Script("refresh_due", store=url, url=auth_server.token_url, client=auth_server.client_id)
            )
            for _ in range(3)
        ]
        for worker in workers:
            assert worker.line() == "ready"
        auth_server.hold("token")
        for worker in workers:
            worker.tell()
        auth_server.wait_for("token", 2 * PROBES + 1)
        auth_server.release("token")
        found = [json.loads(worker.line()) for worker in workers]
    assert sum(summary["refreshed"] for summary in found) == len(keys)
    assert [summary["failed"] + summary["needs_login"] + summary["unreadable"] for summary in found] == [0] * 3
    assert generations(open_store(url), *keys) == [2] * len(keys)
    assert auth_server.counters.token_requests == len(keys)
