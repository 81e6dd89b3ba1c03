"""The grammar of ``attach=``, and what happens to the texts of queries, cookies, addresses, logs and errors."""

from __future__ import annotations

import logging
import sys
import traceback
from collections import UserDict
from collections.abc import Generator
from typing import Any

import pytest

from onerefresh import ConfigurationError, RefreshProtocolError, Token
from onerefresh.clients.bearer import Bearer, HeaderText
from onerefresh.clients.challenge import PassThrough, Refused
from onerefresh.clients.hiding import empty, mask, silence
from onerefresh.clients.places import has_parameter, with_cookies, with_parameters, without_secrets

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
    ("attach", "scheme"),
    [("Basic {token}", "Basic"), ("{token}", ""), ({"X-A": "Basic {token}"}, ""), (lambda _: "Basic x", "")],
)
def test_the_word_before_the_token_decides_whose_challenge_it_is(attach: Any, scheme: str) -> None:
    assert bearer(attach).scheme == scheme
    assert isinstance(bearer("Basic {token}").judge(401, ['Basic realm="a"']), Refused)
    assert isinstance(bearer("Basic {token}").judge(403, ['Basic realm="a"']), PassThrough)


# --- Queries, cookies and addresses ---


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.b/c", "https://a.b/c?k=v"),
        ("https://a.b/c?", "https://a.b/c?k=v"),
        ("https://a.b/c?x=1&y", "https://a.b/c?x=1&y&k=v"),
        ("https://a.b/c?k=old&x=1&k=older&%6b=oldest", "https://a.b/c?x=1&k=v"),
        ("https://a.b/c?k", "https://a.b/c?k=v"),
        ("https://a.b/c?x=%20+é&kk=1#k=2", "https://a.b/c?x=%20+é&kk=1&k=v#k=2"),
        ("?", "?k=v"),
    ],
)
def test_a_parameter_replaces_those_of_its_name_and_leaves_the_rest_as_it_is(url: str, expected: str) -> None:
    assert with_parameters(url, [("k", "v")]) == expected
    assert with_parameters(expected, [("k", "v")]) == expected


def test_a_parameter_is_encoded_and_found_again() -> None:
    url = with_parameters("https://a.b/?x=1", [("a[b]", "c d&e=f#ü/")])
    assert url == "https://a.b/?x=1&a%5Bb%5D=c%20d%26e%3Df%23%C3%BC%2F"
    assert has_parameter(url, ["a", "a[b]"]) == "a[b]"
    assert has_parameter(url + "#k=v", ["k"]) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "s=t"),
        ("", "s=t"),
        ("a=b; c=d", "a=b; c=d; s=t"),
        ("s=old; a=b;s=older;", "a=b; s=t"),
        ("ss=1; S=2; flag", "ss=1; S=2; flag; s=t"),
        ('a="s=1"', 'a="s=1"; s=t'),
    ],
)
def test_a_cookie_replaces_those_of_its_name(header: str | None, expected: str) -> None:
    assert with_cookies(header, [("s", "t")]) == expected


VALUE = "t/o+k=n"
ONCE = "t%2Fo%2Bk%3Dn"
TWICE = "t%252Fo%252Bk%253Dn"


@pytest.mark.parametrize(
    ("location", "within", "elsewhere"),
    [
        ("/items/", "/items/", "/items/"),
        ("/items/?", "/items/?", "/items/?"),
        (f"/items/?k={ONCE}", "/items/", "/items/"),
        (f"?k={ONCE}", "?", "?"),
        (f"https://a.b/c?x=1&k={ONCE}&y=2#z", "https://a.b/c?x=1&y=2#z", "https://a.b/c?x=1&y=2#z"),
        ("/c?k=theirs", "/c?k=theirs", "/c?k=theirs"),
        (f"/c?next=%2Fd%3Fk%3D{TWICE}&y=2", f"/c?next=%2Fd%3Fk%3D{TWICE}&y=2", "/c?y=2"),
        (f"/c?other={ONCE}", f"/c?other={ONCE}", "/c"),
        (f"/c#k={ONCE}", f"/c#k={ONCE}", "/c"),
        (f"https://a.b/c/{ONCE}/d?x=1", f"https://a.b/c/{ONCE}/d?x=1", "https://a.b/?x=1"),
    ],
)
def test_an_address_to_which_an_answer_redirects_loses_the_token(location: str, within: str, elsewhere: str) -> None:
    assert without_secrets(location, [("k", VALUE)], [VALUE], leaves=False) == within
    assert without_secrets(location, [("k", VALUE)], [VALUE], leaves=True) == elsewhere


def test_logs_and_errors_of_others_lose_the_values_of_our_parameters(caplog: pytest.LogCaptureFixture) -> None:
    silence(["some.client"], ["k", "a[b]"])
    silence(["some.client"], ["k"])
    log = logging.getLogger("some.client")
    with caplog.at_level(logging.DEBUG):
        log.debug('%s "%s" %d', "GET", "/c?x=1&k=secret&y=2", 3)
        log.debug(f"headers {[(b'Location', b'/d?a%5Bb%5D=secret')]}")  # noqa: G004 - as clients do
        log.debug("/login?next=%2Fd%3Fk%3Dsecret%26y")
        log.debug({"no": "text"})
    assert "secret" not in caplog.text
    assert "x=1&k=…&y=2" in caplog.text
    inner = ValueError("cannot reach /c?k=secret (why)")
    outer = ConnectionError(inner, "url /?k=secret")
    outer.url = "/?k=secret"  # type: ignore[attr-defined]  # as clients do
    outer.__cause__ = OSError(5, "/?k=secret")
    mask(outer)
    assert "secret" not in repr([outer, outer.args, vars(outer), outer.__cause__])
    assert "cannot reach /c?k=… (why)" in str(outer)


def test_the_frames_of_a_failed_call_are_emptied_and_those_of_its_caller_go_on() -> None:
    """A task that has handed its error on, and waits, must not end because somebody calls again for that error."""

    class Waiting:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def waits() -> str:
        kept = "kept"
        try:
            raise ValueError
        except ValueError as error:
            given.append(error)
        await Waiting()
        return kept

    def fails(sent: str) -> None:
        raise OSError

    given: list[BaseException] = []
    task = waits()
    task.send(None)
    try:
        raise given[0]
    except ValueError:
        before = sys.exception()
        try:
            fails("secret")
        except OSError as error:
            empty(error, before)
            failed = error
    with pytest.raises(StopIteration) as ended:
        task.send(None)
    assert ended.value.value == "kept"
    frames = [frame for frame, _ in traceback.walk_tb(failed.__traceback__) if frame.f_code.co_name == "fails"]
    assert [frame.f_locals for frame in frames] == [{}]
