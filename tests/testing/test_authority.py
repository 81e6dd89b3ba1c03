"""The authorization server's rules: what each mode does with a refresh token that comes again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from onerefresh.testing.authority import Authority, Issued, Refused
from onerefresh.testing.settings import MODES, Mode, Settings


class Clock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def authority(**options: Any) -> tuple[Authority, Clock]:
    clock = Clock()
    return Authority(Settings(**options), clock), clock


def issued(decision: Issued | Refused) -> dict[str, Any]:
    assert isinstance(decision, Issued), decision
    return decision.answer


REUSED = Refused("invalid_grant", "the refresh token was used before", reuse=True)


@pytest.mark.parametrize(
    ("mode", "seconds_later", "reuse_is_refused", "family_lives", "reuse_detected"),
    [
        ("static", 0, False, True, 0),
        ("static", 10_000, False, True, 0),
        ("grace", 4.9, False, True, 0),
        ("grace", 5.0, True, False, 1),
        ("reject_only", 0, True, True, 1),
        ("revoke_family", 0, True, False, 1),
    ],
)
def test_a_refresh_token_that_comes_again_gets_what_the_mode_says(
    mode: Mode, seconds_later: float, reuse_is_refused: bool, family_lives: bool, reuse_detected: int
) -> None:
    server, clock = authority(mode=mode, grace=5, expires_in=100_000)
    first = str(server.issue()["refresh_token"])
    second = issued(server.refresh(first))
    clock.now += seconds_later

    again = server.refresh(first)

    assert (again == REUSED) is reuse_is_refused
    assert server.check(second["access_token"]).valid is family_lives
    assert server.sessions() == ["alive" if family_lives else "revoked"]
    assert isinstance(server.refresh(second.get("refresh_token", first)), Issued) is family_lives
    assert server.tally().reuse_detected == reuse_detected


def test_within_the_grace_window_the_same_pair_is_answered_with_the_time_that_remains() -> None:
    server, clock = authority(mode="grace", grace=5, expires_in=60)
    first = str(server.issue()["refresh_token"])
    pair = issued(server.refresh(first))
    clock.now += 2
    again = server.refresh(first)
    assert isinstance(again, Issued)
    assert again.again
    assert again.generation == 2
    assert again.answer == {**pair, "expires_in": 58}
    assert (server.tally().refreshes, server.tally().reissues) == (1, 1)


def test_the_grace_window_is_for_the_direct_predecessor_only() -> None:
    server, _ = authority(mode="grace", grace=5)
    first = str(server.issue()["refresh_token"])
    second = str(issued(server.refresh(first))["refresh_token"])
    issued(server.refresh(second))
    assert server.refresh(first) == REUSED
    assert server.sessions() == ["revoked"]


def test_a_revoked_family_stays_revoked_in_the_grace_window() -> None:
    server, _ = authority(mode="grace", grace=5)
    first = str(server.issue()["refresh_token"])
    issued(server.refresh(first))
    server.revoke_family()
    assert server.refresh(first) == REUSED


def test_every_further_reuse_is_counted() -> None:
    server, _ = authority()
    first = str(server.issue()["refresh_token"])
    server.refresh(first)
    for _ in range(99):
        assert server.refresh(first) == REUSED
    assert server.tally().reuse_detected == 99


@pytest.mark.parametrize("mode", ["reject_only", "revoke_family"])
def test_fifty_threads_with_one_refresh_token_get_one_new_pair(mode: Mode) -> None:
    server, _ = authority(mode=mode)
    first = str(server.issue()["refresh_token"])
    line = threading.Barrier(50)

    def spend(_: int) -> Issued | Refused:
        line.wait()
        return server.refresh(first)

    with ThreadPoolExecutor(50) as pool:
        decisions = list(pool.map(spend, range(50)))
    assert sum(isinstance(decision, Issued) for decision in decisions) == 1
    assert server.tally().reuse_detected == 49
    assert server.sessions() == ["revoked" if mode == "revoke_family" else "alive"]


def test_an_access_token_dies_at_its_expiry() -> None:
    server, clock = authority(expires_in=0.5)
    access = str(server.issue()["access_token"])
    clock.now += 0.49
    assert server.check(access).valid
    clock.now += 0.01
    assert not server.check(access).valid


@pytest.mark.parametrize("dies", [False, True])
def test_a_refresh_ends_the_old_access_token_only_where_that_was_chosen(dies: bool) -> None:
    server, _ = authority(old_access_dies=dies)
    answer = server.issue()
    issued(server.refresh(str(answer["refresh_token"])))
    assert server.check(str(answer["access_token"])).valid is not dies


def test_the_same_access_text_is_alive_again_after_a_refresh() -> None:
    server, _ = authority(same_access_text=True)
    answer = server.issue()
    server.revoke_access()
    assert not server.check(str(answer["access_token"])).valid
    renewed = issued(server.refresh(str(answer["refresh_token"])))
    assert renewed["access_token"] == answer["access_token"]
    assert renewed["refresh_token"] != answer["refresh_token"]
    assert server.check(renewed["access_token"]).generation == 2
    assert server.check(renewed["access_token"]).valid


def test_one_family_can_be_ended_and_the_others_live() -> None:
    server, _ = authority()
    one, two = server.issue(), server.issue()
    server.revoke_family(str(one["access_token"]))
    assert server.sessions() == ["revoked", "alive"]
    assert server.check(str(two["access_token"])).valid


@pytest.mark.parametrize(
    ("which", "access_lives", "session"), [("access_token", False, "alive"), ("refresh_token", False, "revoked")]
)
def test_revoking_a_refresh_token_ends_the_session_and_an_access_token_ends_alone(
    which: str, access_lives: bool, session: str
) -> None:
    server, _ = authority()
    answer = server.issue()
    server.revoke(str(answer[which]))
    assert server.check(str(answer["access_token"])).valid is access_lives
    assert server.sessions() == [session]


@pytest.mark.parametrize(
    ("asked", "granted"), [(None, "read write"), ("read", "read"), ("write read", "write read"), ("admin", None)]
)
def test_a_scope_may_become_narrower_and_a_wider_one_spends_nothing(asked: str | None, granted: str | None) -> None:
    server, _ = authority()
    first = str(server.issue()["refresh_token"])
    decision = server.refresh(first, asked)
    if granted is None:
        assert isinstance(decision, Refused)
        assert decision.error == "invalid_scope"
        assert isinstance(server.refresh(first), Issued)
    else:
        assert issued(decision)["scope"] == granted


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 3600), ({"expires_in": 0.25}, 0.25), ({"tell_expiry": False}, None)],
)
def test_the_expiry_is_told_as_chosen(options: dict[str, Any], expected: float | None) -> None:
    server, _ = authority(**options)
    assert server.issue().get("expires_in") == expected


def test_extra_fields_are_in_every_answer() -> None:
    server, _ = authority(extra={"instance_url": "https://eu.example"})
    first = server.issue()
    assert first["instance_url"] == "https://eu.example"
    assert issued(server.refresh(str(first["refresh_token"])))["instance_url"] == "https://eu.example"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"mode": "lenient"}, "unknown mode 'lenient': use one of static, grace"),
        ({"mode": "grace", "grace": 0}, "needs grace in seconds"),
        ({"expires_in": 0}, "more than 0"),
        ({"client_id": ""}, "client_id"),
        ({"client_auth": "private_key_jwt"}, "unknown client_auth"),
        ({"client_secret": None, "client_auth": "client_secret_basic"}, "public client"),
        ({"client_auth": "none"}, "client_secret=None"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_a_reason(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Settings(**options)


def test_no_token_shows_in_a_repr() -> None:
    server, _ = authority()
    answer = server.issue()
    decision = server.refresh(str(answer["refresh_token"]))
    assert "test-access" not in repr(decision)
    assert "secret'" not in repr(Settings())


class Sessions(RuleBasedStateMachine):
    """Any sequence of refreshes, reuses and revocations, against a model that is a few lines long."""

    @initialize(mode=st.sampled_from(MODES))
    def start(self, mode: Mode) -> None:
        self.mode: Mode = mode
        self.server, self.clock = authority(mode=mode, grace=10, expires_in=30)
        self.refresh_tokens = [str(self.server.issue()["refresh_token"])]
        self.spent_at: dict[str, float] = {}
        self.alive = True
        self.generation = 1
        self.reuse = 0

    @rule()
    def refresh_with_the_newest(self) -> None:
        token = self.refresh_tokens[-1]
        decision = self.server.refresh(token)
        assert isinstance(decision, Issued) is self.alive
        if isinstance(decision, Issued):
            self.generation += 1
            assert decision.generation == self.generation
            if self.mode != "static":
                self.spent_at[token] = self.clock.now
                self.refresh_tokens.append(str(decision.answer["refresh_token"]))

    @precondition(lambda self: len(self.refresh_tokens) > 1)
    @rule(data=st.data())
    def refresh_with_a_spent_one(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.refresh_tokens) - 2))
        token = self.refresh_tokens[index]
        in_grace = (
            self.mode == "grace"
            and self.alive
            and index == len(self.refresh_tokens) - 2
            and self.clock.now - self.spent_at[token] < 10
        )
        decision = self.server.refresh(token)
        assert isinstance(decision, Issued) is in_grace
        if isinstance(decision, Issued):
            assert decision.answer["refresh_token"] == self.refresh_tokens[-1]
        else:
            self.reuse += 1
            self.alive = self.alive and self.mode == "reject_only"

    @rule(seconds=st.sampled_from([1.0, 9.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def access_is_revoked(self) -> None:
        self.server.revoke_access()

    @rule()
    def the_family_is_revoked(self) -> None:
        self.server.revoke_family()
        self.alive = False

    @invariant()
    def the_server_agrees(self) -> None:
        assert self.server.sessions() == ["alive" if self.alive else "revoked"]
        assert self.server.tally().reuse_detected == self.reuse
        assert self.server.tally().refreshes == self.generation - 1


TestSessions = Sessions.TestCase
