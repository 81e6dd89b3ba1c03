"""Credential: what callers get, one after another and many at once, from blocking code."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from tests.core.calls import (
    PATIENCE,
    Refresher,
    expired,
    first_token,
    in_threads,
    listening,
    of_another_process,
    outcomes,
    wait_for,
)

from onerefresh import (
    ClientRejected,
    ConfigurationError,
    Credential,
    LoginRequired,
    OnerefreshError,
    Profile,
    RefresherFailed,
    RefreshOutcomeUnknown,
    RefreshUnavailable,
    Token,
    WaitTimeout,
)
from onerefresh.events import Kind
from onerefresh.stores.memory import MemoryStore

# --- One caller ---


def test_a_fresh_token_is_given_without_a_request() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=first_token(expires_in=3600))
    assert credential.current() == credential.token()
    assert credential.token().reveal() == credential.bearer() == "access-0"
    assert refresher.calls == 0


def test_the_refresher_is_given_the_token_and_its_answer_is_what_callers_get() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=expired())
    assert credential.current() is None
    token = credential.token()
    assert (token.reveal(), token.reveal_refresh_token(), token.generation) == ("access-1", "refresh-1", 2)
    assert [given.reveal_refresh_token() for given in refresher.given] == ["refresh-0"]
    assert credential.current() is not None
    assert credential.bearer() == "access-1"


def test_a_refresher_may_return_a_token() -> None:
    credential = Credential("acme", lambda token: Token("access-1", expires_in=60), token=expired())
    assert credential.token().reveal() == "access-1"
    assert credential.token().reveal_refresh_token() == "refresh-0"


def test_without_any_token_a_login_is_required_and_the_refresher_is_never_called() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher)
    with pytest.raises(LoginRequired) as caught:
        credential.token()
    assert (caught.value.credential, refresher.calls) == ("acme", 0)
    assert credential.current() is None


def test_a_refused_token_is_refreshed_and_an_old_one_is_not() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=first_token())
    old = credential.token()
    following = credential.token(refused=old)
    assert (old.generation, following.generation) == (1, 2)
    assert credential.token(refused=old) == following
    assert refresher.calls == 1


def test_a_refused_token_made_by_hand_is_known_by_its_text() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=first_token())
    assert credential.token(refused=Token("access-0")).generation == 2
    assert credential.token(refused=Token("somebody else's")).generation == 2
    assert refresher.calls == 1


def test_a_token_of_two_seconds_is_not_refreshed_by_each_call() -> None:
    refresher = Refresher(expires_in=2.0)
    credential = Credential("acme", refresher, token=expired())
    assert {credential.token().generation for _ in range(20)} == {2}
    assert refresher.calls == 1


def test_tokens_of_a_minute_are_refreshed_once_for_twenty_calls() -> None:
    refresher = Refresher(expires_in=60)
    credential = Credential("acme", refresher, token=expired())
    assert {credential.bearer() for _ in range(20)} == {"access-1"}
    assert refresher.calls == 1


@pytest.mark.parametrize("expiry", [{}, {"expires_in": 0}, {"expires_at": ""}, {"expires_in": None}])
def test_a_token_whose_expiry_is_not_known_serves_until_it_is_refused(expiry: dict[str, object]) -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=first_token(**expiry))
    assert credential.token().expires_at is None
    assert [credential.token().generation for _ in range(3)] == [1, 1, 1]
    assert credential.token(refused=credential.token()).generation == 2


def test_an_ageing_token_is_used_while_one_background_renewal_runs() -> None:
    refresher = Refresher(gated=True)
    now = time.time()
    background = Token("access-0", "refresh-0", issued_at=now - 3500.0, expires_at=now + 100.0)
    credential = Credential("acme", refresher, token=background)
    ageing_one = credential.token()
    assert [credential.token().generation for _ in range(5)] == [1] * 5
    refresher.wait_until_entered()
    assert [credential.bearer() for _ in range(5)] == ["access-0"] * 5
    assert in_threads([credential.token] * 4)[0].generation == 1
    refresher.leave.set()
    assert credential.token(refused=ageing_one).generation == 2
    assert refresher.calls == 1


def test_a_failed_background_renewal_leaves_the_token_in_use_and_the_endpoint_in_peace() -> None:
    refresher = Refresher()
    refresher.failure = RefreshUnavailable("down", retry_after=60.0)
    now = time.time()
    background = Token("access-0", "refresh-0", issued_at=now - 3500.0, expires_at=now + 100.0)
    credential = Credential("acme", refresher, token=background)
    credential.current()
    refresher.wait_until_entered()
    for _ in range(50):
        assert credential.token().generation == 1
    assert refresher.calls == 1


# --- Many callers ---


def test_a_hundred_threads_share_one_refresh() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())

    def open_the_gate() -> Token:
        refresher.wait_until_entered()
        refresher.leave.set()
        return credential.token()

    tokens = in_threads([*[credential.token] * 99, open_the_gate])
    assert {token.identity for token in tokens} == {credential.token().identity}
    assert refresher.calls == 1


def test_all_refusals_of_one_generation_share_one_refresh() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=first_token())
    refused = credential.token()
    tokens = in_threads([lambda: credential.token(refused=refused)] * 50)
    assert {token.generation for token in tokens} == {2}
    assert refresher.calls == 1


def test_two_objects_of_one_name_on_one_store_share_the_flight() -> None:
    refresher = Refresher(gated=True)
    store = MemoryStore()
    one = Credential("acme", refresher, token=expired(), store=store)
    two = Credential("acme", refresher, token=expired(), store=store)

    def open_the_gate() -> Token:
        refresher.wait_until_entered()
        refresher.leave.set()
        return two.token()

    tokens = in_threads([*[one.token, two.token] * 10, open_the_gate])
    assert {token.generation for token in tokens} == {2}
    assert refresher.calls == 1


def test_an_object_made_for_each_request_costs_no_refresh() -> None:
    refresher = Refresher()
    store = MemoryStore()
    for _ in range(5):
        assert Credential("acme", refresher, token=expired(), store=store).token().generation == 2
    assert refresher.calls == 1


def test_credentials_without_a_store_of_their_own_do_not_share_anything() -> None:
    one, two = Refresher(), Refresher()
    Credential("acme", one, token=expired()).token()
    Credential("acme", two, token=expired()).token()
    assert (one.calls, two.calls) == (1, 1)


def test_credentials_of_different_names_refresh_at_the_same_time() -> None:
    refresher = Refresher(gated=True)
    store = MemoryStore()
    names = [Credential(name, refresher, token=expired(), store=store) for name in ("a", "b", "c")]
    both_inside = threading.Barrier(3)

    def refresh(token: Token) -> dict[str, object]:
        both_inside.wait(PATIENCE)
        return first_token()

    names = [Credential(name, refresh, token=expired(), store=store) for name in ("a", "b", "c")]
    assert len(in_threads([name.token for name in names])) == 3


def test_each_caller_is_raised_an_exception_of_its_own_from_the_shared_one() -> None:
    refresher = Refresher(gated=True)
    refresher.failure = ClientRejected("invalid_client")
    credential = Credential("acme", refresher, token=expired())

    def open_the_gate() -> Token:
        refresher.wait_until_entered()
        refresher.leave.set()
        return credential.token()

    errors = [error for error in outcomes([*[credential.token] * 49, open_the_gate]) if isinstance(error, Exception)]
    assert {type(error) for error in errors} == {ClientRejected}
    assert len({id(error) for error in errors}) == 50
    assert all(isinstance(error.__cause__, ClientRejected) for error in errors)
    assert max(len(list(frames(error))) for error in errors) < 15
    assert refresher.calls == 1


def frames(error: BaseException) -> Any:
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next


# --- Refused replays ---


def test_ten_calls_to_an_api_that_refuses_everything_cause_one_refresh() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=first_token())
    answered = []
    for _ in range(10):
        token = credential.token()
        following = credential.token(refused=token)
        if following.identity != token.identity:
            credential.replayed(following, accepted=False)
        answered.append(following.generation)
    assert answered == [2] * 10
    assert refresher.calls == 1


def test_a_refused_replay_is_remembered_in_the_store() -> None:
    refresher = Refresher()
    store = MemoryStore()
    credential = Credential("acme", refresher, token=first_token(), store=store)
    with listening() as heard:
        following = credential.token(refused=credential.token())
        credential.replayed(following, accepted=False)
        wait_for(heard, Kind.REFUSAL_DAMPED)
    credential.close()
    elsewhere = Credential("acme", refresher, store=store)
    assert elsewhere.token(refused=elsewhere.token()).identity == following.identity
    assert refresher.calls == 1


def test_an_accepted_replay_lets_the_next_refusal_refresh() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=first_token())
    following = credential.token(refused=credential.token())
    credential.replayed(following, accepted=True)
    assert credential.token(refused=following).generation == 3
    assert refresher.calls == 2


def test_a_token_refreshed_for_its_age_has_yet_to_prove_itself() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=expired())
    token = credential.token()
    assert credential.unproven == token
    credential.replayed(token, accepted=True)
    assert credential.unproven is None


# --- Waiting ---


def test_a_caller_waits_no_longer_than_it_says_and_the_refresh_goes_on() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())
    with pytest.raises(WaitTimeout) as caught:
        credential.token(max_wait=0.01)
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.credential, caught.value.generation) == ("acme", 1)
    refresher.leave.set()
    assert credential.token().generation == 2
    assert refresher.calls == 1


def test_the_credential_may_say_how_long_its_callers_wait() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired(), max_wait=0.0)
    with pytest.raises(WaitTimeout):
        credential.token()
    refresher.leave.set()
    assert credential.token(max_wait=PATIENCE).generation == 2


@pytest.mark.seconds
def test_a_refresher_that_never_returns_fails_its_callers_and_its_late_answer_counts() -> None:
    refresher = Refresher(gated=True, timeout=0.05)
    credential = Credential("acme", refresher, token=expired(), profile="grace:4.2")  # a time to live of about 2 s
    with pytest.raises(OnerefreshError, match="has not returned"):
        credential.token()
    with listening() as heard:
        refresher.leave.set()
        wait_for(heard, Kind.REFRESHED)
    assert credential.token().generation == 2
    assert refresher.calls == 1


class Hung(Refresher):
    """Its first call returns when it is let go."""

    def __call__(self, token: Token) -> dict[str, object]:
        self.begin(token)
        if self.calls == 1:
            assert self.leave.wait(PATIENCE)
        return {"access_token": f"access-{token.generation + 1}", "refresh_token": f"refresh-{token.generation + 1}"}


NO_PROOF_BUT_TIME = Profile("theirs", resend="never")


@pytest.mark.parametrize("profile", ["strict", NO_PROOF_BUT_TIME, "grace:4.2"], ids=str)
def test_nothing_is_sent_beside_a_request_that_is_still_under_way(
    profile: str | Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its callers were told, and others may take over by now; this process knows better."""
    monkeypatch.setattr("onerefresh.profile.SHORTEST_LEASE", 0.2)
    refresher = Hung(gated=True, timeout=0.05)
    credential = Credential("acme", refresher, token=expired(), profile=profile)
    with pytest.raises(RefreshOutcomeUnknown, match="has not returned"):
        credential.token()
    with pytest.raises(WaitTimeout, match="its own request is still in progress: the refresher has not returned"):
        credential.token(max_wait=0.3)
    assert refresher.calls == 1
    refresher.leave.set()
    assert credential.token().generation == 2
    assert refresher.calls == 1
    deadline = time.monotonic() + PATIENCE
    while credential._memory.under_way:
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Named(MemoryStore):
    """A store that others may share, at a place of its name."""

    name, durable = "a place", True


def test_nor_on_another_store_object_of_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that was handed over beside a URL, say."""
    monkeypatch.setattr("onerefresh.profile.SHORTEST_LEASE", 0.2)
    one, two = Named(), Named()
    two.__dict__ = one.__dict__
    refresher = Hung(gated=True, timeout=0.05)
    first = expired()
    credential = Credential("acme", refresher, token=first, store=one)
    beside = Credential("acme", refresher, token=first, store=two)
    with pytest.raises(RefreshOutcomeUnknown, match="has not returned"):
        credential.token()
    with pytest.raises(WaitTimeout, match="its own request is still in progress"):
        beside.token(max_wait=0.3)
    refresher.leave.set()
    assert beside.token().generation == 2
    assert refresher.calls == 1


def test_retry_sends_beside_a_request_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refresher may never return: whoever calls this takes it upon himself."""
    monkeypatch.setattr("onerefresh.profile.SHORTEST_LEASE", 0.2)
    monkeypatch.setattr("onerefresh.renewal.renew.DETECTION", 0.05)
    refresher = Hung(gated=True, timeout=0.05)
    credential = Credential("acme", refresher, token=expired())
    with pytest.raises(RefreshOutcomeUnknown, match="has not returned"):
        credential.token()
    said = ""
    while "retry" not in said:  # it may just be reading the record again
        with pytest.raises(WaitTimeout) as caught:
            credential.token(max_wait=0.3)
        said = caught.value.message
    assert credential.retry().generation == 2
    assert refresher.calls == 2
    refresher.leave.set()


def test_a_request_that_is_still_under_way_keeps_nobody_from_what_another_process_has_brought(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("onerefresh.profile.SHORTEST_LEASE", 0.2)
    store, refresher = MemoryStore(), Hung(gated=True, timeout=0.05)
    first = expired()
    credential = Credential("acme", refresher, token=first, store=store)
    other = Credential("acme", Refresher(timeout=0.05), token=first, store=of_another_process(store))
    with pytest.raises(RefreshOutcomeUnknown, match="has not returned"):
        credential.token()
    brought = other.token()
    assert credential.token() == brought
    assert credential.token(refused=brought).generation == 3  # another refresh token: it is not the one under way
    assert refresher.calls == 2
    refresher.leave.set()


@pytest.mark.seconds
def test_a_late_answer_does_not_remove_the_flight_that_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a second use of the refresh token costs nothing, the next caller sends it beside the first one."""
    monkeypatch.setattr("onerefresh.profile.SHORTEST_LEASE", 1.0)
    first, second = threading.Event(), threading.Event()
    entered = threading.Semaphore(0)
    gates = [first, second]

    class Slow:
        timeout = 0.05

        def __call__(self, token: Token) -> dict[str, object]:
            gate = gates.pop(0)
            entered.release()
            assert gate.wait(PATIENCE)
            return first_token()

    credential = Credential("acme", Slow(), token=expired(), profile="static")
    with pytest.raises(OnerefreshError, match="has not returned"):
        credential.token()
    with pytest.raises(WaitTimeout):
        credential.token(max_wait=0.0)
    assert entered.acquire(timeout=PATIENCE)
    assert entered.acquire(timeout=PATIENCE)
    following = credential._memory.flight
    assert following is not None
    first.set()
    while credential.current() is None:
        time.sleep(0.005)
    assert credential._memory.flight is following
    second.set()
    assert following.wait(PATIENCE)


def test_a_refresher_that_asks_its_own_credential_gets_an_error() -> None:
    told: list[ConfigurationError] = []

    def refresh(token: Token) -> dict[str, object]:
        assert credential.current() is None
        try:
            return {"access_token": credential.token().reveal()}
        except ConfigurationError as error:
            told.append(error)
            raise

    credential = Credential("acme", refresh, token=expired())
    with pytest.raises(RefresherFailed, match="would wait for itself"):
        credential.token()
    assert [error.credential for error in told] == ["acme"]


def test_a_refresher_may_ask_another_credential() -> None:
    other = Credential("other", Refresher(), token=expired())
    credential = Credential("acme", lambda token: {"access_token": f"for {other.bearer()}"}, token=expired())
    assert credential.bearer() == "for access-1"
