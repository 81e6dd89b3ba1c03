"""How many lines there may be about one topic, by a clock that a test sets; and what a log shows in the end."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.core.calls import Refresher, first_token, listening
from tests.test_architecture import SOURCE

from onerefresh import Credential, Credentials, events, limited_log
from onerefresh.events import Event, Facts, Kind, publish
from onerefresh.log_limit import Decision, LogLimit

A, B = "a.example:443", "b.example:443"
YES: Decision[str] = Decision(True, False)
LAST: Decision[str] = Decision(True, True)
NO: Decision[str] = Decision(False, False)


def after(decision: Decision[str], *left_out: tuple[str, int]) -> Decision[str]:
    return decision._replace(left_out=left_out)


# Each line comes at a time, about a host. Three of a host are logged in a minute.
CASES: dict[str, list[tuple[float, str, Decision[str]]]] = {
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
    limit: LogLimit[str] = LogLimit(3, 60.0, lambda: now[0])
    for at, host, expected in CASES[name]:
        now[0] = at
        assert limit.decide(host) == expected, at


class Counted(dict[str, Any]):
    """Spans. `looks`: how many of them were looked at."""

    looks = 0

    def items(self) -> Any:
        self.looks += len(self)
        return super().items()


def test_a_line_does_not_look_at_all_that_others_were_about() -> None:
    """Each customer may have a host of its own, and each line, also one for debugging, looks whether a span is over."""
    now, spans, count = [0.0], Counted(), 1000
    limit: LogLimit[str] = LogLimit(1, 60.0, lambda: now[0])
    limit._spans = spans
    for number in range(count):
        now[0] = number / count
        limit.decide(f"{number}.example:443")
        limit.decide(f"{number}.example:443")
    now[0] = 59.0
    assert limit.left_out() == ()
    assert spans.looks <= 1
    now[0] = 61.0
    assert len(limit.left_out()) == count
    assert (spans, spans.looks <= 2 * count) == ({}, True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(limited_log, "_limit", LogLimit(2, 60.0, lambda: now[0]))
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
        f'further lines "failed" about {A} are left out of this log for up to 60 s, and counted',
        f'3 lines "failed" about {A} were left out of this log',
        "customer-5: failed (generation 0): down",
    ]


def test_refreshers_that_state_no_host_are_one_topic(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "onerefresh"):
        for number in range(3):
            publish(failed(number, host=None))
        clock[0] = 60.0
        publish(failed(3))
    about = "refreshers that state no host"
    assert caplog.messages[2:4] == [
        f'further lines "failed" about {about} are left out of this log for up to 60 s, and counted',
        f'1 line "failed" about {about} was left out of this log',
    ]


# --- Each kind, and each line that is no event ---

LEVELS = {kind: events.level_of(kind) for kind in Kind}


@pytest.mark.parametrize("kind", [kind for kind in Kind if LEVELS[kind] > logging.DEBUG])
def test_each_kind_is_limited_from_info_on(kind: Kind, clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "onerefresh"), listening() as heard:
        for number in range(5):
            publish(failed(number, kind))
        clock[0] = 60.0
        publish(failed(5, kind))
    words = kind.replace("_", " ")
    assert len(heard) == 6
    assert caplog.messages[2:4] == [
        f'further lines "{words}" about {A} are left out of this log for up to 60 s, and counted',
        f'3 lines "{words}" about {A} were left out of this log',
    ]
    assert {record.levelno for record in caplog.records} == {LEVELS[kind]}


@pytest.mark.parametrize("kind", [kind for kind in Kind if LEVELS[kind] == logging.DEBUG])
def test_debug_lines_are_not_limited(kind: Kind, clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "onerefresh"):
        for number in range(5):
            publish(failed(number, kind))
    assert len(caplog.messages) == 5
    assert clock == [0.0]


def test_lines_of_one_kind_hide_none_of_another(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "onerefresh"):
        for number in range(5):
            publish(failed(number))
        publish(failed(7, Kind.DEAD))
    assert caplog.messages[-1] == "customer-7: dead (generation 0): down"
    assert clock == [0.0]


def test_any_later_event_brings_the_number(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "onerefresh"):
        for number in range(5):
            publish(failed(number, Kind.NOT_DURABLE))
        clock[0] = 60.0
        publish(failed(5, Kind.REFRESHED, host=B))
    assert caplog.messages[3:] == [f'3 lines "not durable" about {A} were left out of this log']


def test_a_hook_that_fails_each_time_fills_no_log(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    def hook(event: Event) -> None:
        raise LookupError(event.credential)

    unsubscribe = events.subscribe(hook)
    try:
        for number in range(5):
            publish(failed(number, Kind.REFRESHED))
    finally:
        unsubscribe()
    what = "a hook for onerefresh events failed"
    assert caplog.messages == [
        what, what, f'further lines "{what}" about LookupError are left out of this log for up to 60 s, and counted'
    ]  # fmt: skip
    assert [record.exc_info is not None for record in caplog.records] == [True, True, False]
    assert clock == [0.0]


def test_many_tenants_whose_store_forgets_are_twenty_lines(caplog: pytest.LogCaptureFixture) -> None:
    class Rotates(Refresher):
        host = A

    def first(key: str) -> dict[str, object]:
        return first_token(refresh_token=f"refresh of {key}")

    with (
        caplog.at_level(logging.WARNING, "onerefresh"),
        listening() as heard,
        Credentials(Rotates(), store="memory", token_for=first) as customers,
    ):
        for number in range(30):
            acme = customers[f"customer-{number}"]
            acme.token(refused=acme.token())
            while [event.kind for event in heard].count(Kind.NOT_DURABLE) <= number:
                pass  # on the renewal's thread, when the caller has its token
    assert [event.kind for event in heard].count(Kind.NOT_DURABLE) == 30
    assert len(caplog.messages) == 21
    assert caplog.messages[20].startswith(f'further lines "not durable" about {A} are left out')


# --- A log of the host that fails ---


class Fails(logging.Handler):
    """A handler that raises at each line, as a filter or a formatter of the host may."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self.error


@pytest.fixture
def broken_log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is reported of a handler that raises `request.param` at each line of the library's log."""
    logger, handler, reported = logging.getLogger("onerefresh"), Fails(request.param), list[str]()
    monkeypatch.setattr(limited_log, "_failures", LogLimit(2))
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(str(args.exc_value)))
    monkeypatch.setattr(logger, "level", logging.DEBUG)
    logger.addHandler(handler)
    yield reported
    logger.removeHandler(handler)


@pytest.mark.parametrize("broken_log", [RuntimeError("no disk"), SystemExit()], indirect=True)
def test_a_log_that_fails_costs_no_token(broken_log: list[str]) -> None:
    refresher = Refresher()
    for key in ("acme", "globex"):
        credential = Credential(key, refresher, token=first_token(refresh_token=key, expires_at=1_000_000_000))
        assert credential.token().generation == 2
    assert refresher.calls == 2
    assert len(broken_log) == 2, "it is reported, and not at each line"


@pytest.mark.parametrize("broken_log", [KeyboardInterrupt()], indirect=True)
def test_ctrl_c_ends_a_line_of_the_main_thread(broken_log: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        publish(failed(0))
    assert broken_log == []


def test_no_other_module_writes_to_the_log() -> None:
    """Any line may come once for each customer."""
    wanted = re.compile(r"getLogger\(\"onerefresh\"\)|logger\.(?:debug|info|warning|error|exception|critical)\(")
    found = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if wanted.search(path.read_text())}
    assert found == {"limited_log.py", "cli/__init__.py"}  # the latter sets its level
