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
    outcomes,
)

from onerefresh import (
    ClientRejected,
    ConfigurationError,
    Credential,
    CredentialClosed,
    LoginRequired,
    OnerefreshError,
    RefresherFailed,
    RefreshUnavailable,
    StoreUnavailable,
    Token,
    WaitTimeout,
)
from onerefresh.events import Event, Kind, subscribe
from onerefresh.store import Versioned
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


@pytest.mark.parametrize("expiry", [{}, {"expires_in": 0}, {"expires_in": "soon"}, {"expires_in": None}])
def test_a_token_whose_expiry_is_not_known_serves_until_it_is_refused(expiry: dict[str, object]) -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=first_token(**expiry))
    assert credential.token().expires_at is None
    assert [credential.token().generation for _ in range(3)] == [1, 1, 1]
    assert credential.token(refused=credential.token()).generation == 2


def test_an_ageing_token_is_used_while_one_background_renewal_runs() -> None:
    refresher = Refresher(gated=True)
    now = time.time()
    ageing = Token("access-0", "refresh-0", issued_at=now - 3500.0, expires_at=now + 100.0)
    credential = Credential("acme", refresher, token=ageing)
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
    ageing = Token("access-0", "refresh-0", issued_at=now - 3500.0, expires_at=now + 100.0)
    credential = Credential("acme", refresher, token=ageing)
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


# --- Failures ---


def test_the_exception_of_a_refresher_is_found_behind_what_callers_are_raised() -> None:
    refresher = Refresher()
    refresher.failure = KeyError("mine")
    credential = Credential("acme", refresher, token=expired())
    with pytest.raises(RefresherFailed, match="KeyError") as caught:
        credential.token()
    assert (caught.value.credential, caught.value.generation) == ("acme", 1)
    reasons = []
    reason: BaseException | None = caught.value
    while reason is not None:
        reasons.append(reason)
        reason = reason.__cause__
    assert refresher.failure in reasons


def test_a_failure_of_the_refresher_is_not_repeated_by_the_calls_that_follow() -> None:
    refresher = Refresher()
    refresher.failure = KeyError("mine")
    credential = Credential("acme", refresher, token=expired())
    for _ in range(10):
        with pytest.raises(RefresherFailed):
            credential.token()
    assert refresher.calls == 1


@pytest.mark.parametrize("ending", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_a_refresher_that_ends_its_thread_is_an_error_and_leaves_no_claim_behind(ending: BaseException) -> None:
    refresher = Refresher()
    refresher.failure = ending
    credential = Credential("acme", refresher, token=expired())
    with pytest.raises(RefresherFailed):
        credential.token()
    assert credential.status().state == "idle"


def test_a_dead_session_is_told_to_everybody_and_asks_nothing_again() -> None:
    refresher = Refresher()
    refresher.failure = LoginRequired("revoked")
    credential = Credential("acme", refresher, token=expired())
    assert {type(error) for error in outcomes([credential.token] * 20)} == {LoginRequired}
    for _ in range(20):
        with pytest.raises(LoginRequired, match="revoked"):
            credential.token()
    assert refresher.calls == 1
    assert credential.status().state == "dead"


def test_an_answer_without_a_token_is_told_with_the_names_it_holds() -> None:
    credential = Credential("acme", lambda token: {"ok": True}, token=expired())
    with pytest.raises(OnerefreshError, match=r"access_token.*ok"):
        credential.token()


@pytest.mark.parametrize("answer", [None, "text", 7, ["access-1"], {"access_token": ""}, {"access_token": None}])
def test_an_answer_that_is_none_is_an_error_that_says_what_to_return(answer: Any) -> None:
    credential = Credential("acme", lambda token: answer, token=expired())
    with pytest.raises(OnerefreshError, match="access_token"):
        credential.token()


def test_a_store_that_raises_what_it_likes_is_an_unavailable_store() -> None:
    class Broken(MemoryStore):
        def load(self, key: str) -> Versioned | None:
            raise OSError("no such thing")

    with pytest.raises(StoreUnavailable, match="OSError"):
        Credential("acme", Refresher(), store=Broken()).token()


def test_nothing_is_sent_when_the_store_cannot_be_written() -> None:
    class Full(MemoryStore):
        def cas(self, key: str, expected: str | None, body: str) -> str:
            if expected is None:
                return super().cas(key, expected, body)
            raise StoreUnavailable("the disk is full")

    refresher = Refresher()
    credential = Credential("acme", refresher, token=expired(), store=Full())
    with pytest.raises(StoreUnavailable, match="disk is full"):
        credential.token()
    assert refresher.calls == 0


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


def wait_for(heard: list[Event], kind: Kind) -> None:
    deadline = time.monotonic() + PATIENCE
    while kind not in [event.kind for event in heard]:
        assert time.monotonic() < deadline, f"no event {kind}"
        time.sleep(0.005)


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


# --- Login, logout, status, close ---


def test_a_login_replaces_the_session_and_heals_a_dead_one() -> None:
    refresher = Refresher()
    refresher.failure = LoginRequired("revoked")
    credential = Credential("acme", refresher, token=expired())
    with pytest.raises(LoginRequired):
        credential.token()
    token = credential.login({"access_token": "access-new", "refresh_token": "refresh-new", "expires_in": 3600})
    assert credential.token() == token
    assert token.reveal() == "access-new"
    assert credential.status().state == "idle"


def test_a_login_elsewhere_heals_those_who_were_told_that_the_session_is_over() -> None:
    refresher = Refresher()
    refresher.failure = LoginRequired("revoked")
    store = MemoryStore()
    here = Credential("acme", refresher, token=expired(), store=store)
    with pytest.raises(LoginRequired):
        here.token()
    elsewhere = MemoryStoreFace(store)
    Credential("acme", refresher, store=elsewhere).login({"access_token": "access-new"})
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            assert here.token().reveal() == "access-new"
            return
        except LoginRequired:
            assert time.monotonic() < deadline


class MemoryStoreFace(MemoryStore):
    """Another object for the same records: what another process would have."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        self._store = store

    def load(self, key: str) -> Versioned | None:
        return self._store.load(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        return self._store.cas(key, expected, body)


def test_a_logout_stays_a_logout_though_the_seed_is_still_there() -> None:
    store = MemoryStore()
    credential = Credential("acme", Refresher(), token=first_token(), store=store)
    credential.logout()
    assert credential.current() is None
    with pytest.raises(LoginRequired, match="logged out"):
        credential.token()
    with pytest.raises(LoginRequired, match="logged out"):
        Credential("acme", Refresher(), token=first_token(), store=store).token()


def test_a_refresh_under_way_does_not_undo_a_logout() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())
    waiting = threading.Thread(target=lambda: outcomes([credential.token]))
    waiting.start()
    refresher.wait_until_entered()
    credential.logout()
    refresher.leave.set()
    waiting.join(PATIENCE)
    assert credential.current() is None
    with pytest.raises(LoginRequired):
        credential.token()


def held_after_the_commit(credential: Credential) -> tuple[threading.Event, threading.Event, Any]:
    """The renewal stops right after its commit, before its token is in memory."""
    committed, go_on = threading.Event(), threading.Event()

    def hook(event: Event) -> None:
        if event.kind is Kind.REFRESHED and event.credential == credential.key:
            committed.set()
            go_on.wait(PATIENCE)

    return committed, go_on, subscribe(hook)


def test_a_refresh_that_was_committed_right_before_a_logout_does_not_come_back_into_memory() -> None:
    credential = Credential("acme", Refresher(), token=expired())
    committed, go_on, unsubscribe = held_after_the_commit(credential)
    waiting = threading.Thread(target=lambda: outcomes([credential.token]))
    waiting.start()
    assert committed.wait(PATIENCE)
    credential.logout()
    go_on.set()
    waiting.join(PATIENCE)
    unsubscribe()
    assert credential.current() is None


def test_a_refresh_that_was_committed_right_before_a_login_does_not_replace_it() -> None:
    credential = Credential("acme", Refresher(), token=expired())
    committed, go_on, unsubscribe = held_after_the_commit(credential)
    waiting = threading.Thread(target=lambda: outcomes([credential.token]))
    waiting.start()
    assert committed.wait(PATIENCE)
    credential.login({"access_token": "access-new"})
    go_on.set()
    waiting.join(PATIENCE)
    unsubscribe()
    assert credential.bearer() == "access-new"


def test_a_refresh_under_way_does_not_undo_a_login_and_its_waiters_get_the_new_session() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.extend(outcomes([credential.token])))
    waiting.start()
    refresher.wait_until_entered()
    credential.login({"access_token": "access-new"})
    refresher.leave.set()
    waiting.join(PATIENCE)
    assert [token.reveal() for token in got] == ["access-new"]
    assert credential.bearer() == "access-new"


def test_the_status_tells_what_is_known_and_no_secret() -> None:
    refresher = Refresher()
    refresher.failure = RefreshUnavailable("down", retry_after=60.0)
    credential = Credential("acme", refresher, token={**expired(), "scope": "read write"})
    with pytest.raises(RefreshUnavailable):
        credential.token()
    status = credential.status()
    assert (status.key, status.state, status.generation) == ("acme", "idle", 1)
    assert (status.refreshable, status.scope, status.failure) == (True, "read write", "down")
    assert 0.0 < status.retry_after <= 60.0
    assert "access-0" not in repr(status)
    assert "refresh-0" not in repr(status)


def test_the_status_of_an_unknown_name_is_empty() -> None:
    assert Credential("acme", Refresher()).status().state == "empty"


def test_closing_waits_for_the_refresh_and_refuses_what_comes_after() -> None:
    refresher = Refresher(gated=True)
    store = MemoryStore()
    credential = Credential("acme", refresher, token=expired(), store=store)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.extend(outcomes([credential.token])))
    waiting.start()
    refresher.wait_until_entered()
    closing = threading.Thread(target=credential.close)
    closing.start()
    refresher.leave.set()
    closing.join(PATIENCE)
    waiting.join(PATIENCE)
    assert [token.generation for token in got] == [2]
    with pytest.raises(CredentialClosed):
        credential.token()
    assert credential.current() is None
    assert Credential("acme", refresher, store=store).token().generation == 2


@pytest.mark.parametrize("ask", ["login", "logout", "status"])
def test_a_closed_credential_refuses_people_too(ask: str) -> None:
    credential = Credential("acme", Refresher(), token=first_token())
    credential.close()
    with pytest.raises(CredentialClosed):
        getattr(credential, ask)(*([first_token()] if ask == "login" else []))


def test_a_credential_closes_at_the_end_of_its_block() -> None:
    with Credential("acme", Refresher(), token=first_token()) as credential:
        assert credential.bearer() == "access-0"
    with pytest.raises(CredentialClosed):
        credential.bearer()


# --- Said once ---


def test_a_rotating_server_with_a_store_that_forgets_is_said_once() -> None:
    credential = Credential("acme", Refresher(), token=first_token())
    with listening() as heard:
        for _ in range(2):
            credential.replayed(token := credential.token(refused=credential.token()), accepted=True)
        assert token.generation == 3
    assert [event.kind for event in heard].count(Kind.NOT_DURABLE) == 1


def test_another_seed_than_the_store_holds_is_said_once() -> None:
    store = MemoryStore()
    first = Credential("acme", Refresher(), token=expired(), store=store)
    first.token()
    with listening() as heard:
        other = Credential("acme", Refresher(), token=first_token(refresh_token="another"), store=store)
        other.token(refused=other.token())
        other.token(refused=Token("access-0"))
    assert [event.kind for event in heard].count(Kind.SEED_IGNORED) == 1
    assert first.token() == other.token()


# --- Arguments ---


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"key": ""}, "key"),
        ({"key": 7}, "key"),
        ({"key": "a\nb"}, "key"),
        ({"key": "x" * 513}, "key"),
        ({"refresher": "https://login.example/token"}, "refresher"),
        ({"save": "file"}, "save"),
        ({"obtain": 1}, "obtain"),
        ({"save": print, "store": "memory"}, "save= replaces store="),
        ({"loop": 3}, "loop"),
        ({"profile": "nobody"}, "profile"),
        ({"profile": "grace:soon"}, "profile"),
        ({"max_wait": -1}, "max_wait"),
        ({"max_wait": True}, "max_wait"),
        ({"max_wait": float("nan")}, "max_wait"),
        ({"max_wait": "60"}, "max_wait"),
        ({"store": "mongodb://here"}, "unknown store"),
        ({"store": 5}, "store"),
        ({"token": {}}, "token="),
        ({"token": {"access_token": 5}}, "token="),
        ({"token": "access-0"}, "token="),
    ],
)
def test_a_wrong_argument_is_told_at_once(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Credential(**{"key": "acme", "refresher": Refresher(), **arguments})


def test_a_login_needs_a_token() -> None:
    with pytest.raises(ConfigurationError, match="obtain="):
        Credential("acme", Refresher()).login()
    with pytest.raises(ConfigurationError, match=r"login\(\)"):
        Credential("acme", Refresher()).login({"token": "access-0"})


def test_a_wrong_wait_is_told_before_anything_is_sent() -> None:
    refresher = Refresher()
    with pytest.raises(ConfigurationError, match="max_wait"):
        Credential("acme", refresher, token=expired()).token(max_wait=-1.0)
    assert refresher.calls == 0


@pytest.mark.parametrize("timeout", [None, "ten", -1.0, object()])
def test_a_refresher_whose_timeout_is_no_number_of_seconds_still_works(timeout: Any) -> None:
    refresher = Refresher()
    refresher.timeout = timeout
    assert Credential("acme", refresher, token=expired(), max_wait=PATIENCE).token().generation == 2
