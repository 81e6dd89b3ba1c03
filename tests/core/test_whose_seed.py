"""A first token of another account, under a name that is in use: in one process, and in another one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import Refresher, listening
from tests.core.test_strangers import of

from onerefresh import ConfigurationError, Credential, Credentials, Token
from onerefresh.events import Event, Kind
from onerefresh.stores import open_store
from onerefresh.stores.memory import MemoryStore


def answer(sub: str | None, **more: Any) -> dict[str, object]:
    """A first token; `sub`: whose, or None for one that does not tell."""
    name = sub or more.pop("name", "opaque")
    found = {"access_token": f"access-{name}", "refresh_token": f"refresh-{name}", "expires_in": 3600, **more}
    return {**found, "id_token": of(sub)} if sub else found


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else open_store(f"sqlite:///{tmp_path}/tokens.db")


def kinds(heard: list[Event]) -> list[Kind]:
    return [event.kind for event in heard if event.kind in (Kind.SEED_IGNORED, Kind.SEED_SHARED)]


def test_another_account_s_first_token_is_an_error_and_the_first_one_s_goes_on(store: Any) -> None:
    first = Credential("acme", Refresher(), token=answer("anna"), store=store)
    assert first.token().reveal() == "access-anna"
    second = Credential("acme", Refresher(), token=answer("ben"), store=store)
    with listening() as heard:
        for _ in range(3):
            assert second.current() is None
            with pytest.raises(ConfigurationError, match="a name for each account") as raised:
                second.token()
            assert type(raised.value) is ConfigurationError
            assert "ben" not in str(raised.value).replace("belongs", "")
            with pytest.raises(ConfigurationError, match="a name for each account"):
                second.bearer()
            with pytest.raises(ConfigurationError, match="a name for each account"):
                asyncio.run(second.atoken())
            assert first.token().reveal() == "access-anna"
            assert first.current() is not None
    assert kinds(heard) == [Kind.SEED_IGNORED]


def test_where_nobody_can_tell_it_is_said_once_and_the_session_in_use_serves(store: Any) -> None:
    first = Credential("acme", Refresher(), token=answer(None), store=store)
    first.token()
    with listening() as heard:
        for _ in range(3):
            other = Credential("acme", Refresher(), token=answer(None, name="other"), store=store)
            assert other.token().reveal() == "access-opaque"
            assert other.current() is first.current()
    assert kinds(heard) == [Kind.SEED_IGNORED]


@pytest.mark.parametrize("seed", [answer("anna"), answer("anna", name="newer", refresh_token="another", scope="more")])
def test_the_same_account_s_is_no_error(store: Any, seed: dict[str, object]) -> None:
    first = Credential("acme", Refresher(), token=answer("anna"), store=store)
    first.token()
    assert Credential("acme", Refresher(), token=seed, store=store).token() == first.token()


def test_a_first_token_that_is_there_already_is_no_news(store: Any) -> None:
    first = Credential("acme", Refresher(), token=answer("anna"), store=store)
    token = first.token()
    token = first.token(refused=token)
    with listening() as heard:
        for seed in (answer("anna"), Token(token.reveal(), token.refresh_token)):
            again = Credential("acme", Refresher(), token=seed, store=store)
            assert again.current() is first.current()
    assert not kinds(heard)


def test_both_are_made_before_either_is_used(store: Any) -> None:
    made = [Credential("acme", Refresher(), token=answer(name), store=store) for name in ("anna", "ben")]
    used = made if isinstance(store, MemoryStore) else made[::-1]  # there the first one's is stored at once
    assert used[0].token().reveal() == ("access-anna" if used is made else "access-ben")
    with pytest.raises(ConfigurationError, match="a name for each account"):
        used[1].token()


def test_many_threads_make_and_use_them_at_once(store: Any) -> None:
    gate, results = threading.Barrier(16), list[tuple[str, str]]()

    def use(name: str) -> None:
        gate.wait()
        try:
            found = Credential("acme", Refresher(), token=answer(name), store=store).token().reveal()
        except ConfigurationError as error:
            found = str(error)
        results.append((name, found))

    threads = [threading.Thread(target=use, args=(("anna", "ben")[number % 2],)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = open_winner(store)
    for name, found in results:
        assert found == f"access-{name}" if name == winner else "a name for each account" in found


def open_winner(store: Any) -> str:
    return Credential("acme", Refresher(), store=store).token().reveal().removeprefix("access-")


def test_an_object_without_a_first_token_is_not_hurt_by_another_one_s(store: Any) -> None:
    Credential("acme", Refresher(), token=answer("anna"), store=store).token()
    wrong = Credential("acme", Refresher(), token=answer("ben"), store=store)
    plain = Credential("acme", Refresher(), store=store)
    with pytest.raises(ConfigurationError):
        wrong.token()
    assert plain.token().reveal() == "access-anna"
    with pytest.raises(ConfigurationError):
        wrong.token()


def test_a_login_may_change_the_account(store: Any) -> None:
    first = Credential("acme", Refresher(), token=answer("anna"), store=store)
    first.token()
    second = Credential("acme", Refresher(), token=answer("ben"), store=store)
    second.login(answer("ben"))
    assert second.token().reveal() == first.token().reveal() == "access-ben"
    again = Credential("acme", Refresher(), token=answer("anna"), store=store)  # as the program did before
    assert again.token().reveal() == "access-ben"


def test_after_a_logout_another_account_s_first_token_begins_a_session(store: Any) -> None:
    first = Credential("acme", Refresher(), token=answer("anna"), store=store)
    first.token()
    first.logout()
    assert Credential("acme", Refresher(), token=answer("ben"), store=store).token().reveal() == "access-ben"


def test_credentials_with_a_first_token_for_each(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/tokens.db"
    annas = Credentials(Refresher(), store=place, token_for=lambda key: answer("anna"))
    bens = Credentials(Refresher(), store=place, token_for=lambda key: answer("ben"))
    with annas, bens:
        assert annas["acme"].token().reveal() == "access-anna"
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="a name for each account"):
                bens["acme"].token()
        assert annas["acme"].token().reveal() == "access-anna"


ANOTHER = """
import logging, sys
from onerefresh import Credential
logging.basicConfig(level=logging.WARNING)
from tests.core.calls import Refresher
from tests.core.test_whose_seed import answer
acme = Credential("acme", Refresher(), token=answer(sys.argv[2] or None, name="other"), store=sys.argv[1])
try:
    print(acme.token().reveal())
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.seconds
@pytest.mark.parametrize(("sub", "told"), [("ben", "ConfigurationError"), ("", "access-anna")])
def test_another_process_says_the_same(tmp_path: Path, sub: str, told: str) -> None:
    place = f"sqlite:///{tmp_path}/tokens.db"
    Credential("acme", Refresher(), token=answer("anna"), store=place).token()
    done = subprocess.run(
        [sys.executable, "-c", ANOTHER, place, sub], capture_output=True, text=True, check=True, timeout=60
    )
    assert told in done.stdout
    assert "seed ignored" in done.stderr


# --- One refresh token under two names ---


def test_two_names_with_one_refresh_token_are_said_at_once() -> None:
    with listening() as heard:
        first = Credential("acme", Refresher(), token=answer(None))
        again = Credential("acme", Refresher(), token=answer(None))
        assert not kinds(heard)
        other = Credential("other", Refresher(), token=answer(None, access_token="another"))
        assert kinds(heard) == [Kind.SEED_SHARED]
    assert "'acme'" in heard[-1].detail
    assert heard[-1].credential == "other"
    assert "refresh-" not in str(heard[-1])
    del first, again, other


def test_a_name_that_is_gone_shares_nothing() -> None:
    with listening() as heard:
        for name in ("one", "two", "three"):
            Credential(name, Refresher(), token=answer(None, name="gone"))
    assert not kinds(heard)


def test_servers_that_do_not_rotate_and_tokens_without_a_refresh_token_may_be_shared() -> None:
    with listening() as heard:
        kept = [Credential(name, Refresher(), token=answer(None), profile="static") for name in ("one", "two")]
        kept += [Credential(name, Refresher(), token={"access_token": "only"}) for name in ("three", "four")]
    assert not kinds(heard)


def test_tenants_and_logins_with_one_refresh_token_are_said(tmp_path: Path) -> None:
    with (
        Credentials(
            Refresher(), store=f"sqlite:///{tmp_path}/tokens.db", token_for=lambda key: answer(None, name="shared")
        ) as customers,
        listening() as heard,
    ):
        one, two = customers["one"], customers["two"]
        assert not kinds(heard)  # nothing is looked up before it is used
        one.token()
        two.token()
        assert kinds(heard) == [Kind.SEED_SHARED]
        Credential("three", Refresher()).login(answer(None, name="shared"))
        assert kinds(heard) == [Kind.SEED_SHARED] * 2
    del one, two
