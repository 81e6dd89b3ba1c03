"""Rules about refusals, as tables: what each ready rule says of an answer, which bodies are read, and how far."""

from __future__ import annotations

import functools
import gzip
import json
import re
import sys
import types
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerefresh import ConfigurationError
from onerefresh.clients.bearer import Bearer
from onerefresh.clients.challenge import PassThrough, Refused
from onerefresh.clients.decoding import decoder_for
from onerefresh.clients.peek import LONGEST_LOOK, LOOK_SECONDS, Peek
from onerefresh.clients.refused import (
    ApiAnswer,
    RefusedWhen,
    graphql,
    json_code,
    login_page,
    rules_of,
    slack,
)
from onerefresh.clients.rule import Head, Headers

API = "https://api.acme.com"


def said(rule: RefusedWhen, body: Any, status: int = 200, *, method: str = "POST", sent: Any = None) -> bool | None:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = None if sent is None else json.dumps(sent).encode()
    return rule.judge(ApiAnswer(method, status, {"Content-Type": "application/json"}, text, sent=given))


@pytest.mark.parametrize(
    ("codes", "at", "body", "expected"),
    [
        ("TOKEN_EXPIRED", "code", {"code": "TOKEN_EXPIRED"}, True),
        ("TOKEN_EXPIRED", "code", {"code": "FORBIDDEN"}, False),
        ("TOKEN_EXPIRED", "code", {"message": "no"}, None),
        ("TOKEN_EXPIRED", "code", b"<html>", None),
        ("TOKEN_EXPIRED", "code", b"", None),
        ("TOKEN_EXPIRED", "code", b'{"code": "TOKEN_EXP', None),
        ("TOKEN_EXPIRED", "code", ["TOKEN_EXPIRED"], None),
        ("TOKEN_EXPIRED", "code", {"code": ["TOKEN_EXPIRED"]}, None),
        ("TOKEN_EXPIRED", "code", b'\xef\xbb\xbf {"code": "TOKEN_EXPIRED"}\n{"code": 2}', True),
        ("TOKEN_EXPIRED", "code", '{"code": "TOKEN_EXPIRED"}'.encode("utf-16"), True),
        (["A", "B"], "code", {"code": "B"}, True),
        (190, "error.code", {"error": {"code": 190}}, True),
        ("190", "error.code", {"error": {"code": 190}}, True),
        (190, "error.code", {"error": {"code": "190"}}, True),
        (1, "error.code", {"error": {"code": True}}, None),
        (190, "error.code", {"error": "190"}, None),
        ("INVALID_SESSION_ID", "*.errorCode", [{"errorCode": "INVALID_SESSION_ID"}], True),
        ("E", "errors.*.code", {"errors": {"first": {"code": "E"}}}, True),
        ("E", "errors.*.code", {"errors": [{"code": "F"}]}, False),
        ("E", "errors.*.code", {"errors": []}, None),
    ],
)
def test_a_code_in_json(codes: Any, at: str, body: Any, expected: bool | None) -> None:
    assert said(json_code(403, codes, at=at), body, 403) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"ok": False, "error": "token_expired"}, True),
        ({"ok": False, "error": "invalid_auth"}, True),
        ({"ok": False, "error": "channel_not_found"}, False),
        ({"ok": True, "error": "token_expired"}, None),
        ({"error": "token_expired"}, None),
        ([], None),
    ],
)
def test_slack(body: Any, expected: bool | None) -> None:
    assert said(slack(), body) is expected


def test_slack_with_codes_of_ones_own() -> None:
    assert said(slack("gone"), {"ok": False, "error": "gone"}) is True
    assert said(slack("gone"), {"ok": False, "error": "token_expired"}) is False


UNAUTHENTICATED = [{"message": "no", "extensions": {"code": "UNAUTHENTICATED"}}]
QUERY, MUTATION = {"query": "{ me { id } }"}, {"query": "mutation { pay { id } }"}


@pytest.mark.parametrize(
    ("body", "sent", "method", "expected"),
    [
        ({"errors": UNAUTHENTICATED}, MUTATION, "POST", True),
        ({"data": None, "errors": UNAUTHENTICATED}, MUTATION, "POST", True),
        ({"data": {"pay": None}, "errors": UNAUTHENTICATED}, MUTATION, "POST", True),
        ({"data": {"pay": {"id": None}}, "errors": UNAUTHENTICATED}, MUTATION, "POST", False),
        ({"data": {"pay": {"id": 1}, "me": None}, "errors": UNAUTHENTICATED}, MUTATION, "POST", False),
        ({"data": {"pay": False}, "errors": UNAUTHENTICATED}, MUTATION, "POST", False),
        ({"data": {"all": [1], "me": None}, "errors": UNAUTHENTICATED}, QUERY, "POST", True),
        ({"data": {"all": [1], "me": None}, "errors": UNAUTHENTICATED}, None, "GET", True),
        ({"data": {"all": [1], "me": None}, "errors": UNAUTHENTICATED}, None, "POST", False),
        ({"data": {"all": [1], "me": None}, "errors": UNAUTHENTICATED}, {"id": "hash"}, "POST", False),
        ({"data": {"all": [1]}, "errors": UNAUTHENTICATED}, {"query": " "}, "POST", False),
        ({"data": {"all": [1]}, "errors": UNAUTHENTICATED}, [], "POST", False),
        ({"data": {"all": [1]}, "errors": UNAUTHENTICATED}, [QUERY, QUERY], "POST", True),
        ({"data": {"all": [1]}, "errors": UNAUTHENTICATED}, [QUERY, MUTATION], "POST", False),
        ([{"data": {"pay": {"id": 1}}}, {"errors": UNAUTHENTICATED}], [MUTATION, MUTATION], "POST", False),
        ([{"data": None}, {"errors": UNAUTHENTICATED}], [MUTATION, MUTATION], "POST", True),
        ({"data": {"me": {"id": 1}}}, QUERY, "POST", None),
        ({"errors": [{"extensions": {"code": "FORBIDDEN"}}]}, QUERY, "POST", None),
        ({"errors": [{"message": "UNAUTHENTICATED"}]}, QUERY, "POST", None),
        ({"errors": [{"extensions": {"code": "invalid-jwt"}}]}, MUTATION, "POST", True),
        ({"errors": "none"}, QUERY, "POST", None),
    ],
)
def test_graphql(body: Any, sent: Any, method: str, expected: bool | None) -> None:
    assert said(graphql(), body, sent=sent, method=method) is expected


def at(*path: str | int, code: str = "UNAUTHENTICATED") -> dict[str, Any]:
    return {"message": "no", "path": path, "extensions": {"code": code}}


TWO = {"query": "mutation Both($a: Int = 1) @live { paid: pay(a: {b: [1]}) @skip(if: $b) { id } me { id } }"}
ONE = {
    "query": 'mutation M { paid: pay(a: "}{", b: {c: 1}) @x(y: 1) { ...F me { id } } } # {a}\nfragment F on T { a b }'
}
SPREAD = {"query": "mutation M { ...F } fragment F on Mutation { pay { id } me { id } }"}


@pytest.mark.parametrize(
    ("body", "sent", "expected"),
    [
        # A field within a field is refused once the outer one was carried out.
        ({"data": {"paid": None}, "errors": [at("paid", "me")]}, ONE, False),
        ({"data": None, "errors": [at("paid", "items", 0, "me")]}, ONE, False),
        ({"data": None, "errors": [at("paid")]}, ONE, True),
        ({"data": {"paid": None}, "errors": [at("paid")]}, ONE, True),
        # The fields of a mutation are carried out one after the other: an earlier one may have had its effect.
        ({"data": None, "errors": [at("me")]}, TWO, False),
        ({"data": None, "errors": [at("paid"), at("me")]}, TWO, True),
        ({"data": {"paid": None, "me": None}, "errors": [at("me")]}, TWO, False),
        ({"data": {"paid": None, "me": None}, "errors": [at("paid"), at("me")]}, TWO, True),
        ({"data": None, "errors": [at("me")]}, {"query": "# both {\n" + TWO["query"]}, False),
        ({"data": None, "errors": [at("me")]}, {"query": '"""both {"""' + TWO["query"]}, False),
        ({"data": None, "errors": [at("me")]}, {"query": "extend mutation"}, False),
        ({"data": None, "errors": [at("me")]}, SPREAD, False),
        ({"data": None, "errors": [at("me")]}, {"id": "hash"}, False),
        ({"data": None, "errors": [at()]}, TWO, True),
        ({"errors": UNAUTHENTICATED}, TWO, True),
        # Another error than a refusal may come after an effect.
        ({"data": None, "errors": [at("paid", code="TIMEOUT"), at("me")]}, TWO, False),
        ({"data": None, "errors": [at(code="TIMEOUT"), at()]}, ONE, False),
        ([{"data": None, "errors": [at("paid", code="TIMEOUT")]}, {"errors": [at()]}], [ONE, ONE], False),
    ],
)
def test_a_mutation_that_may_have_done_something_is_not_sent_again(body: Any, sent: Any, expected: bool) -> None:
    assert said(graphql(), body, sent=sent, method="POST") is expected


def test_graphql_with_codes_of_ones_own() -> None:
    body = {"errors": [{"extensions": {"classification": "UNAUTHORIZED"}}]}
    assert said(graphql(), body) is None
    assert said(graphql("UNAUTHORIZED", at="extensions.classification"), body) is True


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/login", True),
        ("/login?next=/api/items", True),
        ("https://acme.com/users/sign_in", True),
        ("https://acme.com/accounts/login/?next=/", True),
        ("Account/Login.aspx", True),
        ("https://idp.acme.com/oauth2/v2.0/authorize?client_id=1", True),
        ("https://idp.acme.com/idp/SSO.saml2?SAMLRequest=abc", True),
        ("https://idp.acme.com/here?SAMLRequest=abc", True),
        ("/api/items/2", None),
        ("/payments/7/authorize", None),  # after a success; to send the payment again would be worse than a redirect
        ("/invoices?client_id=7", None),
        ("/oauth/authorize?response_type=code", True),
        ("/blogin/items", None),
        ("/items?next=/login", None),
        ("https://login.acme.com/items", None),
        ("http://[", None),
        ("", None),
    ],
)
def test_a_login_page(location: str, expected: bool | None) -> None:
    answer = ApiAnswer("GET", 302, {"Location": location})
    assert login_page().judge(answer) is expected


def test_a_login_page_of_ones_own() -> None:
    rule = login_page("/session", "/start")
    for location in ("/session/new", "/session", "/session?next=/", "/start.aspx"):
        assert rule.judge(ApiAnswer("GET", 302, {"location": location})) is True
    for location in ("/sessions/7", "/started/7"):
        assert rule.judge(ApiAnswer("POST", 303, {"location": location})) is None, "what a POST has made"
    assert login_page("/log/").judge(ApiAnswer("GET", 302, {"location": "/log/in"})) is True
    assert rule.judge(ApiAnswer("GET", 302, {"location": "/login"})) is None
    assert (rule._names(302), rule._names(200)) == (True, False)


# --- Which answers are read ---


def head(kind: str = "application/json", method: str = "GET", **headers: str) -> Head:
    pairs = [("Content-Type", kind), *[(name.replace("_", "-"), value) for name, value in headers.items()]]
    return Head(method, Headers(pairs))


@pytest.mark.parametrize(
    ("found", "is_read"),
    [
        (head(), True),
        (head("application/json; charset=utf-8"), True),
        (head("Application/JSON"), True),
        (head("application/problem+json"), True),
        (head("application/graphql-response+json"), True),
        (head(Content_Length="65536"), True),
        (head(Content_Length="many"), True),
        (head(Content_Encoding="gzip"), True),
        (head(Content_Encoding="gzip, deflate"), True),
        (head(Content_Encoding="identity"), True),
        (head(Content_Length="65537"), False),
        (head(Content_Length="9" * 5_000), False),
        (head(Content_Encoding="aes"), False),
        (head(Content_Encoding="gzip," * 50), False),
        (head("text/html"), False),
        (head(""), False),
        (head("text/event-stream"), False),
        (head("application/stream+json"), False),
        (head("application/x-ndjson"), False),
        (head(method="HEAD"), False),
    ],
)
def test_which_bodies_are_read(found: Head, is_read: bool) -> None:
    rules = rules_of(RefusedWhen(lambda _: True, statuses={200, 204}))
    assert rules is not None
    peek = rules.peek(200, found)
    assert (peek is not None) is is_read
    assert rules.ask(200, found, peek, print) is (True if is_read else None)
    assert rules.peek(204, found) is None


def test_no_pattern_covers_a_stream() -> None:
    rules = rules_of(RefusedWhen(lambda _: True, statuses=200, content_types="*/*"))
    assert rules is not None
    assert rules.peek(200, head("text/event-stream")) is None
    assert rules.peek(200, head("image/png")) is not None


def test_a_yes_of_any_rule_is_a_yes_and_a_no_is_a_no_only_without_one() -> None:
    def rule(verdict: bool | None) -> RefusedWhen:
        return RefusedWhen(lambda _: verdict, statuses=200, content_types=())

    def ask(*verdicts: bool | None) -> bool | None:
        rules = rules_of([rule(verdict) for verdict in verdicts])
        assert rules is not None
        return rules.ask(200, head(), None, print)

    assert (ask(None, False, True), ask(True, False), ask(None, False), ask(None, None)) == (True, True, False, None)


@pytest.mark.parametrize(
    ("said", "status", "expected"),
    [
        (True, 200, Refused()),
        (True, 401, Refused()),
        (False, 401, PassThrough()),
        (None, 401, Refused()),
        (None, 200, PassThrough()),
        (False, 200, PassThrough()),
    ],
)
def test_what_the_rules_say_comes_first(said: bool | None, status: int, expected: object) -> None:
    rules = Bearer("acme", API, refused="slack")
    assert rules.judge(status, [], said) == expected
    assert rules.judge(status, None, said) == PassThrough(), "another request than ours"


def test_an_answer_shows_nothing_of_itself() -> None:
    answer = ApiAnswer("GET", 200, {"Set-Cookie": "hidden"}, b"hidden", sent=b"hidden")
    shown = f"{answer!r} {answer.headers!r} {Head('GET', Headers([('A', 'hidden')]), b'hidden')!r}"
    assert "hidden" not in shown
    assert (answer.headers["set-COOKIE"], answer.headers.get("a"), list(answer.headers)) == (
        "hidden", None, ["set-cookie"],
    )  # fmt: skip
    assert Headers([("a", "1"), ("A", "2")])["a"] == "1, 2"


# --- How far a body is read ---


def read(pieces: list[bytes], encoding: str = "", clock: Any = lambda: 0.0) -> tuple[bytes, bool, int]:
    """What is seen, whether it is all, and how many pieces were read."""
    decoder = decoder_for(encoding)
    assert decoder is not None
    peek = Peek(decoder, is_json=True, clock=clock)
    for number, piece in enumerate(pieces, start=1):
        if peek.is_over(piece):
            return peek.body, peek.whole, number
    peek.end()
    return peek.body, peek.whole, len(pieces)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON_VALUES, st.booleans(), st.integers(1, 9), st.binary(max_size=9))
def test_reading_stops_at_the_end_of_the_first_document_however_it_is_cut(
    value: Any, ascii_only: bool, size: int, more: bytes
) -> None:
    document = json.dumps(value, ensure_ascii=ascii_only).encode()
    pieces = [document[start : start + size] for start in range(0, len(document), size)]
    seen, whole, count = read([*pieces, b"", more, b"x" * 100])
    if isinstance(value, (dict, list)):
        assert (seen, whole, count) == (document, False, len(pieces))
        assert ApiAnswer("GET", 200, {}, seen).json() == value
    else:
        assert seen.startswith(document), "no other document shows its end"


@pytest.mark.parametrize("piece", [b"[", b"{", b'"', b"\\", b"]", b"[]]", b"\xff", b'"\\'])
def test_a_hostile_body_costs_no_more_than_its_length(piece: bytes) -> None:
    seen, _, count = read([piece] * 100_000)
    assert count <= LONGEST_LOOK
    assert len(seen) <= LONGEST_LOOK
    assert ApiAnswer("GET", 200, {}, seen).json() in (None, [], "")


def test_a_long_body_is_cut() -> None:
    assert read([b" " * 40_000] * 3) == (b" " * LONGEST_LOOK, False, 2)


def test_a_slow_body_is_cut() -> None:
    now = iter([0.0, 0.1, LOOK_SECONDS, LOOK_SECONDS + 0.1])
    assert read([b"["] * 9, clock=lambda: next(now)) == (b"[[[", False, 3)


@pytest.mark.seconds
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw deflate", "gzip, deflate", " GZIP "])
@given(st.binary(max_size=500), st.integers(1, 40))
def test_a_compressed_body_is_decoded_however_it_is_cut(encoding: str, body: bytes, size: int) -> None:
    packed = body
    for name in encoding.split(","):
        match name.strip().lower():
            case "gzip" | "x-gzip":
                packed = gzip.compress(packed)
            case "deflate":
                packed = zlib.compress(packed)
            case "raw deflate":
                packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
                packed = packer.compress(packed) + packer.flush()
    pieces = [packed[start : start + size] for start in range(0, len(packed), size)]
    decoder = decoder_for(encoding.replace("raw ", ""))
    assert decoder is not None
    assert b"".join([decoder.decode(piece, LONGEST_LOOK) for piece in pieces]) == body


def test_a_bomb_fills_no_memory_and_damage_ends_the_look() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert read([bomb], "gzip") == (b" " * LONGEST_LOOK, False, 1)
    assert read([b"no gzip", b"more"], "gzip") == (b"", False, 1)


@pytest.mark.parametrize("limits", [False, True])
@pytest.mark.parametrize("name", ["brotli", "brotlicffi", "compression.zstd", "backports.zstd", "zstandard"])
def test_a_library_for_another_coding_is_used_where_it_is(
    name: str, limits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not installed here: a library of that name reverses bytes. Older ones limit nothing."""

    class Reversing:
        def process(self, piece: bytes, **limit: int) -> bytes:
            if limit and not limits:
                raise TypeError
            return piece[::-1][: next(iter(limit.values()), None)]

        decompress = process

        def decompressobj(self) -> Reversing:
            return self

    for known in ("brotli", "brotlicffi", "compression.zstd", "backports.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, known, None)
    encoding = "br" if "brotli" in name else "zstd"
    assert decoder_for(encoding) is None
    library = types.ModuleType(name)
    library.__dict__.update(Decompressor=Reversing, ZstdDecompressor=Reversing)
    monkeypatch.setitem(sys.modules, name, library)
    decoder = decoder_for(encoding)
    assert decoder is not None
    assert decoder.decode(b"abc", 10) == b"cba"
    assert len(decoder.decode(b"a" * 100_000, 1000)) < 3000, "no more is decoded than is needed"


# --- Arguments ---


def plain(_: ApiAnswer) -> bool:
    return True


class AsyncCall:
    async def __call__(self, _: ApiAnswer) -> bool:
        return True


WRONG: list[tuple[Any, str]] = [
    (lambda: RefusedWhen("x", statuses=200), "must be a function of an ApiAnswer, not 'x'"),  # type: ignore[arg-type]
    (lambda: RefusedWhen(AsyncCall(), statuses=200), "must be a plain function"),  # type: ignore[arg-type]
    (lambda: RefusedWhen(plain, statuses=()), "statuses must be an HTTP status or a set of them"),
    (lambda: RefusedWhen(plain, statuses="200"), "statuses must be an HTTP status"),  # type: ignore[arg-type]
    (lambda: RefusedWhen(plain, statuses=True), "statuses: True must be from 200 to 599"),
    (lambda: RefusedWhen(plain, statuses=100), "statuses: 100 must be from 200 to 599"),
    (lambda: RefusedWhen(plain, statuses={407}), "and not 407, which is used by proxies"),
    (lambda: RefusedWhen(plain, statuses={200.0}), "200.0 must be from"),  # type: ignore[arg-type]
    (lambda: RefusedWhen(plain, statuses=200, content_types="json"), "'json' is not a media type"),
    (lambda: RefusedWhen(plain, statuses=200, content_types=[5]), "5 is not a media type"),  # type: ignore[list-item]
    (lambda: RefusedWhen(plain, statuses=200, content_types=5), "must be media types"),  # type: ignore[arg-type]
    (lambda: RefusedWhen(plain, statuses=200, content_types="text/event-stream"), "is a stream"),
    (lambda: RefusedWhen(plain, statuses=200, name=""), "must be a short text"),
    (lambda: RefusedWhen(plain, statuses=200, name="a\nb"), "must be a short text"),
    (lambda: json_code(403, ()), "codes must be texts or numbers"),
    (lambda: json_code(403, ""), "codes: '' must be a text or a whole number"),
    (lambda: json_code(403, [True]), "codes: True must be"),
    (lambda: json_code(403, 1.5), "codes must be texts or numbers"),  # type: ignore[arg-type]
    (lambda: json_code(403, "a", at=""), "at '' must be the path of a field"),
    (lambda: json_code(403, "a", at="a..b"), "at 'a..b' must be the path of a field"),
    (lambda: json_code(403, "a", at=5), "at 5 must be the path of a field"),  # type: ignore[arg-type]
    (lambda: graphql(at="."), "at '.' must be the path of a field"),
    (lambda: login_page("login"), "'login' must be a path that begins with a slash"),
    (lambda: rules_of({}), "must be a rule of onerefresh.clients.refused, its name, or a function, not dict"),
    (lambda: rules_of([None]), "or a function, not NoneType"),
    (lambda: rules_of(json_code), "call the function: json_code(…)"),
    (lambda: rules_of("Slack"), "there is no rule 'Slack'"),
]


@pytest.mark.parametrize(("make", "says"), WRONG)
def test_arguments_that_make_no_sense_say_so(make: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        make()


def test_a_rule_has_a_name() -> None:
    assert RefusedWhen(plain, statuses=200).name == "plain"
    assert RefusedWhen(functools.partial(plain), statuses=200).name == "partial"
    assert repr(RefusedWhen(plain, statuses=200, name="mine")) == "RefusedWhen(mine)"
