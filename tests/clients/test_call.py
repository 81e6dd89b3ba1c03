"""The rules of one call, without a client: its steps in their order, and what the credential is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from onerefresh import ConfigurationError, Credential, InteractionRequired, Token
from onerefresh.clients.bearer import Bearer
from onerefresh.clients.call import Call, Step, bearer_of

API = "https://api.acme.com"
BEARER = Bearer("acme", API)
SEED = {"access_token": "first", "refresh_token": "test-refresh-first"}
OVER = {**SEED, "expires_at": time.time() - 60}
CLAIMS = ['Bearer error="insufficient_claims"']


class Telling(Credential):
    """Notes what it is told of each token."""

    def __init__(self, seed: dict[str, Any] = SEED) -> None:
        super().__init__("acme", lambda _: {"access_token": "second", "expires_in": 3600}, token=seed)
        self.told: list[tuple[int, bool]] = []

    def replayed(self, token: Token, *, accepted: bool) -> None:
        self.told.append((token.generation, accepted))
        super().replayed(token, accepted=accepted)


class Client:
    """Performs the steps of one call; `answers` are the statuses and challenges of the API, one after another."""

    def __init__(self, credential: Credential, *answers: tuple[int, list[str] | None], can_rewind: bool = True) -> None:
        self.steps: list[str] = []
        self._credential = credential
        self._answers = list(answers)
        self._can_rewind = can_rewind

    def perform(self, call: Call, steps: Iterator[Step]) -> None:
        for step in steps:
            self.steps.append(f"send {call.text}" if step == "send" else step)
            match step:
                case "take":
                    call.token = self._credential.token(refused=call.refused)
                case "send":
                    call.status, self._challenges = self._answers.pop(0)
                case "challenges":
                    call.challenges = self._challenges
                case "rewind":
                    call.rewound = self._can_rewind


def steps_of(credential: Credential, *answers: tuple[int, list[str] | None], can_rewind: bool = True) -> list[str]:
    client = Client(credential, *answers, can_rewind=can_rewind)
    call = Call(credential, BEARER)
    client.perform(call, iter(call))
    assert client._answers == [], "nothing more is sent than was answered"
    return client.steps


def test_a_call_with_a_fresh_token_is_sent_and_nothing_else() -> None:
    credential = Telling()
    assert steps_of(credential, (200, [])) == ["send Bearer first"]
    assert credential.told == []


@pytest.mark.parametrize("status", [200, 307, 404, 500])
def test_a_token_that_was_just_refreshed_is_accepted_by_any_answer_that_does_not_refuse_it(status: int) -> None:
    credential = Telling(OVER)
    assert steps_of(credential, (status, [])) == ["take", "send Bearer second"]
    assert steps_of(credential, (status, [])) == ["send Bearer second"]
    assert credential.told == [(2, True)]


def test_a_refused_call_goes_again_once_with_the_next_token_after_the_refusal_is_read() -> None:
    credential = Telling()
    assert steps_of(credential, (401, []), (200, [])) == [
        "send Bearer first", "challenges", "drain", "take", "rewind", "send Bearer second", "challenges",
    ]  # fmt: skip
    assert credential.told == [(2, True)]


def test_a_replay_that_is_refused_is_reported_and_is_the_answer() -> None:
    credential = Telling()
    assert steps_of(credential, (401, []), (401, []))[-2:] == ["send Bearer second", "challenges"]
    assert credential.told == [(2, False)]
    # The same token comes back: it was refreshed only just now.
    assert steps_of(credential, (401, [])) == ["send Bearer second", "challenges", "drain", "take"]
    assert credential.told == [(2, False)]


def test_a_body_that_is_used_up_is_not_sent_again_and_nothing_is_reported() -> None:
    credential = Telling()
    assert steps_of(credential, (401, []), can_rewind=False)[-2:] == ["take", "rewind"]
    assert credential.told == []


@pytest.mark.parametrize("challenges", [None, ["Basic"], ['Bearer error="insufficient_scope"']])
def test_an_answer_that_is_not_about_the_token_is_left_alone(challenges: list[str] | None) -> None:
    credential = Telling(OVER)
    assert steps_of(credential, (401, challenges)) == ["take", "send Bearer second", "challenges"]
    assert credential.told == [], "it proves nothing"


@pytest.mark.parametrize("challenges", [None, ["Basic"]])
def test_a_replay_whose_answer_is_not_about_the_token_was_accepted(challenges: list[str] | None) -> None:
    credential = Telling()
    steps_of(credential, (401, []), (401, challenges))
    assert credential.told == [(2, True)]


def test_an_api_that_wants_more_of_the_person_is_read_and_raises() -> None:
    credential = Telling()
    client = Client(credential, (401, CLAIMS))
    with pytest.raises(InteractionRequired) as caught:
        client.perform(call := Call(credential, BEARER), iter(call))
    assert caught.value.generation == 1
    assert client.steps == ["send Bearer first", "challenges", "drain"]
    assert credential.told == []


def test_an_api_that_wants_more_of_the_person_after_the_replay_took_the_token() -> None:
    credential = Telling()
    client = Client(credential, (401, []), (401, CLAIMS))
    with pytest.raises(InteractionRequired) as caught:
        client.perform(call := Call(credential, BEARER), iter(call))
    assert caught.value.generation == 2
    assert client.steps[-3:] == ["send Bearer second", "challenges", "drain"]
    assert credential.told == [(2, True)]


def test_a_request_that_was_sent_already_is_judged_by_the_token_it_carried() -> None:
    credential = Telling()
    sent = BEARER.text(credential.token())
    credential.token(refused=credential.token())  # meanwhile
    client = Client(credential, (200, []))
    client._challenges = []
    call = Call(credential, BEARER)
    client.perform(call, call.answered(sent, 401))
    assert client.steps == ["challenges", "drain", "take", "rewind", "send Bearer second", "challenges"]
    assert credential.told == [(2, True)]


def test_a_request_that_was_sent_already_proves_the_token_it_carried_and_no_other() -> None:
    credential = Telling(OVER)
    second, call = BEARER.text(credential.token()), Call(credential, BEARER)
    assert list(call.answered(BEARER.text(Token("another")), 200)) == []
    assert credential.told == []
    assert list(call.answered(second, 200)) == []
    assert credential.told == [(2, True)]


@pytest.mark.parametrize("last", range(1, 8))
def test_a_call_that_ends_in_the_middle_reports_nothing(last: int) -> None:
    """Its client raised an error, or its task was cancelled, while it performed that step."""
    credential = Telling()

    class Leaving(Client):
        def perform(self, call: Call, steps: Iterator[Step]) -> None:
            def cut() -> Iterator[Step]:
                for number, step in enumerate(steps, start=1):
                    yield step
                    if number == last:
                        raise ConnectionError

            super().perform(call, cut())

    with pytest.raises(ConnectionError):
        Leaving(credential, (401, []), (200, [])).perform(call := Call(credential, BEARER), iter(call))
    assert credential.told == []


def test_what_is_no_credential_has_no_calls() -> None:
    with pytest.raises(ConfigurationError, match=r"an onerefresh\.Credential, not str"):
        bearer_of("acme", API, header="Authorization", scheme="Bearer", refused_statuses={401})  # type: ignore[arg-type]
