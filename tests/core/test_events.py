"""What each event says beside what happened: the endpoint's host, the process, a duration, a status, a reason."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import Refresher, first_token, in_threads, listening, of_another_process, wait_for
from tests.core.driver import START, make_lease, make_request, seed
from tests.core.test_record import dead, empty, gone_on, idle, leased
from tests.package import ROOT

from onerefresh import (
    Credential,
    Credentials,
    LoginRequired,
    RefreshUnavailable,
    StoreUnavailable,
    WaitTimeout,
    announcing,
    events,
)
from onerefresh.events import Event, Facts, Kind, Reason
from onerefresh.oauth2 import TokenEndpoint, TokenRequest, TokenResponse
from onerefresh.record import Entry, Record
from onerefresh.record_text import decode, encode
from onerefresh.renewal.request import FORCED
from onerefresh.stores.memory import MemoryStore
from onerefresh.telling import SINCE_IT_BEGAN, SINCE_IT_SENT
from onerefresh.this_process import LONGEST, machine, this_process
from onerefresh.transitions import claimed

HOST = "acme.example:443"
FIRST: dict[str, object] = {"access_token": "access-0", "refresh_token": "refresh-0"}


class Endpoint:
    """Answers with what is next: a status, or a token after all of them."""

    def __init__(self, *statuses: int, body: bytes = b"{}") -> None:
        self.statuses, self.body, self.sent = list(statuses), body, 0

    def __call__(self, request: TokenRequest) -> TokenResponse:
        self.sent += 1
        status = self.statuses.pop(0) if self.statuses else 200
        body = self.body
        if status == 200:
            body = json.dumps({"access_token": f"access-{self.sent}", "refresh_token": f"r-{self.sent}"}).encode()
        return TokenResponse(status, {}, body)

    def refresher(self, **others: Any) -> TokenEndpoint:
        return TokenEndpoint("https://acme.example/token", client_id="c", send=self, **others)


def of(heard: list[Event], kind: Kind) -> Event:
    [found] = [event for event in heard if event.kind is kind]
    return found


def refused(acme: Credential, **others: Any) -> Any:
    token = acme.token()
    acme.replayed(token, accepted=True)
    return acme.token(refused=token, **others)


# --- Renewals ---


def test_a_refresh() -> None:
    acme = Credential("acme", Endpoint().refresher(), token=FIRST)
    with listening() as heard:
        refused(acme)
    assert [event.kind for event in heard if event.kind is not Kind.NOT_DURABLE] == [
        Kind.CLAIMED, Kind.SENT, Kind.REFRESHED
    ]  # fmt: skip
    for kind in (Kind.CLAIMED, Kind.SENT, Kind.REFRESHED):
        facts = of(heard, kind).facts
        assert (facts.host, facts.process, facts.reason) == (HOST, f"{os.uname().nodename}:{os.getpid()}", "refused")
        assert (facts.status, facts.error) == (None, None)
    assert [of(heard, kind).facts.duration is not None for kind in (Kind.CLAIMED, Kind.SENT, Kind.REFRESHED)] == [
        True, False, True
    ]  # fmt: skip


FAILURES: dict[int, tuple[str, type[Exception]]] = {
    503: ("RefreshUnavailable", RefreshUnavailable),
    400: ("LoginRequired", LoginRequired),
}


@pytest.mark.seconds
@pytest.mark.parametrize("status", FAILURES)
def test_a_request_that_fails(status: int) -> None:
    name, error = FAILURES[status]
    body = b'{"error": "invalid_grant"}' if status == 400 else b""
    acme = Credential("acme", Endpoint(*[status] * 99, body=body).refresher(), token=FIRST, max_wait=30.0)
    with listening() as heard, pytest.raises(error):
        refused(acme)
    failed = next(event for event in heard if event.kind is Kind.FAILED)
    assert (failed.facts.status, failed.facts.error, failed.facts.host) == (status, name, HOST)
    assert failed.facts.duration is not None
    if status == 400:
        assert (of(heard, Kind.DEAD).facts.status, of(heard, Kind.DEAD).facts.error) == (400, "LoginRequired")
        assert of(heard, Kind.DEAD).facts.reason is Reason.REFUSED


def test_a_function_states_no_host_and_its_exceptions_have_a_class() -> None:
    refresher = Refresher()
    refresher.failure = ValueError("no")
    acme = Credential("acme", refresher, token=first_token())
    with listening() as heard, pytest.raises(Exception, match="ValueError"):
        refused(acme)
    facts = of(heard, Kind.FAILED).facts
    assert (facts.host, facts.status, facts.error) == (None, None, "RefresherFailed")


def test_what_a_refresher_raises_about_its_host_costs_no_token() -> None:
    class Odd(Refresher):
        asked = 0

        @property
        def host(self) -> str:
            self.asked += 1
            if self.asked % 2:
                return "acme.example\n:443"
            raise LookupError("no host any more")

    acme = Credential("acme", Odd(), token=first_token())
    with listening() as heard:
        for _ in range(20):
            events.publish(Event(Kind.QUEUED, "acme"))
    assert {event.facts.host for event in heard} == {None}
    assert acme.token().reveal() == "access-0"


def asked(record: Record | None, **others: Any) -> Reason:
    return make_request(**others).reason(record)


REASONS: dict[str, tuple[Callable[[], Reason], Reason]] = {
    "a caller waits": (lambda: asked(idle()), Reason.EXPIRED),
    "in the background": (lambda: asked(idle(), background=True), Reason.AGEING),
    "refused": (lambda: asked(idle(), refused=idle().identity), Reason.REFUSED),
    "refused while it ages": (lambda: asked(idle(), refused=idle().identity, background=True), Reason.REFUSED),
    "an older one was refused": (lambda: asked(gone_on(seed("2")), refused=idle().identity), Reason.EXPIRED),
    "due": (lambda: asked(idle(), within=300.0, background=True), Reason.DUE),
    "retry": (lambda: asked(idle(), within=FORCED, background=True, refused=idle().identity), Reason.FORCED),
    "no record": (lambda: asked(None), Reason.MISSING),
    "dead": (lambda: asked(dead()), Reason.MISSING),
    "logged out": (lambda: asked(empty()), Reason.MISSING),
    "claimed": (lambda: asked(leased()), Reason.EXPIRED),
    "claimed from a dead one": (
        lambda: asked(claimed(dead(), make_lease(grant="obtain"), owner=None)), Reason.MISSING
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REASONS)
def test_each_reason(name: str) -> None:
    found, expected = REASONS[name]
    assert found() is expected


def test_a_run_over_all_that_is_due_and_a_retry_say_so() -> None:
    store, endpoint = MemoryStore(), Endpoint(body=b'{"error": "invalid_grant"}')
    with Credentials(endpoint.refresher(), store=store) as customers, listening() as heard:
        customers["acme"].login({**FIRST, "expires_in": 3600})
        assert customers.refresh_due(within=float("inf"), keys=["acme"]).refreshed == 0  # it is too young
        customers["acme"].login({"access_token": "a", "refresh_token": "r", "expires_at": 1_000_000_000})
        assert customers.refresh_due(within=float("inf"), keys=["acme"]).refreshed == 1
        endpoint.statuses = [400]
        with pytest.raises(LoginRequired):
            refused(customers["acme"])
        customers["acme"].retry()
    reasons = [event.facts.reason for event in heard if event.kind is Kind.CLAIMED]
    assert reasons == [Reason.DUE, Reason.REFUSED, Reason.FORCED]


def test_what_is_odd_about_a_set_up_names_the_host() -> None:
    first = {**FIRST, "token_type": "bot", "expires_in": "soon"}
    with listening() as heard:
        acme, _ = [Credential(name, Endpoint().refresher(), token=first) for name in ("acme", "other")]
        refused(acme)
        wait_for(heard, Kind.NOT_DURABLE)
    odd = {Kind.NOT_DURABLE, Kind.ODD_TYPE, Kind.ODD_EXPIRY, Kind.SEED_SHARED}
    assert {event.kind: event.facts.host for event in heard if event.kind in odd} == dict.fromkeys(odd, HOST)


# --- Spooled, timed out ---


class Down(MemoryStore):
    """A shared store that is down for a commit."""

    name, durable = "down", True
    is_down = False

    def cas(self, key: str, expected: str | None, body: str) -> str:
        if self.is_down and decode(body, key).generation > 1:
            raise StoreUnavailable("it is full")
        return super().cas(key, expected, body)


@pytest.mark.seconds
def test_a_token_that_is_spooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path))
    store = Down()
    with listening() as heard, Credential("acme", Endpoint().refresher(), store=store) as acme:
        acme.login(FIRST)
        store.is_down = True
        refused(acme)
        wait_for(heard, Kind.STORE_DOWN)
        store.is_down = False
        wait_for(heard, Kind.REFRESHED)
    spooled = of(heard, Kind.SPOOLED).facts
    assert (spooled.host, spooled.error, spooled.reason) == (HOST, "StoreUnavailable", Reason.REFUSED)
    assert spooled.duration is not None
    assert (of(heard, Kind.STORE_DOWN).facts.host, of(heard, Kind.STORE_UP).facts.host) == ("down", "down")
    kinds = [event.kind for event in heard]
    assert kinds.index(Kind.STORE_UP) < kinds.index(Kind.REFRESHED)


def test_a_caller_whose_time_is_over() -> None:
    refresher = Refresher(gated=True)
    acme = Credential("acme", refresher, token=first_token(expires_at=1_000_000_000))
    with listening() as heard:
        for _ in range(2):
            with pytest.raises(WaitTimeout) as caught:
                acme.token(max_wait=0.0)
        wait_for(heard, Kind.TIMED_OUT)
        refresher.leave.set()
        acme.token()
        while announcing._waiting or announcing._announcer:
            pass
    timed_out = [event for event in heard if event.kind is Kind.TIMED_OUT]
    assert [(event.facts.duration, event.facts.error) for event in timed_out] == [(0.0, "WaitTimeout")] * 2
    assert timed_out[1].detail == caught.value.message
    assert timed_out[0].credential == "acme"


def test_many_callers_whose_time_is_over_need_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Callable[[], object]] = []
    monkeypatch.setattr(announcing, "start", lambda work, name, daemon: started.append(work))
    made = [lambda number=number: Event(Kind.TIMED_OUT, str(number)) for number in range(100)]
    with listening() as heard:
        in_threads([lambda one=one: announcing.announce(one) for one in made])  # type: ignore[misc]  # bound now
        [work] = started
        work()
    assert sorted(int(event.credential) for event in heard) == list(range(100))
    assert not announcing._announcer


def test_where_no_thread_can_start_the_event_comes_with_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise RuntimeError("no thread can start")

    with listening() as heard:
        with monkeypatch.context() as patched:
            patched.setattr(announcing, "start", refuses)
            announcing.announce(lambda: Event(Kind.TIMED_OUT, "first"))
        assert heard == []
        monkeypatch.setattr(announcing, "start", lambda work, name, daemon: work())
        announcing.announce(lambda: Event(Kind.TIMED_OUT, "second"))
    assert [event.credential for event in heard] == ["first", "second"]


def test_an_event_that_cannot_be_made_does_not_stop_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    works: list[Callable[[], object]] = []
    monkeypatch.setattr(announcing, "start", lambda work, name, daemon: works.append(work))

    def raises() -> Event:
        raise LookupError

    with listening() as heard:
        announcing.announce(raises)
        announcing.announce(lambda: Event(Kind.TIMED_OUT, "acme"))
        works[0]()
    assert [event.credential for event in heard] == ["acme"]


# --- The history ---


def test_the_history_says_who_refreshed_and_why() -> None:
    store = MemoryStore()
    with Credential("acme", Endpoint().refresher(), store=store, token=FIRST) as acme:
        refused(acme)
        history = acme.status().history
    me = f"{os.uname().nodename}:{os.getpid()}"
    assert [(entry.what, entry.process, entry.reason) for entry in history] == [
        ("seed", me, None), ("refresh", me, "refused")
    ]  # fmt: skip
    found = store.load("acme")
    assert found is not None
    assert json.loads(found.body)["history"][1][3:] == [os.uname().nodename, os.getpid(), "refused"]


def test_a_death_a_logout_and_a_login_say_who() -> None:
    with Credential("acme", Endpoint(400, body=b'{"error": "invalid_grant"}').refresher(), token=FIRST) as acme:
        with pytest.raises(LoginRequired):
            refused(acme)
        acme.logout()
        acme.login({"access_token": "a", "refresh_token": "r"})
        history = acme.status().history
    assert [(entry.what, entry.process == this_process(), entry.reason) for entry in history] == [
        ("seed", True, None), ("dead", True, "refused"), ("logout", True, None), ("login", True, None)
    ]  # fmt: skip


ENTRIES: dict[str, tuple[tuple[object, ...], str | None, str | None]] = {
    "an earlier version": ((), None, None),
    "a login": (("web-3", 4711), "web-3:4711", None),
    "a refresh": (("web-3", 4711, "ageing"), "web-3:4711", "ageing"),
    "a newer version": (("web-3", 4711, "of its own", {"later": 1}), "web-3:4711", "of its own"),
    "another type": (("web-3", {"process": 7}, 7), None, None),
    "a truth": (("web-3", True, ""), None, None),
    "a number": ((3, 4711, None), None, None),
    "a text that is not one line": (("web\n3", 1, "a\x1bb"), "web 3:1", "a b"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_read_whatever_it_has(name: str) -> None:
    more, process, reason = ENTRIES[name]
    entry = Entry(1, START, "refresh", more)
    assert (entry.process, entry.reason) == (process, reason)
    record = replace(idle(), history=(entry,))
    again = decode(encode(record), "acme")
    assert again.history[0].more == tuple(json.loads(json.dumps(more)))
    assert encode(again) == encode(record)


def test_a_request_without_a_process_stamps_nothing() -> None:
    assert make_request().stamp(Reason.DUE) == ()
    assert make_request(process=("web-3", 7)).stamp() == ("web-3", 7)
    assert make_request(process=("web-3", 7)).stamp(Reason.DUE) == ("web-3", 7, "due")


def test_a_machine_s_name_is_one_short_word(monkeypatch: pytest.MonkeyPatch) -> None:
    class Uname:
        nodename = "web 3\n" + "x" * 100

    monkeypatch.setattr(os, "uname", Uname)
    machine.cache_clear()
    try:
        assert machine() == ("web3" + "x" * 100)[:LONGEST]
        Uname.nodename = "\x00"
        machine.cache_clear()
        assert machine() == "unnamed"
    finally:
        machine.cache_clear()


def test_a_namesake_of_another_process_adopts() -> None:
    store = MemoryStore()
    one, other = (Credential("acme", Endpoint().refresher(), store=each) for each in (store, of_another_process(store)))
    one.login(FIRST)
    before = other.token()
    refused(one)
    with listening() as heard:
        other.token(refused=before)
    assert of(heard, Kind.ADOPTED).facts.process == this_process()


# --- Hooks that fail ---


@pytest.mark.parametrize("raised", [RuntimeError, SystemExit, asyncio.CancelledError, KeyboardInterrupt])
def test_whatever_a_hook_raises_on_a_thread_of_the_library_costs_no_token(raised: type[BaseException]) -> None:
    """A claim would stay behind, and each process would wait until it is over."""
    credential, called = Credential("acme", Endpoint().refresher(), store=MemoryStore()), list[Kind]()

    def fails(event: Event) -> None:
        called.append(event.kind)
        raise raised

    unsubscribe = events.subscribe(fails)
    try:
        with listening() as heard:
            credential.login(FIRST)
            assert credential.token(refused=credential.token()).generation == 2
            wait_for(heard, Kind.NOT_DURABLE)
    finally:
        unsubscribe()
    assert {Kind.LOGGED_IN, Kind.CLAIMED, Kind.REFRESHED} <= set(called)
    assert called == [event.kind for event in heard], "the other hook gets all"


def test_ctrl_c_in_a_hook_on_the_main_thread_comes_out() -> None:
    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    unsubscribe = events.subscribe(interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            events.publish(Event(Kind.REFRESHED, "acme"))
    finally:
        unsubscribe()


# --- The guide ---

PAGE = (ROOT / "docs/events.md").read_text("utf-8")


def rows() -> dict[str, list[str]]:
    found = re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE.split("## Each event")[1].split("\n## ")[0], re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in found}


def test_the_guide_s_hook_tells_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], names)
    try:
        events.publish(Event(Kind.STORE_DOWN, "acme", detail="it is full", facts=Facts("disk", error="OSError")))
        facts = Facts(process="web-3:4711", duration=0.25, reason=Reason.AGEING)
        events.publish(Event(Kind.REFRESHED, "acme", facts=facts))
    finally:
        names["unsubscribe"]()
    assert capsys.readouterr().out.splitlines() == [
        "disk is down (OSError): it is full", "acme was refreshed by web-3:4711 in 0.25 s: ageing"
    ]  # fmt: skip


def test_the_guide_has_each_event_with_its_level() -> None:
    levels = {kind.value: logging.getLevelName(events.level_of(kind)).lower() for kind in Kind}
    assert {name: cells[0] for name, cells in rows().items()} == levels


def test_the_guide_says_of_what_a_duration_is() -> None:
    with_one = SINCE_IT_BEGAN | SINCE_IT_SENT | {
        Kind.TIMED_OUT, Kind.ENDPOINT_DOWN, Kind.ENDPOINT_UP, Kind.STORE_UP, Kind.CLOCK_OFF,
    }  # fmt: skip
    assert {name for name, cells in rows().items() if cells[2]} == {kind.value for kind in with_one}


def test_the_guide_has_each_fact_and_each_reason() -> None:
    facts = re.findall(r"^\| `facts\.(\w+)` \|", PAGE, re.MULTILINE)
    assert facts == list(Facts.__dataclass_fields__)
    assert re.findall(r"^\* `(\w+)`:", PAGE, re.MULTILINE) == [reason.value for reason in Reason]
