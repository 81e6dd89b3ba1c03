"""How far a machine's clock is off: what an answer shows, what the record tells others, and when it is said."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest
from tests.core.driver import KEY, NEXT, START, Process, World, make_request, needy, seed, store_goes_down
from tests.effects import EFFECTS, Cas, Sleep, knowing

from onerefresh import Secret, Token
from onerefresh.events import Kind
from onerefresh.expiry import skew_by_date, skew_by_issue, skew_in_words
from onerefresh.record import TokenClock
from onerefresh.record_text import decode
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.renew import renew
from onerefresh.renewal.token_clocks import UNKNOWN, clock_of, skew_here
from onerefresh.store import StoreTime
from onerefresh.telling import ClockNews
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

HOUR = 3600.0
DATE = formatdate(START, usegmt=True)


def jwt(**claims: float) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims, "signature")]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


# --- What an answer shows ---


@pytest.mark.parametrize(
    ("date", "age", "asked", "came", "skew"),
    [
        pytest.param(DATE, None, 0.0, 0.2, 0.0, id="right"),
        pytest.param(DATE, None, 60.0, 60.2, 0.0, id="a minute is not worth it"),
        pytest.param(DATE, None, -60.0, -59.8, 0.0, id="nor is a minute behind"),
        pytest.param(DATE, None, 61.0, 61.2, 61.0, id="ahead"),
        pytest.param(DATE, None, 7200.0, 7200.2, 7200.0, id="two hours ahead"),
        pytest.param(DATE, None, -7200.0, -7199.8, -7200.0, id="two hours behind"),
        pytest.param(DATE, None, -100.0, 0.0, 0.0, id="a slow answer: the date may be right"),
        pytest.param(DATE, None, -200.0, -100.0, -200.0, id="a slow answer to a clock that is behind"),
        pytest.param(DATE, None, 7200.0, 0.0, 7200.0, id="a clock that was set back meanwhile"),
        pytest.param(DATE, "0", 7200.0, 7200.2, None, id="from a cache"),
        pytest.param(DATE, "7200", 7200.0, 7200.2, None, id="from a cache that says for how long"),
        pytest.param(None, None, 7200.0, 7200.2, None, id="no date"),
        pytest.param("", None, 7200.0, 7200.2, None, id="an empty one"),
        pytest.param("soon", None, 7200.0, 7200.2, None, id="no date at all"),
        pytest.param(f"{DATE}, {DATE}", None, 7200.0, 7200.2, None, id="two dates"),
        pytest.param("Thu, 01 Jan 1970 00:00:07 GMT", None, 0.0, 0.2, None, id="a server without a clock"),
        pytest.param("Friday, 15-Jan-27 08:00:00 GMT", None, 7200.0, 7200.2, 7200.0, id="RFC 850"),
        pytest.param("Fri Jan 15 08:00:00 2027", None, 7200.0, 7200.2, 7200.0, id="asctime"),
        pytest.param("Fri, 99 Jan 2027 08:00:00 GMT", None, 7200.0, 7200.2, None, id="no day of a month"),
    ],
)
def test_a_date_shows_how_far_the_clock_is_off(
    date: str | None, age: str | None, asked: float, came: float, skew: float | None
) -> None:
    assert skew_by_date(date, age, START + asked, START + came) == skew


@pytest.mark.parametrize(
    ("issued", "expires", "asked", "is_new", "skew"),
    [
        pytest.param(0.0, HOUR, 1.0, True, 0.0, id="issued when it was asked for"),
        pytest.param(0.0, HOUR, -7200.0, True, -7200.0, id="issued in the future: the clock is behind"),
        pytest.param(0.0, HOUR, -7200.0, False, -7200.0, id="whichever token it is"),
        pytest.param(0.0, HOUR, 7200.0, True, 7200.0, id="a new token that is over: the clock is ahead"),
        pytest.param(0.0, HOUR, 7200.0, False, None, id="the same token once more: a cache"),
        pytest.param(0.0, HOUR, HOUR - 30.0, True, HOUR - 30.0, id="it would be over at once, again and again"),
        pytest.param(0.0, HOUR, 1800.0, True, None, id="half of it is left: a cache, perhaps"),
        pytest.param(HOUR, 0.0, 7200.0, True, None, id="nonsense"),
    ],
)
def test_a_jwt_shows_it_where_there_is_no_date(
    issued: float, expires: float, asked: float, is_new: bool, skew: float | None
) -> None:
    found = skew_by_issue(START + issued, START + expires, START + asked, START + asked + 0.2, is_new=is_new)
    assert found == skew


@pytest.mark.parametrize("skew", [50.0, 59.0])
def test_a_jwt_so_short_that_less_than_a_minute_matters_has_its_whole_life(skew: float) -> None:
    token = Token(jwt(iat=START, exp=START + 60.0), issued_at=START + skew)
    arrived = token.arrived(START + skew, START + skew + 0.2)
    assert (arrived.issued_at, arrived.expires_at) == (START + skew, START + skew + 60.0)
    again = token.arrived(START + skew, START + skew + 0.2, token)
    assert again.expires_at == START + 60.0, "the same token once more is no newer"


def test_it_is_said_in_words() -> None:
    assert skew_in_words(7200.4) == "this machine's clock is 7200 s ahead of the server's"
    assert skew_in_words(-90.0) == "this machine's clock is 90 s behind the server's"


# --- What the record tells other machines ---


def clock(**others: Any) -> TokenClock:
    return TokenClock(**{"generation": 1, "machine": "far", "skew": 0.0, "clock_epoch": "era", "ahead": 50.0, **others})


def instant(skew: float, *, epoch: str | None = "era", store_is_off: float = 0.0) -> Instant:
    shared = None if epoch is None else StoreTime(epoch, START + 50.0 + store_is_off)
    return Instant(START + skew, 0.0, shared, 0.0)


@pytest.mark.parametrize(
    ("said", "now", "known", "skew"),
    [
        pytest.param(None, instant(7200.0), 7200.0, 0.0, id="a record that does not say it"),
        pytest.param(clock(generation=7), instant(7200.0), 7200.0, 0.0, id="of another generation"),
        pytest.param(clock(), instant(0.0), 0.0, 0.0, id="two clocks that are right"),
        pytest.param(clock(), instant(7200.0), 0.0, 7200.0, id="told by the store's clock"),
        pytest.param(clock(), instant(-7200.0), 0.0, -7200.0, id="behind, told by the store's clock"),
        pytest.param(clock(skew=7200.0), instant(0.0), 0.0, 0.0, id="the other's clock is wrong, and this one right"),
        pytest.param(clock(), instant(7200.0, epoch="another"), 0.0, 0.0, id="another server of the store"),
        pytest.param(clock(), instant(7200.0, epoch="another"), 7199.0, 7199.0, id="this process has known it before"),
        pytest.param(clock(), instant(7200.0, epoch=None), 7199.0, 7199.0, id="a store without a clock"),
        pytest.param(clock(machine="here", skew=7200.0), instant(7200.0, epoch=None), 0.0, 7200.0, id="this machine"),
        pytest.param(clock(machine="here", skew=7200.0), instant(0.0), 0.0, 0.0, id="this machine's clock was set"),
        pytest.param(clock(machine="here"), instant(0.0, store_is_off=-HOUR), 0.0, 0.0, id="the store's clock was set"),
        pytest.param(
            clock(machine="here"), instant(HOUR), 0.0, 0.0, id="the machine was asleep, and its clock with it"
        ),
        pytest.param(clock(), instant(0.0, store_is_off=-HOUR), 0.0, 0.0, id="set to before the token was issued"),
        pytest.param(
            clock(), instant(7200.0, store_is_off=-HOUR), 7199.0, 7199.0, id="and this process has known it before"
        ),
        pytest.param(
            clock(machine="here", skew=7200.0),
            instant(7200.0, store_is_off=-HOUR),
            0.0,
            7200.0,
            id="and the record knows it of this machine",
        ),
        pytest.param(
            clock(machine="here", skew=7200.0),
            instant(50.0, store_is_off=-HOUR),
            0.0,
            0.0,
            id="whose clock was set back as well",
        ),
        pytest.param(
            clock(machine=UNKNOWN), instant(-7200.0, store_is_off=-HOUR), 0.0, -7200.0, id="no token is of the future"
        ),
        pytest.param(clock(), instant(90.0, store_is_off=-59.0), 0.0, 149.0, id="two clocks may differ by a minute"),
        pytest.param(clock(), instant(50.0), 0.0, 0.0, id="less than a minute"),
        pytest.param(
            clock(machine=UNKNOWN), instant(-7200.0), 0.0, -7200.0, id="dated by a machine that was ahead of this one"
        ),
        pytest.param(clock(machine=UNKNOWN), instant(7200.0), 7199.0, 0.0, id="or behind: a stated moment is right"),
        pytest.param(clock(machine=UNKNOWN), instant(0.0, epoch=None), 7199.0, 0.0, id="and the store's clock is gone"),
    ],
)
def test_each_machine_finds_how_far_its_own_clock_is_off(
    said: TokenClock | None, now: Instant, known: float, skew: float
) -> None:
    record = replace(needy(None).present, token_clock=said)
    assert skew_here(record, now, "here", known) == pytest.approx(skew)


# --- Renewals ---


def test_the_record_says_by_which_clock_its_token_is_dated() -> None:
    world = needy(seed(lives=1.0))
    world.now, world.wall_is_off = 2.0, 7200.0
    world.answers = [Token("b", "r-2", expires_in=HOUR, issued_at=world.wall - 7200.0, clock_skew=7200.0)]
    found = world.run(renew(EFFECTS, make_request(process=("here", 7))))
    assert (found.skew, found.token.expires_at) == (7200.0, START + 2.0 + HOUR)
    said = world.present.token_clock
    assert said is not None
    assert (said.generation, said.machine, said.skew) == (2, "here", 7200.0)
    assert [event.facts.duration for event in world.events if event.kind is Kind.CLOCK_OFF] == [7200.0]
    for off, machine in ((7200.0, "here"), (7200.0, "there"), (0.0, "there"), (-7200.0, "there")):
        world.wall_is_off = off
        other = world.run(renew(EFFECTS, make_request(process=(machine, 8), background=True)))
        assert (other.renewed, other.skew) == (False, off)
    assert len(world.sent) == 1


def test_an_answer_that_shows_nothing_leaves_nothing_of_the_one_before() -> None:
    world = needy(seed(lives=1.0))
    world.put(replace(world.present, token_clock=TokenClock(1, "here", 7200.0, "boot", -START)))
    world.now = 2.0
    world.answers = [Token("b", "r-2", expires_in=HOUR, issued_at=world.wall)]
    world.run(renew(EFFECTS, make_request(process=("here", 7))))
    assert world.present.token_clock == TokenClock(2, UNKNOWN, 0.0, "boot", -START), "by the clock of this machine"
    assert not [event for event in world.events if event.kind is Kind.CLOCK_OFF]


@pytest.mark.parametrize("said", [TokenClock(1, "there", 0.0, "boot", -START), None], ids=["known", "not known"])
def test_an_access_token_that_stays_beside_a_new_refresh_token_keeps_its_clock(said: TokenClock | None) -> None:
    """It was said to be dated by the machine that got the refresh token, whose clock is off by less than a minute."""
    rest = Verdict(FailureKind.UNUSABLE, "no header can carry it", kept=Secret("r-2"))
    world = needy(seed(lives=HOUR), RefreshFailure(rest))
    world.put(replace(world.present, token_clock=said))
    world.now, world.wall_is_off = HOUR - 100.0, 20.0
    assert world.run(renew(EFFECTS, make_request(process=("here", 7), background=True))).token.generation == 2
    assert world.present.token_clock == (said and replace(said, generation=2))
    if said:
        world.wall_is_off = HOUR
        assert world.run(renew(EFFECTS, make_request(process=("far", 8)))).skew == HOUR


def test_an_answer_without_a_usable_token_says_nothing_of_the_clock() -> None:
    rest = Verdict(FailureKind.UNUSABLE, "no header can carry it", kept=Secret("r-2"))
    world = needy(seed(lives=HOUR), RefreshFailure(rest))
    world.put(replace(world.present, token_clock=TokenClock(1, "there", 7200.0, "boot", -START)))
    world.now = HOUR - 100.0
    world.run(renew(EFFECTS, make_request(process=("here", 7), background=True)))
    assert not [event for event in world.events if event.kind is Kind.CLOCK_OFF], "it is another machine's"


# --- What is said, and what earlier versions wrote ---


def test_it_is_said_again_where_the_clock_was_set_and_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    news, now = ClockNews(), [1e6]
    monkeypatch.setattr("onerefresh.telling.monotonic", lambda: now[0])
    asked = [("a", 7200.0, True), ("a", 7230.0, False), ("b", 7200.0, True), ("a", -90.0, True), ("a", -90.0, False)]
    assert [news.is_news(host, skew) for host, skew, _ in asked] == [expected for *_, expected in asked]
    now[0] += HOUR
    assert news.is_news("a", -90.0)


def test_a_record_of_an_earlier_version_is_read_as_before() -> None:
    world: World = needy(seed(lives=1.0))
    fields = {name: value for name, value in json.loads(world.body or "").items() if name not in ("clock", "checksum")}
    assert decode(json.dumps(fields), KEY).token_clock is None


@pytest.mark.parametrize(
    ("wall", "skew"),
    [
        pytest.param(HOUR + 100.0, HOUR, id="it is as it was"),
        pytest.param(100.0, 100.0, id="set back since: no token is used before it was issued"),
        pytest.param(2.0 * HOUR, HOUR, id="set forward since: the token ends too early"),
        pytest.param(HOUR - 30.0, HOUR, id="two clocks may differ by a minute"),
    ],
)
def test_what_a_spooled_token_says_of_its_machine_s_clock_is_checked_when_it_is_stored(
    wall: float, skew: float
) -> None:
    """The token was issued at `START`, when the machine was an hour ahead; by now it may have been put right."""
    token = Token("access", issued_at=START, expires_at=START + HOUR, clock_skew=HOUR)
    clock = clock_of(token, 2, Instant(START + wall, 0.0, None, 0.0), "this one")
    assert clock == TokenClock(2, "this one", skew, None, 0.0)


def spooled(answer: Token, wall_is_off: float) -> World:
    """A process of this machine has died with `answer` in the spool; the store is back."""
    world = needy(seed(lives=1.0, at=0.0), answer)
    world.wall_is_off = wall_is_off
    renewal = renew(EFFECTS, make_request(process=("here", 7)))
    Process(world, renewal, faults={(Cas, 2): store_goes_down}).until(Sleep, 2).crash()
    world.down = False
    return world


def test_the_spooled_token_of_a_function_ends_in_time_where_its_machine_s_clock_was_set_back_since() -> None:
    """It is dated by a clock that was an hour ahead. It was said to be dated by the clock as it is now."""
    world = spooled(Token("access", "refresh-2", expires_in=HOUR, issued_at=START + HOUR), wall_is_off=HOUR)
    world.now, world.wall_is_off = 100.0, 0.0
    assert world.run(renew(EFFECTS, make_request(process=("here", 8)))).token.reveal() == "access"
    world.now += HOUR + 10.0
    world.answers = [NEXT]
    for machine in ("here", "there"):
        assert world.run(renew(EFFECTS, make_request(process=(machine, 9)))).token.reveal() == "access-next"


@pytest.mark.parametrize("clock_epoch", ["boot", None])
def test_a_spooled_token_that_the_store_has_lost_is_dated_by_its_server_s_clock(clock_epoch: str | None) -> None:
    """A machine that is two hours ahead took the token for one that is over, and its callers waited for the next."""
    token = Token("access", "refresh-2", expires_in=HOUR, issued_at=START, clock_skew=7200.0)
    world = spooled(token, wall_is_off=7200.0)
    world.clock_epoch = clock_epoch
    world.put(None)
    began, request = world.now, make_request(process=("here", 8))
    found = world.run(renew(knowing(recovery=5.0, may_go_back=True), request))
    assert (found.token.reveal(), found.skew, world.now) == ("access", 7200.0, began)
    assert len(world.sent) == 1


@pytest.mark.parametrize("found", [7200.0, 0.0])
def test_a_token_that_was_only_read_is_restored_with_what_this_process_knows_of_its_clock(found: float) -> None:
    world = needy(None, NEXT)
    known, world.wall_is_off = world.token, 7200.0
    world.put(None)
    asked = knowing(newest=known, recovery=5.0, may_go_back=True)
    outcome = world.run(renew(asked, make_request(process=("here", 8), skew=found)))
    assert (outcome.token.reveal(), outcome.skew) == (("access-seed", found) if found else ("access-next", 0.0))
