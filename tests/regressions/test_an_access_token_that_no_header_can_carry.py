"""An answer with an access token that no header can carry: its refresh token is kept, and the server is asked again.

That comes after a pause. Such a token was once stored as a good one, and blocked the credential until it expired.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.core.calls import expired, first_token, listening
from tests.core.driver import KEY, NEXT, START, Process, failed, make_request, needy, refusing, seed, store_goes_down
from tests.effects import EFFECTS, Cas, Effects, Knowing, Send, Sleep

from onerefresh import ConfigurationError, Credential, RefreshProtocolError, RefreshUnavailable, Token, policy
from onerefresh import transitions as records
from onerefresh.answers import unsendable
from onerefresh.cli import main
from onerefresh.clients.bearer import Bearer
from onerefresh.events import Kind
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.oauth2.codec import TokenRequest, TokenResponse
from onerefresh.record import Grant, State
from onerefresh.record_text import decode, encode
from onerefresh.renewal.decide import decide
from onerefresh.renewal.recovery import replay_spool
from onerefresh.renewal.renew import renew
from onerefresh.renewal.steps import Claim, Use
from onerefresh.secret import Secret
from onerefresh.stores.memory import MemoryStore
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

UNSENDABLE = ["tök€n", " x ", "x ", "\tx", "a\nb", "a\r\nX: y", "a\tb", "a\x00", "a\x7f", "\ud800", "é", "a\u2028b"]
SENDABLE = ["x", "7|secret", "a b", "a.b.c", "~!#%&'()*,/:;<=>?@[]^`{}", "Zm9v+/==", 'a"b\\c']


class Server:
    """Rotates its refresh token with each answer; `access` makes the access token of the n-th one."""

    def __init__(self, access: Callable[[int], object]) -> None:
        self.access = access
        self.spent: list[str] = []

    def answer(self, text: str) -> dict[str, object]:
        assert text not in self.spent, f"{text} was spent twice"
        assert text == f"refresh-{len(self.spent)}", "the newest refresh token was lost"
        self.spent.append(text)
        number = len(self.spent)
        return {"access_token": self.access(number), "refresh_token": f"refresh-{number}", "expires_in": 3600}

    def function(self, token: Token) -> dict[str, object]:
        return self.answer(token.reveal_refresh_token())

    async def async_function(self, token: Token) -> dict[str, object]:
        await asyncio.sleep(0)
        return self.answer(token.reveal_refresh_token())

    def own_token(self, token: Token) -> Token:
        fields: Any = self.answer(token.reveal_refresh_token())
        return Token(fields["access_token"], fields["refresh_token"], expires_in=3600)

    def send(self, request: TokenRequest) -> TokenResponse:
        text = request.body.decode().partition("refresh_token=refresh-")[2].partition("&")[0]
        body = json.dumps(self.answer(f"refresh-{text}")).encode()
        return TokenResponse(200, {"content-type": "application/json"}, body)

    @property
    def endpoint(self) -> TokenEndpoint:
        return TokenEndpoint("https://acme.com/token", client_id="client", send=self.send)


KINDS = {
    "a function": lambda server: server.function,
    "an async function": lambda server: server.async_function,
    "a Token": lambda server: server.own_token,
    "a TokenEndpoint": lambda server: server.endpoint,
}


def first_bad(text: object) -> Callable[[int], object]:
    return lambda number: text if number == 1 else f"access-{number}"


@pytest.mark.parametrize("text", [*UNSENDABLE, *SENDABLE])
def test_tokens_are_made_and_sent_by_one_definition(text: str) -> None:
    """Where it is made, where it is handed out, and where the header is made."""
    fits = unsendable(text) is None
    assert fits is (text in SENDABLE)
    token = Token(text, "refresh-0")
    assert token.is_sendable is fits
    for answer in (token, {"access_token": text, "refresh_token": "refresh-0"}):
        if fits:
            assert Credential(KEY, lambda token: token, token=answer).bearer() == text
        else:
            with pytest.raises(ConfigurationError, match=r"token=: .*no header can carry"):
                Credential(KEY, lambda token: token, token=answer)
    if fits:
        assert Bearer(KEY, "https://acme.com").text(token) == f"Bearer {text}"
    else:
        with pytest.raises(RefreshProtocolError, match="no header can carry"):
            Bearer(KEY, "https://acme.com").text(token)


TEXTS = ["tök€n", " x ", "a\nb", "", "  ", None, 5]


# A `Token` itself refuses to be made of what is no text, or an empty one.
@pytest.mark.parametrize(("kind", "text"), [(k, t) for k in KINDS for t in TEXTS if k != "a Token" or (t and t != 5)])
def test_its_refresh_token_is_kept_and_the_server_is_asked_again_after_a_pause(
    kind: str, text: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "FIRST_DELAY", 60.0)
    server = Server(first_bad(text))
    credential = Credential("acme", KINDS[kind](server), token=expired())
    for _ in range(3):
        with pytest.raises(RefreshProtocolError, match=r"access.token") as caught:
            asyncio.run(credential.atoken()) if "async" in kind else credential.token()
        assert "refresh-1" not in str(caught.value)
    assert server.spent == ["refresh-0"], "without a pause"
    said = credential.status()
    assert (said.generation, said.refreshable, said.asks_again) == (2, True, True)
    assert said.failure is not None
    assert said.retry_after > 0.0
    assert credential.retry().reveal() == "access-2"
    assert server.spent == ["refresh-0", "refresh-1"]
    assert credential.status().failure is None


def test_the_old_access_token_goes_on_serving_with_the_new_refresh_token() -> None:
    ages = seed("0", lives=60.0)
    world = needy(ages, refuse_to_say())
    world.now = 55.0
    outcome = world.run(renew(EFFECTS, make_request(background=True)))
    assert (outcome.token.reveal(), outcome.token.generation) == ("access-0", 2)
    assert outcome.retry_after > 0.0
    assert world.token.reveal_refresh_token() == "refresh-new"
    assert world.token.expires_at == ages.expires_at


def refuse_to_say(refresh: str = "refresh-new") -> RefreshFailure:
    return RefreshFailure(Verdict(FailureKind.UNUSABLE, "useless", kept=Secret(refresh)))


def test_the_access_token_that_was_refused_is_not_handed_out_with_it() -> None:
    world = needy(None, refuse_to_say(), NEXT)
    error = world.fails(renew(EFFECTS, make_request(**refusing(world))))
    assert isinstance(error, RefreshProtocolError)
    assert (error.credential, error.generation) == (KEY, 2)
    for asked in (make_request(), make_request(background=True), make_request(**refusing(world))):
        assert isinstance(world.fails(renew(EFFECTS, asked)), RefreshProtocolError)
    assert len(world.sent) == 1
    failure = world.present.failure
    assert failure is not None
    world.now += failure.delay
    assert world.run(renew(EFFECTS, make_request())).token.reveal() == NEXT.reveal()
    assert world.sent[1] is not None
    assert world.sent[1].reveal_refresh_token() == "refresh-new"


def test_the_pauses_grow_over_all_processes() -> None:
    world = needy(seed(lives=1.0), *[refuse_to_say(f"refresh-{number}") for number in range(8)])
    world.now = 2.0
    pauses = []
    for number in range(8):
        assert isinstance(world.fails(renew(EFFECTS, make_request())), RefreshProtocolError)
        failure = world.present.failure
        assert failure is not None
        assert (failure.kind, failure.count) == (FailureKind.UNUSABLE, number + 1)
        assert not failure.maybe_spent
        pauses.append(failure.delay)
        world.now += failure.delay
    assert pauses == [0.5 * 2.0**number for number in range(8)]


def test_a_store_that_is_down_costs_the_refresh_token_no_more_than_another_one() -> None:
    world = needy(None, refuse_to_say(), NEXT)
    process = Process(world, renew(EFFECTS, make_request(**refusing(world))), faults={(Cas, 2): store_goes_down})
    process.until(Cas, 3)
    assert isinstance(process.published[-1], RefreshProtocolError), "nobody is handed what cannot be sent"
    [entry] = world.spools.values()
    assert (entry.useless, entry.token.reveal_refresh_token()) == ("useless", "refresh-new")
    process.renewal.close()
    world.down = False
    world.run(replay_spool(EFFECTS, make_request()))
    assert world.present.failure is not None
    assert world.present.failure.kind is FailureKind.UNUSABLE
    assert world.token.reveal_refresh_token() == "refresh-new"


@pytest.mark.parametrize("serves", [True, False])
def test_the_committer_looks_again_whether_the_store_still_has_its_refresh_token(*, serves: bool) -> None:
    """It did not: a store that went back had the spent one for the next process to send."""
    world = needy(seed("0", lives=60.0), refuse_to_say())
    before, world.now = world.present, 55.0
    asked = {"background": True} if serves else refusing(world)
    memory = Knowing(may_go_back=True)
    process = Process(world, renew(Effects(memory), make_request(**asked)))
    if serves:
        process.finish()
    else:
        with pytest.raises(RefreshProtocolError):
            process.finish()
    memory.knows(newest=world.token)
    world.put(before)
    Process(world, world.left_to_do.pop()).until(Sleep, 2).crash()
    assert (world.present.generation, world.token.reveal_refresh_token()) == (2, "refresh-new")


def test_a_host_that_keeps_the_tokens_gets_the_refresh_token_and_no_access_token_that_cannot_be_sent() -> None:
    kept: list[Token] = []
    server = Server(first_bad("tök€n"))
    credential = Credential("acme", server.function, token=expired(), save=kept.append)
    with pytest.raises(RefreshProtocolError, match="not ASCII"):
        credential.token()
    assert [(token.is_sendable, token.reveal_refresh_token()) for token in kept] == [(True, "refresh-1")]
    assert kept[0].expires_at is not None
    assert kept[0].expires_at <= time.time()
    later = Credential("acme", server.function, token=kept[0], save=kept.append)
    assert later.token().reveal() == "access-2"


def test_a_record_of_an_earlier_version_that_holds_one_is_refreshed_and_keeps_its_refresh_token() -> None:
    store = MemoryStore()
    old = Token("tök€n", "refresh-0", expires_in=3600)
    store.cas("acme", None, encode(records.new_session(None, old, now=time.time(), owner=None, what="seed")))
    server = Server(lambda number: f"access-{number}")
    credential = Credential("acme", server.function, store=store)
    assert credential.current() is None
    assert credential.token().reveal() == "access-1"
    assert server.spent == ["refresh-0"]


@pytest.mark.parametrize("refused", [False, True])
def test_no_decision_hands_such_a_record_out(refused: bool) -> None:
    held = records.new_session(None, Token(" x ", "r", issued_at=START), now=START, owner=None, what="seed")
    assert decide(held, make_request(refused=held.identity if refused else None), START, lease_over=False) == Claim(
        Grant.REFRESH
    )
    assert not isinstance(decide(held, make_request(background=True), START, lease_over=False), Use)


def test_a_version_that_does_not_know_the_word_waits_as_after_an_outage() -> None:
    world = needy(None, refuse_to_say())
    world.fails(renew(EFFECTS, make_request(**refusing(world))))
    fields = json.loads(encode(world.present))
    assert fields["failure"]["meaning"] == "unusable"
    fields["failure"]["meaning"] = "a word of a newer version"
    del fields["checksum"]
    older = decode(json.dumps(fields), KEY)
    assert not isinstance(decide(older, make_request(), START + world.now, lease_over=False), Use)
    assert older.token is not None
    assert older.token.expires_at is not None
    assert older.token.expires_at <= START, "to every version it is over"


@pytest.mark.parametrize("answer", [{"access_token": "tök€n", "refresh_token": "r"}, Token(" x ", "r")])
def test_a_login_with_one_is_refused_at_once_and_changes_nothing(answer: Any) -> None:
    credential = Credential("acme", lambda token: token, token=first_token())
    with pytest.raises(ConfigurationError, match=r"login\(\): .*no header can carry"):
        credential.login(answer)
    with pytest.raises(ConfigurationError, match=r"login\(\): .*no header can carry"):
        asyncio.run(credential.alogin(answer))
    assert credential.bearer() == "access-0"


def test_what_obtain_brings_is_judged_by_the_same_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def obtain() -> dict[str, object]:
        asked.append(len(asked))
        return {"access_token": "a\nb" if len(asked) == 1 else "access", "refresh_token": "r", "expires_in": 60}

    monkeypatch.setattr(policy, "FIRST_DELAY", 60.0)
    credential = Credential("acme", lambda token: token, obtain=obtain)
    for _ in range(3):
        with pytest.raises(RefreshProtocolError, match="control characters"):
            credential.token()
    assert len(asked) == 1
    assert credential.retry().reveal() == "access"
    with pytest.raises(RefreshProtocolError):
        Credential("other", lambda token: token, obtain=lambda: {"access_token": "é"}).login()


def test_the_command_says_why_a_token_response_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "onerefresh.toml").write_text(
        '[credentials.acme]\ntoken_endpoint = "https://acme.com/token"\nclient_id = "client"\n'
    )
    answer = json.dumps({"access_token": "s3cret\ntoken", "refresh_token": "r"}).encode()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(answer), isatty=lambda: False))
    assert main(["login", "acme", "--with-token", "--config", str(tmp_path / "onerefresh.toml")]) != 0
    said = capsys.readouterr().err
    assert "no header can carry" in said
    assert "nothing was changed" in said
    assert "s3cret" not in said


def test_an_answer_that_may_be_no_token_answer_puts_no_refresh_token_in_the_place_of_the_living_one() -> None:
    """A field that tells about the refresh token, in an answer without any access token."""
    credential = Credential("acme", lambda token: {"refresh_token": "expired"}, token=expired())
    with pytest.raises(RefreshProtocolError, match="log in again"):
        credential.token()
    said = credential.status()
    assert said.generation == 1


def test_a_crash_after_it_loses_nothing() -> None:
    world = needy(None, refuse_to_say(), NEXT)
    process = Process(world, renew(EFFECTS, make_request(**refusing(world))))
    process.until(Send).until(Cas)
    process.step()  # committed
    process.renewal.close()
    assert (world.present.state, world.present.generation) == (State.IDLE, 2)
    assert world.token.reveal_refresh_token() == "refresh-new"


def test_the_events_say_it(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(first_bad("s€cret"))
    with listening() as heard:
        credential = Credential("acme", server.function, token=expired())
        with pytest.raises(RefreshProtocolError):
            credential.token()
    assert [event.kind for event in heard if event.kind is Kind.FAILED]
    assert "s€cret" not in caplog.text + str(heard) + repr(heard)


def test_where_the_store_loses_it_the_new_refresh_token_is_brought_back() -> None:
    """The process knows the refresh token, although nobody was given an access token with it."""
    world = needy(None, refuse_to_say())
    process = Process(world, renew(EFFECTS, make_request(**refusing(world))))
    with pytest.raises(RefreshProtocolError):
        process.finish()
    assert process.unsaved is not None
    assert process.unsaved.reveal_refresh_token() == "refresh-new"


def test_other_failures_after_it_are_judged_as_ever() -> None:
    world = needy(
        seed(lives=1.0), refuse_to_say(), failed(FailureKind.UNAVAILABLE, retry_after=60.0), failed(FailureKind.DEAD)
    )
    world.now = 2.0
    world.fails(renew(EFFECTS, make_request()))
    world.now += 1.0
    assert isinstance(world.fails(renew(EFFECTS, make_request())), RefreshUnavailable)
    world.now += 61.0
    error = world.fails(renew(EFFECTS, make_request()))
    assert str(error).endswith("as scripted"), "nothing may have spent the refresh token that was kept"
