"""The configuration file's endpoints: what their keys become, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onerefresh import ConfigurationError, Token, config
from onerefresh.endpoints import JsonEndpoint
from onerefresh.oauth2 import TokenEndpoint, TokenRequest, TokenResponse
from onerefresh.verdict import FailureKind, RefreshFailure

PATH = Path("/etc/onerefresh/onerefresh.toml")
JSON = 'json_endpoint = "https://acme.com/auth/refresh"\n'
OAUTH = 'token_endpoint = "https://acme.com/token"\nclient_id = "cli"\n'


def parsed(lines: str) -> config.Entry:
    return config.parse(f'store = "memory"\n[credentials.acme]\n{lines}', PATH).named("acme")


def problem_with(lines: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        parsed(lines).open()
    return str(raised.value)


def refresher_of(
    lines: str, status: int = 200, body: bytes = b'{"access_token": "new"}'
) -> tuple[Any, list[TokenRequest]]:
    """The refresher of a section, whose requests are answered in this way, and the requests."""
    requests: list[TokenRequest] = []

    def send(request: TokenRequest) -> TokenResponse:
        requests.append(request)
        return TokenResponse(status, {}, body)

    refresher = parsed(lines)._refresher()
    refresher._send = send  # type: ignore[attr-defined]
    return refresher, requests


def refusal(lines: str, status: int, body: bytes) -> FailureKind:
    refresher, _ = refresher_of(lines, status, body)
    with pytest.raises(RefreshFailure) as raised:
        refresher(Token("access-0123456789", "refresh-0123456789"))
    return raised.value.verdict.kind


class TestJson:
    def test_a_whole_section(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEY", "key-0123456789")
        refresher, requests = refresher_of(
            f"""{JSON}
            method = "PUT"
            format = "form"
            body = {{ token = "{{refresh_token}}", csrf = "{{csrf}}", secret = {{ env = "KEY" }} }}
            headers = {{ X-Key = {{ env = "KEY" }} }}
            cookies = {{ lang = "de" }}
            query = {{ v = "2" }}
            fields = {{ access_token = "data.token" }}
            keep = {{ csrf = "data.csrf" }}
            dead = [401, {{ status = 403, "error.code" = ["A", "B"] }}]
            busy = "LATER"
            """,
            body=b'{"data": {"token": "new", "csrf": "next"}}',
        )
        token = refresher(Token("access-0123456789", "refresh-0123456789", extra={"csrf": "csrf-0123456789"}))
        [request] = requests
        assert isinstance(refresher, JsonEndpoint)
        assert (request.method, request.target) == ("PUT", "/auth/refresh?v=2")
        assert request.body == b"token=refresh-0123456789&csrf=csrf-0123456789&secret=key-0123456789"
        assert (request.headers["X-Key"], request.headers["Cookie"]) == ("key-0123456789", "lang=de")
        assert token.reveal() == "new"

    def test_a_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEY", "key-0123456789")
        lines = f'{JSON}grant = "client_credentials"\nbody = {{ app_id = "cli", app_secret = {{ env = "KEY" }} }}\n'
        refresher, requests = refresher_of(lines)
        assert refresher.obtain is not None
        assert refresher.obtain().reveal() == "new"
        assert requests[0].body == b'{"app_id": "cli", "app_secret": "key-0123456789"}'

    @pytest.mark.parametrize(
        ("ready", "url"),
        [
            ("directus", "https://acme.com/auth/refresh"),
            ("pocketbase", "https://acme.com/api/collections/users/auth-refresh"),
            ("matrix", "https://acme.com/_matrix/client/v3/refresh"),
            ("simplejwt", "https://acme.com/api/token/refresh/"),
            ("flask-jwt-extended", "https://acme.com/refresh"),
            ("supabase", "https://acme.com/auth/v1/token"),
        ],
    )
    def test_ready_servers(self, ready: str, url: str) -> None:
        entry = parsed(f'json_endpoint = "https://acme.com"\nready = "{ready}"')
        with entry.open() as credential:
            assert credential.key == "acme"
        assert f"endpoint {url}" in repr(entry._refresher().identity)  # type: ignore[attr-defined]

    def test_flask_jwt_extended_with_cookies(self) -> None:
        lines = 'json_endpoint = "https://acme.com"\nready = "flask-jwt-extended"\ncookies = true'
        assert refusal(lines, 401, b'{"msg": "x"}') is FailureKind.CONFIGURATION  # the refresh token is no JWT

    def test_a_ready_server_keeps_its_profile_with_a_resend(self) -> None:
        lines = 'json_endpoint = "https://acme.com"\nready = "pocketbase"\nresend = 20'
        entry = parsed(lines)
        profile = entry._options(entry._refresher())["profile"]
        assert (profile.name, profile.rotates, profile.resend) == ("pocketbase", False, 20)

    def test_a_logout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEY", "key-0123456789")
        for lines, wanted in (
            (
                'logout = "https://acme.com/out"',
                ("POST", "https://acme.com/out", b'{"refresh_token": "refresh-012345"}'),
            ),
            (
                'logout = { method = "DELETE", body = false, headers = { X-A="{access_token}", X-K = { env="KEY" } } }',
                ("DELETE", "https://acme.com/auth/refresh", b""),
            ),
        ):
            refresher, requests = refresher_of(f"{JSON}{lines}")
            refresher._own_send = refresher._send
            refresher.revoke(Token("access-0123456789", "refresh-012345"))
            assert (requests[0].method, requests[0].url, requests[0].body) == wanted
        assert (requests[0].headers["X-A"], requests[0].headers["X-K"]) == ("access-0123456789", "key-0123456789")

    def test_no_body(self) -> None:
        refresher, requests = refresher_of(f'{JSON}body = false\nheaders = {{ X-T = "{{refresh_token}}" }}')
        refresher(Token("access-0123456789", "refresh-0123456789"))
        assert requests[0].body == b""

    @pytest.mark.parametrize(
        ("lines", "said"),
        [
            (f"{JSON}{OAUTH}", "exactly one of token_endpoint"),
            (f'{JSON}refresher = "a:b"', "exactly one of token_endpoint"),
            (f'{JSON}client_id = "cli"', ".client_id is only for a token_endpoint: leave it out where there is a json"),
            (f'{OAUTH}body = {{ a = "b" }}', ".body is only for a json_endpoint: leave it out where there is a token"),
            (f'{JSON}ready = "nobody"', ".ready: unknown server 'nobody': use one of directus"),
            (f"{JSON}ready = 1", ".ready must be a string"),
            (f"{JSON}method = 1", ".method must be a string"),
            (f'{JSON}method = "HEAD"', "unknown method 'HEAD'"),
            (f'{JSON}headers = "X: y"', ".headers must be a table"),
            (f"{JSON}cookies = true", ".cookies must be a table"),
            (f'{JSON}body = "x"', ".body must be a table"),
            (f'{JSON}headers = {{ X-Api-Key = "abc" }}', ".headers.X-Api-Key: a secret does not belong in this file"),
            (f'{JSON}headers = {{ Authorization = "Basic abc" }}', ".headers.Authorization: a secret does not belong"),
            (
                f'{JSON}body = {{ t = "{{refresh_token}}", a = {{ password = "x" }} }}',
                ".body.a.password: a secret does not",
            ),
            (f'{JSON}body = {{ t = "{{refresh_token}}", at = 2026-01-01 }}', ".body.at cannot be a date"),
            (f'{JSON}body = {{ t = "{{refresh}}" }}', "unknown gap {refresh}"),
            (f'{JSON}fields = {{ token = "x" }}', "unknown field 'token'"),
            (f"{JSON}headers = {{ v = 1 }}", ".headers.v must be a string in quotes, not a number"),
            (f"{JSON}logout = 1", ".logout must be a table"),
            (f'{JSON}logout = {{ headers = {{ X-Api-Key = "abc" }} }}', ".logout.headers.X-Api-Key: a secret does not"),
            (f'{JSON}logout = {{ fields = "x" }}', "logout has an unknown setting 'fields'"),
            (f'{JSON}logout = "http://acme.com/out"', "logout: the logout endpoint http://acme.com/out is not https"),
            (f"{JSON}dead = 503", "the server is in trouble"),
            (f'{JSON}profile = "nobody"', "unknown profile"),
            (f"{JSON}profile = 1", "profile must be a string"),
            ("json_endpoint = 1", ".json_endpoint must be a string"),
            ('json_endpoint = "http://acme.com/r"', "not https"),
            (
                'json_endpoint = "https://acme.com/r?v=1&api_key=s3cret"',
                "json_endpoint: the secret api_key in its query does not belong in this file; write query = { api_key",
            ),
        ],
    )
    def test_what_is_wrong_is_named(self, lines: str, said: str) -> None:
        found = problem_with(lines)
        assert f"{PATH}: credentials.acme" in found
        assert said in found
        assert "s3cret" not in found

    def test_a_gap_in_the_query_is_no_secret(self) -> None:
        parsed('json_endpoint = "https://acme.com/r?token={refresh_token}"\nbody = false').open().close()


class TestOAuth:
    def test_servers_that_differ(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEY", "s3cret+")
        refresher, requests = refresher_of(
            f"""{OAUTH}
            client_secret = {{ env = "KEY" }}
            client_auth = "client_secret_basic_plain"
            client_id_in_body = true
            renamed = {{ client_id = "client_key" }}
            answer = "data"
            """,
            body=b'{"data": {"access_token": "new"}}',
        )
        assert isinstance(refresher, TokenEndpoint)
        assert refresher(Token("access-0123456789", "refresh-0123456789")).reveal() == "new"
        assert requests[0].headers["Authorization"] == "Basic Y2xpOnMzY3JldCs="
        assert b"client_key=cli" in requests[0].body

    def test_rules_and_the_words_of_a_profile(self) -> None:
        gone = b'{"error": {"code": 190}}'
        assert refusal(OAUTH, 400, gone) is FailureKind.DOUBTFUL
        assert refusal(f'{OAUTH}dead = {{ "error.code" = 190 }}', 400, gone) is FailureKind.DEAD
        assert refusal(f'{OAUTH}busy = "190"', 400, gone) is FailureKind.UNAVAILABLE
        assert refusal(f'{OAUTH}profile = "zoho"', 200, b'{"error": "invalid_code"}') is FailureKind.DEAD

    @pytest.mark.parametrize(
        ("lines", "said"),
        [
            ("client_id_in_body = 1", ".client_id_in_body must be true or false"),
            ("client_id_in_body = true", "is for HTTP Basic"),
            ("renamed = 1", ".renamed must be a table"),
            ('renamed = { client = "x" }', "unknown field 'client'"),
            ("answer = 1", ".answer must be a string"),
            ('answer = "a..b"', "is not a path"),
            (
                'revocation_endpoint = "https://acme.com/r?access_token=s3cret"',
                "revocation_endpoint: the secret access_token in its query does not belong in this file; write a",
            ),
            ("dead = 1.5", "dead must be"),
            ("dead = [2026-01-01]", "dead must be"),
        ],
    )
    def test_what_is_wrong_is_named(self, lines: str, said: str) -> None:
        assert said in problem_with(f"{OAUTH}{lines}")
