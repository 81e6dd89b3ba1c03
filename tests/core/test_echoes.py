"""What a server, an API, a refresher or a store repeats of a secret reaches no message, event, log or record."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus

import pytest

from onerefresh import Credential, Credentials, OnerefreshError, Secret, StoreUnavailable, Token, errors
from onerefresh.events import Event, subscribe
from onerefresh.oauth2 import TokenEndpoint, TokenRequest, TokenResponse
from onerefresh.redaction import Redactor
from onerefresh.renewal import host_save
from onerefresh.store import Versioned
from onerefresh.stores.memory import MemoryStore

ACCESS, REFRESH = "acc.7Qx1/Wm3+zkJpRt5", "ref.9Zk2/Vt4+hcNdLs8"
NEXT_ACCESS, NEXT_REFRESH = "acc.1Hy6/Bn8+qwXsEd2", "ref.3Gu7/Cm9+plOkIj4"
CLIENT, QUERY, DEVICE = "cli.5Fv8/Dx1+mnBvCx6", "key.2Jw9/Ez3+asDfGh7", "dev.8Kq4/Ty5+poIuYt1"
SECRETS = (ACCESS, REFRESH, NEXT_ACCESS, NEXT_REFRESH, CLIENT, QUERY, DEVICE)
SEED = {"access_token": ACCESS, "refresh_token": REFRESH, "expires_at": 1_000_000_000, "device_secret": DEVICE}


def in_base64(text: str, before: str = "") -> str:
    return base64.b64encode((before + text).encode()).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "a part": lambda text: f"{text[5:13]}…",
    "spaced out": " ".join,
    "with invisible marks": "\u200b".join,
    "with accents": "\u0301".join,
    "with dots": ".".join,
    "broken over lines": lambda text: f"{text[:10]}\n{text[10:]}",
    "in a URL": lambda text: quote(text, safe=""),
    "in a form": quote_plus,
    "in a URL, each character": lambda text: "".join(f"%{ord(letter):02X}" for letter in text),
    "in a URL, twice": lambda text: quote(quote(text, safe=""), safe=""),
    "in JSON": lambda text: json.dumps(text).replace("/", "\\/"),
    "in JSON, each character": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
    "in HTML": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "in base64": in_base64,
    "in base64, one further": lambda text: in_base64(text, "x"),
    "in base64, two further": lambda text: in_base64(text, "xy"),
    "in base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "a form in base64": lambda text: in_base64(quote_plus(text)),
    "in hexadecimal": lambda text: text.encode().hex(),
    "in hexadecimal with colons": lambda text: text.encode().hex(":"),
    "in base64 of base64": lambda text: in_base64(in_base64(text)),
    "spaced out in base64 behind a letter": lambda text: f"x{in_base64(' '.join(text))}",
    "in base64 of base64, joined": lambda text: f"xy{in_base64('said ' + in_base64(text) + ' é')}",
    "in URLs, within base64 of bytes": lambda text: in_base64("é\n" + "".join(f"%{ord(one):02x}" for one in text)),
    "in hexadecimal of base64": lambda text: "a" + in_base64(text).encode().hex(),
    "in capitals in HTML": lambda text: "".join(f"&#{ord(letter)};" for letter in text.upper()),
    "in base64 of JSON with it in base64": lambda text: in_base64(json.dumps({"t": in_base64(text)})),
    "in wide letters": lambda text: "".join(chr(ord(letter) + 0xFEE0) for letter in text),
}


def assert_silent(said: str) -> None:
    """Nothing of it is a part of a secret, in any form."""
    for secret in SECRETS:
        for name, form in FORMS.items():
            written = form(secret)
            part = written if name in ("a part", "spaced out", "broken over lines") else written[8:24]
            assert part not in said, (name, said)
        for at in range(len(secret) - 8):
            assert secret[at : at + 8] not in said, said


@contextmanager
def overheard() -> Iterator[list[str]]:
    """All that is logged, with tracebacks, every event, and what a thread prints that ends by an exception."""
    lines: list[str] = []

    class Everything(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    def heard(event: Event) -> None:
        lines.append(repr(event))

    def ended(thread: threading.ExceptHookArgs) -> None:
        lines.extend([] if thread.exc_value is None else traceback.format_exception(thread.exc_value))

    hook, threading.excepthook = threading.excepthook, ended
    handler, logger = Everything(logging.DEBUG), logging.getLogger()
    level, unsubscribe = logger.level, subscribe(heard)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        threading.excepthook = hook
        unsubscribe()
        logger.setLevel(level)
        logger.removeHandler(handler)


def told_by(error: BaseException) -> Iterator[str]:
    """What a traceback prints, and what is in the exceptions behind it, hidden or not."""
    yield "".join(traceback.format_exception(error))
    seen: list[BaseException | None] = [error]
    for found in seen:
        if found is not None:
            yield from (str(found), repr(found), repr(getattr(found, "challenge", None)))
            seen += [behind for behind in (found.__cause__, found.__context__) if behind not in seen]


def all_that_is_told(refresher: Any, act: Callable[[Credential], object] = Credential.token, **more: Any) -> str:
    """What a person may see after `act` has failed: the error, the log, the events, the status, the record's words."""
    store = more.pop("store", None) or MemoryStore()
    with overheard() as lines, Credential("echo", refresher, token=SEED, store=store, **more) as credential:
        try:
            act(credential)
        except OnerefreshError as error:
            lines += told_by(error)
        found = MemoryStore.load(store, "echo")
        assert found is not None
        lines += [repr(credential.status()), json.dumps(json.loads(found.body) | {"token": None}, ensure_ascii=False)]
    return "\n".join(lines)


def endpoint(answer: Callable[[TokenRequest], TokenResponse], **more: Any) -> TokenEndpoint:
    url = f"https://login.example/token?api={quote_plus(QUERY)}"
    return TokenEndpoint(url, client_id="me", client_secret=CLIENT, send=answer, **more)


def answers(status: int, body: object, **headers: str) -> TokenEndpoint:
    return endpoint(lambda request: TokenResponse(status, headers, json.dumps(body).encode()))


# --- Every form, through one door ---


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [ACCESS, REFRESH, CLIENT, QUERY, DEVICE])
def test_a_description_shows_no_secret_in_any_form(form: str, secret: str) -> None:
    said = all_that_is_told(
        answers(400, {"error": "invalid_grant", "error_description": f"no session for {FORMS[form](secret)} here"})
    )
    assert "invalid_grant" in said
    assert_silent(said)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["{}", "said={}&more", 'a {{"claim": "{}"}}'])
def test_neither_a_challenge_nor_a_text_of_ours_shows_a_secret_in_any_form(form: str, place: str) -> None:
    text, redactor = place.format(FORMS[form](REFRESH)), Redactor([Secret(ACCESS), Secret(REFRESH)])
    assert redactor.quote(text) == ""
    assert redactor.shows(text)
    whole = redactor.whole(text, 10_000)
    assert whole is None or not Redactor([Secret(REFRESH)]).shows(whole)


@pytest.mark.parametrize("form", FORMS)
def test_words_of_a_refresher_show_no_secret_in_any_form(form: str) -> None:
    def refresh(token: Token) -> NoReturn:
        raise errors.LoginRequired(f"the server said: {FORMS[form](REFRESH)}")

    assert_silent(all_that_is_told(refresh))


def test_words_that_show_no_secret_are_quoted() -> None:
    said = all_that_is_told(answers(400, {"error": "invalid_grant", "error_description": "Token is not active"}))
    assert "'invalid_grant' (Token is not active)" in said

    def refresh(token: Token) -> NoReturn:
        raise errors.LoginRequired("the session ended on Tuesday")

    assert "the session ended on Tuesday" in all_that_is_told(refresh)


# --- Every door of a token endpoint ---

DOORS: dict[str, Callable[[str], TokenEndpoint]] = {
    "the error code": lambda text: answers(400, {"error": text}),
    "another name of it": lambda text: answers(400, {"code": text}),
    "a code in an object": lambda text: answers(400, {"error": {"status": text}}),
    "the description": lambda text: answers(401, {"error": "invalid_client", "error_description": text}),
    "a redirect's path": lambda text: answers(302, {}, location=f"https://login.example/go/{text}/here"),
    "a redirect's host": lambda text: answers(302, {}, location=f"https://{text[:3]}.example/{quote(text)}"),
    "the names of fields": lambda text: answers(200, {text: "x", f"x{text}": {}}),
    "what is asked of the person": lambda text: answers(400, {"error": "interaction_required", "claims": f'"{text}"'}),
    "the type of the token": lambda text: answers(200, {"access_token": NEXT_ACCESS, "token_type": text}),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("secret", [ACCESS, REFRESH, CLIENT, quote_plus(QUERY)])
def test_no_part_of_an_answer_brings_a_secret_in(door: str, secret: str) -> None:
    assert_silent(all_that_is_told(DOORS[door](secret)))


def test_an_answer_shows_no_secret_of_its_own_either() -> None:
    body = {
        "error": "invalid_request",
        "error_description": f"not {NEXT_REFRESH}",
        "data": {"refreshToken": NEXT_REFRESH},
    }
    assert_silent(all_that_is_told(answers(400, body)))


def test_a_client_secret_that_has_changed_is_still_one() -> None:
    given = iter([CLIENT, "another-secret-12345"])
    login = TokenEndpoint(
        "https://login.example/token",
        client_id="me",
        client_secret=lambda: next(given),
        send=lambda request: TokenResponse(401, {}, json.dumps({"error": "invalid_client"}).encode()),
    )
    login.prepare()
    with pytest.raises(Exception, match="invalid_client"):
        login(Token(ACCESS, REFRESH))
    assert CLIENT in [secret.reveal() for secret in login.secrets_to_hide]


def test_a_sender_of_ones_own_brings_no_secret_in() -> None:
    def send(request: TokenRequest) -> NoReturn:
        raise errors.RequestRejected(f"sent {request.body!r}")

    assert_silent(all_that_is_told(endpoint(send)))


def test_a_revocation_that_fails_brings_no_secret_in() -> None:
    def send(request: TokenRequest) -> TokenResponse:
        said = {"error": "invalid_request", "error_description": f"cannot revoke {request.body.decode()}"}
        return TokenResponse(400, {}, json.dumps(said).encode())

    def refuse(request: TokenRequest) -> NoReturn:
        raise errors.RequestRejected(f"cannot revoke {REFRESH}")

    for sender in (send, refuse):
        login = endpoint(sender, revocation_url="https://login.example/revoke")
        said = all_that_is_told(login, Credential.logout)
        assert "not_revoked" in said
        assert_silent(said)


# --- Functions of the user's ---


class Judged(Exception):
    """As HTTP clients raise it: with the answer, and with words that quote it."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Redirect response for url 'https://login.example/{text}'")
        self.response = self
        self.status_code, self.headers, self.content = (
            302,
            {"Location": f"/go/{text}"},
            f'{{"error": "{text}"}}'.encode(),
        )


RAISED: dict[str, Callable[[str], BaseException]] = {
    "an error of ours": lambda text: errors.RequestRejected(f"rejected {text}"),
    "a doubtful one": lambda text: errors.LoginRequired(f"rejected {text}", proven=False),
    "one of another credential": lambda text: errors.LoginRequired(f"rejected {text}", credential="other"),
    "a challenge": lambda text: errors.InteractionRequired("prove more", challenge=f"Bearer claims={text}"),
    "one of its own": lambda text: ValueError(f"cannot read {text}"),
    "one with a note": lambda text: _noted(ValueError("cannot read it"), text),
    "an answer": Judged,
    "several": lambda text: ExceptionGroup("several", [ValueError(text)]),
    "one named so": lambda text: type(f"Error_{text}", (Exception,), {})(),
    "one behind another": lambda text: _behind(KeyError("x"), ValueError(text)),
}


def _noted(error: Exception, note: str) -> Exception:
    error.add_note(f"the body was {note}")
    return error


def _behind(error: Exception, cause: Exception) -> Exception:
    error.__context__ = cause
    return error


@pytest.mark.parametrize("what", RAISED)
def test_what_functions_of_the_user_raise_brings_no_secret_in(what: str) -> None:
    def fail(*_: object) -> NoReturn:
        raise RAISED[what](REFRESH)

    class Unprepared:
        def __call__(self, token: Token) -> NoReturn:
            fail()

        def prepare(self) -> None:
            raise RAISED[what](REFRESH)

        def revoke(self, token: Token) -> None:
            raise RAISED[what](REFRESH)

    assert_silent(all_that_is_told(fail))
    assert_silent(all_that_is_told(Unprepared()))
    assert_silent(all_that_is_told(Unprepared(), Credential.logout))
    assert_silent(all_that_is_told(fail, lambda credential: credential.login(), obtain=fail))


@pytest.mark.parametrize("what", RAISED)
def test_what_a_save_raises_brings_no_secret_in(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(token: Token) -> NoReturn:
        raise RAISED[what](NEXT_REFRESH)

    monkeypatch.setattr(host_save, "SAVE_TRIES", 1)
    with overheard() as lines:
        credential = Credential("saved", lambda _: Token(NEXT_ACCESS, NEXT_REFRESH), token=SEED, save=save)
        with pytest.raises(OnerefreshError) as caught:
            credential.token()
        lines += told_by(caught.value)
    assert_silent("\n".join(lines))


def test_the_cause_stays_where_it_shows_no_secret() -> None:
    problem = ValueError("out of cheese")

    def refresh(token: Token) -> NoReturn:
        raise problem

    with Credential("cause", refresh, token=SEED) as credential, pytest.raises(errors.RefresherFailed) as caught:
        credential.token()
    assert problem in (caught.value.__cause__, getattr(caught.value.__cause__, "__cause__", None))


def test_the_place_of_a_cause_that_is_left_out_is_told() -> None:
    def refresh_with_a_name_of_its_own(token: Token) -> NoReturn:
        raise ValueError(f"cannot read {REFRESH}")

    said = all_that_is_told(refresh_with_a_name_of_its_own)
    assert "in refresh_with_a_name_of_its_own" in said
    assert "ValueError; the text is left out" in said


def test_a_refresher_says_itself_what_is_secret() -> None:
    class Refresher:
        secrets_to_hide = (Secret(CLIENT),)

        def __call__(self, token: Token) -> NoReturn:
            raise errors.ClientRejected(f"no client {CLIENT}")

    assert_silent(all_that_is_told(Refresher()))


def test_an_answer_of_a_function_shows_no_secret_by_its_names() -> None:
    assert_silent(
        all_that_is_told(lambda _: {REFRESH: 1, "data": {"access_token": NEXT_ACCESS}, f"x {NEXT_ACCESS}": 2})
    )
    assert_silent(all_that_is_told(lambda _: {"error": REFRESH, "error_description": ACCESS}))


# --- Stores of the user's ---


class Talkative(MemoryStore):
    """Quotes what it was given, or what it holds, in what it raises."""

    def __init__(self, method: str, raised: Callable[[str], BaseException]) -> None:
        super().__init__()
        self.method, self.raised, self.quiet = method, raised, 1

    def load(self, key: str) -> Versioned | None:
        found = super().load(key)
        if self.method == "load" and found is not None and not self.quiet:
            raise self.raised(f"cannot parse {found.body}")
        return found

    def cas(self, key: str, expected: str | None, body: str) -> str:
        if self.method == "cas" and not self.quiet:
            raise self.raised(f"duplicate row: {body}")
        self.quiet -= 1
        return super().cas(key, expected, body)


STRANGE: dict[str, Callable[[str], BaseException]] = {
    "a contract's error": StoreUnavailable,
    "a name": lambda text: StoreUnavailable("down", credential=text),
    "one of its own": ValueError,
    "one behind it": lambda text: _behind(StoreUnavailable("down"), ValueError(text)),
}


@pytest.mark.seconds
@pytest.mark.parametrize("method", ["load", "cas"])
@pytest.mark.parametrize("what", STRANGE)
@pytest.mark.parametrize("quiet", [0, 1, 2])
def test_what_a_store_quotes_brings_no_secret_in(method: str, what: str, quiet: int) -> None:
    def act(credential: Credential) -> None:
        store.quiet = quiet
        try:
            credential.token(max_wait=0.5)
        finally:
            store.method = ""

    store = Talkative(method, STRANGE[what])
    said = all_that_is_told(lambda _: {"access_token": NEXT_ACCESS, "refresh_token": NEXT_REFRESH}, act, store=store)
    assert_silent(said)


@pytest.mark.parametrize("what", STRANGE)
def test_a_store_that_quotes_a_record_which_nobody_knows_yet(what: str) -> None:
    store = Talkative("load", STRANGE[what])
    with Credential("echo", lambda _: SEED, token=SEED, store=store):
        pass
    store.quiet = 0
    with overheard() as lines, Credentials(lambda _: SEED, store=store) as customers:
        with pytest.raises(OnerefreshError) as caught:
            customers["echo"].token()
        lines += told_by(caught.value)
        summary = customers.refresh_due(keys=["echo"], within=0.0)
        lines += [repr(summary), *(text for error in summary.errors for text in told_by(error))]
    assert_silent("\n".join(lines))


# --- Secrets that cannot be looked for ---


def test_where_a_secret_is_short_nothing_foreign_is_quoted() -> None:
    def refresh(token: Token) -> NoReturn:
        raise errors.LoginRequired("a story of my own")

    short = {"access_token": "abc", "refresh_token": "defg", "expires_at": 1_000_000_000}
    body = {"error": "their_own_code", "error_description": "a story of my own", "abc": 1}
    told = json.dumps(body).encode()
    for refresher in (refresh, endpoint(lambda _: TokenResponse(400, {"location": "/a/story"}, told)), lambda _: body):
        with overheard() as lines, Credential("short", refresher, token=short) as credential:
            with pytest.raises(OnerefreshError) as caught:
                credential.token()
            lines += told_by(caught.value)
        said = "\n".join(lines)
        assert "story" not in said.replace('raise errors.LoginRequired("a story of my own")', "")
        assert "their_own_code" not in said


def test_a_code_that_everybody_knows_is_told_all_the_same() -> None:
    short: Mapping[str, object] = {"access_token": "abc", "refresh_token": "defg", "expires_at": 1_000_000_000}
    with Credential("short", answers(400, {"error": "invalid_grant"}), token=short) as credential:
        with pytest.raises(errors.LoginRequired, match="invalid_grant"):
            credential.token()


def test_secrets_of_any_length_are_looked_for_in_no_time() -> None:
    long = "".join(f"{number:x}%" for number in range(200_000))
    body = {"error": "invalid_grant", "error_description": f"no {long[:20]}", "hint": "%25" * 100_000}
    login = answers(400, body)
    begun = time.thread_time()
    with pytest.raises(Exception, match=r"answered 400 'invalid_grant'$"):
        login(Token(long, long[::-1]))
    assert time.thread_time() - begun < 10.0  # it takes half of one, and two where coverage is measured


def test_names_that_everybody_knows_are_told_all_the_same() -> None:
    with Credential("short", lambda _: {"access_token": ""}, token=Token("abc", "defg", expires_in=0)) as credential:
        with pytest.raises(errors.RefreshProtocolError, match=r"it holds: access_token\)"):
            credential.token()


@pytest.mark.parametrize("found", [ValueError(REFRESH), 5, ["text"], [None]])
def test_a_refresher_that_cannot_say_what_is_secret_still_refreshes(found: object) -> None:
    class Refresher:
        answers = iter([{"access_token": NEXT_ACCESS, "expires_in": -1}])

        @property
        def secrets_to_hide(self) -> object:
            if isinstance(found, Exception):
                raise found
            return found

        def __call__(self, token: Token) -> Mapping[str, object]:
            answer = next(self.answers, None)
            if answer is None:
                raise errors.LoginRequired("a story of my own")
            return answer

    def act(credential: Credential) -> None:
        assert credential.token().reveal() == NEXT_ACCESS
        credential.token(refused=credential.current())
        credential.replayed(credential.token(), accepted=True)
        credential.token(refused=credential.current())

    said = all_that_is_told(Refresher(), act)
    assert "refreshed" in said
    assert_silent(said)


@pytest.mark.parametrize("written", ["a&amp;b&lt;c&gt;d&quot;efghijk", quote(quote(quote(quote('a&b<c>d"efghijk'))))])
def test_a_secret_with_named_entities_or_escaped_many_times_is_found(written: str) -> None:
    assert Redactor([Secret('a&b<c>d"efghijk')]).quote(f"refused {written}", 200) == ""
