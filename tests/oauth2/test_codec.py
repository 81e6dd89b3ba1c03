"""Token requests and answers as data, read by decoders that are not ours."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.client_auth import ClientAuth, checked_client_auth, checked_client_id, checked_secret, identify
from onerefresh.oauth2.codec import (
    TokenRequest,
    TokenResponse,
    build_request,
    read_answer,
)
from onerefresh.oauth2.parameters import checked_extra, checked_scope
from onerefresh.redaction import Redactor
from onerefresh.secret import Secret
from onerefresh.token import Token
from onerefresh.verdict import FailureKind, Verdict

URL = "https://login.example/token"
printable = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Zs", "Co", "Cn"]), min_size=1)


def form_of(request: TokenRequest) -> list[tuple[str, str]]:
    return parse_qsl(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)


def basic_of(request: TokenRequest) -> tuple[str, str]:
    """Id and secret as RFC 6749 section 2.3.1 says that a server reads them."""
    scheme, _, encoded = request.headers["Authorization"].partition(" ")
    assert scheme == "Basic"
    name, _, secret = base64.b64decode(encoded, validate=True).decode("ascii").partition(":")
    return unquote_plus(name), unquote_plus(secret)


def test_a_refresh_request_is_that_of_the_standard() -> None:
    who = identify("client_secret_basic", "s6BhdRkqt3", Secret("7Fjfp0ZBr1KtDRbnfVdmIw"))
    request = build_request(URL, "refresh_token", who, refresh_token=Secret("tGzv3JOkF0XG5Qx2TlKWIA"))
    # The example of RFC 6749 section 6.
    assert request.headers["Authorization"] == "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.headers["Accept"] == "application/json"
    assert request.body == b"grant_type=refresh_token&refresh_token=tGzv3JOkF0XG5Qx2TlKWIA"
    assert request.url == URL


@pytest.mark.parametrize(
    ("client_auth", "secret", "in_body", "in_header"),
    [
        ("client_secret_basic", "s3cret", {}, True),
        ("client_secret_post", "s3cret", {"client_id": "me", "client_secret": "s3cret"}, False),
        ("none", None, {"client_id": "me"}, False),
    ],
)
def test_a_client_proves_itself_in_one_place(
    client_auth: ClientAuth, secret: str | None, in_body: dict[str, str], in_header: bool
) -> None:
    who = identify(client_auth, "me", Secret(secret) if secret else None)
    request = build_request(URL, "client_credentials", who)
    assert dict(form_of(request)) == {"grant_type": "client_credentials", **in_body}
    assert ("Authorization" in request.headers) is in_header


ODD = ["a+b", "a b", "50%", "a:b:c", "ключ", "密", "a&b=c", "~*-._", "%2B", "é/?#"]


@pytest.mark.parametrize("client_id", ODD)
@pytest.mark.parametrize("secret", ODD)
def test_odd_characters_of_ids_and_secrets_arrive(client_id: str, secret: str) -> None:
    basic = build_request(URL, "client_credentials", identify("client_secret_basic", client_id, Secret(secret)))
    assert basic_of(basic) == (client_id, secret)
    post = build_request(URL, "client_credentials", identify("client_secret_post", client_id, Secret(secret)))
    assert dict(form_of(post)) | {"client_id": client_id, "client_secret": secret} == dict(form_of(post))


@pytest.mark.seconds
@given(
    client_id=printable,
    secret=printable,
    refresh_token=printable,
    scope=st.none() | st.from_regex(r"[!#-\[\]-~]{1,9}( [!#-\[\]-~]{1,9}){0,3}", fullmatch=True),
    extra=st.dictionaries(
        printable.filter(lambda name: not name.startswith(("grant", "client", "scope", "refresh"))),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    client_auth=st.sampled_from(["client_secret_basic", "client_secret_post"]),
)
def test_what_the_builder_encodes_another_decoder_reads(
    *,
    client_id: str,
    secret: str,
    refresh_token: str,
    scope: str | None,
    extra: dict[str, str],
    client_auth: ClientAuth,
) -> None:
    who = identify(client_auth, checked_client_id(client_id), checked_secret(secret, "the secret"))
    request = build_request(
        URL,
        "refresh_token",
        who,
        refresh_token=Secret(refresh_token),
        scope=checked_scope(scope),
        extra=checked_extra(extra),
    )
    expected = {"grant_type": "refresh_token", "refresh_token": refresh_token} | extra
    if scope is not None:
        expected["scope"] = scope
    if client_auth == "client_secret_basic":
        assert basic_of(request) == (client_id, secret)
    else:
        expected |= {"client_id": client_id, "client_secret": secret}
    pairs = form_of(request)
    assert dict(pairs) == expected
    assert len(pairs) == len(expected)  # no field twice: RFC 6749 section 3.2


def test_a_refresh_token_that_is_no_unicode_text_is_sent_all_the_same() -> None:
    request = build_request(URL, "refresh_token", identify("none", "me", None), refresh_token=Secret("a\ud800"))
    assert b"refresh_token=a%ED%A0%80&" in request.body


def test_resources_may_be_several() -> None:
    extra = checked_extra({"resource": ["https://a.example", "https://b.example"], "audience": ["x"], "claims": "{}"})
    request = build_request(URL, "client_credentials", identify("none", "me", None), extra=extra)
    assert form_of(request)[1:4] == [
        ("resource", "https://a.example"),
        ("resource", "https://b.example"),
        ("audience", "x"),
    ]


@pytest.mark.parametrize(
    ("extra", "query", "said"),
    [
        ({"grant_type": "password"}, [], "'grant_type' does not belong in extra"),
        ({"refresh_token": "x"}, [], "comes from the credential"),
        ({"client_secret": "x"}, [], "'client_secret' does not belong in extra"),
        ({"client_id": "x"}, [], "'client_id' does not belong in extra"),
        ({"scope": "x"}, [], "'scope' does not belong in extra"),
        ({"client_assertion": "x"}, [], "an assertion is valid for one request only"),
        ({}, ["client_secret"], "does not belong in the token endpoint URL"),
        ({"tenant": "x"}, ["tenant"], "remove one of them"),
        ({"": "x"}, [], "not a field name"),
        ({5: "x"}, [], "not a field name"),
        ({"a": 5}, [], r"extra\['a'\] must be a string"),
        ({"a": ["x", "y"]}, [], r"extra\['a'\] must be a string"),
        ({"resource": ["x", 5]}, [], "must be a string or a list of strings"),
        ({"a": "\ud800"}, [], r"extra\['a'\] must be a string"),
        ([("a", "b")], [], "extra must be a mapping"),
    ],
)
def test_a_field_that_does_not_belong_there_is_refused(extra: Any, query: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        checked_extra(extra, query)


@pytest.mark.parametrize("scope", ["", " a", "a ", "a  b", "a\tb", 'a"b', "a\\b", "é", ["a"], 5])
def test_what_is_no_scope_is_refused(scope: object) -> None:
    with pytest.raises(ConfigurationError, match="scope"):
        checked_scope(scope)


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("", "is empty"),
        ("s3cret-of-the-test\n", "begins or ends with a line break"),
        ("s3cret-of\x00-the-test", "cannot be printed"),
        ("s3cret-of-the-test\ud800", "cannot be printed"),
        (b"s3cret-of-the-test", "must be a str or a Secret, not bytes"),
        (None, "must be a str or a Secret, not NoneType"),
    ],
)
def test_a_secret_that_cannot_be_sent_is_refused_without_being_shown(secret: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        checked_secret(secret, "client_secret")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("client_id", ["", "a\nb", "\ud800", None, 5])
def test_a_client_id_that_cannot_be_sent_is_refused(client_id: object) -> None:
    with pytest.raises(ConfigurationError, match="client_id"):
        checked_client_id(client_id)


@pytest.mark.parametrize(
    ("client_auth", "has_secret", "found"),
    [
        (None, True, "client_secret_basic"),
        (None, False, "none"),
        ("client_secret_post", True, "client_secret_post"),
        ("client_secret_basic", True, "client_secret_basic"),
        ("none", False, "none"),
        ("none", True, "takes no client_secret"),
        ("client_secret_post", False, "needs a client_secret"),
        ("private_key_jwt", True, "use one of client_secret_basic"),
    ],
)
def test_client_authentication_fits_the_secret(client_auth: str | None, has_secret: bool, found: str) -> None:
    if found.startswith(("takes", "needs", "use")):
        with pytest.raises(ConfigurationError, match=found):
            checked_client_auth(client_auth, has_secret=has_secret)
    else:
        assert checked_client_auth(client_auth, has_secret=has_secret) == found


def answer(status: int, body: Any, **headers: str) -> TokenResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return TokenResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def read(response: TokenResponse, scope: str | None = None, *hidden: str) -> Token | Verdict:
    return read_answer(
        response, at=1000.0, scope=scope, hidden=Redactor([Secret(text) for text in hidden], complete=True)
    )


@pytest.mark.parametrize(
    ("response", "expires_at", "refreshable"),
    [
        (
            answer(200, {"access_token": "a", "token_type": "Bearer", "expires_in": 60, "refresh_token": "r"}),
            1060,
            True,
        ),
        (answer(200, {"access_token": "a", "expires_in": "60"}), 1060, False),
        (answer(201, {"access_token": "a", "expires_in": 0.5}), 1000.5, False),
        (answer(200, {"access_token": "a", "expires_in": 0}), None, False),
        (answer(200, {"access_token": "a"}), None, False),
        (answer(200, {"access_token": "a", "error": ""}), None, False),
        (answer(200, {"access_token": "a", "error": None}), None, False),
        (answer(200, b'\xef\xbb\xbf{"access_token": "a"}'), None, False),
        (answer(200, b"access_token=a&expires_in=60", content_type="application/x-www-form-urlencoded"), 1060, False),
    ],
)
def test_a_token_is_read(response: TokenResponse, expires_at: float | None, refreshable: bool) -> None:
    token = read(response)
    assert isinstance(token, Token)
    assert (token.reveal(), token.expires_at, token.refresh_token is not None) == ("a", expires_at, refreshable)


@pytest.mark.parametrize(
    ("body", "said", "kept"),
    [
        ({"access_token": "a", "token_type": "DPoP"}, "of type 'DPoP'", False),
        ({"access_token": "a", "token_type": "dpop", "refresh_token": "r3fresh"}, "of type 'DPoP'", True),
        ({"access_token": "tök€n", "refresh_token": "r3fresh"}, "not ASCII", True),
        ({"access_token": " x ", "refreshToken": "r3fresh"}, "begins or ends with a space", True),
        ({"access_token": "a\nb"}, "a line break", False),
        ({"access_token": "", "refresh_token": "r3fresh"}, "it is empty", True),
        ({"access_token": None, "refresh_token": "r3fresh"}, "without a usable access token", True),
        ({"access_token": "a\nb", "refresh_token": "r3fresh", "error": "odd"}, "a line break", True),
        ({"refresh_token": "r3fresh"}, "if the server rotates", False),
    ],
)
def test_an_answer_that_cannot_be_used_says_why_and_its_refresh_token_is_kept(
    body: dict[str, object], said: str, kept: bool
) -> None:
    verdict = read(answer(200, body))
    assert isinstance(verdict, Verdict)
    assert verdict.kind is (FailureKind.UNUSABLE if kept else FailureKind.PROTOCOL)
    assert (verdict.kept == Secret("r3fresh")) is kept
    assert said in verdict.detail
    assert "r3fresh" not in f"{verdict} {verdict!r}"
    assert "log in again" not in verdict.detail or "access_token" not in body


def test_a_refresh_token_is_kept_whatever_the_content_type_says() -> None:
    """As where PHP sends JSON under the name of its pages."""
    verdict = read(answer(200, {"access_token": None, "refresh_token": "r3fresh"}, content_type="text/html"))
    assert isinstance(verdict, Verdict)
    assert (verdict.kind, verdict.kept) == (FailureKind.UNUSABLE, Secret("r3fresh"))
    for status, body in ((200, b"<html>r3fresh"), (504, {"access_token": None, "refresh_token": "r3fresh"})):
        verdict = read(answer(status, body, content_type="text/html"))
        assert isinstance(verdict, Verdict)
        assert (verdict.kind, verdict.kept) == (FailureKind.NO_ANSWER, None)


def test_an_answer_that_says_an_error_is_no_token_answer_whatever_it_has_beside_it() -> None:
    verdict = read(answer(200, {"access_token": None, "refresh_token": "r3fresh", "error": "invalid_grant"}))
    assert isinstance(verdict, Verdict)
    assert (verdict.kind, verdict.kept) == (FailureKind.DEAD, None)


def test_an_answer_that_names_no_scope_granted_the_one_asked_for() -> None:
    asked = read(answer(200, {"access_token": "a"}), "read write")
    named = read(answer(200, {"access_token": "a", "scope": "read"}), "read write")
    assert isinstance(asked, Token)
    assert isinstance(named, Token)
    assert (asked.scope, named.scope) == ("read write", "read")


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer(200, {}), FailureKind.PROTOCOL),
        (answer(200, {"access_token": ""}), FailureKind.PROTOCOL),
        (answer(200, {"access_token": 5}), FailureKind.PROTOCOL),
        (answer(200, {"access_token": "a\r\nb"}), FailureKind.PROTOCOL),
        (answer(200, []), FailureKind.PROTOCOL),
        (answer(200, b"token is a"), FailureKind.PROTOCOL),
        (answer(200, b'{"access_token": "a'), FailureKind.NO_ANSWER),
        (answer(200, b"\xff\xfe"), FailureKind.PROTOCOL),
        (answer(200, b"<html>log in</html>"), FailureKind.NO_ANSWER),
        (answer(200, b"[" * 100_000), FailureKind.NO_ANSWER),
        (answer(200, {"error": "invalid_grant"}), FailureKind.DEAD),
        (answer(200, {"ok": False, "error": "token_expired"}), FailureKind.DEAD),
        (answer(200, b"error=bad_refresh_token", content_type="application/x-www-form-urlencoded"), FailureKind.DEAD),
        (answer(400, {"error": "invalid_grant"}), FailureKind.DEAD),
        (answer(400, b"", Content_Length="0"), FailureKind.DOUBTFUL),
        (answer(400, {"access_token": "a"}), FailureKind.DOUBTFUL),
        (answer(401, b"", Content_Length="0"), FailureKind.DOUBTFUL),
        (answer(401, {"error": "invalid_client"}), FailureKind.CLIENT_REJECTED),
        (answer(302, b"", Location="https://b.example/token"), FailureKind.REQUEST_REJECTED),
        (answer(502, b"<html>Bad gateway</html>"), FailureKind.SERVER_ERROR),
    ],
)
def test_an_answer_without_a_token_is_judged(response: TokenResponse, kind: FailureKind) -> None:
    verdict = read(response)
    assert isinstance(verdict, Verdict)
    assert verdict.kind is kind


@given(
    st.integers(200, 599),
    st.binary() | st.text().map(str.encode),
    st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/html"]),
)
def test_any_answer_is_read(status: int, body: bytes, kind: str) -> None:
    assert isinstance(read(TokenResponse(status, {"Content-Type": kind}, body)), Token | Verdict)


def test_no_other_part_of_an_answer_is_quoted() -> None:
    verdict = read(
        answer(200, {"tokens": "at-12345678", "at-12345678": "x", "error_description": "rt-1234567"}),
        None,
        "rt-12345678",
    )
    assert isinstance(verdict, Verdict)
    assert verdict.detail.startswith("the token endpoint answered 200 without a usable access token (it holds: error_d")
    assert "12345" not in verdict.detail


def test_requests_and_answers_show_nothing_and_are_not_pickled() -> None:
    who = identify("client_secret_post", "me", Secret("s3cret"))
    request = build_request(URL, "refresh_token", who, refresh_token=Secret("rt-12345678"))
    response = answer(200, {"access_token": "at-12345678"}, Set_Cookie="session-12345678")
    for held in (request, response, who):
        for text in (repr(held), str(held), f"{held}", f"{held!r:>200}"):
            assert "12345678" not in text
            assert "s3cret" not in text
    for guarded in (request, response):
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="holds secrets and cannot be pickled"):
                take(guarded)


TOKENS = {"access_token": "a", "refresh_token": "r=="}
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("label", "body"),
    [
        (FORM, json.dumps(TOKENS).encode()),
        ("text/plain", urlencode(TOKENS).encode()),
        ("application/json", urlencode(TOKENS).encode()),
        (FORM, f"{urlencode(TOKENS)}&name=é".encode()),
        (FORM, f"{urlencode(TOKENS)}&name=".encode() + b"\xff"),
        (FORM, f"{urlencode(TOKENS)}&{'&'.join(f'f{number}=1' for number in range(200))}".encode()),
    ],
)
def test_tokens_that_can_be_read_are_not_lost_by_a_label_or_by_what_stands_beside_them(label: str, body: bytes) -> None:
    """Each of these was an answer without a token, and the new refresh token was lost."""
    token = read_answer(TokenResponse(200, {"Content-Type": label}, body), at=0.0, scope=None, hidden=Redactor())
    assert isinstance(token, Token)
    assert (token.reveal(), token.reveal_refresh_token()) == ("a", "r==")
