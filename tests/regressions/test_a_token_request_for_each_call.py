"""What once made a token request for each call: slow answers with short-lived tokens, and an API that takes each once.

Refreshes that come early, less than half a token's life after the one before, are counted in the record.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import first_token, listening
from tests.core.driver import KEY, START, Process, World, make_lease, make_request, needy, refusing, seed
from tests.effects import EFFECTS, Watch, knowing

from onerefresh import Credential, LoginRequired, RefreshProtocolError, RefreshUnavailable, Token
from onerefresh import transitions as records
from onerefresh.cli import main
from onerefresh.events import Kind
from onerefresh.policy import BUDGET_TIME, EARLY_REFRESHES, thresholds
from onerefresh.record_text import decode, encode
from onerefresh.refresh_rate import Floor
from onerefresh.renewal import commands
from onerefresh.renewal.renew import renew
from onerefresh.secret import Secret
from onerefresh.stores.memory import MemoryStore
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict


class Slow:
    """A refresher whose answers take so many seconds, by a clock that nobody has to wait for."""

    def __init__(self, clock: Clock, takes: float, lives: float, **claims: object) -> None:
        self.clock, self.takes, self.lives, self.claims, self.calls = clock, takes, lives, claims, 0

    def __call__(self, token: Token) -> dict[str, object]:
        self.calls += 1
        self.clock.now += self.takes
        said = {"access_token": f"access-{self.calls}", "refresh_token": f"refresh-{self.calls}", **self.claims}
        return said if self.claims else {**said, "expires_in": self.lives}


class Clock:
    """In the place of `time.time` wherever a credential reads it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        patch.setattr(time, "time", lambda: self.now)


class Api:
    """Takes each token so many times."""

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self.used: dict[str, int] = {}

    def accepts(self, token: Token) -> bool:
        self.used[token.reveal()] = used = self.used.get(token.reveal(), 0) + 1
        return used <= self.times

    def call(self, credential: Credential) -> int:
        """What a client integration does."""
        token = credential.current() or credential.token()
        if self.accepts(token):
            if credential.unproven is token:
                credential.replayed(token, accepted=True)
            return 200
        newer = credential.token(refused=token)
        if newer.identity == token.identity:
            return 401
        accepted = self.accepts(newer)
        credential.replayed(newer, accepted=accepted)
        return 200 if accepted else 401


class Refresher:
    def __init__(self, **fields: object) -> None:
        self.fields, self.calls = {"expires_in": 3600, **fields}, 0

    def __call__(self, token: Token) -> dict[str, object]:
        self.calls += 1
        return {"access_token": f"access-{self.calls}", "refresh_token": f"refresh-{self.calls}", **self.fields}


# --- An answer that takes longer than its token lives ---


@pytest.mark.parametrize(("takes", "lives"), [(3.0, 2.0), (3.0, 3.5), (30.0, 1.0), (9.0, 10.0), (3.0, 4.0)])
def test_an_answer_that_takes_longer_than_its_token_lives_is_used_all_the_same(
    takes: float, lives: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    refresher = Slow(clock, takes, lives)
    credential = Credential("acme", refresher, token=first_token(expires_in=1))
    clock.now += 2.0
    assert [credential.token().reveal() for _ in range(8)] == ["access-1"] * 8
    assert refresher.calls == 1
    clock.now += lives
    assert [credential.token().reveal() for _ in range(8)] == ["access-2"] * 8


def test_so_is_one_that_says_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    refresher = Slow(clock, 5.0, 0.0, expires_at=clock.now + 4.0)
    credential = Credential("acme", refresher, token=first_token(expires_in=1))
    clock.now += 2.0
    assert [credential.token().reveal() for _ in range(8)] == ["access-1"] * 8


@pytest.mark.parametrize(
    ("expires_in", "asked", "came", "issued_at", "expires_at"),
    [
        (60.0, 0.0, 1.0, 0.0, 60.0),  # as ever
        (60.0, 0.0, 30.0, 0.0, 60.0),
        (60.0, 0.0, 31.0, 31.0, 91.0),
        (2.0, 0.0, 3.0, 3.0, 5.0),
        (-5.0, 0.0, 3.0, 3.0, 303.0),  # over before it was asked for
        (0.0, 0.0, 0.0, 0.0, 300.0),
        (60.0, 0.0, -3600.0, -3600.0, -3540.0),  # the clock was set back meanwhile
        (60.0, 0.0, 3600.0, 3600.0, 3660.0),  # or forward
    ],
)
def test_a_token_is_compared_with_the_moment_of_its_arrival(
    expires_in: float, asked: float, came: float, issued_at: float, expires_at: float
) -> None:
    token = Token("a", expires_at=START + asked + expires_in, issued_at=START + asked)
    arrived = token.arrived(START + asked, START + came)
    assert (arrived.issued_at - START, arrived.expires_at and arrived.expires_at - START) == (issued_at, expires_at)
    assert thresholds(arrived, 0.0).unusable_at > START + came


def test_one_of_unknown_expiry_is_as_it_was() -> None:
    token = Token("a", issued_at=START)
    assert token.arrived(START, START + 1000.0) is token


def test_whoever_waited_for_it_gets_it_once_even_where_it_is_over_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store takes longer than the token lives: a renewal that brings it does not begin anew."""
    clock = Clock(monkeypatch)

    class SlowStore(MemoryStore):
        def cas(self, key: str, expected: str | None, body: str) -> str:
            clock.now += 5.0
            return super().cas(key, expected, body)

    refresher = Refresher(expires_in=4)
    credential = Credential("acme", refresher, token=first_token(expires_in=1), store=SlowStore())
    clock.now += 2.0
    assert credential.token().reveal() == "access-1"
    assert refresher.calls == 1


def test_a_host_that_saves_slowly_gets_one_token_for_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token is over when it is saved: whoever waited for it gets it, and not a renewal without end."""
    clock = Clock(monkeypatch)
    kept: list[Token] = []

    def save(token: Token) -> None:
        clock.now += 30.0
        kept.append(token)

    refresher = Refresher(expires_in=4)
    credential = Credential("acme", refresher, token=first_token(expires_in=1), save=save)
    clock.now += 2.0
    assert [credential.token().reveal() for _ in range(3)] == ["access-1", "access-2", "access-3"]
    assert [token.generation for token in kept] == [2, 3, 4]


def test_so_do_those_who_waited_for_another_process() -> None:
    world = needy(seed(lives=1.0))
    world.now = 2.0
    other = world.lease(make_lease(ttl=300.0, clock_epoch=world.clock_epoch, at=world.now))
    waiting = Process(world, renew(EFFECTS, make_request())).until(Watch)
    world.commit_by(other, Token("theirs", "r", expires_in=4, issued_at=world.wall))
    world.now += 10.0
    assert waiting.finish().token.reveal() == "theirs"
    assert world.sent == []
    world.answers = [Token("next", "r-2", expires_in=4, issued_at=world.wall)]
    assert world.run(renew(EFFECTS, make_request())).token.reveal() == "next", "once"


def test_whoever_was_refused_it_does_not_get_it_once_more() -> None:
    world = needy(seed(lives=1.0), Token("next", "r-2", expires_in=3600, issued_at=START))
    world.now = 2.0
    other = world.lease()
    refused = (world.present.family, 2)
    waiting = Process(world, renew(knowing(proven=refused), make_request(refused=refused))).until(Watch)
    world.commit_by(other, Token("theirs", "r", expires_in=3600, issued_at=START))
    assert waiting.finish().token.reveal() == "next"


@pytest.mark.parametrize("lives", [0.001, 0.01, 0.1])
def test_tokens_that_live_for_no_time_at_all_are_not_refreshed_for_each_call(lives: float) -> None:
    world = needy(seed(lives=lives))
    began = world.now = 1.0
    for number in range(50):
        world.now += 0.01
        world.answers = [Token(f"a-{number}", f"r-{number}", expires_in=lives, issued_at=world.wall)]
        world.run(renew(EFFECTS, make_request()))
        world.now += lives
    assert world.now - began > (50 - EARLY_REFRESHES - 1) * 0.5, "one for each half second, and a few more"


# --- An API that takes each token once ---


def test_an_api_that_takes_each_token_once_costs_a_few_refreshes() -> None:
    refresher, api = Refresher(), Api()
    credential = Credential("acme", refresher, token=first_token(expires_in=3600))
    with listening() as heard:
        answers = [api.call(credential) for _ in range(60)]
    assert refresher.calls <= EARLY_REFRESHES + 1
    assert answers[: EARLY_REFRESHES + 1] == [200] * (EARLY_REFRESHES + 1)
    assert answers[-1] == 401, "the API's own answer"
    said = [event.detail for event in heard if event.kind is Kind.REFUSAL_DAMPED]
    assert len(said) == 1, "said once, and not for each call"
    assert "the API refuses fresh tokens, or accepts each token only once" in said[0]


def test_it_holds_for_threads_and_for_all_who_share_a_store(tmp_path: Path) -> None:
    refresher, api = Refresher(), Api()
    store = f"sqlite:///{tmp_path}/tokens.db"
    several = [Credential("acme", refresher, token=first_token(), store=store) for _ in range(3)]
    threads = [threading.Thread(target=lambda one=one: [api.call(one) for _ in range(20)]) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refresher.calls <= EARLY_REFRESHES + 1
    for one in several:
        one.close()


def use_up(world: World, *, every: float = 1.0) -> int:
    """Refuse each token until the record says no; how many were refreshed."""
    count = 0
    while True:
        before = world.present.identity
        found = world.run(renew(knowing(proven=before), make_request(**refusing(world))))
        if found.token.identity == before:
            assert found.damped
            return count
        count += 1
        world.now += every


def endless(lives: float | None = 3600.0) -> list[Any]:
    return [Token(f"access-{n}", f"refresh-{n}", expires_in=lives, issued_at=START) for n in range(1, 100)]


def test_the_budget_is_in_the_record_and_comes_back_within_a_minute() -> None:
    world = needy(None, *endless())
    assert use_up(world) == EARLY_REFRESHES + 1, "the first one comes after nothing"
    floor = world.present.floor
    assert floor is not None
    assert (floor.generation, floor.clock_epoch, len(floor.early)) == (
        world.present.generation,
        "boot",
        EARLY_REFRESHES,
    )
    assert use_up(world) == 0
    world.now += BUDGET_TIME - EARLY_REFRESHES + 0.1
    assert use_up(world, every=0.0) == 1
    world.now += 10 * BUDGET_TIME
    assert use_up(world) == EARLY_REFRESHES


@pytest.mark.parametrize("lives", [1.0, 8.0, 60.0, 3600.0])
def test_one_refresh_in_half_a_life_is_always_free(lives: float) -> None:
    world = needy(seed(lives=lives), *endless(lives))
    use_up(world, every=0.01)
    for _ in range(20):
        world.now += max(lives / 2.0, 0.5)
        before = world.present.identity
        assert world.run(renew(knowing(proven=before), make_request(**refusing(world)))).token.identity != before


def test_an_expired_token_beyond_the_budget_says_that_tokens_live_too_shortly() -> None:
    world = needy(None, *endless(600.0))
    use_up(world, every=0.1)
    expire(world)
    error = world.fails(renew(EFFECTS, make_request()))
    assert isinstance(error, RefreshUnavailable)
    assert "the server's tokens expire too soon" in str(error)
    assert error.retry_after is not None
    assert 5.0 < error.retry_after <= BUDGET_TIME
    world.now += error.retry_after
    assert world.run(renew(EFFECTS, make_request())).renewed


def test_a_refused_one_that_has_expired_says_that_the_api_refuses_them() -> None:
    world = needy(None, *endless(600.0))
    use_up(world, every=0.1)
    expire(world)
    error = world.fails(renew(knowing(proven=world.present.identity), make_request(**refusing(world))))
    assert isinstance(error, RefreshUnavailable)
    assert "the API refuses fresh tokens" in str(error)


def test_callers_wait_through_a_short_rest() -> None:
    world = needy(None, *endless(600.0))
    use_up(world, every=0.1)
    world.now += BUDGET_TIME - 4.0
    expire(world)
    assert world.run(renew(EFFECTS, make_request())).renewed


def expire(world: World) -> None:
    """As the clocks of its server see it."""
    record = world.present
    assert record.token is not None
    world.put(replace(record, token=replace(record.token, expires_at=world.wall - 1.0, issued_at=world.wall - 601.0)))


def test_every_other_answer_without_a_usable_access_token_makes_no_budget_of_its_own() -> None:
    useless = (RefreshFailure(Verdict(FailureKind.UNUSABLE, "useless", kept=Secret(f"kept-{n}"))) for n in range(99))
    world = needy(None, *itertools.chain.from_iterable(zip(useless, endless(), strict=False)))
    for _ in range(100):
        before = world.present.identity
        try:
            world.run(renew(knowing(proven=before), make_request(**refusing(world))))
        except RefreshProtocolError:
            world.now += 0.6  # the pause is over
        if world.now > BUDGET_TIME - 5.0:
            break
    assert len(world.sent) <= 2 * (EARLY_REFRESHES + 1)


# --- What goes beside it ---


def test_a_renewal_ahead_of_time_leaves_the_token_in_use() -> None:
    world = needy(None, *endless())
    use_up(world)
    sent = len(world.sent)
    found = world.run(renew(EFFECTS, make_request(background=True, within=1e9)))
    assert (found.token.identity, found.renewed) == (world.present.identity, False)
    world.now += 400.0
    assert world.run(renew(EFFECTS, make_request(background=True, within=1e9))).renewed
    assert len(world.sent) == sent + 1


def test_a_login_begins_anew() -> None:
    world = needy(None, *endless())
    use_up(world)
    world.run(commands.log_in(EFFECTS, Token("new", "r-new", expires_in=3600, issued_at=START), make_request()))
    assert world.present.floor is None
    assert use_up(world) == EARLY_REFRESHES + 1


def test_the_status_says_it() -> None:
    refresher, api = Refresher(), Api()
    credential = Credential("acme", refresher, token=first_token())
    assert credential.status().failure is None
    while api.call(credential) == 200:
        pass
    said = credential.status()
    assert said.failure is not None
    assert "expire too soon, or the API refuses fresh tokens" in said.failure
    assert 0.0 < said.retry_after <= BUDGET_TIME
    assert said.put_off


def test_the_command_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refresher, api = Refresher(), Api()
    store = f"sqlite:///{tmp_path}/store/tokens.db"
    file = tmp_path / "onerefresh.toml"
    file.write_text(
        f'[credentials.acme]\ntoken_endpoint = "https://acme.com/token"\nclient_id = "client"\nstore = "{store}"\n'
    )
    with Credential("acme", refresher, token=first_token(), store=store) as credential:
        while api.call(credential) == 200:
            pass
    assert main(["status", "acme", "--config", str(file)]) == 0
    assert "the next refresh is postponed: 6 refreshes within a minute" in capsys.readouterr().out


def test_so_does_retry() -> None:
    refresher, api = Refresher(), Api()
    credential = Credential("acme", refresher, token=first_token(expires_at=time.time() + 1e6))
    assert [api.call(credential) for _ in range(20)][-1] == 401
    calls = refresher.calls
    credential.retry()
    assert refresher.calls <= calls + 1
    assert [api.call(credential) for _ in range(5)] == [200] * 5


def test_retry_asks_nothing_where_nothing_is_put_off() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=first_token(expires_in=3600))
    credential.token(refused=credential.token())
    assert credential.retry().reveal() == "access-1"
    assert refresher.calls == 1


def test_failures_count_as_before_and_a_failing_endpoint_uses_nothing_up() -> None:
    down = RefreshFailure(Verdict(FailureKind.UNAVAILABLE, "down"))
    world = needy(seed(lives=1.0), *[down] * 7, Token("access-1", "refresh-1", expires_in=3600, issued_at=START))
    world.now = 2.0
    while world.present.generation == 1:
        try:
            world.run(renew(EFFECTS, make_request()))
        except RefreshUnavailable as error:
            world.now += error.retry_after or 0.0
    assert world.present.floor is not None
    assert world.present.floor.early == ()


def test_a_session_that_is_over_is_over_whatever_was_refreshed() -> None:
    world = needy(None, *endless()[: EARLY_REFRESHES + 1])
    use_up(world)
    leased = records.claimed(world.present, make_lease(), owner=None)
    world.put(records.died(leased, Verdict(FailureKind.DEAD, "invalid_grant"), now=START, refused=True))
    assert isinstance(world.fails(renew(EFFECTS, make_request(**refusing(world)))), LoginRequired)


def test_whoever_has_claimed_is_waited_for_and_taken_over_from() -> None:
    world = needy(None, *endless())
    use_up(world)
    world.lease(make_lease(ttl=30.0, clock_epoch=world.clock_epoch, at=world.now))
    assert world.run(renew(knowing(proven=world.present.identity), make_request(**refusing(world)))).renewed


def test_what_obtain_brings_counts_as_well() -> None:
    calls = itertools.count(1)
    api = Api()

    def obtain() -> dict[str, object]:
        return {"access_token": f"obtained-{next(calls)}", "expires_in": 3600}

    def refresher(token: Token) -> dict[str, object]:
        raise AssertionError("there is no refresh token")

    credential = Credential("acme", refresher, obtain=obtain)
    answers = [api.call(credential) for _ in range(60)]
    assert next(calls) <= EARLY_REFRESHES + 4
    assert answers[-1] == 401


# --- Clocks ---


@pytest.mark.parametrize("clock_epoch", ["boot", None])
@pytest.mark.parametrize("step", [-1e6, -3600.0, -59.0, -30.0, 30.0, 3600.0])
def test_a_clock_that_is_set_locks_nobody_out(step: float, clock_epoch: str | None) -> None:
    world = needy(seed(lives=1e9), *endless(1e9))
    world.clock_epoch = clock_epoch
    use_up(world)
    world.wall_is_off += step
    if clock_epoch is not None:
        assert use_up(world) == 0, "the store's clock counts, and not a machine's own"
    began = world.now
    while use_up(world) == 0:
        world.now += 1.0
        assert world.now - began <= 2 * BUDGET_TIME


def test_a_store_that_was_started_anew_begins_anew() -> None:
    world = needy(None, *endless())
    use_up(world)
    world.clock_epoch = "another boot"
    assert use_up(world) == EARLY_REFRESHES + 1


@pytest.mark.parametrize("skew", [3600.0, -3600.0])
def test_machines_whose_clocks_differ_share_one_budget_by_the_store_s_clock(skew: float) -> None:
    world = needy(seed(lives=1e9), *endless(1e9))
    sent = 0
    for _ in range(30):
        world.wall_is_off = skew - world.wall_is_off
        sent += use_up(world, every=0.1)
    assert sent <= EARLY_REFRESHES + 1


# --- The record ---


def test_a_generation_of_an_earlier_version_is_not_held_to_what_came_before() -> None:
    """It keeps the field that it does not know, and brings further generations."""
    world = needy(None, *endless())
    use_up(world)
    fields = json.loads(encode(world.present))
    del fields["checksum"]  # which that version does not know
    fields["generation"] += 1
    fields["token"]["generation"] += 1
    older = decode(json.dumps(fields), KEY)
    assert older.rest(("boot", world.now)) == 0.0


@pytest.mark.parametrize(
    "floor",
    [{"generation": 2}, {"at": 1.0}, {"generation": 2, "at": "soon"}, {"generation": 2, "at": 1.0, "early": ["x"]}],
)
def test_a_damaged_count_is_a_damaged_record(floor: dict[str, object]) -> None:
    world = needy(None)
    fields = {**json.loads(encode(world.present)), "floor": floor}
    del fields["checksum"]
    with pytest.raises(Exception, match="damaged"):
        decode(json.dumps(fields), KEY)


def test_it_stays_small() -> None:
    floor = Floor(1, 0.0)
    for number in range(1000):
        floor = floor.after(number, (None, number / 1000.0), early=True)
    assert len(floor.early) == EARLY_REFRESHES
