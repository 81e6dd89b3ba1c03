"""The grammar of ``attach=``, and what is written for a token."""

from __future__ import annotations

import traceback
from collections import UserDict
from collections.abc import AsyncGenerator, Generator
from functools import partial
from operator import methodcaller
from typing import Any

import pytest

from onerefresh import ConfigurationError, RefreshProtocolError, Token
from onerefresh.clients.bearer import Bearer, HeaderText
from onerefresh.clients.challenge import Interaction, PassThrough, Refused

API = "https://api.acme.com"
EXTRA = {
    "id": "a7",
    "number": 7,
    "share": 0.5,
    "yes": True,
    "list": [1],
    "empty": "",
    "a.b": "dotted",
    "in": {"x": "y"},
}
TOKEN = Token("the-token", extra=EXTRA)
SIGNED = Token("a-token-of-some-length", extra={"number_of_account": "1234-5678-9012"})
ODD = Token("the-token", extra={"line": "a\r\nX-Evil: b", "space": "a b", "semicolon": "a;b", "surrogate": "\ud800"})


def bearer(attach: Any, **options: Any) -> Bearer:
    return Bearer("acme", API, attach=attach, **options)


def written(attach: Any, token: Token = TOKEN, **options: Any) -> list[str]:
    """The values of all places, headers first."""
    rules = bearer(attach, **options)
    text = rules.text(token)
    further = text.further
    found = [str(text)] if rules.header else []
    if further is not None:
        found += [str(value) for _, value in (*further.headers, *further.query, *further.cookies)]
    return found


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{token}", "the-token"),
        ("Token {token}", "Token the-token"),
        ('Snowflake Token="{token}"', 'Snowflake Token="the-token"'),
        ("{{{token}}}", "{the-token}"),
        ("{{}}{token}{{x}}", "{}the-token{x}"),
        ("OAuth {token}, id={extra.id}, n={extra.number}", "OAuth the-token, id=a7, n=7"),
        ("{extra.a.b} {extra.in.x} {extra.share}", "dotted y 0.5"),
        ("{token}:{token}", "the-token:the-token"),
        ("ApiKey a:{token}", "ApiKey a:the-token"),
    ],
)
def test_a_template_is_filled_in(template: str, value: str) -> None:
    assert written(template) == [value]
    assert written({"X-Any": template}) == [value]
    assert written({"?any": template}) == [value]


@pytest.mark.parametrize(
    ("attach", "says"),
    [
        ("Bearer", r"has no \{token\} in it"),
        ("Bearer {{token}}", r"has no \{token\} in it"),
        ({"X-A": "1", "?b": "2"}, r"has no \{token\} in it"),
        ("", "must be a template"),
        (" {token}", "without spaces at its ends"),
        ("{token}\n", "printable ASCII"),
        ("Tokén {token}", "printable ASCII"),
        ("{}", r"has \{\}, which is unknown: there are \{token\}"),
        ("{access_token}", r"has \{access_token\}, which is unknown"),
        ("{refresh_token}", r"has \{refresh_token\}, which is unknown"),
        ("{sk-secret}", r"has \{…\}, which is unknown"),
        ("{token!r}", "is unknown"),
        ("{token:>10}", "is unknown"),
        ("{0}", "is unknown"),
        ("{extra}", "is unknown"),
        ("{extra.}", "is unknown"),
        ("{extra.a..b}", "is unknown"),
        ("{token", r"a single '\{': write '\{\{'"),
        ("token}", r"a single '\}': write '\}\}'"),
        ("?key={token}", r"begins with '\?'.*attach=\{'X-Api-Key': '\{token\}'\}, \{'\?key'"),
        ("X-Api-Key: {token}", "begins with 'X-Api-Key:'"),
        ("Cookie: a={token}", "begins with 'Cookie:'"),
        ("X-Api-Key:{token}", "begins with 'X-Api-Key:'"),
        ({}, "is empty"),
        ({1: "{token}"}, "a mapping from texts, not from int"),
        ({"": "{token}"}, "not a valid header name"),
        ({"no name": "{token}"}, "not a valid header name"),
        ({"Host": "{token}"}, "has another meaning"),
        ({"Cookie": "{token}"}, "cookie:NAME"),
        ({"?": "{token}"}, "names no parameter"),
        ({"?a=b": "{token}"}, "names no parameter"),
        ({"?a b": "{token}"}, "names no parameter"),
        ({"cookie:": "{token}"}, "names no cookie"),
        ({"cookie:a b": "{token}"}, "names no cookie"),
        ({"cookie:a": "Bearer {token}"}, "a cookie cannot hold spaces"),
        ({"cookie:a": "{token};b"}, "a cookie cannot hold"),
        ({"X-A": "{token}", "x-a": "{token}"}, "names the header 'x-a' twice"),
        ({"cookie:a": "{token}", "Cookie: a": "{token}"}, "names the cookie 'a' twice"),
        ({"X-A": None}, "for 'X-A' must be a template"),
        ({"X-A": ""}, "for 'X-A' must be a template"),
        ({"X-A": ["{token}"]}, "for 'X-A' must be a template .* not list"),
        (7, "must be a template .* not int"),
        (True, "must be a template .* not bool"),
        (b"{token}", "must be a template .* not bytes"),
        (["X-A: {token}"], "must be a template .* not list"),
        (str, "must be a template .* not type"),
    ],
)
def test_what_is_no_way_to_attach_a_token_is_refused_at_once(attach: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        bearer(attach)


def test_an_async_function_is_refused_at_once() -> None:
    async def attach(token: Token) -> str:
        return token.reveal()

    with pytest.raises(ConfigurationError, match="not an async one"):
        bearer(attach)


def generator(token: Token) -> Generator[str, None, None]:
    yield token.reveal()


async def async_generator(token: Token) -> AsyncGenerator[str, None]:
    yield token.reveal()


class Generating:
    def __call__(self, token: Token) -> Generator[str, None, None]:
        yield token.reveal()


@pytest.mark.parametrize("attach", [generator, async_generator, partial(generator), Generating()])
def test_a_generator_is_refused_at_once(attach: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a plain function, not a generator"):
        bearer(attach)


@pytest.mark.parametrize(
    "attach", [lambda: "x", lambda _, more: f"x{more}", lambda *, token: f"x{token}", TOKEN.reveal, dict.get]
)
def test_a_function_that_takes_no_token_is_refused_at_once(attach: Any) -> None:
    """As somebody might give ``attach=acme.bearer``."""
    for given in (attach, {"X-A": attach}):
        with pytest.raises(ConfigurationError, match="must take one argument, the Token"):
            bearer(given)


@pytest.mark.parametrize(
    "attach",
    [
        Token.reveal,
        methodcaller("reveal"),
        lambda token, more="": token.reveal() + more,
        lambda *given: given[0].reveal(),
    ],
)
def test_anything_that_takes_the_token_will_do(attach: Any) -> None:
    assert written({"?a": attach, "X-A": attach}) == ["the-token", "the-token"]


def test_a_token_that_somebody_wrote_into_a_template_is_not_repeated() -> None:
    odd = ("Bearer sk-secret {tok}", "sk-secret {", "{sk-secret}", {"cookie:a": "sk-secret; {token}"})
    for attach in ("Bearer sk-secret-secret", {"X-A": " sk-secret-secret"}, "X-A: sk-secret-secret", *odd):
        with pytest.raises(ConfigurationError) as caught:
            bearer(attach)
        assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"scheme": "Token"}, "leave scheme= out"), ({"scheme": ""}, "leave scheme= out"), ({"header": "X-A"}, "header=")],
)
def test_attach_says_all_that_header_and_scheme_would(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        bearer({"X-B": "{token}"}, **options)
    assert written("Token {token}", header="X-A") == ["Token the-token"]


def test_any_mapping_will_do() -> None:
    assert written(UserDict({"X-A": "{token}", "?b": "{extra.id}"})) == ["the-token", "a7"]


@pytest.mark.parametrize("name", ["missing", "yes", "list", "empty", "in", "in.z", "id.x"])
def test_a_token_without_the_field_is_no_token_for_this_api(name: str) -> None:
    with pytest.raises(RefreshProtocolError, match=f"wants the field '{name}' of the token answer") as caught:
        written({"X-A": "{token}", "X-B": f"{{extra.{name}}}"}, TOKEN.numbered("f", 3))
    assert (caught.value.credential, caught.value.generation) == ("acme", 3)


@pytest.mark.parametrize(
    ("attach", "says"),
    [
        ({"X-A": "{extra.line}", "X-B": "{token}"}, "no header can carry .* 'X-A': it has control characters"),
        ({"cookie:a": "{extra.space}", "X-B": "{token}"}, "no cookie can carry .* 'a'"),
        ({"cookie:a": "{extra.semicolon}", "X-B": "{token}"}, "no cookie can carry"),
        ({"?a": "{extra.surrogate}", "X-B": "{token}"}, "no query parameter can carry .* not Unicode"),
        (lambda _: "", "it is empty"),
        (lambda _: "é", "not ASCII"),
    ],
)
def test_a_value_that_its_place_cannot_carry_is_never_sent(attach: Any, says: str) -> None:
    with pytest.raises(RefreshProtocolError, match=says) as caught:
        written(attach, ODD)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "the-token" not in shown


@pytest.mark.parametrize("returned", [None, 7, b"x", ["x"]])
def test_a_function_that_returns_no_text_says_so(returned: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"must return a text, not {type(returned).__name__}"):
        written(lambda _: returned)


def test_an_error_of_the_users_function_is_theirs() -> None:
    def attach(token: Token) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        written({"?a": attach})


def test_what_is_attached_shows_nothing() -> None:
    text = bearer({"X-A": "{token}", "X-B": "{token}", "?c": "{token}", "cookie:d": "{token}"}).text(TOKEN)
    assert "the-token" not in repr([text, text.further, text.further and text.further.headers])
    assert all(isinstance(value, HeaderText) for _, value in (text.further.headers if text.further else ()))


@pytest.mark.parametrize(
    "attach",
    [
        "Key {extra.number_of_account}:{token}",
        {"X-A": "{token}", "X-B": "{extra.number_of_account}"},
        {"?k": "{extra.number_of_account}", "X-A": "{token}", "?v": "insufficient"},
        lambda token: f"Signed {token.reveal()[::-1]}",
    ],
)
def test_a_challenge_that_repeats_what_was_sent_is_not_shown(attach: Any) -> None:
    rules = bearer(attach)
    sent = written(attach, SIGNED)
    for echo in (*[value for value in sent if value != "insufficient"], sent[0][-12:]):
        challenge = f'Bearer error="insufficient_claims", error_description="not enough: {echo}"'
        error = rules.interaction(Interaction("insufficient_claims", challenge), SIGNED)
        assert error.challenge is None or echo not in error.challenge
    plain = 'Bearer error="insufficient_claims", claims="abc"'
    assert rules.interaction(Interaction("insufficient_claims", plain), SIGNED).challenge == plain


@pytest.mark.parametrize(
    ("attach", "scheme"),
    [("Basic {token}", "Basic"), ("{token}", ""), ({"X-A": "Basic {token}"}, ""), (lambda _: "Basic x", "")],
)
def test_the_word_before_the_token_decides_whose_challenge_it_is(attach: Any, scheme: str) -> None:
    assert bearer(attach).scheme == scheme
    assert isinstance(bearer("Basic {token}").judge(401, ['Basic realm="a"']), Refused)
    assert isinstance(bearer("Basic {token}").judge(403, ['Basic realm="a"']), PassThrough)
