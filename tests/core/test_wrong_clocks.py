"""Machines whose clocks are off: how often they refresh, and what they tell each other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import pytest
from tests.core.calls import listening
from tests.core.driver import KEY, START
from tests.core.test_skews import jwt

from onerefresh import Credential, Credentials, RefreshUnavailable, StoreUnavailable, Token
from onerefresh.events import Event, Kind
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.oauth2.codec import TokenRequest, TokenResponse
from onerefresh.store import Store, StoreTime, Versioned
from onerefresh.stores.memory import MemoryStore
from onerefresh.telling import ClockNews

HOUR, IDLE = 3600.0, 1800.0


class Times:
    """True time, and the skew of the machine that runs now."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now, self.skew, self.machine = START, 0.0, "right"
        patch.setattr(time, "time", lambda: self.now + self.skew)
        patch.setattr("onerefresh.credential.launcher.machine", lambda: self.machine)

    @contextmanager
    def on(self, machine: str, skew: float) -> Iterator[None]:
        self.machine, self.skew = machine, skew
        try:
            yield
        finally:
            self.machine, self.skew = "right", 0.0


class Api:
    """A token endpoint, and an API that takes its tokens until they end."""

    def __init__(self, times: Times, *, says: str, date: bool = True) -> None:
        self.times, self.says, self.date, self.requests = times, says, date, 0
        self.ends: dict[str, float] = {}

    def answer(self) -> dict[str, object]:
        self.requests += 1
        now = float(int(self.times.now))
        is_opaque = self.says in ("opaque", "moment alone")
        access = f"opaque-{self.requests}" if is_opaque else jwt(iat=now, exp=now + HOUR, n=self.requests)
        self.ends[access] = now + HOUR
        answer: dict[str, object] = {"access_token": access, "refresh_token": f"r-{self.requests}"}
        if self.says in ("opaque", "both"):
            answer["expires_in"] = 3600
        if self.says == "idle":
            answer["refresh_expires_in"] = int(IDLE)
        if self.says in ("moment", "moment alone"):
            answer["expires_at"] = now + HOUR
        return answer

    def send(self, _: TokenRequest) -> TokenResponse:
        headers = {"date": formatdate(self.times.now, usegmt=True)} if self.date else {}
        return TokenResponse(200, headers, json.dumps(self.answer()).encode())

    def refresher(self) -> Callable[[Token], Any]:
        if self.date:
            return TokenEndpoint("https://acme.test/token", client_id="c", send=self.send)
        return lambda _: self.answer()

    def accepts(self, token: Token) -> bool:
        return self.times.now < self.ends.get(token.reveal(), 0.0)


class Place(MemoryStore):
    """A store on a server, for several machines. `has_clock`: it has a clock of its own."""

    def __init__(self, times: Times, *, has_clock: bool) -> None:
        super().__init__()
        self.times, self.has_clock = times, has_clock

    def moment(self) -> StoreTime | None:  # type: ignore[override]
        return StoreTime("server", self.times.now - 1_000_000.0) if self.has_clock else None


class Door(Store):
    """How one process sees the place."""

    def __init__(self, place: Place) -> None:
        self.place, self.name = place, "a place"
        self.durable = self.may_go_back = False

    def load(self, key: str) -> Versioned | None:
        return self.place.load(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        return self.place.cas(key, expected, body)

    def moment(self) -> StoreTime | None:
        return self.place.moment()

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        return self.place.scan()


def call(api: Api, credential: Credential) -> int:
    """A call with one replay; how often the API refused it."""
    token = credential.current() or credential.token()
    refusals = 0
    if not api.accepts(token):
        refusals, token = 1, credential.token(refused=token)
        assert api.accepts(token), "the replay succeeds"
    flight = credential._memory.flight
    if flight is not None:
        assert flight.wait(20.0)  # a refresh in the background
    return refusals


FIRST = {"access_token": "first", "refresh_token": "r-0", "expires_in": 1}
SAYS = ["jwt", "opaque", "both", "moment"]


@pytest.mark.parametrize("skew", [7200.0, -7200.0, 3300.0, 3540.0, 90.0, -90.0, 1e7, -1e7])
@pytest.mark.parametrize("says", SAYS)
def test_a_machine_with_a_wrong_clock_refreshes_once_in_a_token_s_life(
    says: str, skew: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = Times(monkeypatch)
    api = Api(times, says=says)
    with times.on("wrong", skew), Credential(KEY, api.refresher(), token=FIRST) as acme:
        times.now += 10.0
        refusals = 0
        for _ in range(6 * 60):
            refusals += call(api, acme)
            times.now += 60.0
    assert api.requests <= 8, "six hours"
    assert refusals == 0


@pytest.mark.parametrize("skew", [7200.0, 1e7])
def test_a_function_without_a_date_does_so_by_the_token_s_own_times(
    skew: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = Times(monkeypatch)
    api = Api(times, says="jwt", date=False)
    with times.on("wrong", skew), Credential(KEY, api.refresher(), token=FIRST) as acme:
        times.now += 10.0
        refusals = 0
        for _ in range(6 * 60):
            refusals += call(api, acme)
            times.now += 60.0
    assert api.requests <= 8
    assert refusals == 0


@pytest.mark.parametrize("skew", [900.0, 1800.0, 3300.0, 3540.0])
def test_where_it_may_be_a_cache_it_refreshes_a_few_times(skew: float, monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch)
    api, place = Api(times, says="jwt", date=False), Place(times, has_clock=True)
    with times.on("wrong", skew), Credential(KEY, api.refresher(), token=FIRST, store=Door(place)) as acme:
        times.now += 10.0
        for _ in range(6 * 60):
            call(api, acme)
            times.now += 60.0
    assert api.requests <= 6 * 10


@pytest.mark.parametrize("skew", [3600.0, 7200.0, 1e7])
def test_a_moment_alone_that_is_over_is_doubted_and_said(skew: float, monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch)
    api = Api(times, says="moment alone", date=False)
    with listening() as heard, times.on("wrong", skew), Credential(KEY, api.refresher(), token=FIRST) as acme:
        times.now += 10.0
        for _ in range(6 * 60):
            assert not call(api, acme)
            times.now += 60.0
    assert api.requests <= 6 * 15
    said = [event.detail for event in heard if event.kind is Kind.ODD_EXPIRY]
    assert len(said) == api.requests
    assert said[0] == (
        "its end was over before it was asked for (this machine's clock is ahead of the server's, or a cache has "
        "answered); the token is used for 300 s"
    )


def test_the_same_token_once_more_is_asked_for_again_soon() -> None:
    before = Token("a", "r", expires_at=START)
    again = Token("a", "r", expires_at=START, issued_at=START + HOUR).arrived(START + HOUR, START + HOUR, before)
    assert again.expires_at == START + HOUR + 60.0, "a cache may have the next one by then"


@pytest.mark.seconds
@pytest.mark.parametrize("has_clock", [True, False])
@pytest.mark.parametrize("skew", [7200.0, -7200.0])
@pytest.mark.parametrize("says", SAYS)
def test_machines_of_all_sorts_share_one_token(
    says: str, skew: float, has_clock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = Times(monkeypatch)
    api, place = Api(times, says=says), Place(times, has_clock=has_clock)
    skews = {"wrong": skew, "right": 0.0, "other": -skew}
    machines = {name: Credential(KEY, api.refresher(), token=FIRST, store=Door(place)) for name in skews}
    times.now += 10.0
    refusals = 0
    for _ in range(6 * 60):
        for name, acme in machines.items():
            with times.on(name, skews[name]):
                refusals += call(api, acme)
        times.now += 60.0
    for acme in machines.values():
        acme.close()
    assert api.requests <= (8 if has_clock else 10), "each finds out once"
    # The first token is dated by the machine that brought it. Without a clock of the store, a machine that is behind
    # and never refreshes does not find out, and has each token refused once.
    assert refusals <= (1 if has_clock else 7)


@pytest.mark.seconds
@pytest.mark.parametrize("has_clock", [True, False])
@pytest.mark.parametrize("skew", [7200.0, -7200.0])
def test_processes_that_live_for_one_call_know_it_from_the_record(
    skew: float, has_clock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = Times(monkeypatch)
    api, place = Api(times, says="jwt"), Place(times, has_clock=has_clock)
    times.now += 10.0
    refusals = 0
    for number in range(6 * 60):
        machine = "wrong" if number % 2 or not has_clock else "right"
        with (
            times.on(machine, skew if machine == "wrong" else 0.0),
            Credential(KEY, api.refresher(), token=FIRST, store=Door(place)) as acme,
        ):
            refusals += call(api, acme)
        times.now += 60.0
    assert api.requests <= 8
    assert refusals <= 1, "the first token, which is dated by the machine that brought it"


@pytest.mark.seconds
@pytest.mark.parametrize("later", ["wrong", "right"])
@pytest.mark.parametrize("says", SAYS)
@pytest.mark.parametrize("date", [True, False])
def test_a_token_ends_in_time_where_the_clock_was_set_right_or_another_machine_goes_on(
    date: bool, says: str, later: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = Times(monkeypatch)
    monkeypatch.setattr("onerefresh.runner.is_set_by_tests", lambda: False)
    api, place = Api(times, says=says, date=date), Place(times, has_clock=True)
    refusals = 0
    for minute in range(6 * 60):
        with (
            times.on(*(("wrong", 7200.0) if minute < 20 else (later, 0.0))),
            Credential(KEY, api.refresher(), token={"refresh_token": "r-0"}, store=Door(place)) as acme,
        ):
            refusals += call(api, acme)
        times.now += 60.0
    assert api.requests <= 8
    assert not refusals, "the store's clock tells, also where no answer did"


@pytest.mark.parametrize("later", ["wrong", "right"])
def test_a_refresh_by_a_clock_that_is_ahead_damps_refusals_only_for_a_while(
    later: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = Times(monkeypatch)
    monkeypatch.setattr("onerefresh.runner.is_set_by_tests", lambda: False)
    api, place = Api(times, says="jwt"), Place(times, has_clock=True)

    def answered() -> bool:
        with Credential(KEY, api.refresher(), token={"refresh_token": "r-0"}, store=Door(place)) as acme:
            token = acme.token()
            return api.accepts(token) or api.accepts(acme.token(refused=token))

    with times.on("wrong", 7200.0):
        assert answered()
    api.ends.clear()  # the token is revoked
    with times.on(later, 0.0):
        assert not answered(), "it was refreshed just now"
        times.now += 11.0
        assert answered()
    assert api.requests == 2


@pytest.mark.parametrize("later", ["wrong", "right"])
def test_an_outage_noted_by_a_clock_that_is_ahead_is_over_when_it_is(
    later: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = Times(monkeypatch)
    monkeypatch.setattr("onerefresh.runner.is_set_by_tests", lambda: False)
    api, place = Api(times, says="jwt"), Place(times, has_clock=True)
    ask, is_down = api.send, True

    def send(request: TokenRequest) -> TokenResponse:
        return TokenResponse(503, {"Retry-After": "60"}, b"") if is_down else ask(request)

    endpoint = TokenEndpoint("https://acme.test/token", client_id="c", send=send)

    def get() -> Token:
        with Credential(KEY, endpoint, token={"refresh_token": "r-0"}, store=Door(place)) as acme:
            return acme.token()

    with times.on("wrong", 7200.0), pytest.raises(RefreshUnavailable):
        get()
    is_down = False
    with times.on(later, 0.0):
        with pytest.raises(RefreshUnavailable):
            get()
        times.now += 61.0
        assert get().generation == 2


def test_the_command_for_many_does_not_take_a_fresh_token_for_an_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch)
    api, place = Api(times, says="jwt"), Place(times, has_clock=True)
    times.now += 10.0
    with Credential(KEY, api.refresher(), token=FIRST, store=Door(place)) as acme:
        call(api, acme)
    with times.on("wrong", 7200.0), Credentials(api.refresher(), store=Door(place)) as several:
        done = several.refresh_due(within=600.0)
        assert (done.looked_at, done.refreshed, done.failed) == (1, 0, 0)
        times.now += HOUR - 300.0
        assert several.refresh_due(within=600.0).refreshed == 1
    assert api.requests == 2


def test_status_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch)
    api, place = Api(times, says="jwt"), Place(times, has_clock=True)
    times.now += 10.0
    with Credential(KEY, api.refresher(), token=FIRST, store=Door(place)) as acme:
        call(api, acme)
        assert acme.status().clock_skew == 0.0
    with times.on("wrong", -7200.0), Credential(KEY, api.refresher(), store=Door(place)) as acme:
        assert acme.status().clock_skew == pytest.approx(-7200.0, abs=1.0)


# --- What is said ---


def said_by(api: Api, times: Times, *, hours: int) -> list[Event]:
    with listening() as heard, times.on("wrong", 7200.0), Credential(KEY, api.refresher(), token=FIRST) as acme:
        times.now += 10.0
        for _ in range(hours * 60):
            call(api, acme)
            times.now += 60.0
    return [event for event in heard if event.kind is Kind.CLOCK_OFF]


def test_an_event_says_that_the_clock_is_off_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch)
    monkeypatch.setattr("onerefresh.telling.clock_news", ClockNews())
    api = Api(times, says="jwt")
    found = said_by(api, times, hours=3)
    assert api.requests >= 3
    assert [event.detail for event in found] == ["this machine's clock is 7200 s ahead of the server's"]
    assert found[0].facts.duration == pytest.approx(7200.0, abs=1.0)
    assert found[0].facts.host == "acme.test:443"


# --- The refresh token's end ---


@pytest.mark.parametrize("skew", [0.0, 7200.0, -7200.0, 3300.0])
@pytest.mark.parametrize("date", [True, False])
def test_a_refresh_token_that_ends_first_is_used_in_time_on_such_a_machine(
    date: bool, skew: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = Times(monkeypatch)
    api = Api(times, says="idle", date=date)
    with times.on("wrong", skew), Credential(KEY, api.refresher(), token=FIRST) as acme:
        times.now += 10.0
        for _ in range(6 * 60):
            call(api, acme)
            ends_at = acme.token().refresh_expires_at
            assert ends_at is not None
            assert 0.0 < ends_at - times.now <= IDLE
            times.now += 60.0
    assert api.requests <= 16, "six hours"
