"""The words name the cause: why a session is over, and how far a refresh is for which a caller waits no longer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.core.calls import first_token
from tests.core.driver import NEXT, Process, World, does, failed, make_lease, make_request, needy, passes, refusing
from tests.effects import EFFECTS, Send, knowing

from onerefresh import Credential, Credentials, RefreshUnavailable, Token, WaitTimeout, errors
from onerefresh import transitions as records
from onerefresh.record import RECOVERY, State
from onerefresh.record_text import encode
from onerefresh.renewal.renew import renew
from onerefresh.stores.memory import MemoryStore
from onerefresh.verdict import FailureKind

DEAD = failed(FailureKind.DEAD, "invalid_grant")

# --- Why a session is over ---

TAKEN_OVER = (
    "after another attempt was taken over, because its process had disappeared, or was stopped or cut off for too long"
)


def test_a_store_that_could_lose_writes_is_no_cause() -> None:
    world = needy(None, DEAD)
    error = world.fails(renew(knowing(may_go_back=True), make_request(**refusing(world))))
    assert str(error) == "credential 'acme': the session is over, log in again: invalid_grant"


def test_a_store_that_has_lost_writes_may_be_one() -> None:
    world = needy(None, DEAD)
    newer = world.token.numbered(world.present.family, 2)
    world.put(records.restored(world.present, newer, now=world.wall))
    assert "the store had lost writes" in str(
        world.fails(renew(knowing(may_go_back=True), make_request(**refusing(world))))
    )


def test_a_takeover_is_named_also_where_the_store_could_lose_writes() -> None:
    world = needy(None, DEAD)
    world.lease(make_lease(ttl=30.0, clock_epoch=world.clock_epoch, at=0.0))
    world.now = 31.0
    said = str(world.fails(renew(knowing(may_go_back=True), make_request(**refusing(world)))))
    assert TAKEN_OVER in said
    assert "lose" not in said


def test_a_takeover_from_a_guess_that_was_sent_is_named_before_what_led_to_the_guess() -> None:
    world = needy(None, DEAD)
    world.lease(make_lease(ttl=30.0, clock_epoch=world.clock_epoch, at=0.0, guess=True))
    world.now = 31.0
    said = str(world.fails(renew(EFFECTS, make_request(**refusing(world)))))
    assert TAKEN_OVER in said
    assert said.endswith("; before that, the store had lost the record or returned to an older state")


def test_a_recovery_lease_that_is_over_is_no_takeover() -> None:
    """Nothing was sent under it."""
    world = needy(None, DEAD)
    world.lease(make_lease(f"{RECOVERY}other", ttl=5.0, clock_epoch=world.clock_epoch, at=0.0, guess=True))
    world.now = 6.0
    said = str(world.fails(renew(EFFECTS, make_request(**refusing(world)))))
    assert "no process restored a newer refresh token than this one" in said
    assert "taken over" not in said


def test_a_takeover_is_named_also_where_a_recovery_lease_came_in_between() -> None:
    world = needy(None, DEAD)
    world.lease(
        make_lease(f"{RECOVERY}other", ttl=5.0, clock_epoch=world.clock_epoch, at=0.0, guess=True, contested=True)
    )
    world.now = 6.0
    said = str(world.fails(renew(EFFECTS, make_request(**refusing(world)))))
    assert TAKEN_OVER in said
    assert said.endswith("; before that, the store had lost the record or returned to an older state")


def test_a_holder_that_was_stopped_and_sent_too_late_is_the_cause_that_is_named() -> None:
    """Others went on meanwhile, and a strict server takes its request for theft."""
    world = needy(None, DEAD, NEXT)
    refused = refusing(world)

    def others_go_on(world: World) -> None:
        world.now += 400.0
        world.commit_by(
            world.lease(make_lease(clock_epoch=world.clock_epoch, at=world.now)), Token("access-2", "refresh-2")
        )

    stopped = Process(world, renew(EFFECTS, make_request(**refused)), faults={(Send, 1): does(others_go_on)})
    assert stopped.finish().token.generation == 2
    assert world.present.history[-1].what == "sent late"
    assert (world.present.state, world.token.generation) == (State.IDLE, 2)

    world.answers = [DEAD]
    world.now += 60.0
    error = world.fails(renew(knowing(may_go_back=True), make_request(**refusing(world))))
    assert isinstance(error, errors.LoginRequired)
    assert "a process that had been stopped or cut off had sent an older refresh token" in str(error)


def test_whoever_was_stopped_and_missed_nothing_notes_nothing() -> None:
    world = needy(None, DEAD)
    stopped = Process(world, renew(EFFECTS, make_request(**refusing(world))), faults={(Send, 1): passes(400.0)})
    with pytest.raises(errors.LoginRequired) as caught:
        stopped.finish()
    assert caught.value.message == "the session is over, log in again: invalid_grant"
    assert [entry.what for entry in world.present.history] == ["seed", "dead"]


# --- How far it is ---


def said_by(call: Callable[[], object]) -> str:
    """What it says of work that goes on. On a busy machine, `max_wait` may be over before a thread has started."""
    for _ in range(100):
        with pytest.raises(WaitTimeout) as caught:
            call()
        if "has not started yet" not in caught.value.message:
            break
    return caught.value.message


def test_a_request_that_was_sent_is_said_to_be_on_its_way() -> None:
    asked, answer = threading.Event(), threading.Event()

    def refresh(token: Token) -> Mapping[str, object]:
        asked.set()
        answer.wait(10.0)
        return first_token()

    with Credential("acme", refresh, token=first_token(expires_at=1_000_000_000)) as credential:
        threading.Thread(target=credential.token).start()
        assert asked.wait(10.0)
        said = said_by(lambda: credential.token(max_wait=0.0))
        answer.set()
    assert (
        said
        == "max_wait is over and the refresh has not finished: its request is in progress, and there is no answer yet"
    )


def test_waiting_for_another_process_is_said_to_be_that() -> None:
    store = MemoryStore()
    with Credential(
        "waiting", lambda token: first_token(), token=first_token(), store=store, max_wait=0.3
    ) as credential:
        token = credential.token()
        found = store.load("waiting")
        assert found is not None
        world = World()
        world.body = found.body
        store.cas("waiting", found.version, encode(records.claimed(world.record, make_lease(ttl=5.0), owner=None)))
        said = said_by(lambda: credential.token(refused=token))
        assert said.startswith(
            "max_wait is over and the refresh has not finished: another process is refreshing it, for at most "
        )
        left = store.load("waiting")
        assert left is not None
        store.cas("waiting", left.version, found.body)


@pytest.mark.seconds
def test_a_pause_of_the_token_endpoint_is_said_to_be_that() -> None:
    answers: list[Mapping[str, object] | Exception] = [first_token(), RefreshUnavailable("503", retry_after=1.0)]

    def refresh(token: Token) -> Mapping[str, object]:
        answer = answers.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    with Credential("pausing", refresh, token=first_token(expires_at=1_000_000_000), max_wait=0.2) as credential:
        said = said_by(credential.token)
    assert said.startswith(
        "max_wait is over and the refresh has not finished: no request is sent to the token endpoint for another "
    )


def test_a_queue_for_a_turn_is_said_to_be_that() -> None:
    asked, answer = threading.Event(), threading.Event()

    class Refresher:
        host = "acme.com:443"

        def __call__(self, token: Token) -> Mapping[str, object]:
            asked.set()
            answer.wait(10.0)
            return first_token()

    with Credentials(Refresher(), store=MemoryStore(), limit=1) as credentials:
        for key in ("first", "second"):
            credentials[key].login(first_token(expires_at=1_000_000_000))
        threading.Thread(target=credentials["first"].token).start()
        assert asked.wait(10.0)
        said = said_by(lambda: credentials["second"].token(max_wait=0.3))
        answer.set()
    assert said.endswith("it waits for its turn behind one other at acme.com:443, and nothing was sent yet")


def test_a_logout_that_takes_long_is_not_called_a_refresh() -> None:
    going_on = threading.Event()

    class Slow(MemoryStore):
        def load(self, key: str) -> Any:
            going_on.wait(10.0)
            return super().load(key)

    going_on.set()
    credential = Credential("acme", lambda token: first_token(), token=first_token(), store=Slow(), max_wait=0.1)
    going_on.clear()
    said = said_by(credential.logout)
    going_on.set()
    assert said == "max_wait is over and the logout has not finished: it is reading from its store"


class Slow:
    """A refresher, and a host's ``save``, of which one part takes long."""

    def __init__(self, part: str) -> None:
        self.part, self.going_on = part, threading.Event()

    def takes(self, part: str) -> None:
        if part == self.part:
            self.going_on.wait(10.0)

    def prepare(self) -> None:
        self.takes("prepare")

    def __call__(self, token: Token) -> Mapping[str, object]:
        return {"access_token": "next", "refresh_token": "another"}

    def save(self, token: Token) -> None:
        self.takes("save")

    def revoke(self, token: Token) -> None:
        self.takes("revoke")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("prepare", "the refresh has not finished: its refresher is preparing, for example getting its client secret"),
        (
            "save",
            "the refresh has not finished: its answer has arrived, and the application's save function has not "
            "returned",
        ),
        ("revoke", "the logout has not finished: the old token is being revoked"),
    ],
)
def test_code_of_the_user_that_takes_long_is_said_to_be_that(part: str, words: str) -> None:
    slow = Slow(part)
    token = first_token(expires_at=1_000_000_000)
    save = slow.save if part == "save" else None
    with Credential(part, slow, token=token, save=save, max_wait=0.3) as credential:
        said = said_by(credential.logout if part == "revoke" else credential.token)
        slow.going_on.set()
    assert said.endswith(words)
