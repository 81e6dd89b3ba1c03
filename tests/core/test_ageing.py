"""Tokens that age while nobody looks: processes that come late, live short, or find somebody else at work."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.calls import PATIENCE, Refresher, in_threads, listening, wait_for
from tests.core.driver import make_lease, make_request

from onerefresh import Credential, RefreshUnavailable, Token
from onerefresh import transitions as records
from onerefresh.credential.memory import LOOK_AGAIN, SessionMemory
from onerefresh.credential.options import CredentialOptions
from onerefresh.credentials.due_filter import Due, DueFilter
from onerefresh.events import Kind
from onerefresh.record import Record
from onerefresh.record_text import encode
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.decide import decide
from onerefresh.renewal.steps import Claim, Use
from onerefresh.store import Versioned
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore
from onerefresh.verdict import FailureKind, Verdict


def ageing_token() -> Token:
    """A token of an hour with some minutes left."""
    now = time.time()
    return Token("access-0", "refresh-0", issued_at=now - 3500.0, expires_at=now + 100.0)


def stored(path: Path, **others: Any) -> Refresher:
    """A refresher whose first token is in the store, and ageing."""
    refresher = Refresher(**others)
    elsewhere(path, refresher).login(ageing_token())
    return refresher


def elsewhere(path: Path, refresher: Any, **others: Any) -> Credential:
    """The credential as another process has it: with a store of its own in the same file, and nothing in memory."""
    return Credential("acme", refresher, store=SQLiteStore(path / "db"), **others)


# --- Processes that live for one call ---


def test_a_process_that_calls_once_renews_an_ageing_token(tmp_path: Path) -> None:
    refresher = stored(tmp_path)
    with listening() as heard:
        assert elsewhere(tmp_path, refresher).token().generation == 1, "it serves, and nobody waits for the next one"
        wait_for(heard, Kind.REFRESHED)
    assert elsewhere(tmp_path, refresher).token().generation == 2


def test_a_task_that_calls_once_renews_an_ageing_token(tmp_path: Path) -> None:
    refresher = stored(tmp_path)
    with listening() as heard:
        assert asyncio.run(elsewhere(tmp_path, refresher).atoken()).generation == 1
        wait_for(heard, Kind.REFRESHED)


def test_many_processes_that_call_once_send_one_request(tmp_path: Path) -> None:
    refresher = stored(tmp_path, gated=True)
    fleet = [elsewhere(tmp_path, refresher) for _ in range(10)]
    tokens = in_threads([credential.token for credential in fleet])
    assert {token.generation for token in tokens} == {1}
    refresher.leave.set()
    for credential in fleet:
        assert credential.token(refused=tokens[0]).generation == 2
    assert refresher.calls == 1


def test_an_async_refresher_has_its_answer_before_the_loop_of_a_single_call_ends(tmp_path: Path) -> None:
    refresher = stored(tmp_path)
    credential = elsewhere(tmp_path, refresher.on_a_loop)
    assert asyncio.run(credential.atoken()).generation == 2, "else the end of the loop would have lost the answer"
    assert refresher.calls == 1


def test_an_async_refresher_that_fails_leaves_the_token_in_use(tmp_path: Path) -> None:
    refresher = stored(tmp_path)
    refresher.failure = RefreshUnavailable("down", retry_after=60.0)

    async def run() -> list[int]:
        credential = elsewhere(tmp_path, refresher.on_a_loop)
        return [(await credential.atoken()).generation for _ in range(5)]

    assert asyncio.run(run()) == [1] * 5
    assert refresher.calls == 1


# --- A first token that was kept for a while ---


def jwt(**claims: float) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()}.signature"


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param({"access_token": jwt(exp=time.time() - 60.0), "expires_in": 3600}, id="a JWT that has expired"),
        pytest.param({"access_token": jwt(iat=time.time() - 3660.0), "expires_in": 3600}, id="a JWT issued long ago"),
        pytest.param({"access_token": "old", "expires_in": 3600, "expires_at": time.time() - 60.0}, id="expires_at"),
    ],
)
def test_the_life_of_a_first_token_counts_from_its_login_and_not_from_the_start(kept: dict[str, object]) -> None:
    refresher = Refresher()
    assert Credential("acme", refresher, token={"refresh_token": "refresh-0", **kept}).bearer() == "access-1"


def test_a_login_is_new_whatever_clocks_say() -> None:
    credential = Credential("acme", Refresher())
    token = credential.login({"access_token": jwt(exp=time.time() - 60.0), "expires_in": 3600})
    assert credential.token() == token


# --- When it is looked again ---


@pytest.mark.parametrize(
    ("outcome", "postponed"),
    [
        pytest.param({}, 0.0, id="nothing was tried"),
        pytest.param({"retry_after": 0.1}, LOOK_AGAIN, id="a try failed, or somebody else tries"),
        pytest.param({"retry_after": 7.0}, 7.0, id="it was told to back off"),
        pytest.param({"renewed": True}, LOOK_AGAIN, id="it came from a renewal and is old already"),
    ],
)
def test_a_renewal_is_postponed_after_a_try_alone(outcome: dict[str, Any], postponed: float) -> None:
    memory = SessionMemory(MemoryStore(), "acme")
    began = time.time()
    memory.adopt(Outcome(ageing_token().numbered("family", 1), **outcome), 0)
    later = memory.held.refresh_at - began
    assert later < 0.0 if postponed == 0.0 else postponed <= later < postponed + PATIENCE


def record_of(token: Token) -> Record:
    return records.new_session(None, token, now=0.0, owner=None, what="seed")


@pytest.mark.parametrize("background", [False, True])
def test_a_lease_of_somebody_else_is_a_reason_to_look_again_later(*, background: bool) -> None:
    leased = records.claimed(record_of(ageing_token()), make_lease(), owner=None)
    found = decide(leased, make_request(background=background), time.time(), lease_over=False)
    assert found.lease == leased.lease if background else found.retry_after > 0.0  # type: ignore[union-attr]
    assert getattr(decide(leased, make_request(), time.time(), lease_over=True), "retry_after", None) == 0.0


def test_a_dead_session_is_looked_at_again_later() -> None:
    leased = records.claimed(record_of(ageing_token()), make_lease(), owner=None)
    dead = records.died(leased, Verdict(FailureKind.DEAD, "over"), now=0.0, refused=False)
    for background in (False, True):
        found = decide(dead, make_request(background=background), time.time(), lease_over=False)
        assert isinstance(found, Use)
        assert found.retry_after > 0.0, "else each call would look for a login"


@given(
    st.floats(0.01, 10**6),
    st.one_of(st.sampled_from([0.0, 60.0, 3600.0]), st.floats(0.0, 10**6)),
    st.floats(0.0, 1.2),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_what_is_looked_for_as_due_is_what_a_renewal_finds_due(
    lives: float, within: float, spent: float, jitter: float
) -> None:
    """Else a run over many credentials would begin renewals that renew nothing, or miss what ends."""
    record = record_of(Token("a", "r", issued_at=1000.0, expires_at=1000.0 + lives))
    now = 1000.0 + spent * lives
    horizon = DueFilter(within, True, lambda _: CredentialOptions.of(Refresher()), gives_first=False)
    is_due = isinstance(horizon.judge("acme", Versioned("1", encode(record)), Instant(now, now, None, 0.0)), Due)
    found = decide(record, make_request(background=True, within=within, jitter=jitter), now, lease_over=False)
    assert is_due is isinstance(found, Claim)
