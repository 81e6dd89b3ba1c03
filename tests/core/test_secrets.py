"""No token shows in any repr, str, format, pickle, log record, event, exception or traceback with locals of ours."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import pickle
import pprint
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests import effects
from tests.core.calls import PATIENCE, in_threads, listening
from tests.core.driver import World, failed, make_request
from tests.core.leaks import (
    ACCESS,
    REFRESH,
    SEED_ACCESS,
    SEED_REFRESH,
    assert_error_is_silent,
    assert_silent,
    logged,
    shown,
)
from tests.effects import EFFECTS, Cas, Defer, Deliver, Revoke, Save, Send, WriteSpool, knowing

from onerefresh import Credential, OnerefreshError, Secret, StoreUnavailable, Token, errors
from onerefresh import transitions as records
from onerefresh.record import Grant, Lease, Record
from onerefresh.record_text import decode, encode, token_to_fields
from onerefresh.renewal import recovery, renew
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.known import Known
from onerefresh.renewal.world import Loaded, Spooled
from onerefresh.store import Conflict, StoreOutcomeUnknown, Versioned
from onerefresh.stores.memory import MemoryStore
from onerefresh.token_response import parse_answer
from onerefresh.verdict import FailureKind


def left_to_do() -> Defer:
    rest = recovery.look_again(knowing(newest=token()), token(), 30.0, make_request())
    rest.close()
    return Defer(rest)


SEED: dict[str, object] = {
    "access_token": SEED_ACCESS, "refresh_token": SEED_REFRESH, "expires_at": 1_000_000_000, "id_token": ACCESS,
}  # fmt: skip
ANSWER: dict[str, object] = {"access_token": ACCESS, "refresh_token": REFRESH, "expires_in": 3600}


def token() -> Token:
    return parse_answer(SEED, at=0.0)


def record() -> Record:
    return records.new_session(None, token(), now=0.0, owner=None, what="seed")


# --- Values ---


def fields_of(thing: Any) -> dict[str, object]:
    return {name: getattr(thing, name) for name in type(thing).__slots__ if not name.startswith("__")}


VALUES: dict[str, Callable[[], Any]] = {
    "a secret": lambda: Secret(ACCESS),
    "a token": token,
    "a record": record,
    "a leased record": lambda: records.claimed(record(), Lease("id", Grant.REFRESH, 30.0), owner=None),
    "what was loaded": lambda: Loaded("1", record()),
    "what a store holds": lambda: Versioned("1", encode(record())),
    "a spooled token": lambda: Spooled("family", 1, "id", Grant.REFRESH, refused=False, token=token()),
    "a write": lambda: Cas("1", record()),
    "a request": lambda: Send(Grant.REFRESH, token(), 30.0),
    "a save": lambda: Save(token()),
    "a spool": lambda: WriteSpool(Spooled("family", 1, "id", Grant.REFRESH, refused=False, token=token())),
    "a revocation": lambda: Revoke(token()),
    "what is left to do": left_to_do,
    "an outcome": lambda: Outcome(token()),
    "a published outcome": lambda: Deliver(Outcome(token())),
    "a renewal request": lambda: make_request(seed=token(), known=Known(newest=token())),
    "a credential": lambda: Credential("acme", lambda token: ANSWER, token=SEED),
    "a status": lambda: Credential("acme", lambda token: ANSWER, token=SEED).status(),
    "a memory store": lambda: vars(Credential("acme", lambda token: ANSWER, token=SEED)._memory.store),
    "what credentials share": lambda: fields_of(Credential("acme", lambda token: ANSWER, token=SEED)._memory),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_shows_no_token(name: str) -> None:
    value = VALUES[name]()
    assert_silent(repr(value), str(value), f"{value}", f"{value!r:>10}", f"{value!a}", "%s %r" % (value, value))  # noqa: UP031 - one way of many
    assert_silent(pprint.pformat(value), repr([value]), repr({"key": value}))


@pytest.mark.parametrize("name", sorted(VALUES.keys() - {"what a store holds", "a memory store"}))
def test_a_value_is_not_pickled_or_shows_nothing(name: str) -> None:
    value = VALUES[name]()
    try:
        written = pickle.dumps(value)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        assert_error_is_silent(error)
    else:
        assert name == "a status"
        assert_silent(written.decode("latin-1"))


@pytest.mark.parametrize("value", [Secret(ACCESS), token()])
def test_neither_json_nor_a_dict_of_its_fields_shows_a_token(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        json.dumps({"value": value})
    assert_error_is_silent(caught.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        assert_silent(repr({name: field for name, field in fields.items() if name != "extra"}))


@pytest.mark.parametrize("value", [Secret(ACCESS), token()])
def test_a_copy_is_as_silent_as_the_original(value: Any) -> None:
    assert_silent(repr(copy.copy(value)), repr(copy.deepcopy(value)))
    assert copy.deepcopy([value]) == [value]


@pytest.mark.parametrize("spec", ["s", ">60", "x"])
def test_a_format_that_only_texts_know_is_refused(spec: str) -> None:
    for value in (Secret(ACCESS), token()):
        with pytest.raises(TypeError) as caught:
            format(value, spec)
        assert_error_is_silent(caught.value)


def test_the_test_itself_would_see_a_leak() -> None:
    assert shown(json.dumps(token_to_fields(token())))

    def leak(text: str) -> None:
        decode(text, text)

    with pytest.raises(StoreUnavailable) as caught:
        leak(ACCESS)
    with pytest.raises(AssertionError):
        assert_error_is_silent(caught.value)  # the key is part of the error, and here it was a token


# --- Errors of every path ---


class Damaged(MemoryStore):
    """Every record is cut short: what is left shows tokens."""

    def load(self, key: str) -> Versioned | None:
        found = super().load(key)
        return found and found._replace(body=found.body[:-1])


class Down(MemoryStore):
    """Can begin a session, and then neither claimed nor committed."""

    def __init__(self, claims: int, error: Exception) -> None:
        super().__init__()
        self.claims, self.error = claims, error

    def cas(self, key: str, expected: str | None, body: str) -> str:
        self.claims -= expected is not None
        if self.claims < 0:
            raise self.error
        return super().cas(key, expected, body)


def answering(answer: Any) -> Callable[[Token], Any]:
    return lambda token: answer


def raising(error: BaseException) -> Callable[[Token], Any]:
    def refresh(token: Token) -> Any:
        raise error

    return refresh


def ask(refresher: Any, **others: Any) -> None:
    Credential("acme", refresher, **{"token": SEED, **others}).token()


def ask_on_a_loop(refresher: Any, **others: Any) -> None:
    async def ask() -> None:
        await Credential("acme", refresher, **{"token": SEED, **others}).atoken()

    asyncio.run(ask())


def seeded(**others: Any) -> Credential:
    return Credential("acme", answering(ANSWER), **{"token": SEED, **others})


def impatient(ask: Callable[[Credential], object]) -> None:
    """Ask one whose refresher and `save` do not come back before the caller has left."""
    gate = threading.Event()

    def refresh(token: Token) -> Any:
        gate.wait(PATIENCE)
        return ANSWER

    def save(token: Token) -> None:
        gate.wait(PATIENCE)

    try:
        ask(Credential("acme", refresh, token=SEED, save=save, max_wait=0.0))
    finally:
        gate.set()


def log_in(answer: Any) -> None:
    seeded().login(answer)


def obtain(answer: Any) -> None:
    Credential("acme", answering(ANSWER), obtain=lambda: answer).login()


def obtains_nothing() -> Any:
    raise KeyError("mine")


def closed() -> Credential:
    credential = seeded()
    credential.close()
    return credential


async def async_answer(token: Token) -> Any:
    return ANSWER


async def async_failure(token: Token) -> Any:
    raise KeyError("mine")


def save_fails(token: Token) -> None:
    raise OSError("the disk is full")


def gone() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


WRONG_ANSWERS: list[Any] = [
    json.dumps(ANSWER),
    [ACCESS, REFRESH],
    (ACCESS, 3600),
    {"acess_token": ACCESS, "refresh_token": REFRESH},
    {"access_token": f"{ACCESS}\n", "refresh_token": REFRESH},
    {"access_token": [ACCESS]},
    {"data": ANSWER},
    {"error": "invalid_grant", "refresh_token": REFRESH},
    Secret(ACCESS),
]

WRONG_SEEDS = [answer for answer in WRONG_ANSWERS if not (isinstance(answer, dict) and "acess_token" in answer)]
"""A seed without an access token is one where it has a refresh token."""

PATHS: dict[str, Callable[[], object]] = {
    **{
        f"the refresher raises {type(error).__name__}": partial(ask, raising(error))
        for error in (
            errors.LoginRequired("revoked"),
            errors.ClientRejected("wrong secret"),
            errors.RequestRejected("wrong scope"),
            errors.InteractionRequired("more", challenge="claims"),
            errors.RefreshUnavailable("down", retry_after=60.0),
            errors.ConfigurationError("no such file"),
            errors.RefreshProtocolError("200"),
            KeyError("mine"),
            ValueError("mine"),
            SystemExit(1),
        )
    },
    "the refresher raises for a token that is lost": lambda: ask(raising(ConnectionResetError("mine"))),
    **{f"wrong answer {n}": partial(ask, answering(answer)) for n, answer in enumerate(WRONG_ANSWERS)},
    **{f"wrong seed {n}": partial(seeded, token=answer) for n, answer in enumerate(WRONG_SEEDS)},
    **{f"wrong login {n}": partial(log_in, answer) for n, answer in enumerate(WRONG_SEEDS)},
    **{f"wrong token obtained {n}": partial(obtain, answer) for n, answer in enumerate(WRONG_ANSWERS)},
    "obtain raises": lambda: Credential("acme", answering(ANSWER), obtain=obtains_nothing).token(),
    "a wrong key beside a good seed": lambda: Credential("", answering(ANSWER), token=SEED),
    "a wrong store beside a good seed": lambda: seeded(store="redis"),
    "a wrong profile beside a good seed": lambda: seeded(profile="none"),
    "a wrong wait beside a good seed": lambda: seeded(max_wait=-1),
    "a wrong wait for a token": lambda: seeded().token(max_wait=-1),
    "no wait at all": lambda: impatient(lambda credential: credential.token()),
    "a login without any wait": lambda: impatient(lambda credential: credential.login(ANSWER)),
    "closed": lambda: closed().token(),
    "a login when it is closed": lambda: closed().login(ANSWER),
    "a damaged store": lambda: seeded(store=Damaged()).token(),
    "a damaged store, and its status": lambda: seeded(store=Damaged()).status(),
    "a store that is down at the claim": lambda: seeded(store=Down(0, StoreUnavailable("down"))).token(),
    "a store that fails at the claim": lambda: seeded(store=Down(0, OSError("down"))).token(),
    "a store that is down at a login": lambda: seeded(store=Down(0, StoreUnavailable("down"))).login(ANSWER),
    "save fails": lambda: seeded(save=save_fails).token(),
    "save fails at a login": lambda: seeded(save=save_fails).login(ANSWER),
    "an async refresher fails": lambda: ask(async_failure),
    "an async refresher fails on a loop": lambda: ask_on_a_loop(async_failure),
    "an async refresher whose loop is gone": lambda: ask(async_answer, loop=gone()),
    "a refused token on a loop": lambda: ask_on_a_loop(raising(errors.LoginRequired("revoked"))),
    "no refresh token": lambda: Token(ACCESS).reveal_refresh_token(),
    "a secret that is none": lambda: Secret([ACCESS]),  # type: ignore[arg-type]  # what somebody may do
    "a token that is none": lambda: Token([ACCESS]),  # type: ignore[arg-type]  # what somebody may do
    "a refresh token that is none": lambda: Token(ACCESS, [REFRESH]),  # type: ignore[arg-type]  # what somebody may do
}


@pytest.mark.seconds
@pytest.mark.parametrize("path", PATHS)
def test_an_error_shows_no_token(path: str) -> None:
    with logged() as lines, listening() as heard, pytest.raises((OnerefreshError, TypeError)) as caught:
        PATHS[path]()
    assert_error_is_silent(caught.value)
    assert_silent(*lines, *map(repr, heard), *map(str, heard))


def test_an_exception_of_the_refresher_that_holds_a_token_is_not_quoted() -> None:
    with logged() as lines, listening() as heard, pytest.raises(OnerefreshError) as caught:
        ask(raising(KeyError(f"no such key: {SEED_REFRESH}")))
    assert_silent(str(caught.value), repr(caught.value), *lines, *map(repr, heard))


def test_a_store_whose_exception_holds_a_token_is_not_quoted() -> None:
    with logged() as lines, listening() as heard, pytest.raises(StoreUnavailable) as caught:
        seeded(store=Down(0, OSError(f"could not write {SEED_REFRESH}"))).token()
    assert_silent(str(caught.value), repr(caught.value), *lines, *map(repr, heard))


@pytest.mark.seconds
def test_a_save_whose_exception_holds_a_token_is_not_quoted() -> None:
    def save(token: Token) -> None:
        raise OSError(f"could not write {token.reveal_refresh_token()}")

    with logged() as lines, listening() as heard, pytest.raises(errors.SaveFailed) as caught:
        seeded(save=save).token()
    assert_silent(str(caught.value), repr(caught.value), *lines, *map(repr, heard))


def test_a_hook_that_fails_is_logged_without_a_token() -> None:
    from onerefresh.events import subscribe

    def hook(event: object) -> None:
        raise RuntimeError("a hook of somebody's")

    unsubscribe = subscribe(hook)
    with logged() as lines:
        seeded().token()
    unsubscribe()
    assert any("RuntimeError" in line for line in lines)
    assert_silent(*lines)


@pytest.mark.parametrize("kind", list(FailureKind))
def test_a_failure_that_is_remembered_shows_no_token_to_who_comes_later(kind: FailureKind) -> None:
    world = World([failed(kind)] * 20)
    world.starts(token())
    for _ in range(2):
        assert_error_is_silent(world.fails(renew.renew(EFFECTS, make_request(refused=world.present.identity))))
    assert_silent(*map(repr, world.events))


@pytest.mark.parametrize("kind", [Conflict, StoreOutcomeUnknown])
def test_a_commit_that_is_disturbed_shows_no_token(kind: type[Exception]) -> None:
    class Disturbed(MemoryStore):
        left = 3

        def cas(self, key: str, expected: str | None, body: str) -> str:
            self.left -= expected is not None
            if expected is not None and self.left >= 0:
                raise kind("disturbed")
            return super().cas(key, expected, body)

    with logged() as lines, listening() as heard:
        assert seeded(store=Disturbed()).token().generation == 2
    assert_silent(*lines, *map(repr, heard))


def test_a_database_that_fails_in_the_middle_shows_no_token(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/tokens.db"
    credential = seeded(store=store)
    assert credential.token().reveal() == ACCESS
    with sqlite3.connect(tmp_path / "tokens.db") as database:
        (body,) = database.execute("SELECT body FROM records").fetchone()
        database.execute("UPDATE records SET body = ?", (body[:-1],))
    database.close()
    with logged() as lines, pytest.raises(StoreUnavailable, match="cannot be read") as caught:
        credential.token(refused=credential.token())
    assert_error_is_silent(caught.value)
    (tmp_path / "tokens.db").write_bytes(b"SQLite format 3\x00" + body.encode() * 40)
    with logged() as more, pytest.raises(OnerefreshError) as damaged:
        credential.login(ANSWER)
    assert_error_is_silent(damaged.value)
    assert_silent(*lines, *more)


def test_a_whole_life_at_debug_level_logs_no_token(tmp_path: Path) -> None:
    answers = iter([ANSWER])

    def refresh(token: Token) -> Any:
        return next(answers, None) or (_ for _ in ()).throw(errors.LoginRequired("revoked"))

    with logged() as lines, listening() as heard:
        credential = Credential("acme", refresh, token=SEED, store=f"sqlite:///{tmp_path}/tokens.db")
        in_threads([credential.token] * 10)
        for _ in range(2):
            following = credential.token(refused=credential.token())
            credential.replayed(following, accepted=False)
        credential.replayed(following, accepted=True)
        with pytest.raises(errors.LoginRequired):
            credential.token(refused=following)
        credential.login(ANSWER)
        credential.status()
        credential.logout()
        credential.close()
    assert heard
    assert_silent(*lines, *map(repr, heard), *map(str, heard))


def test_the_debug_mode_of_asyncio_shows_no_token() -> None:
    gate = threading.Event()

    async def refresh(token: Token) -> Any:
        await asyncio.to_thread(gate.wait, PATIENCE)
        return ANSWER

    async def run() -> None:
        credential = Credential("acme", refresh, token=SEED)
        waiting = [asyncio.create_task(credential.atoken()) for _ in range(3)]
        await asyncio.sleep(0)
        assert_silent(*map(repr, asyncio.all_tasks()))
        gate.set()
        await asyncio.gather(*waiting)

    with logged() as lines:
        asyncio.run(run(), debug=True)
    assert_silent(*lines)


def test_the_debug_mode_of_asyncio_shows_no_token_of_a_refresher_that_is_slow() -> None:
    """What takes long is logged there as a task with its result."""

    async def run() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.0
        await Credential("acme", async_answer, token=SEED).atoken()

    with logged() as lines:
        asyncio.run(run(), debug=True)
    assert any("Executing <Task finished" in line for line in lines)
    assert_silent(*lines)


def test_no_effect_is_forgotten_by_these_tests() -> None:
    """Effects that carry tokens are listed above; a new one must be as silent."""
    carrying = {"Cas", "Send", "Save", "WriteSpool", "DropSpool", "Deliver", "Revoke", "Defer"}
    plain = {
        "Load", "Now", "Watch", "Sleep", "Queue", "Enter", "Leave", "Prepare", "NewId", "ReadSpool", "ClearSpool",
        "Emit", "ReportLoss", "ReadNote", "Effect",
    }  # fmt: skip
    known = {
        name
        for name, kind in vars(effects).items()
        if isinstance(kind, type) and issubclass(kind, effects.Effect) and kind.__module__ == effects.__name__
    }
    assert known == carrying | plain
