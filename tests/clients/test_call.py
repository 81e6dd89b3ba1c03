"""The rules of one call, without a client: its steps in their order, and what the credential is told."""

from __future__ import annotations

import time
import traceback
from typing import Any

import pytest
from tests.core.calls import Refresher, listening, wait_for

from onerefresh import ConfigurationError, Credential, InteractionRequired, Token
from onerefresh.clients.bearer import HeaderText
from onerefresh.clients.call import Calls
from onerefresh.clients.rule import Head, Headers, RefusedWhen
from onerefresh.damping import Target
from onerefresh.events import Kind

API = "https://api.acme.com"
SEED = {"access_token": "first", "refresh_token": "test-refresh-first"}
OVER = {**SEED, "expires_at": time.time() - 60}
CLAIMS = ['Bearer error="insufficient_claims"']


class Telling(Credential):
    """Notes what it is told of each token."""

    def __init__(self, seed: dict[str, Any] = SEED) -> None:
        super().__init__("acme", lambda _: {"access_token": "second", "expires_in": 3600}, token=seed)
        self.told: list[tuple[int, bool]] = []

    def replayed(self, token: Token, *, accepted: bool, target: Target | None = None) -> None:
        self.told.append((token.generation, accepted))
        super().replayed(token, accepted=accepted, target=target)


class Client:
    """Performs one call; `answers` are the statuses and challenges of the API, one after another.

    It raises `ConnectionError` after `last` steps of what is left of a refused call.
    """

    def __init__(
        self,
        credential: Credential,
        *answers: tuple[int, list[str] | None],
        can_rewind: bool = True,
        last: int | None = None,
    ) -> None:
        self.steps: list[str] = []
        self.answers = list(answers)
        self._calls = calls_of(credential)
        self._can_rewind = can_rewind
        self._last = last

    def call(self, sent: HeaderText | None = None) -> None:
        credential = self._calls.credential
        sent = sent or self._calls.fresh() or self._calls.bearer.text(credential.token())
        self.steps.append(f"send {sent}")
        status, challenges = self.answers.pop(0)
        for number, step in enumerate((call := self._calls.answered(sent, status)) or (), start=1):
            assert call is not None
            self.steps.append(f"send {call.text}" if step == "send" else step)
            match step:
                case "challenges":
                    call.challenges = challenges
                case "take":
                    call.token = credential.token(refused=call.refused)
                case "rewind":
                    call.rewound = self._can_rewind
                case "send":
                    call.status, challenges = self.answers.pop(0)
            if number == self._last:
                raise ConnectionError


def calls_of(credential: Credential) -> Calls:
    return Calls(credential, API, header="Authorization", scheme="Bearer", refused_statuses={401})


def steps_of(credential: Credential, *answers: tuple[int, list[str] | None], can_rewind: bool = True) -> list[str]:
    client = Client(credential, *answers, can_rewind=can_rewind)
    client.call()
    assert client.answers == [], "nothing more is sent than was answered"
    return client.steps


def test_a_call_with_a_fresh_token_is_sent_and_nothing_else() -> None:
    credential = Telling()
    assert steps_of(credential, (200, [])) == ["send Bearer first"]
    assert credential.told == []


@pytest.mark.parametrize("status", [200, 307, 404, 500])
def test_a_token_that_was_just_refreshed_is_accepted_by_any_answer_that_does_not_refuse_it(status: int) -> None:
    credential = Telling(OVER)
    assert steps_of(credential, (status, [])) == ["send Bearer second"]
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


@pytest.mark.parametrize("challenges", [None, ['Bearer error="insufficient_scope"']])
def test_an_answer_that_is_not_about_the_token_is_left_alone(challenges: list[str] | None) -> None:
    credential = Telling(OVER)
    assert steps_of(credential, (401, challenges)) == ["send Bearer second", "challenges"]
    assert credential.told == [], "it proves nothing"


@pytest.mark.parametrize("challenges", [None, ['Bearer error="insufficient_scope"']])
def test_a_replay_whose_answer_is_not_about_the_token_was_accepted(challenges: list[str] | None) -> None:
    credential = Telling()
    steps_of(credential, (401, []), (401, challenges))
    assert credential.told == [(2, True)]


def test_an_api_that_wants_more_of_the_person_is_read_and_raises() -> None:
    credential = Telling()
    client = Client(credential, (401, CLAIMS))
    with pytest.raises(InteractionRequired) as caught:
        client.call()
    assert caught.value.generation == 1
    assert client.steps == ["send Bearer first", "challenges", "drain"]
    assert credential.told == []


def test_an_api_that_wants_more_of_the_person_after_the_replay_took_the_token() -> None:
    credential = Telling()
    client = Client(credential, (401, []), (401, CLAIMS))
    with pytest.raises(InteractionRequired) as caught:
        client.call()
    assert caught.value.generation == 2
    assert client.steps[-3:] == ["send Bearer second", "challenges", "drain"]
    assert credential.told == [(2, True)]


def test_a_challenge_that_repeats_the_token_shows_it_in_no_traceback() -> None:
    calls = calls_of(Telling())
    sent = calls.fresh()
    assert sent is not None
    call = calls.answered(sent, 401)
    assert call is not None
    call.challenges = [f'Bearer error="insufficient_claims", claims="{sent}"']
    with pytest.raises(InteractionRequired) as caught:
        list(call)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "Bearer first" not in "".join(shown.format())


def test_a_request_is_judged_by_the_token_it_carried_and_not_by_the_present_one() -> None:
    credential = Telling()
    sent = calls_of(credential).fresh()
    credential.token(refused=credential.token())  # meanwhile
    client = Client(credential, (401, []), (200, []))
    client.call(sent)
    assert client.steps[0] == "send Bearer first"
    assert client.steps[-2:] == ["send Bearer second", "challenges"]
    assert credential.told == [(2, True)]


def test_an_answer_proves_the_token_that_was_sent_and_no_other() -> None:
    credential = Telling(OVER)
    calls, second = calls_of(credential), credential.token()
    assert calls.answered(calls.bearer.text(Token("another")), 200) is None
    assert credential.told == []
    assert calls.answered(calls.bearer.text(second), 200) is None
    assert credential.told == [(2, True)]


def test_there_is_nothing_to_send_where_the_credential_must_be_waited_for() -> None:
    assert calls_of(Telling(OVER)).fresh() is None
    assert calls_of(Telling()).fresh() == "Bearer first"


@pytest.mark.parametrize("last", range(1, 7))
def test_a_call_that_ends_in_the_middle_reports_nothing(last: int) -> None:
    """Its client raised an error, or its task was cancelled, while it performed that step."""
    credential = Telling()
    with pytest.raises(ConnectionError):
        Client(credential, (401, []), (200, []), last=last).call()
    assert credential.told == []


def test_what_is_no_credential_has_no_calls() -> None:
    with pytest.raises(ConfigurationError, match=r"an onerefresh\.Credential, not str"):
        calls_of("acme")  # type: ignore[arg-type]  # what is tested


def test_events_about_calls_name_the_token_endpoint_s_host() -> None:
    class Stating(Refresher):
        host = "acme.example:443"

    def fails(_: object) -> bool:
        raise LookupError

    credential = Credential("acme", Stating(), token=SEED)
    rule = RefusedWhen(fails, statuses=200, content_types=(), name="a rule of this test")
    calls = Calls(credential, API, header="Authorization", scheme="Bearer", refused_statuses={401}, refused=rule)
    with listening() as heard:
        calls.passes_through("Authorization")
        wait_for(heard, Kind.NOT_ATTACHED)
        assert not calls.is_refusal(calls.bearer.text(credential.token()), 200, Head("GET", Headers([])), b"")
        wait_for(heard, Kind.RULE_FAILED)
    ours = [event for event in heard if event.kind in (Kind.NOT_ATTACHED, Kind.RULE_FAILED)]
    assert [event.facts.host for event in ours] == ["acme.example:443"] * 2
