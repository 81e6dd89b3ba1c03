"""A store went back, somebody logged out, and whoever knew a newer generation brought the session back."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest
from tests.core.calls import Refresher, first_token
from tests.regressions.test_stores_of_ones_own import Dictionary
from tests.simulator import Fault, Happening, Kind, Point, Scenario, What, simulate

from onerefresh import Credential, LoginRequired, Token, transitions
from onerefresh.credential import watch
from onerefresh.credential.look import Look
from onerefresh.record import Record, State
from onerefresh.record_text import decode, encode
from onerefresh.store import Versioned


@pytest.mark.seconds
def test_a_logout_is_final() -> None:
    logged_out = 0
    for seed in range(150):
        report = simulate(
            Scenario.of(
                seed,
                kind=Kind.REJECT_ONLY,
                faults=(Fault(What.ROLLBACK, Point.COMMIT, 2, seconds=60.0),),
                happenings=(Happening(What.REVOKED, 5.0), Happening(What.REVOKED, 15.0), Happening(What.LOGOUT, 25.0)),
                may_go_back=False,
                obtains=False,
                host_saves=False,
            ),
            account=True,
        )
        assert report.broken is None, str(report)
        logged_out += report.end == "logged out" and bool(report.struck)
    assert logged_out > 50


NOTE = Record(families=(), generation=5_000, state=State.EMPTY)
"""It tells of more losses than it names."""


pytestmark = pytest.mark.usefixtures("short_recovery")


def state_of(store: Dictionary) -> tuple[str, int]:
    record = decode(store.records["acme"].body, "acme")
    return record.state.value, record.generation


@pytest.mark.parametrize("after", ["gone back", "brought back by others", "begun with the first token"])
def test_the_process_that_has_logged_out_does_not_go_on_with_the_session(after: str) -> None:
    store, refresher = Dictionary(), Refresher()
    with Credential("acme", refresher, store=store) as credential:
        token = credential.token(refused=credential.login(first_token()))
        before = dict(store.records)
        credential.logout()
        store.records = before
        if after == "brought back by others":
            lost = transitions.lost_record((token.family,), token.generation, owner=None)
            brought = transitions.restored(lost, token, now=time.time())
            store.records["acme"] = Versioned("brought back", encode(brought))
        if after == "begun with the first token":
            seed = Token("access-0", "refresh-0")
            begun = transitions.new_session(None, seed, now=time.time(), owner=None, what="seed")
            store.records["acme"] = Versioned("begun", encode(begun))
        for refused in (None, token):
            with pytest.raises(LoginRequired, match="logged out"):
                credential.token(refused=refused)
    assert state_of(store) == ("empty", 3)
    assert refresher.calls == 1


def test_nor_does_one_that_has_heard_of_the_logout() -> None:
    store = Dictionary()
    with Credential("acme", Refresher(), store=store) as credential:
        token = credential.login(first_token())
        before = dict(store.records)
        emptied = transitions.logged_out(decode(before["acme"].body, "acme"), now=time.time())
        store.records["acme"] = Versioned("logged out elsewhere", encode(emptied))
        for records in (store.records, before):
            store.records = dict(records)
            with pytest.raises(LoginRequired, match="logged out"):
                credential.token(refused=token)
            credential._memory.failed = None
    assert state_of(store) == ("empty", 2)


def test_it_brings_the_logout_back_with_the_tokens_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch.Watch, "learned", lambda *_: None)
    store, look = Dictionary(), Look(lambda: True)
    with ExitStack() as open_ones:
        gone, kept = (open_ones.enter_context(Credential(key, Refresher(), store=store)) for key in ("acme", "other"))
        gone.login(first_token())
        kept.login(first_token())
        look.taken(store, kept._memory)
        before = dict(store.records)
        gone.logout()
        store.records = {**before, "\x01losses": Versioned("a note", encode(NOTE))}
        look.taken(store, kept._memory)
    assert state_of(store) == ("empty", 2)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("session", ["the same", "another"])
def test_a_login_after_it_stands(session: str, where: str) -> None:
    store, refresher = Dictionary(), Refresher()
    refresh_token = "refresh-0" if session == "the same" else "another"
    with Credential("acme", refresher, store=store) as credential:
        credential.login(first_token())
        before = dict(store.records)
        credential.logout()
        if where == "here":
            credential.login(first_token(refresh_token=refresh_token))
            store.records = before
            assert credential.token(refused=credential.token()).generation == 4
        else:
            store.records = before
            login = transitions.new_session(
                decode(before["acme"].body, "acme"),
                Token("access-0", refresh_token),
                now=time.time(),
                owner=None,
                what="login",
            )
            store.records["acme"] = Versioned("logged in", encode(login))
            assert credential.token().identity == login.identity
    assert state_of(store)[0] == "idle"
