"""A token endpoint that answers nobody is found out once, and not by each tenant alone."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import NamedTuple

import pytest
from tests.core.calls import Refresher, listening
from tests.credentials.tenants import PATIENCE, endpoint, expired, record_of, until

from onerefresh import (
    ConfigurationError,
    Credential,
    Credentials,
    LoginRequired,
    RefreshProtocolError,
    RefreshUnavailable,
    Token,
    circuit,
)
from onerefresh.circuit import FORGOTTEN, LEAST, LONGEST, PROBE, SHORTEST, SILENT, SWEPT_AT, Circuit, Circuits
from onerefresh.events import Event, Kind, subscribe
from onerefresh.record import State
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import AuthServer
from onerefresh.verdict import FailureKind, Verdict

LATER = {"Retry-After": "30"}
PLACE = ("login.acme.com:443", "acme")
TENANTS = [f"tenant-{number}" for number in range(10)]


@pytest.fixture
def credentials(auth_server: AuthServer) -> Iterator[Credentials]:
    with Credentials(endpoint(auth_server), store="memory") as credentials:
        expired(credentials, auth_server, *TENANTS)
        yield credentials


@pytest.fixture
def found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint is left alone after three failures, however soon, and not since it has asked for a pause."""
    monkeypatch.setattr(circuit, "SILENT", 0.0)
    monkeypatch.setattr(circuit, "TOLD", math.inf)


def refused(credential: Credential) -> RefreshUnavailable:
    with pytest.raises(RefreshUnavailable) as caught:
        credential.token()
    return caught.value


# --- A pause that the server has asked for ---


@pytest.mark.parametrize("status", [429, 503])
def test_what_two_were_told_binds_all(credentials: Credentials, auth_server: AuthServer, status: int) -> None:
    auth_server.fail_next(None, status=status, headers=LATER)
    for key in TENANTS[:2]:
        assert "nothing was sent" not in refused(credentials[key]).message
    for key in TENANTS[2:]:
        error = refused(credentials[key])
        assert "has told several credentials to wait" in error.message
        assert "nothing was sent" in error.message
        assert 25.0 < (error.retry_after or 0.0) <= 30.0
    assert auth_server.counters.token_requests == 2


def test_what_one_alone_was_told_binds_nobody_else(credentials: Credentials, auth_server: AuthServer) -> None:
    auth_server.fail_next(1, status=429, headers=LATER)
    refused(credentials["tenant-0"])
    assert [credentials[key].token().generation for key in TENANTS[1:]] == [2] * 9


def test_what_one_was_told_before_another_one_was_served(credentials: Credentials, auth_server: AuthServer) -> None:
    """Each has a limit of its own."""
    for told, served in (("tenant-0", "tenant-1"), ("tenant-2", "tenant-3"), ("tenant-4", "tenant-5")):
        auth_server.fail_next(1, status=429, headers=LATER)
        refused(credentials[told])
        assert credentials[served].token().generation == 2


def test_a_pause_binds_its_own_client_and_host_alone(new_auth_server: Callable[..., AuthServer]) -> None:
    busy, other = new_auth_server(), new_auth_server()
    busy.fail_next(None, status=429, headers=LATER)
    with Credentials(endpoint(busy), store="memory") as ours, Credentials(endpoint(other), store="memory") as theirs:
        expired(ours, busy, *"abc")
        expired(theirs, other, *"abc")
        for key in "abc":
            refused(ours[key])
        assert [theirs[key].token().generation for key in "abc"] == [2] * 3
    assert busy.counters.token_requests == 2


# --- An endpoint that answers nobody ---


@pytest.mark.usefixtures("found_out")
def test_it_is_left_alone_and_no_record_changes(credentials: Credentials, auth_server: AuthServer) -> None:
    auth_server.fail_next(None, status=503, headers=LATER)
    with listening() as events:
        for key in TENANTS[:LEAST]:
            refused(credentials[key])
        assert "has not answered any of several credentials" in refused(credentials["tenant-5"]).message
        assert auth_server.counters.token_requests == LEAST
        assert record_of(credentials._store, "tenant-5").state is State.IDLE
    assert [event.kind for event in events].count(Kind.ENDPOINT_DOWN) == 1


@pytest.mark.usefixtures("found_out")
def test_one_finds_out_whether_it_answers_again_and_then_all_are_served(
    credentials: Credentials, auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit, "SHORTEST", 0.01)
    auth_server.fail_next(LEAST, status=503, headers={"Retry-After": "11"})
    for key in TENANTS[:LEAST]:
        refused(credentials[key])
    found = next(iter(circuit.circuits._circuits.values()))
    assert found.is_open
    found._open_until = found._probe_until = 0.0  # its time is over
    auth_server.hold("token")
    with listening() as events, ThreadPoolExecutor() as pool:
        probe = pool.submit(credentials["tenant-5"].token)
        auth_server.wait_for("token")
        assert "nothing was sent" in refused(credentials["tenant-6"]).message
        auth_server.release("token")
        assert probe.result(PATIENCE).generation == 2
        assert [credentials[key].token().generation for key in TENANTS[7:]] == [2] * 3
    assert auth_server.counters.token_requests == LEAST + 4
    assert [event.kind for event in events].count(Kind.ENDPOINT_UP) == 1


@pytest.mark.usefixtures("found_out")
def test_an_answer_that_ends_a_session_is_an_answer(credentials: Credentials, auth_server: AuthServer) -> None:
    auth_server.fail_next(LEAST - 1, status=503, headers=LATER)
    for key in TENANTS[: LEAST - 1]:
        refused(credentials[key])
    auth_server.fail_next(1, status=400, body={"error": "invalid_grant"})
    with pytest.raises(LoginRequired):
        credentials["tenant-5"].token()
    auth_server.fail_next(LEAST - 1, status=503, headers=LATER)
    for key in TENANTS[6 : 6 + LEAST - 1]:
        refused(credentials[key])
    assert credentials["tenant-9"].token().generation == 2


@pytest.mark.usefixtures("found_out")
def test_who_has_patience_waits_and_is_served(auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit, "SHORTEST", 0.3)
    with Credentials(endpoint(auth_server), store="memory", patience=PATIENCE) as credentials:
        expired(credentials, auth_server, *TENANTS)
        auth_server.fail_next(LEAST, status=500)
        auth_server.hold("token")
        with ThreadPoolExecutor(LEAST) as pool:
            first = [pool.submit(credentials[key].token) for key in TENANTS[:LEAST]]
            auth_server.wait_for("token", LEAST)
            auth_server.release("token")
            until(lambda: any(one.is_open for one in circuit.circuits._circuits.values()), "it is asked on")
            assert credentials["tenant-9"].token().generation == 2
            assert {one.result(PATIENCE).generation for one in first} == {2}


@pytest.mark.seconds
@pytest.mark.usefixtures("found_out")
def test_who_waits_for_a_turn_is_told_once_it_is_left_alone(auth_server: AuthServer) -> None:
    """Those that had begun to wait before that sent a request each."""
    with Credentials(endpoint(auth_server, limit=LEAST, timeout=PATIENCE), store="memory") as credentials:
        expired(credentials, auth_server, *TENANTS)
        auth_server.fail_next(None, status=503, headers=LATER)
        auth_server.hold("token")
        with ThreadPoolExecutor(len(TENANTS)) as pool, listening() as events:
            waiting = [pool.submit(refused, credentials[key]) for key in TENANTS]
            queued = len(TENANTS) - LEAST
            until(lambda: [event.kind for event in events].count(Kind.QUEUED) == queued, "they do not queue")
            auth_server.release("token")
            told = [one.result(PATIENCE).message for one in waiting]
    sent = auth_server.counters.token_requests
    assert sent < 2 * LEAST, "the first failures give turns back before there are enough of them, and no others"
    assert sum("has not answered any" in message for message in told) == len(TENANTS) - sent


@pytest.mark.usefixtures("found_out")
@pytest.mark.parametrize("key", ["tenant-0", "tenant-5"], ids=["one that has failed", "one that has not asked yet"])
def test_a_person_who_says_retry_has_it_asked_at_once(
    credentials: Credentials, auth_server: AuthServer, key: str
) -> None:
    auth_server.fail_next(LEAST, status=503, headers=LATER)
    for each in TENANTS[:LEAST]:
        refused(credentials[each])
    refused(credentials["tenant-6"])
    assert credentials[key].retry().generation == 2
    assert credentials["tenant-7"].token().generation == 2


def test_it_is_asked_at_once_also_where_several_were_told_to_wait(
    credentials: Credentials, auth_server: AuthServer
) -> None:
    auth_server.fail_next(3, status=429, headers=LATER)
    for key in TENANTS[:2]:
        refused(credentials[key])
    with pytest.raises(RefreshUnavailable):
        credentials["tenant-5"].retry()
    assert auth_server.counters.token_requests == 3
    assert "nothing was sent" in refused(credentials["tenant-6"]).message


def its_pause_is_over() -> Circuit:
    """The circuit of the endpoint that is left alone, which one may now ask again."""
    (found,) = circuit.circuits._circuits.values()
    assert found.is_open
    found._open_until = found._probe_until = 0.0
    return found


@pytest.mark.usefixtures("found_out")
def test_an_answer_that_says_nothing_lets_another_one_ask(credentials: Credentials, auth_server: AuthServer) -> None:
    """The next one was told to wait for half a minute."""
    auth_server.fail_next(LEAST, status=503, headers=LATER)
    for key in TENANTS[:LEAST]:
        refused(credentials[key])
    its_pause_is_over()
    auth_server.fail_next(1, status=200, body={"error": "none"})
    with pytest.raises(RefreshProtocolError):
        credentials["tenant-5"].token()
    assert credentials["tenant-6"].token().generation == 2


@pytest.mark.usefixtures("found_out")
def test_who_has_patience_is_served_with_those_that_have_none(auth_server: AuthServer) -> None:
    """While another one finds out, an answer may come at any moment: then nobody waits for a time that was a guess."""
    with (
        Credentials(endpoint(auth_server, timeout=PATIENCE), store="memory") as credentials,
        Credentials(endpoint(auth_server), store=credentials._store, patience=3.0) as patient,
    ):
        expired(credentials, auth_server, *TENANTS)
        auth_server.fail_next(LEAST, status=503, headers=LATER)
        for key in TENANTS[:LEAST]:
            refused(credentials[key])
        its_pause_is_over()
        auth_server.hold("token")
        with ThreadPoolExecutor() as pool:
            probe = pool.submit(credentials["tenant-5"].token)
            auth_server.wait_for("token")
            waiting = pool.submit(patient["tenant-6"].token)
            assert not wait([waiting], 0.3).done
            auth_server.release("token")
            assert (probe.result(PATIENCE).generation, waiting.result(PATIENCE).generation) == (2, 2)


@pytest.mark.usefixtures("found_out")
def test_who_sleeps_wakes_when_it_answers_again(auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit, "SHORTEST", 2.0 * PATIENCE)
    with Credentials(endpoint(auth_server), store="memory", patience=3.0 * PATIENCE) as credentials:
        expired(credentials, auth_server, *TENANTS)
        auth_server.fail_next(LEAST, status=503, headers=LATER)
        with ThreadPoolExecutor() as pool:
            for one in [pool.submit(refused, credentials[key]) for key in TENANTS[:LEAST]]:
                one.result(PATIENCE)
            waiting = pool.submit(credentials["tenant-5"].token)
            assert not wait([waiting], 0.3).done
            circuit.circuits.clear()
            assert waiting.result(PATIENCE).generation == 2


def test_patience_is_a_number_of_seconds(auth_server: AuthServer) -> None:
    with pytest.raises(ConfigurationError, match="patience must be a number of seconds"):
        Credentials(endpoint(auth_server), store="memory", patience=math.nan)
    with pytest.raises(ConfigurationError, match="patience must be a number of seconds"):
        Credential("acme", endpoint(auth_server), patience=-1.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_a_probe_of_its_parent() -> None:
    known, now = circuit.circuits, time.monotonic()
    known._circuits[PLACE] = Circuit(now - SILENT - SHORTEST)
    for step in THREE:
        known._circuits[PLACE].failed(step.key or "", now - SILENT - SHORTEST + step.at, None)
    assert known.left(PLACE, "d") == 0.0
    child = os.fork()
    if child == 0:
        os._exit(0 if known.left(PLACE, "e") == 0.0 < known.left(PLACE, "f") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert known.left(PLACE, "e") > 0.0


# --- An answer that is saved nowhere yet ---


@pytest.mark.usefixtures("found_out")
def test_who_hears_that_it_answers_again_hears_it_when_the_token_is_saved(
    credentials: Credentials, auth_server: AuthServer
) -> None:
    """A hook may take long, or end its thread: that must not cost the only refresh token that still works."""
    auth_server.fail_next(LEAST, status=503, headers=LATER)
    for key in TENANTS[:LEAST]:
        refused(credentials[key])
    its_pause_is_over()
    saved: list[int] = []

    def hook(event: Event) -> None:
        if event.kind is Kind.ENDPOINT_UP:
            saved.append(record_of(credentials._store, "tenant-5").generation)

    forget = subscribe(hook)
    try:
        assert credentials["tenant-5"].token().generation == 2
    finally:
        forget()
    assert saved == [2]


def test_nothing_that_a_refresher_states_is_asked_for_after_its_answer() -> None:
    class Stating(Refresher):
        @property
        def host(self) -> str:
            if self.calls:
                raise LookupError("the tenant's row is gone")
            return "login.acme.com:443"

    stating = Stating()
    store = MemoryStore()
    with Credentials(stating, store=store) as credentials:
        credentials["acme"].login(Token("access-0", "refresh-0", issued_at=0.0, expires_at=1.0))
        assert credentials["acme"].token().generation == 2
    assert record_of(store, "acme").state is State.IDLE


# --- The rule, by its times ---


class Step(NamedTuple):
    """At `at`, `key` fails, or (None) it is asked how long is left; `left`: the expected answer."""

    at: float
    key: str | None
    retry_after: float | None = None
    left: float = 0.0


THREE = [Step(0.0, "a"), Step(1.0, "b"), Step(SILENT, "c")]
CASES: dict[str, list[Step]] = {
    "one that fails alone, however often": [Step(10.0 * number, "a") for number in range(20)] + [Step(200.0, None)],
    "two": [Step(0.0, "a"), Step(100.0, "b"), Step(101.0, None)],
    "three within a short time": [Step(0.0, "a"), Step(1.0, "b"), Step(2.0, "c"), Step(3.0, None)],
    "three for as long as nobody is answered": [*THREE, Step(SILENT, None, left=SHORTEST)],
    "then one asks, and the others wait": [
        *THREE,
        Step(SILENT + SHORTEST, None),
        Step(SILENT + SHORTEST + 1.0, None, left=PROBE - 1.0),
    ],
    "one that asks and is not heard of again": [
        *THREE,
        Step(SILENT + SHORTEST, None),
        Step(SILENT + SHORTEST + PROBE, None),
    ],
    "one that asks in vain doubles the pause": [
        *THREE,
        Step(SILENT + SHORTEST, None),
        Step(SILENT + SHORTEST, "d"),
        Step(SILENT + SHORTEST, None, left=2.0 * SHORTEST),
    ],
    "requests that were under way do not double it": [
        *THREE,
        Step(SILENT + 1.0, "d"),
        Step(SILENT + 2.0, "e"),
        Step(SILENT + 2.0, None, left=SHORTEST),
    ],
    "a pause that one was told": [Step(0.0, "a", 60.0), Step(1.0, None)],
    "a pause that one was told twice": [Step(0.0, "a", 60.0), Step(1.0, "a", 60.0), Step(2.0, None)],
    "a pause that two were told": [Step(0.0, "a", 60.0), Step(1.0, "b", 60.0), Step(2.0, None, left=58.0)],
    "a long pause that one alone was told, and a short one": [
        Step(0.0, "a", 3600.0),
        Step(1.0, "b", 2.0),
        Step(1.0, None, left=2.0),
        Step(3.0, None),
    ],
    "pauses of which two are longer than the third": [
        Step(0.0, "a", 60.0),
        Step(1.0, "b", 2.0),
        Step(2.0, "c", 40.0),
        Step(2.0, None, left=40.0),
    ],
    "a short pause that one was told after a long one": [
        Step(0.0, "a", 600.0),
        Step(0.0, "b", 600.0),
        Step(1.0, "b", 2.0),
        Step(1.0, None, left=2.0),
    ],
    "an absurdly long pause": [Step(0.0, "a", 1e9), Step(1.0, "b", 1e9), Step(1.0, None, left=3599.0)],
    "a pause that one was told after that of another one was over": [
        Step(0.0, "a", 5.0),
        Step(100.0, "b", 3600.0),
        Step(101.0, None),
    ],
    "a pause that one alone was told, who was to find out": [
        *THREE,
        Step(SILENT + SHORTEST, None),
        Step(SILENT + SHORTEST, "a", 3600.0),
        Step(SILENT + SHORTEST, None, left=LONGEST),
    ],
    "pauses that several were told before it is left alone": [
        Step(0.0, "a", 600.0),
        Step(1.0, "b", 600.0),
        Step(SILENT, "c"),
        Step(SILENT, None, left=600.0 - SILENT),
    ],
    "a pause that is over": [Step(0.0, "a", 60.0), Step(1.0, "b", 30.0), Step(60.0, None)],
    "three that fail, of which one is told to wait": [
        *THREE[:2],
        Step(SILENT, "c", 45.0),
        Step(SILENT, None, left=45.0),
    ],
    "failures of long ago": [Step(0.0, "a"), Step(1.0, "b"), Step(2000.0, "c"), Step(2001.0, None)],
}


@pytest.mark.parametrize("case", CASES)
def test_when_it_is_left_alone(case: str) -> None:
    tried = Circuit(CASES[case][0].at)
    for step in CASES[case]:
        if step.key is None:
            assert tried.left(step.at, f"at {step.at}") == pytest.approx(step.left), step
        else:
            tried.failed(step.key, step.at, step.retry_after)


def test_the_pause_grows_to_a_minute() -> None:
    tried, now = Circuit(0.0), SILENT
    for step in THREE:
        tried.failed(step.key or "", step.at, None)
    pauses = []
    for _ in range(8):
        pauses.append(tried.left(now, "d"))
        now += pauses[-1]
        assert tried.left(now, "d") == 0.0
        tried.failed("d", now, None)
    assert pauses == [5.0, 10.0, 20.0, 40.0, LONGEST, LONGEST, LONGEST, LONGEST]


NO_ANSWER = Verdict(FailureKind.UNAVAILABLE, "no connection")


def test_hosts_of_which_nothing_is_heard_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenants may bring servers of their own, whose names they type in."""
    now = 0.0
    monkeypatch.setattr(circuit, "monotonic", lambda: now)
    circuits = Circuits()
    down, told = ("down.example", None), ("told.example", None)
    for key in "abc":
        circuits.settles(down, key, NO_ANSWER)
        now += SILENT
    for key in "ab":
        circuits.settles(told, key, replace(NO_ANSWER, retry_after=3600.0))
    assert circuits.is_open(down)
    for number in range(2000):
        now += 1.0
        circuits.settles((f"{number}.example", None), "a", NO_ANSWER)
    assert len(circuits._circuits) <= 2 * (FORGOTTEN + SWEPT_AT)
    assert {down, told, ("1999.example", None)} < circuits._circuits.keys()


def test_a_circuit_is_no_larger_however_many_fail() -> None:
    tried = Circuit(0.0)
    for number in range(100):
        tried.failed(f"tenant-{number}", float(number), None)
    assert len(tried._failed) == LEAST


def test_one_that_did_not_have_to_ask_lets_another_one() -> None:
    tried, now = Circuit(0.0), SILENT + SHORTEST
    for step in THREE:
        tried.failed(step.key or "", step.at, None)
    assert tried.left(now, "d") == 0.0
    assert tried.left(now, "e") == PROBE
    tried.withdraw("e")
    assert tried.left(now, "e") == PROBE
    assert tried.left(now, "d") == 0.0, "it may ask once it has taken a turn, too"
    tried.withdraw("d")
    assert tried.left(now, "e") == 0.0
