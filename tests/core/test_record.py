"""The record: its legal transitions, its text form, and what is decided about it."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.core.driver import START, make_lease, make_request, seed

from onerefresh import LoginRequired, StoreUnavailable, Token
from onerefresh.failure import Failure
from onerefresh.record import FAMILIES, HISTORY, SPENT, Grant, IllegalTransition, Lease, Probation, Record, State
from onerefresh.record_text import decode, encode
from onerefresh.renewal.decide import decide
from onerefresh.renewal.known import Known
from onerefresh.renewal.steps import Claim, Fail, HostSave, Pause, Repair, Use, Wait
from onerefresh.succession import may_commit
from onerefresh.transitions import (
    claimed,
    committed,
    died,
    forgotten,
    logged_out,
    new_session,
    released,
    replay_reported,
    restored,
    saved,
)
from onerefresh.verdict import FailureKind, Verdict

DOWN = Verdict(FailureKind.UNAVAILABLE, "down")
DEAD = Verdict(FailureKind.DEAD, "invalid_grant")


def idle(**others: Any) -> Record:
    return replace(new_session(None, seed(), now=START, owner=None, what="seed"), **others)


def leased(record: Record | None = None, **others: Any) -> Record:
    return claimed(record or idle(), make_lease(**others), owner=None)


def empty() -> Record:
    return logged_out(idle(), now=START)


def dead() -> Record:
    return died(leased(), DEAD, now=START, refused=True)


STATES = {"idle": idle, "leased": leased, "dead": dead, "empty": empty}
NEW = Token("access-new", "refresh-new")


def commit(record: Record, **others: Any) -> Record:
    arguments: dict[str, Any] = {"by": "other", "grant": Grant.REFRESH, "now": START, "refused": False, **others}
    return committed(record, NEW, **arguments)


# --- Transitions ---


FIRST, SECOND, THIRD = (Token(f"access-{name}", f"refresh-{name}") for name in ("seed", "second", "third"))
SAME = Token("access-later", "refresh-seed")
BARE = Token("access-bare")


def gone_on(*tokens: Token, record: Record | None = None) -> Record:
    """The record once each of these tokens was traded in for the next one."""
    for token in tokens:
        leased = claimed(record or idle(), make_lease(), owner=None)
        record = committed(leased, token, by="other", grant=Grant.REFRESH, now=START, refused=False)
    assert record is not None
    return record


def logged_in(record: Record, token: Token) -> Record:
    return new_session(record, token, now=START, owner=None, what="login")


SPENT_TOKENS = {
    "at first": (idle(), []),
    "while a request is under way": (leased(), []),
    "after one refresh": (gone_on(SECOND), [FIRST]),
    "after two": (gone_on(SECOND, THIRD), [FIRST, SECOND]),
    "dead after two": (died(leased(gone_on(SECOND, THIRD)), DEAD, now=START, refused=True), [FIRST, SECOND]),
    "after a logout": (logged_out(gone_on(SECOND, THIRD), now=START), [FIRST, SECOND]),
    "after a login": (logged_in(gone_on(SECOND), NEW), [FIRST]),
    "after a login over what was never refreshed": (logged_in(idle(), NEW), []),
    "after a login with what was spent": (logged_in(gone_on(SECOND), FIRST), []),
    "where the server gives the same again": (gone_on(SAME, SAME), []),
    "and then another one": (gone_on(SAME, SECOND), [FIRST]),
    "and then the first one again": (gone_on(SECOND, SAME), [SECOND]),
    "without a refresh token": (new_session(None, BARE, now=START, owner=None, what="seed"), []),
    "after a token that was obtained": (commit(leased(gone_on(SECOND)), grant=Grant.OBTAIN), [FIRST]),
    "after the store had gone back": (restored(idle(), THIRD.numbered(idle().family, 3), now=START), [FIRST]),
    "a generation later": (
        restored(gone_on(SECOND), THIRD.numbered(idle().family, 3), now=START), [FIRST, SECOND]
    ),
    "after a commit over an older copy": (commit(forgotten(gone_on(SECOND), 5)), [FIRST, SECOND]),
}  # fmt: skip


@pytest.mark.parametrize("name", SPENT_TOKENS)
def test_a_record_knows_which_refresh_tokens_were_traded_in(name: str) -> None:
    record, expected = SPENT_TOKENS[name]
    asked = [FIRST, SECOND, THIRD, NEW, BARE]
    assert [token for token in asked if record.has_spent(token)] == expected
    assert decode(encode(record), "acme").spent == record.spent


def test_a_record_remembers_the_last_spent_tokens_and_the_first_one_of_its_session() -> None:
    many = [Token("access", f"refresh-{number}") for number in range(2 * SPENT)]
    record = gone_on(*many)
    assert len(record.spent) == SPENT
    assert [record.has_spent(token) for token in (FIRST, many[0], many[-2 - SPENT], many[-1 - SPENT], many[-2])] == [
        True, False, False, True, True
    ]  # fmt: skip
    assert logged_in(record, NEW).has_spent(FIRST)


@pytest.mark.parametrize("state", STATES)
def test_a_login_begins_a_new_family_from_any_state(state: str) -> None:
    before = STATES[state]()
    after = new_session(before, NEW, now=START, owner="me", what="login")
    assert (after.state, after.generation, after.family) == (
        State.IDLE,
        before.generation + 1,
        NEW.seed_fingerprint(),
    )
    assert after.token is not None
    assert after.token.identity == after.identity
    assert (after.lease, after.failure, after.probation, after.owner) == (None, None, None, "me")
    assert before.family in after.families


@pytest.mark.parametrize("before", [None, idle()])
def test_whoever_logs_in_or_out_has_heard_of_his_own_seed(before: Record | None) -> None:
    known = before.families if before is not None else ()
    login = new_session(before, NEW, now=START, owner=None, what="login", earlier=["a seed"])
    assert login.families == (*known, "a seed", NEW.seed_fingerprint())
    again = new_session(login, NEW, now=START, owner=None, what="login", earlier=["a seed"])
    assert again.families == login.families
    assert set(logged_out(before, now=START, earlier=["a seed"]).families) == {*known, "a seed"}


@pytest.mark.parametrize("state", STATES)
def test_a_logout_ends_any_state_and_forgets_the_token(state: str) -> None:
    before = STATES[state]()
    after = logged_out(before, now=START)
    assert (after.state, after.generation, after.token) == (State.EMPTY, before.generation + 1, None)
    assert after.is_logged_out
    assert after.families == before.families


def test_a_logout_of_nothing_is_a_logout() -> None:
    assert logged_out(None, now=START).is_logged_out


@pytest.mark.parametrize("state", ["dead", "empty"])
def test_a_refresh_cannot_be_claimed_where_there_is_nothing_to_spend(state: str) -> None:
    with pytest.raises(IllegalTransition):
        leased(STATES[state]())
    with pytest.raises(IllegalTransition):
        claimed(None, make_lease(), owner=None)


@pytest.mark.parametrize("state", ["idle", "leased", "dead", "empty"])
def test_a_token_may_be_obtained_from_any_state_and_a_release_returns_to_it(state: str) -> None:
    before = STATES[state]()
    after = released(leased(before, grant=Grant.OBTAIN), None, now=START, jitter=0.0)
    assert after.state is (State.IDLE if state == "leased" else before.state)


def test_a_takeover_keeps_the_state_beneath_the_lease() -> None:
    first = leased(dead(), grant=Grant.OBTAIN)
    second = leased(first, name="second", grant=Grant.OBTAIN)
    assert second.lease is not None
    assert (second.lease.id, second.lease.origin) == ("second", State.DEAD)


@pytest.mark.parametrize("state", ["idle", "dead", "empty"])
def test_only_a_lease_can_be_released_or_die(state: str) -> None:
    with pytest.raises(IllegalTransition):
        released(STATES[state](), DOWN, now=START, jitter=0.0)
    with pytest.raises(IllegalTransition):
        died(STATES[state](), DEAD, now=START, refused=False)


@pytest.mark.parametrize("state", ["idle", "leased", "dead"])
def test_a_commit_is_the_next_generation_of_the_same_family_from_any_state_but_a_logout(state: str) -> None:
    before = STATES[state]()
    assert may_commit(before, before.family, before.generation)
    after = commit(before)
    assert (after.state, after.family, after.generation) == (State.IDLE, before.family, before.generation + 1)
    assert (after.lease, after.failure, after.committed_by) == (None, None, "other")
    assert after.token is not None
    assert after.token.identity == after.identity


@pytest.mark.parametrize(
    ("record", "family", "generation"),
    [
        pytest.param(None, "family", 1, id="no record"),
        pytest.param(idle(), idle().family, 2, id="another generation"),
        pytest.param(commit(idle()), idle().family, 1, id="an older generation"),
        pytest.param(idle(), "another", 1, id="another family"),
        pytest.param(empty(), empty().family, 2, id="logged out"),
    ],
)
def test_a_commit_for_anything_else_is_not_saved(record: Record | None, family: str, generation: int) -> None:
    assert not may_commit(record, family, generation)


def test_what_was_obtained_begins_a_new_family() -> None:
    after = commit(leased(grant=Grant.OBTAIN), grant=Grant.OBTAIN)
    assert after.family == NEW.seed_fingerprint()
    assert after.generation == 2


def test_a_failure_is_counted_until_a_success() -> None:
    record = idle()
    for count in (1, 2, 3):
        record = released(leased(record), DOWN, now=START, jitter=0.0)
        assert record.failure is not None
        assert record.failure.count == count
    assert commit(record).failure is None


def test_a_failure_of_several_sends_counts_each() -> None:
    record = released(leased(), DOWN, now=START, jitter=0.0, sends=4)
    assert record.failure is not None
    assert (record.failure.count, record.failure.delay) == (4, 4.0)


@pytest.mark.parametrize("kind", list(FailureKind))
def test_what_may_have_been_spent_stays_in_doubt_until_a_success(kind: FailureKind) -> None:
    record = released(leased(), Verdict(kind, "first"), now=START, jitter=0.0)
    record = released(leased(record), DOWN, now=START, jitter=0.0)
    assert record.failure is not None
    assert record.failure.maybe_spent is kind.may_have_spent


def test_a_release_without_a_failure_leaves_no_trace() -> None:
    assert released(leased(), None, now=START, jitter=0.0) == idle()


@pytest.mark.parametrize(
    ("passed", "left"), [(0.0, 8.0), (3.0, 5.0), (8.0, 0.0), (99.0, 0.0), (-99.0, 8.0), (-(10.0**9), 8.0)]
)
def test_a_clock_that_is_off_never_makes_a_pause_longer(passed: float, left: float) -> None:
    failure = Failure(FailureKind.UNAVAILABLE, "", 1, START, 8.0)
    assert failure.remaining(START + passed) == left
    assert Probation(0, START, 8.0, by_refusal=True).holds(START + passed) is (left > 0.0)


def test_the_history_is_short_and_holds_no_token() -> None:
    record = idle()
    for _ in range(3 * HISTORY):
        record = commit(record)
    assert len(record.history) == HISTORY
    assert {entry.what for entry in record.history} == {"refresh"}
    for number in range(FAMILIES + HISTORY):
        record = new_session(record, seed(str(number)), now=START, owner=None, what="login")
    assert len(record.families) == FAMILIES
    assert record.families[-1] == record.family


def test_refused_replays_double_the_probation_and_an_accepted_one_ends_it() -> None:
    record, delays = commit(idle()), []
    for _ in range(8):
        record = replay_reported(record, accepted=False, now=START)
        assert record.probation is not None
        delays.append(record.probation.delay)
    assert delays == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0]
    assert replay_reported(record, accepted=True, now=START).probation is None


def test_refused_replays_are_counted_over_generations() -> None:
    record = replay_reported(replay_reported(commit(idle()), accepted=False, now=START), accepted=False, now=START)
    after = commit(record).probation
    assert after is not None
    assert (after.refusals, after.delay, after.reported) == (2, 20.0, False)


# --- Text ---

LEASE = Lease("id", Grant.OBTAIN, 30.0, "era", 5.0, "flock", contested=True, origin=State.DEAD)
FULL = dataclasses.replace(
    commit(replay_reported(commit(idle()), accepted=False, now=START), unsaved=True),
    failure=Failure(FailureKind.INTERACTION, "more", 3, START, 2.0, True, True, True, "claims"),
    owner="client at server",
)


@pytest.mark.parametrize(
    "record",
    [*(make() for make in STATES.values()), FULL, replace(FULL, state=State.LEASED, lease=LEASE), saved(FULL)],
)
def test_a_record_survives_its_text_form(record: Record) -> None:
    assert decode(encode(record), "acme") == record


@pytest.mark.parametrize(
    "body",
    ["", "{", "null", "[]", "7", '"text"', "{}", encode(idle())[:-1],
     encode(idle()).replace('"access_token"', '"token"'), encode(idle()).replace('"generation"', '"number"'),
     encode(idle()).replace('"schema":1', '"schema":"2"'), "[" * 100_000,
     encode(idle()).replace('"schema":1', '"schema":0'), encode(idle()).replace('"idle"', "7")],
)  # fmt: skip
def test_a_damaged_record_is_one_clear_error_that_says_what_to_do(body: str) -> None:
    with pytest.raises(StoreUnavailable, match="log in again") as caught:
        decode(body, "acme")
    assert caught.value.credential == "acme"


# --- Decisions ---


def test_a_lease_that_is_over_is_claimed_and_one_that_is_not_is_waited_for() -> None:
    refused = make_request(refused=idle().identity)
    assert isinstance(decide(leased(), refused, START, lease_over=False), Wait)
    assert decide(leased(), refused, START, lease_over=True) == Claim(Grant.REFRESH)


def test_a_token_that_serves_is_used_though_somebody_refreshes_it() -> None:
    assert isinstance(decide(leased(), make_request(), START, lease_over=False), Use)


def test_a_short_pause_is_waited_for_and_a_long_one_is_told() -> None:
    refused = make_request(refused=idle().identity)
    failed = released(leased(), DOWN, now=START, jitter=0.0)
    assert decide(failed, refused, START, lease_over=False) == Pause(0.5)
    long = released(leased(), replace(DOWN, retry_after=60.0), now=START, jitter=0.0)
    assert isinstance(decide(long, refused, START, lease_over=False), Fail)


def test_saving_comes_before_using() -> None:
    assert isinstance(decide(idle(unsaved=True), make_request(host_saves=True), START, lease_over=False), HostSave)
    assert isinstance(decide(idle(unsaved=True), make_request(), START, lease_over=False), Use)


def test_a_newer_token_of_the_same_family_repairs_the_store() -> None:
    newer = commit(commit(idle())).token
    assert newer is not None
    assert decide(idle(), make_request(known=Known(newest=newer)), START, lease_over=False) == Repair(newer)


class Life(RuleBasedStateMachine):
    """A record lives through anything that may happen to it; what must always hold, holds."""

    def __init__(self) -> None:
        super().__init__()
        self.record: Record | None = None
        self.now = START
        self.names = 0
        self.issued: set[tuple[str, int]] = set()
        self.highest = 0

    def name(self) -> str:
        self.names += 1
        return str(self.names)

    def is_in(self, *states: State) -> bool:
        return self.record is not None and self.record.state in states

    @rule(seconds=st.floats(0.1, 4000.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(lives=st.sampled_from([None, 2.0, 3600.0]))
    def somebody_logs_in(self, lives: float | None) -> None:
        token = seed(self.name(), lives=lives, at=self.now)
        self.record = new_session(self.record, token, now=self.now, owner=None, what="login")

    @rule()
    def somebody_logs_out(self) -> None:
        self.record = logged_out(self.record, now=self.now)

    @precondition(lambda self: self.is_in(State.IDLE, State.LEASED) and self.record.token is not None)
    @rule(contested=st.booleans())
    def a_refresh_is_claimed(self, contested: bool) -> None:
        self.record = claimed(self.record, make_lease(self.name(), contested=contested), owner=None)

    @rule()
    def obtaining_is_claimed(self) -> None:
        self.record = claimed(self.record, make_lease(self.name(), grant=Grant.OBTAIN), owner=None)

    @precondition(lambda self: self.is_in(State.LEASED))
    @rule(kind=st.sampled_from([None, *FailureKind]), refused=st.booleans())
    def it_is_released(self, kind: FailureKind | None, refused: bool) -> None:
        assert self.record is not None
        verdict = None if kind is None else Verdict(kind, "as drawn")
        self.record = released(self.record, verdict, now=self.now, jitter=0.5, refused=refused)

    @precondition(lambda self: self.is_in(State.LEASED))
    @rule(refused=st.booleans())
    def it_dies(self, refused: bool) -> None:
        assert self.record is not None
        assert self.record.lease is not None
        if self.record.lease.grant is Grant.REFRESH:
            self.record = died(self.record, DEAD, now=self.now, refused=refused)

    @precondition(lambda self: self.record is not None)
    @rule(lag=st.sampled_from([0, 0, 0, 1, 2]), other_family=st.booleans(), refused=st.booleans())
    def somebody_commits(self, lag: int, other_family: bool, refused: bool) -> None:
        assert self.record is not None
        family = "another" if other_family else self.record.family
        generation = self.record.generation - lag
        if not may_commit(self.record, family, generation):
            assert lag > 0 or other_family or self.record.is_logged_out
            return
        assert lag == 0
        token = Token(f"access-{self.name()}", f"refresh-{self.names}", expires_in=60.0, issued_at=self.now)
        grant = self.record.lease.grant if self.record.lease else Grant.REFRESH
        if self.record.token is None and grant is Grant.REFRESH:
            return
        self.record = committed(self.record, token, by=self.name(), grant=grant, now=self.now, refused=refused)

    @precondition(lambda self: self.is_in(State.IDLE))
    @rule(accepted=st.booleans())
    def a_replay_is_reported(self, accepted: bool) -> None:
        assert self.record is not None
        self.record = replay_reported(self.record, accepted=accepted, now=self.now)

    @invariant()
    def generations_never_go_back(self) -> None:
        if self.record is not None:
            assert self.record.generation >= self.highest
            self.highest = self.record.generation

    @invariant()
    def the_token_is_that_of_the_record(self) -> None:
        record = self.record
        if record is None:
            return
        assert (record.lease is not None) == (record.state is State.LEASED)
        if record.is_logged_out:
            assert record.token is None
        if record.token is not None:
            assert record.token.identity == record.identity
        if record.state in (State.IDLE, State.DEAD):
            assert record.token is not None
        if record.state is State.DEAD:
            assert record.failure is not None

    @invariant()
    def its_text_is_the_record(self) -> None:
        if self.record is not None:
            assert decode(encode(self.record), "acme") == self.record

    @invariant()
    def every_decision_makes_sense(self) -> None:
        record = self.record
        refused = [None] if record is None else [None, record.identity, (record.family, record.generation - 1)]
        for one in refused:
            for can_obtain in (False, True):
                for lease_over in (False, True):
                    asked = make_request(refused=one, can_obtain=can_obtain)
                    self.judge(decide(record, asked, self.now, lease_over=lease_over), one, can_obtain, lease_over)

    def judge(self, decision: object, refused: tuple[str, int] | None, can_obtain: bool, lease_over: bool) -> None:
        record = self.record
        match decision:
            case Use(token, _, damped, probation):
                assert record is not None
                assert not record.is_logged_out
                assert token == record.token
                assert token.expires_at is None or token.expires_at > self.now
                assert damped is (refused == record.identity)
                assert not damped or (probation is not None and probation.holds(self.now))
            case Claim(grant):
                assert can_obtain or grant is Grant.REFRESH
                is_over = record is None or record.state is not State.LEASED or lease_over
                assert is_over, "two would send at once"
                new = claimed(record, make_lease("next", grant=grant), owner=None)
                assert new.state is State.LEASED
                assert record is None or record.failure is None or record.failure.remaining(self.now) == 0.0
            case Wait(other):
                assert record is not None
                assert (record.lease, lease_over) == (other, False)
            case Pause(seconds):
                assert 0.0 < seconds <= 5.0
            case Fail(error):
                if record is None or record.is_logged_out or record.state is State.DEAD:
                    assert isinstance(error, LoginRequired) or (can_obtain and record is not None and record.failure)
            case _:
                raise AssertionError(f"nobody asked for {decision}")


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
