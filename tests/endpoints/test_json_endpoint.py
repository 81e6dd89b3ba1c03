"""JsonEndpoint: what it sends, how it reads answers, and what a refusal means."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import pytest
from tests.core.leaks import locals_of_ours

from onerefresh import ConfigurationError, Credential, LoginRequired, Secret, Token
from onerefresh.endpoints import JsonEndpoint
from onerefresh.oauth2 import TokenRequest, TokenResponse
from onerefresh.verdict import FailureKind, RefreshFailure

URL = "https://api.acme.com/auth/refresh"
ACCESS, REFRESH = "access-token-0123456789", "refresh/token+0123456789"
TOKEN = Token(ACCESS, REFRESH)


class Api:
    """Answers each request in the same way, and keeps the requests."""

    def __init__(self, status: int = 200, body: object = None, cookies: tuple[str, ...] = (), **headers: str) -> None:
        content = (
            body if isinstance(body, bytes) else json.dumps({"access_token": "new"} if body is None else body).encode()
        )
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = TokenResponse(status, named, content, cookies)
        self.requests: list[TokenRequest] = []

    def __call__(self, request: TokenRequest) -> TokenResponse:
        self.requests.append(request)
        return self.answer

    @property
    def request(self) -> TokenRequest:
        return self.requests[-1]


def sent_by(token: Token = TOKEN, url: str = URL, **settings: Any) -> TokenRequest:
    api = Api()
    JsonEndpoint(url, send=api, **settings)(token)
    return api.request


def read(body: object, came: tuple[str, ...] = (), status: int = 200, **settings: Any) -> Token:
    headers = settings.pop("headers_of_the_answer", {})
    return JsonEndpoint(URL, send=Api(status, body, came, **headers), **settings)(TOKEN)


def failure(status: int, body: object = b"", came: tuple[str, ...] = (), **settings: Any) -> RefreshFailure:
    with pytest.raises(RefreshFailure) as raised:
        read(body, came, status, **settings)
    return raised.value


class TestRequests:
    def test_the_usual_one(self) -> None:
        request = sent_by()
        assert (request.method, request.url, json.loads(request.body)) == ("POST", URL, {"refresh_token": REFRESH})
        assert request.headers["Content-Type"] == "application/json"
        assert "Cookie" not in request.headers

    def test_body_fields_of_any_shape(self) -> None:
        body = {"data": [{"accessToken": "{access_token}", "refreshToken": "{refresh_token}"}], "n": 1, "x": None}
        wanted = {"data": [{"accessToken": ACCESS, "refreshToken": REFRESH}], "n": 1, "x": None}
        assert json.loads(sent_by(body=body).body) == wanted

    def test_braces_of_graphql_stay(self) -> None:
        query = "mutation($t: String!) { refresh(token: $t) {token} }"
        body = {"query": query, "variables": {"t": "{refresh_token}"}}
        assert json.loads(sent_by(body=body).body) == {"query": query, "variables": {"t": REFRESH}}

    def test_a_form(self) -> None:
        request = sent_by(body={"refresh_token": "{refresh_token}", "app": "x y"}, format="form")
        assert parse_qsl(request.body.decode()) == [("refresh_token", REFRESH), ("app", "x y")]
        assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"

    def test_a_header_and_no_body(self) -> None:
        request = sent_by(headers={"authorization": "Bearer {refresh_token}"})
        assert (request.headers["authorization"], request.body) == (f"Bearer {REFRESH}", b"")
        assert "Content-Type" not in request.headers
        assert request.framing == {"Content-Length": "0"}

    def test_an_empty_object(self) -> None:
        assert sent_by(headers={"X-Refresh": "{refresh_token}"}, body={}).body == b"{}"

    def test_cookies(self) -> None:
        assert sent_by(cookies={"rt": "{refresh_token}", "lang": "de"}).headers["Cookie"] == f"rt={REFRESH}; lang=de"

    def test_a_query_beside_that_of_the_url(self) -> None:
        request = sent_by(url=f"{URL}?v=2", method="GET", query={"token": "{refresh_token}"})
        assert (request.method, request.target) == ("GET", "/auth/refresh?v=2&token=refresh%2Ftoken%2B0123456789")
        assert (request.body, request.framing) == (b"", {})

    def test_the_path_and_the_url_s_query(self) -> None:
        request = sent_by(url="https://api.acme.com/token/{refresh_token}?a={access_token}", method="GET")
        assert request.target == f"/token/refresh%2Ftoken%2B0123456789?a={ACCESS}"

    def test_headers_of_ones_own_replace_the_usual_ones(self) -> None:
        own = {"user-agent": "acme", "CONTENT-TYPE": "application/x-amz-json-1.1", "X-Key": Secret("k")}
        headers = sent_by(headers=own).headers
        assert (headers["User-Agent"], headers["CONTENT-TYPE"], headers["X-Key"]) == ("acme", own["CONTENT-TYPE"], "k")
        assert len({name.lower() for name in headers}) == len(headers)

    def test_functions_are_called_before_each_renewal_by_a_credential(self) -> None:
        keys = iter(["one", "two"])
        endpoint = JsonEndpoint(
            URL, headers={"X-Key": lambda: next(keys)}, send=(api := Api(body={"access_token": "n"}))
        )
        for key in ("one", "two"):
            endpoint.prepare()
            endpoint(TOKEN)
            assert api.request.headers["X-Key"] == key

    def test_a_function_that_fails_sends_nothing(self) -> None:
        def key() -> str:
            raise FileNotFoundError("key.txt")

        endpoint = JsonEndpoint(URL, headers={"X-Key": key}, send=(api := Api()))
        with pytest.raises(ConfigurationError, match=r"headers\['X-Key'\] function raised FileNotFoundError: key.txt"):
            endpoint.prepare()
        assert not api.requests

    def test_what_was_kept_is_sent(self) -> None:
        endpoint = JsonEndpoint(
            URL,
            cookies={"rt": "{refresh_token}", "csrf": "{csrf}"},
            headers={"X-CSRF-TOKEN": "{csrf}"},
            body={"user": "{user}"},
            keep={"csrf": "cookie:csrf", "user": "user.id"},
            send=(api := Api(body={"access_token": "n"}, cookies=("rt=rt-2; Path=/", "csrf=csrf-2"))),
        )
        first = {"access_token": "a", "user": {"id": 7}}
        with Credential("kept", endpoint, token=endpoint.answer_of(first, cookies={"rt": "r", "csrf": "c"})) as one:
            one.token(refused=one.token())
            assert (api.request.headers["Cookie"], api.request.headers["X-CSRF-TOKEN"]) == ("rt=r; csrf=c", "c")
            assert json.loads(api.request.body) == {"user": "7"}
            new = one.token()
            assert new.reveal_refresh_token() == "rt-2"
            endpoint(new)
            assert api.request.headers["Cookie"] == "rt=rt-2; csrf=csrf-2"
            assert json.loads(api.request.body) == {"user": "7"}

    def test_what_is_missing_sends_nothing_and_says_so(self) -> None:
        endpoint = JsonEndpoint(
            URL,
            cookies={"rt": "{refresh_token}"},
            headers={"X": "{csrf}"},
            keep={"csrf": "cookie:c"},
            send=(api := Api()),
        )
        with pytest.raises(
            RefreshFailure, match="needs 'csrf', which no answer has brought yet; nothing was sent"
        ) as it:
            endpoint(TOKEN)
        assert it.value.verdict.kind is FailureKind.CONFIGURATION
        endpoint(Token(ACCESS, REFRESH, extra={"csrf": "given"}))
        assert [request.headers["X"] for request in api.requests] == ["given"]

    @pytest.mark.parametrize("where", ["cookies", "headers"])
    @pytest.mark.parametrize("bad", ["a\r\nX: y", "a;b=c", "é-0123456789", " a "])
    def test_a_token_that_cannot_stand_there_sends_nothing(self, where: str, bad: str) -> None:
        settings: dict[str, Any] = {where: {"rt": "{refresh_token}"}}
        endpoint = JsonEndpoint(URL, send=(api := Api()), **settings)
        if where == "headers" and bad == "a;b=c":
            return
        with pytest.raises(RefreshFailure, match="cannot carry its value") as raised:
            endpoint(Token(ACCESS, bad))
        assert raised.value.verdict.kind is FailureKind.CONFIGURATION
        assert (bad in str(raised.value), api.requests) == (False, [])

    def test_without_a_refresh_token_nothing_is_sent(self) -> None:
        with pytest.raises(RefreshFailure) as raised:
            JsonEndpoint(URL, send=Api())(Token(ACCESS))
        assert raised.value.verdict.kind is FailureKind.DEAD

    def test_renewing_from_the_access_token(self) -> None:
        endpoint = JsonEndpoint(URL, headers={"Authorization": "{access_token}"}, send=(api := Api()))
        assert endpoint.renews_from_access
        with Credential("access", endpoint, token={"access_token": ACCESS}) as credential:
            assert credential.token(refused=credential.token()).reveal() == "new"
        assert api.request.headers["Authorization"] == ACCESS
        assert not JsonEndpoint(URL).renews_from_access

    def test_the_access_token_is_sent_where_the_api_gets_another_field(self) -> None:
        first = {"access_token": ACCESS, "id_token": "id-0123456789", "refresh_token": REFRESH}
        api = Api(body={"access_token": "new", "id_token": "new-id"})
        endpoint = JsonEndpoint(URL, headers={"Authorization": "Bearer {access_token}"}, send=api)
        with Credential("id", endpoint, token=first, bearer_field="id_token") as credential:
            assert credential.token(refused=credential.token()).reveal() == "new-id"
        assert api.request.headers["Authorization"] == f"Bearer {ACCESS}"

    @pytest.mark.parametrize(
        "settings",
        [
            {"headers": {"Authorization": "Bearer {access_token}"}},
            {"body": {"refreshToken": "{refresh_token}"}, "headers": {"Authorization": "Bearer {access_token}"}},
            {"cookies": {"at": "{access_token}", "rt": "{refresh_token}"}},
        ],
    )
    def test_no_stand_in_is_sent_for_an_access_token_that_is_not_there(self, settings: dict[str, Any]) -> None:
        """Of a first token only the refresh token may be known."""
        endpoint = JsonEndpoint(URL, send=(api := Api()), **settings)
        with pytest.raises(RefreshFailure, match="needs 'access_token', which no answer has brought yet") as raised:
            endpoint(Token(None, REFRESH))
        assert (raised.value.verdict.kind, api.requests) == (FailureKind.CONFIGURATION, [])
        JsonEndpoint(URL, body={"token": "{refresh_token}"}, send=api)(Token(None, REFRESH))
        assert json.loads(api.request.body) == {"token": REFRESH}


class TestAnswers:
    @pytest.mark.parametrize(
        ("fields", "body"),
        [
            ({}, {"access_token": "a", "refresh_token": "r", "expires_in": 60}),
            ({}, {"accessToken": "a", "refreshToken": "r", "expiresIn": "60"}),
            ({"access_token": "data.access_token"}, {"data": {"access_token": "a", "refresh": "r", "expires_in": 60}}),
            (
                {"access_token": "data.jwt", "refresh_token": "renewal", "expires_in": "meta.0.ttl"},
                {"data": {"jwt": "a"}, "renewal": "r", "meta": [{"ttl": 60}]},
            ),
            (
                {"access_token": "token", "expires_in_ms": "session.expires_in_ms"},
                {"token": "a", "refresh_token": "r", "session": {"expires_in_ms": 60_000}},
            ),
            (
                {"access_token": "x.y.token", "expires_in_ms": "x.y.expires"},
                {"x.y": {"token": "a", "expires": "60000", "refresh": "r"}},
            ),
            (
                {"access_token": "d.jwt", "expires_in_ms": "ttl"},
                {"d": {"jwt": "a", "refresh": "r", "expires": "2031-01-01T00:00:00Z", "expiresIn": 5}, "ttl": 60_000},
            ),
            ({"access_token": "0.token"}, [{"token": "a", "refresh_token": "r", "expires_in": 60}]),
            ({"access_token": "d.token"}, {"d": {"token": "a"}, "refresh_token": "r", "expires_in": 60}),
        ],
    )  # fmt: skip
    def test_paths_and_units(self, fields: Mapping[str, str], body: object) -> None:
        token = read(body, fields=fields)
        assert (token.reveal(), token.reveal_refresh_token()) == ("a", "r")
        assert token.expires_at is not None
        assert 58 < token.expires_at - time.time() <= 60

    @pytest.mark.parametrize("seconds", [60, 60_000, 360_000, 900_000, 3_600_000])
    def test_milliseconds_that_are_named_are_milliseconds_once(self, seconds: int) -> None:
        """900,000 seconds are a round number of milliseconds, too."""
        for value in (seconds * 1000, str(seconds * 1000)):
            token = read({"access_token": "a", "ttl": value, "expires_in": 5}, fields={"expires_in_ms": "ttl"})
            assert token.expires_at is not None
            assert token.expires_at - time.time() == pytest.approx(seconds, abs=2.0)

    @pytest.mark.parametrize(
        ("fields", "body"),
        [
            ({"refresh_expires_in": "data.renewal.life"}, {"data": {"renewal": {"life": 60}}}),
            ({"refresh_expires_in_ms": "data.renewal.life"}, {"data": {"renewal": {"life": "60000"}}}),
            ({"refresh_expires_in_ms": "life"}, {"life": 60_000, "refresh_expires_in": 5}),
        ],
    )
    def test_the_refresh_token_s_own_end(self, fields: Mapping[str, str], body: dict[str, Any]) -> None:
        named = {"access_token": "a", "refresh_token": "r", **fields}
        token = read({"a": "a", "r": "r", **body}, fields=named)
        assert token.refresh_expires_at is not None
        assert token.refresh_expires_at - token.issued_at == pytest.approx(60)
        assert token.expires_at is None
        moment = {"refresh": {"until": 2_000_000_000}}
        token = read({"a": "a", **moment}, fields={"access_token": "a", "refresh_expires_at": "refresh.until"})
        assert token.refresh_expires_at == 2_000_000_000

    def test_a_number_is_a_token_where_its_place_is_named(self) -> None:
        token = read({"sid": 12345678901, "key": 7}, fields={"access_token": "sid", "refresh_token": "key"})
        assert (token.reveal(), token.reveal_refresh_token()) == ("12345678901", "7")
        for odd in (True, 1.5, ["a"]):
            assert failure(200, {"sid": odd}, fields={"access_token": "sid"}).verdict.kind is FailureKind.PROTOCOL

    def test_a_bare_text_is_a_token_where_that_is_said(self) -> None:
        for body in (b'"abcdef-0123456789"', b"abcdef-0123456789\n"):
            assert read(body, fields={"access_token": "."}).reveal() == "abcdef-0123456789"
        assert read(b'"abc"', fields={"access_token": "."}).reveal() == "abc"
        assert failure(200, b"abcdef-0123456789").verdict.kind is not FailureKind.DEAD
        for page in (b"<html>login</html>", b"please log in", b"{broken", b""):
            assert isinstance(failure(200, page, fields={"access_token": "."}), RefreshFailure)

    @pytest.mark.parametrize("body", [b"null", b" NULL ", b"OK", b"Unauthorized", b"true", b"[]"])
    def test_a_bare_text_that_says_nothing_is_no_token(self, body: bytes) -> None:
        renews: dict[str, Any] = {"headers": {"Authorization": "{access_token}"}, "fields": {"access_token": "."}}
        assert failure(200, body, **renews).verdict.kind is FailureKind.PROTOCOL

    def test_a_token_in_a_header_or_cookie(self) -> None:
        answer = {"authorization": "Bearer abc"}
        assert read({}, headers_of_the_answer=answer, fields={"access_token": "header:Authorization"}).reveal() == "abc"
        cookies = ("at=abc; Path=/", "rt=next")
        token = read(b"", cookies, 204, cookies={"rt": "{refresh_token}"}, fields={"access_token": "cookie:at"})
        assert (token.reveal(), token.reveal_refresh_token()) == ("abc", "next")

    def test_no_other_field_stands_in_for_one_that_was_named(self) -> None:
        assert failure(200, {"access_token": "other"}, fields={"access_token": "id_token"}).verdict.kind in (
            FailureKind.PROTOCOL,
            FailureKind.UNUSABLE,
        )

    @pytest.mark.parametrize(("cookies", "refresh"), [((), None), (("rt=two",), "two"), (("rt=; Max-Age=0",), None)])
    def test_a_rotated_cookie_is_the_next_refresh_token(self, cookies: tuple[str, ...], refresh: str | None) -> None:
        token = read({"access_token": "a"}, cookies, cookies={"rt": "{refresh_token}"})
        assert token.refresh_token == (None if refresh is None else Secret(refresh))  # None: the old one stays

    def test_a_redirect_that_sets_both_tokens_as_cookies_has_brought_them(self) -> None:
        """As an endpoint for browsers: it has traded the refresh token in, and no other one works any more."""
        places: dict[str, Any] = {"cookies": {"rt": "{refresh_token}"}, "fields": {"access_token": "cookie:at"}}
        page = {"headers_of_the_answer": {"location": "/home", "content_type": "text/html"}}
        token = read(b"<p>Found", ("at=new", "rt=next"), 302, **places, **page)
        assert (token.reveal(), token.reveal_refresh_token()) == ("new", "next")
        for came in (("rt=anonymous",), ("at=new",), ("at=new", "rt=; Max-Age=0"), ()):
            found = failure(302, b"<p>Found", came, **places, **page).verdict
            assert found.kind is (DEAD if "rt=; Max-Age=0" in came else REJECTED)
            assert found.kept is None
        other = {"cookies": {"at": "{access_token}"}, "fields": {"access_token": "cookie:at"}}
        assert failure(302, b"", ("at=anonymous",), **other).verdict.kind is REJECTED  # there is no refresh token

    def test_a_refresh_token_beside_an_unusable_access_token_is_kept(self) -> None:
        for body, cookies in (
            ({"access_token": "é", "refresh_token": "next"}, ()),
            ({"access_token": "é"}, ("rt=next",)),
        ):
            found = failure(200, body, cookies, cookies={"rt": "{refresh_token}"}).verdict
            assert (found.kind, found.kept) == (FailureKind.UNUSABLE, Secret("next"))

    def test_a_refresh_token_beside_an_access_token_of_null_is_kept_wherever_it_stands(self) -> None:
        places = {"access_token": "data.jwt", "refresh_token": "data.next"}
        for body, fields in (
            ({"access_token": None, "refresh_token": "next"}, {}),
            ({"data": {"jwt": None, "next": "next"}}, places),
            ({"data": {"jwt": None}, "next": "next"}, {**places, "refresh_token": "next"}),
        ):
            found = failure(200, body, fields=fields).verdict
            assert (found.kind, found.kept) == (FailureKind.UNUSABLE, Secret("next"))
        found = failure(200, {"data": {"next": "next"}}, fields=places).verdict  # it may be no token answer
        assert (found.kind, found.kept) == (FailureKind.PROTOCOL, None)

    def test_an_anonymous_cookie_without_a_token_replaces_nothing(self) -> None:
        found = failure(200, {"user": None}, ("sid=anonymous",), cookies={"sid": "{refresh_token}"}).verdict
        assert found.kept is None

    @pytest.mark.parametrize(
        ("body", "fields", "said"),
        [
            ({"jwt": "a", "user": {"id": 1}}, {}, "(it holds: jwt, user)"),
            ({"data": {"jwt": "a"}}, {"access_token": "data.token"}, "(it holds: data)"),
            ({REFRESH: "x", "data": None}, {}, "(it holds: data, …)"),
        ],
    )
    def test_an_answer_with_other_names_is_refused_with_them(
        self, body: object, fields: Mapping[str, str], said: str
    ) -> None:
        found = failure(200, body, fields=fields).verdict
        wanted = f"without a usable access token {said}; if the token is in it, name its place with fields="
        assert (found.kind, found.detail) == (FailureKind.PROTOCOL, f"the token endpoint answered 200 {wanted}")

    def test_logins_of_the_same_shape_are_taken_as_they_are(self) -> None:
        endpoint = JsonEndpoint(URL, fields={"access_token": "data.token", "expires_in_ms": "data.expires"}, send=Api())
        login = {"data": {"token": "a", "refresh_token": "r", "expires": 60_000}}
        for answer in (login, endpoint.answer_of(login), endpoint.answer_of(endpoint.answer_of(login))):
            with Credential("shape", endpoint, token=answer) as credential:
                token = credential.token()
                assert (token.reveal(), token.reveal_refresh_token()) == ("a", "r")
                assert token.expires_at is not None
                assert 58 < token.expires_at - time.time() <= 60
                assert credential.login({"data": {"token": "b"}}).reveal() == "b"
        with Credential("plain", endpoint, token={"access_token": "a", "refresh_token": "r"}) as credential:
            assert credential.token().reveal() == "a"

    @pytest.mark.parametrize(
        "beside",
        [{"obtained_at": 1_700_000_000}, {"createdAt": "2023-11-14T22:13:20Z"}, {"expires": 1_700_000_000_000}],
    )
    def test_a_login_of_long_ago_is_not_new_where_that_stands_around_the_answer(self, beside: dict[str, Any]) -> None:
        endpoint = JsonEndpoint(URL, fields={"access_token": "data.token"}, send=Api(body={"data": {"token": "new"}}))
        login = {"data": {"token": "a", "refresh_token": "r", "expires_in": 3600}, **beside}
        with Credential("old", endpoint, token=login) as credential:
            assert credential.token().reveal() == "new"


DEAD, DOUBTFUL, BUSY = FailureKind.DEAD, FailureKind.DOUBTFUL, FailureKind.UNAVAILABLE
REJECTED, TROUBLE = FailureKind.REQUEST_REJECTED, FailureKind.SERVER_ERROR


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "body", "settings", "kind"),
        [
            (401, {}, {}, DOUBTFUL),
            (403, {"code": "X"}, {}, REJECTED),
            (401, {"code": "token_expired"}, {}, DEAD),
            (401, {}, {"dead": 401}, DEAD),
            (403, {}, {"dead": [401, 403]}, DEAD),
            (403, {"code": "GONE"}, {"dead": "gone"}, DEAD),
            (403, {"errors": [{"extensions": {"code": "GONE"}}]}, {"dead": "GONE"}, DEAD),
            (200, {"ok": False, "error": {"code": 190}}, {"dead": "190"}, DEAD),
            (200, {"data": {"error_code": 10010}}, {"dead": {"data.error_code": [10010, 10020]}}, DEAD),
            (200, {"ok": False}, {"dead": {"ok": False}}, DEAD),
            (200, {"ok": 0}, {"dead": {"ok": False}}, FailureKind.PROTOCOL),
            (403, {"code": "OTHER"}, {"dead": {"status": 403, "code": "GONE"}}, REJECTED),
            (401, {"code": "GONE"}, {"dead": {"status": 403, "code": "GONE"}}, DOUBTFUL),
            (400, {"msg": "The token HAS expired."}, {"dead": {"msg": "*token has*"}}, DEAD),
            (400, {"msg": "brackets [a-z] and dots."}, {"dead": {"msg": "*[a-z]*dots."}}, DEAD),
            (302, b"", {"dead": {"status": 302, "header:location": "*/login*"}}, DEAD),
            (400, {"a": 1}, {"dead": lambda answer: b'"a"' in answer.body}, DEAD),
            (401, {}, {"doubtful": {"status": 401}, "dead": {"status": 403}}, DOUBTFUL),
            (403, {}, {"doubtful": 403}, DOUBTFUL),
            (400, {"code": "later"}, {"busy": "later"}, BUSY),
            (401, {}, {"busy": 401, "dead": 403}, BUSY),
            (500, {"code": "GONE"}, {"dead": "GONE"}, TROUBLE),  # a server in trouble proves nothing
            (429, {"code": "GONE"}, {"dead": {"code": "GONE"}}, BUSY),
            (503, {"code": "GONE"}, {"doubtful": "GONE"}, BUSY),
            (500, {"code": "GONE"}, {"dead": {"status": 500, "code": "GONE"}}, DEAD),  # unless it is said
            (400, b"not json", {"dead": {"a": "*"}}, DOUBTFUL),
            (400, {"a": None}, {"dead": {"a": "*"}}, DOUBTFUL),
            (400, {"a": ""}, {"dead": {"a": "*"}}, DEAD),
            (400, {"status": "BAD_REFRESH_TOKEN"}, {"profile": "hubspot"}, DEAD),
        ],
    )
    def test_rules(self, status: int, body: object, settings: dict[str, Any], kind: FailureKind) -> None:
        headers = {"location": "https://acme.com/login?next=/"} if status == 302 else {}
        assert failure(status, body, headers_of_the_answer=headers, **settings).verdict.kind is kind

    def test_a_rule_s_function_that_fails_says_nothing_and_is_named(self) -> None:
        found = failure(401, {}, dead=lambda answer: 1 / 0 > 1).verdict
        assert (found.kind, "the function in dead= raised ZeroDivisionError" in found.detail) == (DOUBTFUL, True)

    def test_rules_are_not_asked_about_answers_with_a_token(self) -> None:
        assert read({"access_token": "a", "code": "GONE"}, dead="GONE").reveal() == "a"

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(200, DEAD), (204, DEAD), (302, DEAD), (401, DEAD), (403, DEAD), (429, BUSY), (500, TROUBLE)],
    )
    def test_a_deleted_cookie(self, status: int, kind: FailureKind) -> None:
        gone = ("rt=; Max-Age=0", "other=1")
        assert failure(status, {}, gone, cookies={"rt": "{refresh_token}"}).verdict.kind is kind
        assert failure(401, {}, gone).verdict.kind is DOUBTFUL  # not where the token is
        assert failure(401, {}, gone, cookies={"rt": "{refresh_token}"}, doubtful=401).verdict.kind is DOUBTFUL

    def test_a_deleted_cookie_beside_half_an_answer_proves_nothing(self) -> None:
        """The next token may have been in the other half."""
        gone = ("rt=; Max-Age=0",)
        found = failure(200, b'{"access_token": "a", "refresh_tok', gone, cookies={"rt": "{refresh_token}"}).verdict
        assert found.kind is FailureKind.NO_ANSWER
        assert failure(401, b'{"mess', gone, cookies={"rt": "{refresh_token}"}).verdict.kind is DEAD

    def test_a_doubt_says_what_to_do(self) -> None:
        assert "say with dead= that this ends the session" in failure(401, {}).verdict.detail

    def test_a_dead_session_is_asked_once(self) -> None:
        api = Api(401, {"message": "no"})
        endpoint = JsonEndpoint(URL, dead=401, send=api)
        with Credential("dead", endpoint, token=Token(ACCESS, REFRESH, expires_at=time.time() - 1)) as credential:
            for _ in range(3):
                with pytest.raises(LoginRequired) as raised:
                    credential.token()
                assert raised.value.proven
        assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "http://api.acme.com/"}, "not https"),
        ({"method": "HEAD"}, "unknown method"),
        ({"method": "GET", "body": {"t": "{refresh_token}"}}, "a GET request has no body"),
        ({"method": "GET"}, "holds no token"),
        ({"body": {"a": "b"}}, "holds no token"),
        ({"body": None}, "holds no token"),
        ({"format": "xml"}, "unknown format"),
        ({"format": "form", "body": {"t": "{refresh_token}", "n": {"x": "y"}}}, r"body\['n'\] must be a text"),
        ({"format": "form", "body": ["{refresh_token}"]}, "for a form"),
        ({"body": {"t": "{refresh}"}}, "unknown gap {refresh}: the known ones are {access_token}, {refresh_token}"),
        ({"headers": {"Authorization": "Bearer {token}"}}, "unknown gap {token}"),
        ({"body": {"t": "{refresh_token}", "n": float("nan")}}, "must be a text"),
        ({"body": {"t": "{refresh_token}", "n": b"x"}}, "must be a text"),
        ({"body": {"t": "{refresh_token}", 1: "x"}}, "not a name"),
        ({"headers": {"Host": "x"}}, "sets itself"),
        ({"headers": {"Cookie": "x"}}, "use cookies="),
        ({"headers": {"X": "a\r\nb"}}, "no header may have"),
        ({"headers": {"X Y": "a"}}, "not allowed there"),
        ({"headers": {"X": "1", "x": "2"}}, "same name twice"),
        ({"headers": {"X": 1}}, "must be a text"),
        ({"headers": [("X", "1")]}, "must be a mapping"),
        ({"headers": {"X": ""}, "cookies": {"rt": Secret("")}}, "is empty"),
        ({"cookies": {"a;b": "x"}}, "not allowed there"),
        ({"query": {"": "x"}}, "not a name"),
        ({"fields": {"acess_token": "x"}}, "unknown field 'acess_token'"),
        ({"fields": {"access_token": ""}}, "is not a path"),
        ({"fields": {"access_token": "a..b"}}, "is not a path"),
        ({"fields": {"access_token": 1}}, "must be a path"),
        ({"fields": {"access_token": "cookie:"}}, "not the name of a cookie"),
        ({"fields": {"access_token": "claim:x"}}, "cannot be a claim"),
        ({"fields": {"expires_in": "a", "expires_in_ms": "b"}}, "both expires_in and expires_in_ms"),
        (
            {"fields": {"refresh_expires_in": "a", "refresh_expires_in_ms": "b"}},
            "both refresh_expires_in and refresh_expires_in_ms",
        ),
        ({"fields": ["access_token"]}, "must be a mapping"),
        ({"keep": {"refresh_token": "x"}}, "cannot stand in braces"),
        ({"keep": {"a-b": "x"}}, "cannot stand in braces"),
        ({"dead": True}, "dead must be"),
        ({"dead": []}, "dead is empty"),
        ({"dead": ""}, "not an error code"),
        ({"dead": 99}, "not an HTTP status"),
        ({"dead": 200}, "alone says nothing"),
        ({"dead": 503}, "the server is in trouble"),
        ({"doubtful": {"status": [401, 429]}}, "the server is in trouble"),
        ({"dead": {}}, "empty mapping"),
        ({"dead": {"status": 200}}, "of success alone"),
        ({"dead": {"code": None}}, "must be a text, a number"),
        ({"dead": {"code": []}}, "must be a text, a number"),
        ({"dead": {1: "x"}}, "must be a path"),
        ({"busy": 1.5}, "busy must be"),
        ({"timeout": 0}, "above 0"),
        ({"limit": True}, "whole number"),
        ({"profile": "nobody"}, "unknown profile"),
        ({"send": 3}, "send must be"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        JsonEndpoint(**{"url": URL, **settings})
    assert said.replace("\\", "") in str(raised.value)


class TestSecrets:
    def test_no_token_is_shown_anywhere(self) -> None:
        secrets = [ACCESS, REFRESH, "refresh%2Ftoken%2B0123456789", "key-of-the-app-0123", "csrf-value-0123"]

        def send(request: TokenRequest) -> TokenResponse:
            shown = f"{request!r} {request}"
            assert not [secret for secret in secrets if secret in shown]
            raise OSError(f"failed for {request.url} {request.headers} {request.body!r}")

        endpoint = JsonEndpoint(
            "https://api.acme.com/r/{refresh_token}?k=key-of-the-app-0123",
            query={"t": "{refresh_token}"},
            headers={"X-Api-Key": "key-of-the-app-0123", "X-CSRF": "{csrf}", "Authorization": "{access_token}"},
            cookies={"rt": "{access_token}"},
            keep={"csrf": "cookie:csrf"},
            send=send,
        )
        token = Token(ACCESS, REFRESH, extra={"csrf": "csrf-value-0123"})
        with pytest.raises(RefreshFailure) as raised:
            endpoint(token)
        assert not [secret for secret in secrets if secret in f"{endpoint!r} {endpoint.identity} {raised.value}"]
        assert raised.value.__context__ is None

    @pytest.mark.parametrize("how", ["unsendable", "missing", "refused", "function", "setting"])
    def test_no_traceback_with_locals_shows_a_token(self, how: str) -> None:
        secret, key = "access-token\x00-0123456789" if how == "unsendable" else ACCESS, "key-of-the-app-0123"

        def fails() -> str:
            raise KeyError("KEY")

        settings: dict[str, Any] = {
            "url": "https://api.acme.com/r/{refresh_token}",
            "query": {"t": "{access_token}"},
            "headers": {"X-Secret": key, "Authorization": "{access_token}"},
            "send": Api(401, {}),
        }
        if how == "missing":
            settings |= {"keep": {"csrf": "cookie:c"}, "cookies": {"c": "{csrf}"}}
        if how == "function":
            settings["cookies"] = {"k": fails}
        if how == "setting":
            settings["cookies"] = {"k": 1}
        with pytest.raises((RefreshFailure, ConfigurationError)) as raised:
            JsonEndpoint(**settings)(Token(secret, REFRESH))
        shown = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
        ours = [frame for frame in shown.stack if "/src/onerefresh/" in frame.filename]
        assert ours
        lines = [line for frame in ours for line in (frame.locals or {}).values()]
        assert not [text for text in (secret, REFRESH, key, "%2Ftoken%2B") for line in lines if text in line]

    def test_no_traceback_with_locals_shows_the_answer_to_a_login(self) -> None:
        cookies: Any = f"rt={REFRESH}"
        with pytest.raises(ConfigurationError, match=r"such as answer\.cookies, not str") as raised:
            JsonEndpoint(URL).answer_of({"access_token": ACCESS}, cookies=cookies)
        shown = "".join(locals_of_ours(raised.value))
        assert "self = JsonEndpoint(" in shown
        assert not [text for text in (ACCESS, REFRESH) if text in shown]

    def test_an_answer_that_repeats_the_secrets_is_not_quoted(self) -> None:
        body = {"error": "oops", "error_description": f"token {REFRESH} of key-0123456789 is bad"}
        found = failure(400, body, headers={"X-Key": Secret("key-0123456789")}).verdict
        assert "0123456789" not in found.detail
        assert "key-0123456789" not in repr(JsonEndpoint(URL, headers={"X-Key": Secret("key-0123456789")}).settings)

    def test_the_identity_is_stable_and_tells_clients_apart(self) -> None:
        one = JsonEndpoint(URL, body={"refresh_token": "{refresh_token}", "clientId": "app-1"})
        assert one.identity == f"endpoint {URL}, clientId app-1"
        assert JsonEndpoint(URL, headers={"X-Trace": "1"}).identity == JsonEndpoint(URL).identity == f"endpoint {URL}"
        assert JsonEndpoint(f"{URL}?k=1").identity != JsonEndpoint(f"{URL}?k=2").identity
        assert "k=1" not in JsonEndpoint(f"{URL}?k=1").identity

    def test_settings_tell_clients_apart(self) -> None:
        from onerefresh.credential.client import digest_of

        def digest(**settings: Any) -> str:
            return digest_of(JsonEndpoint(URL, **settings))

        key: Callable[[], str] = iter(["a", "b"]).__next__
        digests = [
            digest(),
            digest(headers={"X-Key": Secret("one")}),
            digest(headers={"X-Key": Secret("two")}),
            digest(body={"refresh_token": "{refresh_token}", "n": 1}),
            digest(body={"refresh_token": "{refresh_token}", "n": 2}),
            digest(fields={"access_token": "token"}),
            digest(dead=401),
            digest(dead={"code": 1}),
            digest(dead={"code": 2}),
            digest(headers={"X-Key": key}),
        ]
        assert len(set(digests)) == len(digests)
        assert digest() == digest()
