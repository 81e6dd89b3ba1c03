"""TokenEndpoint with servers that differ from RFC 6749: what it sends, reads and concludes."""

from __future__ import annotations

import base64
import json
import traceback
from typing import Any
from urllib.parse import parse_qsl, quote_plus

import pytest

from onerefresh import ConfigurationError, Token
from onerefresh.oauth2 import TokenEndpoint, TokenRequest, TokenResponse
from onerefresh.verdict import FailureKind, RefreshFailure

URL = "https://login.acme.com/token"
TOKEN = Token("access-0123456789", "refresh-0123456789")
ODD_ID, ODD_SECRET = "app id", "s3cret+/=%:"


class Server:
    def __init__(self, status: int = 200, body: object = None) -> None:
        self.answer = TokenResponse(status, {}, json.dumps({"access_token": "new"} if body is None else body).encode())
        self.requests: list[TokenRequest] = []

    def __call__(self, request: TokenRequest) -> TokenResponse:
        self.requests.append(request)
        return self.answer

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.requests[-1].body.decode()))

    @property
    def basic(self) -> str:
        return base64.b64decode(self.requests[-1].headers["Authorization"].removeprefix("Basic ")).decode()


def endpoint(server: Server, **settings: Any) -> TokenEndpoint:
    return TokenEndpoint(URL, **{"client_id": "cli", "client_secret": "s3cret", "send": server, **settings})


def failure(status: int, body: object, **settings: Any) -> Any:
    with pytest.raises(RefreshFailure) as raised:
        endpoint(Server(status, body), **settings)(TOKEN)
    return raised.value.verdict


class TestRequests:
    def test_the_client_id_in_the_body_beside_basic(self) -> None:
        server = Server()
        endpoint(server, client_id_in_body=True)(TOKEN)
        assert (server.basic, server.form["client_id"], "client_secret" in server.form) == ("cli:s3cret", "cli", False)
        endpoint(server)(TOKEN)
        assert "client_id" not in server.form

    def test_basic_with_and_without_form_encoding(self) -> None:
        server = Server()
        endpoint(server, client_id=ODD_ID, client_secret=ODD_SECRET)(TOKEN)
        assert server.basic == f"{quote_plus(ODD_ID)}:{quote_plus(ODD_SECRET)}"
        plain = {"client_id": ODD_ID, "client_secret": ODD_SECRET, "client_auth": "client_secret_basic_plain"}
        endpoint(server, **plain)(TOKEN)
        assert server.basic == f"{ODD_ID}:{ODD_SECRET}"
        endpoint(server, client_secret="pässword", client_auth="client_secret_basic_plain")(TOKEN)
        assert server.basic == "cli:pässword"

    @pytest.mark.parametrize("answer", [(401, {"error": "invalid_client"}), (401, {})])
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"client_secret": ODD_SECRET}, "try client_auth='client_secret_basic_plain'"),
            ({"client_id": ODD_ID}, "client_id has characters"),
            ({"client_secret": ODD_SECRET}, "client_secret has characters"),
            (
                {"client_secret": ODD_SECRET, "client_auth": "client_secret_basic_plain"},
                "wants form-encoded; try client_auth='client_secret_basic'",
            ),
        ],
    )
    def test_the_encoding_is_named_where_it_may_be_the_cause(
        self, answer: tuple[int, object], settings: dict[str, Any], said: str
    ) -> None:
        found = failure(*answer, **settings)
        assert said in found.detail
        assert ODD_SECRET not in found.detail

    @pytest.mark.parametrize("client_auth", ["client_secret_basic", "client_secret_post"])
    def test_the_encoding_is_not_named_where_it_changes_nothing(self, client_auth: str) -> None:
        secret = "s3cret" if client_auth == "client_secret_basic" else ODD_SECRET
        assert (
            "form-encoded"
            not in failure(401, {"error": "invalid_client"}, client_secret=secret, client_auth=client_auth).detail
        )

    def test_renamed_parameters(self) -> None:
        server = Server()
        renamed = {"client_id": "client_key", "refresh_token": "token", "scope": "permissions"}
        settings = {"client_auth": "client_secret_post", "scope": "a", "renamed": renamed, "extra": {"x": "y"}}
        endpoint(server, **settings)(TOKEN)
        assert server.form == {
            "grant_type": "refresh_token",
            "token": "refresh-0123456789",
            "permissions": "a",
            "client_key": "cli",
            "client_secret": "s3cret",
            "x": "y",
        }

    def test_a_revocation_renames_the_client_s_fields(self) -> None:
        server = Server()
        revoking = endpoint(
            server,
            client_auth="client_secret_post",
            renamed={"client_id": "client_key", "refresh_token": "rt"},
            revocation_url="https://login.acme.com/revoke",
        )
        assert revoking.revoke is not None
        revoking.revoke(TOKEN)
        assert server.form["client_key"] == "cli"
        assert server.form["token"] == "refresh-0123456789"


class TestAnswers:
    def test_a_nested_answer(self) -> None:
        server = Server(body={"ok": True, "data": {"access_token": "a", "refresh_token": "r", "expires_in": "60"}})
        token = endpoint(server, answer="data")(TOKEN)
        assert (token.reveal(), token.reveal_refresh_token(), "ok" in token.extra) == ("a", "r", False)

    def test_a_token_elsewhere_is_not_taken_for_the_nested_one(self) -> None:
        body = {"access_token": "of the bot", "authed_user": {"id": "U1"}}
        assert failure(200, body, answer="authed_user").kind is FailureKind.PROTOCOL
        assert failure(200, {"access_token": "x"}, answer="authed_user").kind is FailureKind.PROTOCOL

    def test_an_error_beside_the_place(self) -> None:
        assert failure(400, {"error": "invalid_grant"}, answer="data").kind is FailureKind.DEAD


DEAD, DOUBTFUL, BUSY = FailureKind.DEAD, FailureKind.DOUBTFUL, FailureKind.UNAVAILABLE
REJECTED = FailureKind.REQUEST_REJECTED
COGNITO = "NotAuthorizedException"


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "body", "settings", "kind"),
        [
            (400, {"error": "grant_gone"}, {}, DOUBTFUL),
            (400, {"error": "grant_gone"}, {"dead": "grant_gone"}, DEAD),
            (400, {"error": "invalid_request", "reason": "gone"}, {"dead": {"reason": "gone"}}, DEAD),
            (400, {"error": "invalid_grant"}, {"busy": "invalid_grant"}, BUSY),
            (400, {"error": "invalid_grant"}, {"doubtful": "invalid_grant"}, DOUBTFUL),
            (200, {"ok": False, "error": "gone"}, {"dead": {"ok": False, "error": ["gone", "revoked"]}}, DEAD),
            (400, {"errors": [{"errorType": "invalid_grant", "message": "…"}]}, {"profile": "fitbit"}, DEAD),
            (400, {"errors": [{"errorType": "invalid_client"}]}, {"profile": "fitbit"}, DOUBTFUL),
            (400, {"status": "BAD_REFRESH_TOKEN", "message": "missing or unknown"}, {"profile": "hubspot"}, DEAD),
            (400, {"status": "BAD_CLIENT_ID"}, {"profile": "hubspot"}, DOUBTFUL),
            (
                400,
                {"errors": [{"resource": "RefreshToken", "field": "refresh_token", "code": "invalid"}]},
                {"profile": "strava"},
                DEAD,
            ),
            (
                400,
                {"errors": [{"resource": "Application", "field": "client_id", "code": "invalid"}]},
                {"profile": "strava"},
                DOUBTFUL,
            ),
            (400, {"status": 400, "message": "Invalid refresh token"}, {"profile": "twitch"}, DEAD),
            (403, {"status": 403, "message": "invalid client secret"}, {"profile": "twitch"}, REJECTED),
            (200, {"error": "invalid_code"}, {"profile": "zoho"}, DEAD),
            (
                400,
                {"error": "Access Denied", "error_description": "You have made too many requests continuously. …"},
                {"profile": "zoho"},
                BUSY,
            ),
            (400, {"reason": "Invalid Token!", "error": "invalid_request"}, {"profile": "zoom"}, DEAD),
            (400, {"__type": COGNITO, "message": "Refresh Token has been revoked"}, {"profile": "cognito"}, DEAD),
            (400, {"__type": COGNITO, "message": "Refresh Token has expired"}, {"profile": "cognito"}, DEAD),
            (400, {"__type": COGNITO, "message": "Unable to verify secret hash"}, {"profile": "cognito"}, DOUBTFUL),
            # Cognito says this, too, where the client ID is another one or the device key is missing.
            (400, {"__type": COGNITO, "message": "Invalid Refresh Token"}, {"profile": "cognito"}, DOUBTFUL),
            (400, {"__type": "TooManyRequestsException", "message": "…"}, {"profile": "cognito"}, BUSY),
            (200, {"status": False, "message": "expired"}, {"dead": {"status": False, "message": "expired"}}, DEAD),
            # A profile's words count only for its provider, and the user's rules come first.
            (200, {"error": "invalid_code"}, {}, FailureKind.PROTOCOL),
            (200, {"error": "invalid_code"}, {"profile": "zoho", "doubtful": "invalid_code"}, DOUBTFUL),
        ],
    )  # fmt: skip
    def test_rules_and_profiles(self, status: int, body: object, settings: dict[str, Any], kind: FailureKind) -> None:
        assert failure(status, body, **settings).kind is kind


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"client_id_in_body": 1}, "must be True or False"),
        ({"client_id_in_body": True, "client_auth": "client_secret_post"}, "is for HTTP Basic"),
        ({"client_id_in_body": True, "client_secret": None}, "is for HTTP Basic"),
        ({"client_auth": "client_secret_basic_plain", "client_id": "a:b"}, "cannot send a client_id with a colon"),
        ({"client_auth": "client_secret_basic_plain", "client_secret": None}, "needs a client_secret"),
        ({"renamed": {"client": "x"}}, "unknown field 'client'"),
        ({"renamed": {"client_id": ""}}, "must be a field name"),
        ({"renamed": {"client_id": 1}}, "must be a field name"),
        ({"renamed": {"client_id": "client_secret"}}, "the same name"),
        ({"renamed": [("client_id", "x")]}, "must be a mapping"),
        ({"renamed": {"client_id": "key"}, "extra": {"key": "x"}}, "according to renamed="),
        ({"answer": ""}, "answer is not a path"),
        ({"answer": 1}, "answer must be a path"),
        ({"dead": 500}, "the server is in trouble"),
        ({"dead": 20026}, "20026 is not an HTTP status: for an error code of the answer write it in quotes, '20026'"),
        ({"busy": [{"status": 1}]}, "1 is not an HTTP status: for a field of the answer write it in quotes, '1'"),
        ({"dead": {"error": True, "x": 1.5}}, "must be a text"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        endpoint(Server(), **settings)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": 1},
        {"grant": "bad"},
        {"timeout": -1},
        {"scope": 1},
        {"extra": {"api_key": "hidden-0123456789", "a": 1}},
        {"extra": {"api_key": "hidden-0123456789", "refresh_token": "x"}},
    ],
)
def test_no_traceback_with_locals_shows_a_secret_in_extra(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        TokenEndpoint(
            **{"url": "https://acme.com", "client_id": "c", "extra": {"api_key": "hidden-0123456789"}} | wrong
        )
    frames = traceback.TracebackException.from_exception(raised.value, capture_locals=True).stack
    ours = [frame for frame in frames if "onerefresh" in frame.filename and "tests" not in frame.filename]
    assert ours
    assert not [frame for frame in ours if "hidden-0123456789" in str(frame.locals)]


def test_an_answer_with_other_names_is_refused_with_them() -> None:
    for settings in ({}, {"answer": "result"}):
        found = failure(200, {"data": {"access_token": "a"}, "s": True}, **settings)
        said = "without a usable access token (it holds: data, …); if the token is in it, name its place with answer="
        assert (found.kind, found.detail) == (FailureKind.PROTOCOL, f"the token endpoint answered 200 {said}")


def test_settings_tell_clients_apart() -> None:
    from onerefresh.credential.client import digest_of

    server = Server()
    several = [
        endpoint(server),
        endpoint(server, client_id_in_body=True),
        endpoint(server, renamed={"client_id": "key"}),
        endpoint(server, answer="data"),
        endpoint(server, dead="x"),
        endpoint(server, dead={"x": 1}),
        endpoint(server, dead={"x": 2}),
    ]
    assert len({digest_of(one) for one in several}) == len(several)
