"""How many lines there may be about one host, by a clock that a test sets; and what a log shows in the end."""

from __future__ import annotations

import logging

import pytest
from tests.core.calls import listening

from onerefresh import events
from onerefresh.events import Event, Facts, Kind, publish
from onerefresh.log_limit import Decision, LogLimit

A, B = "a.example:443", "b.example:443"
YES, LAST, NO = Decision(True, False), Decision(True, True), Decision(False, False)


def after(decision: Decision, *left_out: tuple[str, int]) -> Decision:
    return decision._replace(left_out=left_out)


# Each line comes at a time, about a host. Three of a host are logged in a minute.
CASES: dict[str, list[tuple[float, str, Decision]]] = {
    "few": [(0.0, A, YES), (1.0, A, YES)],
    "as many as may be": [(0.0, A, YES), (1.0, A, YES), (59.0, A, LAST)],
    "too many": [(0.0, A, YES), (0.0, A, YES), (0.0, A, LAST), (0.0, A, NO), (59.9, A, NO)],
    "each host for itself": [(0.0, A, YES), (0.0, A, YES), (0.0, A, LAST), (0.0, A, NO), (0.0, B, YES)],
    "after a minute": [
        (0.0, A, YES), (0.0, A, YES), (0.0, A, LAST), (1.0, A, NO), (2.0, A, NO),
        (60.0, A, after(YES, (A, 2))), (61.0, A, YES), (62.0, A, LAST), (63.0, A, NO),
    ],
    "nothing was left out": [(0.0, A, YES), (0.0, A, YES), (0.0, A, LAST), (60.0, A, YES)],
    "a line about another host tells of it": [
        (0.0, A, YES), (0.0, A, YES), (0.0, A, LAST), (1.0, A, NO), (60.0, B, after(YES, (A, 1))), (61.0, A, YES)
    ],
    "a minute begins with its first line": [(0.0, A, YES), (100.0, A, YES), (130.0, A, YES), (159.0, A, LAST)],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_line_is_logged_or_counted(name: str) -> None:
    now = [0.0]
    limit = LogLimit(3, 60.0, lambda: now[0])
    for at, host, expected in CASES[name]:
        now[0] = at
        assert limit.decide(host) == expected, at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(events, "_limit", LogLimit(2, 60.0, lambda: now[0]))
    return now


def failed(number: int, kind: Kind = Kind.FAILED, host: str | None = A) -> Event:
    return Event(kind, f"customer-{number}", detail="down", facts=Facts(host))


def test_a_log_is_limited_and_a_hook_is_not(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "onerefresh"), listening() as heard:
        for number in range(5):
            publish(failed(number))
        clock[0] = 61.0
        publish(failed(5))
    assert len(heard) == 6
    assert caplog.messages == [
        "customer-0: failed (generation 0): down",
        "customer-1: failed (generation 0): down",
        f"further lines about refreshes at {A} are left out of this log for up to 60 s, and counted",
        f"3 lines about refreshes at {A} were left out of this log; hooks got all events",
        "customer-5: failed (generation 0): down",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


@pytest.mark.parametrize("kind", [Kind.DEAD, Kind.UNSAVED, Kind.ENDPOINT_DOWN, Kind.STORE_DOWN, Kind.REFRESHED])
def test_what_happens_once_is_always_logged(kind: Kind, clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "onerefresh"):
        for number in range(5):
            publish(failed(number, kind))
    assert len(caplog.messages) == 5
    assert clock == [0.0]


def test_functions_state_no_host(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "onerefresh"):
        for number in range(3):
            publish(failed(number, host=None))
        clock[0] = 60.0
        publish(failed(3))
    assert caplog.messages[2:4] == [
        "further lines about refreshes by functions that state no host are left out of this log for up to 60 s, and "
        "counted",
        "1 line about refreshes by functions that state no host was left out of this log; hooks got all events",
    ]
