"""The token endpoint against a real authorization server, by both senders."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from onerefresh import Credential, LoginRequired, Profile, RefreshUnavailable, Secret, Token
from onerefresh.errors import ClientRejected, ConfigurationError, OnerefreshError, RefreshOutcomeUnknown
from onerefresh.oauth2 import TokenEndpoint, TokenRequest, TokenResponse
from onerefresh.testing import AuthServer
from onerefresh.token_response import parse_answer
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

Sender = Callable[[TokenRequest], TokenResponse]
SenderFor = Callable[[str], Sender]
SECRET = "client+secret of:the%test/ключ"


@pytest.fixture
def server() -> Any:
    with AuthServer(client_id="the:client+id", client_secret=SECRET) as server:
        yield server


@pytest.fixture
def endpoint_for(sender_for: SenderFor) -> Callable[..., TokenEndpoint]:
    def make(server: AuthServer, **settings: Any) -> TokenEndpoint:
        url = server.token_url
        given = {"client_id": server.client_id, "client_secret": server.client_secret, "send": sender_for(url)}
        return TokenEndpoint(url, **(given | settings))

    return make


EndpointFor = Callable[..., TokenEndpoint]


def first_token(server: AuthServer) -> Token:
    return parse_answer(server.issue(), at=0.0)


def stale(server: AuthServer) -> dict[str, Any]:
    """A first token response whose access token is over."""
    return {**server.issue(), "expires_in": None, "expires_at": 1.0}


def verdict_of(endpoint: TokenEndpoint, token: Token, *secrets: str) -> Verdict:
    """The verdict of a call that fails, after looking at every frame of it for the secrets."""
    with pytest.raises(RefreshFailure) as caught:
        endpoint(token)
    held = [token.reveal(), SECRET, *secrets]
    if token.refresh_token is not None:
        held.append(token.refresh_token.reveal())
    seen = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = "".join(str(frame.line) + str(frame.locals) for frame in seen.stack if "onerefresh" in frame.filename)
    assert "endpoint.py" in str(seen.stack)
    assert not [secret for secret in held if secret in shown + str(caught.value)]
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)
    return caught.value.verdict


@pytest.mark.parametrize("client_auth", ["client_secret_basic", "client_secret_post"])
def test_a_refresh_token_is_traded_for_the_next_token(
    client_auth: str, server: AuthServer, endpoint_for: EndpointFor
) -> None:
    endpoint = endpoint_for(server, client_auth=client_auth)
    second = endpoint(first_token(server))
    third = endpoint(second)
    assert third.reveal_refresh_token() != second.reveal_refresh_token()
    assert third.expires_at is not None
    assert third.expires_at > 3600
    assert (server.counters.token_requests, server.counters.refreshes) == (2, 2)


def test_a_public_client_names_itself(endpoint_for: EndpointFor) -> None:
    with AuthServer(client_id="public", client_secret=None) as server:
        assert endpoint_for(server)(first_token(server)).reveal()
        assert server.counters.refreshes == 1


def test_client_credentials_get_a_token_out_of_nothing(server: AuthServer, endpoint_for: EndpointFor) -> None:
    endpoint = endpoint_for(server, grant="client_credentials", scope="read")
    assert endpoint.obtain is not None
    token = endpoint.obtain()
    assert token.scope == "read"
    assert endpoint(token).reveal() != token.reveal()
    assert server.counters.client_credentials == 2


def test_with_refresh_tokens_there_is_nothing_to_obtain(server: AuthServer, endpoint_for: EndpointFor) -> None:
    assert endpoint_for(server).obtain is None


def test_a_token_without_refresh_token_sends_nothing(server: AuthServer, endpoint_for: EndpointFor) -> None:
    assert verdict_of(endpoint_for(server), Token("at-12345678")).kind is FailureKind.DEAD
    assert server.counters.token_requests == 0


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (
            {"status": 400, "body": {"error": "invalid_grant", "error_description": "too old"}},
            FailureKind.DEAD,
            "(too old)",
        ),
        ({"status": 400, "body": ""}, FailureKind.DOUBTFUL, "empty body"),
        ({"status": 200, "body": {"error": "invalid_grant"}}, FailureKind.DEAD, "answered 200 'invalid_grant'"),
        (
            {"status": 401, "body": {"error": "invalid_client"}},
            FailureKind.CLIENT_REJECTED,
            "client_auth (now 'client_se",
        ),
        ({"status": 401, "body": ""}, FailureKind.DOUBTFUL, "client_auth (now 'client_se"),
        ({"status": 400, "body": {"error": "invalid_scope"}}, FailureKind.REQUEST_REJECTED, "'invalid_scope'"),
        ({"status": 400, "body": {"error": "beyond_the_standard"}}, FailureKind.DOUBTFUL, "'beyond_the_standard'"),
        ({"status": 404, "body": "<html>"}, FailureKind.REQUEST_REJECTED, "check the token endpoint URL"),
        (
            {"status": 307, "body": "", "headers": {"Location": "/new?a=b"}},
            FailureKind.REQUEST_REJECTED,
            "points to /new;",
        ),
        ({"status": 500, "body": {}}, FailureKind.SERVER_ERROR, "answered 500"),
        ({"status": 502, "body": "<html>Bad gateway</html>"}, FailureKind.SERVER_ERROR, "answered 502"),
        ({"status": 403, "body": "<html>Blocked</html>"}, FailureKind.UNAVAILABLE, "an HTML page"),
        ({"status": 503, "body": {}}, FailureKind.UNAVAILABLE, "answered 503"),
        ({"status": 200, "body": {"tokens": "x"}}, FailureKind.PROTOCOL, "without a usable access token"),
        ({"status": 200, "body": "<html>Log in</html>"}, FailureKind.NO_ANSWER, "an HTML page"),
    ],
)
def test_a_failing_answer_has_its_verdict(
    fault: dict[str, Any], kind: FailureKind, said: str, server: AuthServer, endpoint_for: EndpointFor
) -> None:
    server.fail_next(**fault)
    verdict = verdict_of(endpoint_for(server), first_token(server))
    assert verdict.kind is kind
    assert said in verdict.detail
    assert server.counters.token_requests == 1


@pytest.mark.parametrize("value", ["2", "Fri, 31 Dec 1999 23:59:59 GMT"])
def test_retry_after_is_heeded(value: str, server: AuthServer, endpoint_for: EndpointFor) -> None:
    server.fail_next(status=429, headers={"Retry-After": value})
    verdict = verdict_of(endpoint_for(server), first_token(server))
    assert (verdict.kind, verdict.retry_after) == (FailureKind.UNAVAILABLE, 2.0 if value == "2" else 0.0)


def test_a_lost_answer_is_told_from_a_lost_session(server: AuthServer, endpoint_for: EndpointFor) -> None:
    server.lose_next_answer()
    assert verdict_of(endpoint_for(server), first_token(server)).kind is FailureKind.NO_ANSWER
    assert server.counters.token_requests == 1


def test_a_description_that_quotes_the_refresh_token_is_not_shown(
    server: AuthServer, endpoint_for: EndpointFor
) -> None:
    token = first_token(server)
    said = f"unknown token {token.reveal_refresh_token()[:20]}…"
    server.fail_next(status=400, body={"error": "invalid_grant", "error_description": said})
    assert verdict_of(endpoint_for(server), token).detail == "the token endpoint answered 400 'invalid_grant'"


def test_a_wrong_secret_is_the_clients_fault(server: AuthServer, endpoint_for: EndpointFor) -> None:
    endpoint = endpoint_for(server, client_secret="another-secret-of-the-test")
    verdict = verdict_of(endpoint, first_token(server), "another-secret-of-the-test")
    assert verdict.kind is FailureKind.CLIENT_REJECTED
    assert "check client_id, client_secret and client_auth (now 'client_secret_basic')" in verdict.detail
    assert server.session == "alive"


def test_no_second_way_of_client_authentication_is_tried(endpoint_for: EndpointFor) -> None:
    with AuthServer(client_auth="client_secret_post") as server:
        assert verdict_of(endpoint_for(server), first_token(server)).kind is FailureKind.CLIENT_REJECTED
        assert server.counters.token_requests == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 400, "body": {"error": "invalid_grant"}}, FailureKind.CLIENT_REJECTED),
        ({"status": 400, "body": ""}, FailureKind.CLIENT_REJECTED),
        ({"status": 500, "body": {}}, FailureKind.UNAVAILABLE),
        ({"status": None}, FailureKind.UNAVAILABLE),
    ],
)
def test_client_credentials_have_no_session_to_lose(
    fault: dict[str, Any], kind: FailureKind, server: AuthServer, endpoint_for: EndpointFor
) -> None:
    if fault["status"] is None:
        server.lose_next_answer()
    else:
        server.fail_next(**fault)
    assert verdict_of(endpoint_for(server, grant="client_credentials"), Token("at-12345678")).kind is kind


class TestSecretsFromFunctions:
    def test_the_function_is_called_before_the_request_and_again_for_the_next_renewal(
        self, server: AuthServer, endpoint_for: EndpointFor
    ) -> None:
        calls: list[int] = []

        def ask() -> str:
            calls.append(server.counters.token_requests)
            return SECRET

        endpoint = endpoint_for(server, client_secret=ask)
        assert calls == []
        endpoint.prepare()
        second = endpoint(first_token(server))
        endpoint.prepare()
        endpoint(second)
        assert calls == [0, 1]

    def test_it_is_called_by_the_first_request_where_nobody_prepared(
        self, server: AuthServer, endpoint_for: EndpointFor
    ) -> None:
        assert endpoint_for(server, client_secret=lambda: Secret(SECRET))(first_token(server)).reveal()

    def test_a_secret_that_was_refused_is_asked_for_again(self, server: AuthServer, endpoint_for: EndpointFor) -> None:
        secrets = iter(["an-old-secret", SECRET])
        endpoint = endpoint_for(server, client_secret=lambda: next(secrets))
        token = first_token(server)
        assert verdict_of(endpoint, token).kind is FailureKind.CLIENT_REJECTED
        assert endpoint(token).reveal()

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (KeyError("ACME_SECRET"), "raised KeyError: 'ACME_SECRET'; nothing was sent"),
            (FileNotFoundError(2, "No such file", "/run/x"), "FileNotFoundError: .* '/run/x'; nothing was sent"),
            (ValueError("vault says: hidden-12345678"), "raised ValueError; nothing was sent"),
        ],
    )
    def test_a_function_that_fails_is_a_configuration_error_and_sends_nothing(
        self, error: Exception, said: str, server: AuthServer, endpoint_for: EndpointFor
    ) -> None:
        def ask() -> str:
            raise error

        with pytest.raises(ConfigurationError, match=said) as caught:
            endpoint_for(server, client_secret=ask).prepare()
        assert "hidden" not in str(caught.value)
        assert caught.value.__context__ is None
        assert server.counters.token_requests == 0

    @pytest.mark.parametrize("secret", ["", "secret\n", None, b"secret"])
    def test_a_function_that_returns_no_secret_is_one_too(
        self, secret: Any, server: AuthServer, endpoint_for: EndpointFor
    ) -> None:
        with pytest.raises(ConfigurationError, match="what the client_secret function returned"):
            endpoint_for(server, client_secret=lambda: secret)(first_token(server))
        assert server.counters.token_requests == 0


class TestSendersOfOnesOwn:
    def endpoint(self, send: Any) -> TokenEndpoint:
        return TokenEndpoint("https://login.example/token", client_id="me", client_secret=SECRET, send=send)

    def test_the_request_goes_through_it(self) -> None:
        seen: list[TokenRequest] = []

        def send(request: TokenRequest) -> TokenResponse:
            seen.append(request)
            return TokenResponse(200, {}, b'{"access_token": "at-12345678", "refresh_token": "rt-2"}')

        assert self.endpoint(send)(Token("a", "rt-12345678")).reveal() == "at-12345678"
        assert seen[0].url == "https://login.example/token"
        assert b"refresh_token=rt-12345678" in seen[0].body
        assert seen[0].timeout == 10.0

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (ConnectionRefusedError("rt-12345678"), FailureKind.UNAVAILABLE),
            (TimeoutError("rt-12345678"), FailureKind.NO_ANSWER),
            (ValueError("rt-12345678"), FailureKind.REFRESHER),
            (RefreshFailure(Verdict(FailureKind.DEAD, "said so")), FailureKind.DEAD),
        ],
    )
    def test_its_exceptions_are_judged_and_go_no_further(self, error: Exception, kind: FailureKind) -> None:
        def send(request: TokenRequest) -> TokenResponse:
            raise error

        assert verdict_of(self.endpoint(send), Token("at-12345678", "rt-12345678")).kind is kind

    def test_a_configuration_error_of_it_comes_through(self) -> None:
        def send(request: TokenRequest) -> TokenResponse:
            raise ConfigurationError("no certificate")

        with pytest.raises(ConfigurationError, match="no certificate"):
            self.endpoint(send)(Token("a", "r"))

    def test_what_is_no_answer_is_the_senders_fault(self) -> None:
        verdict = verdict_of(self.endpoint(lambda request: None), Token("at-12345678", "rt-12345678"))
        assert verdict == Verdict(FailureKind.REFRESHER, "send returned NoneType, not a TokenResponse")

    def test_it_may_prepare(self) -> None:
        class Prepared:
            ready = False

            def prepare(self) -> None:
                self.ready = True

            def __call__(self, request: TokenRequest) -> TokenResponse:
                raise AssertionError

        send = Prepared()
        self.endpoint(send).prepare()
        assert send.ready

    def test_it_is_a_plain_function(self) -> None:
        async def send(request: TokenRequest) -> TokenResponse:
            raise AssertionError

        with pytest.raises(ConfigurationError, match="not async"):
            self.endpoint(send)
        with pytest.raises(ConfigurationError, match="a function from TokenRequest"):
            self.endpoint("curl")

    def test_client_credentials_without_a_secret_are_its_business(self) -> None:
        def send(request: TokenRequest) -> TokenResponse:
            assert request.body == b"grant_type=client_credentials&client_id=me"
            return TokenResponse(200, {}, b'{"access_token": "at-12345678"}')

        endpoint = TokenEndpoint("https://a.example/token", client_id="me", grant="client_credentials", send=send)
        assert endpoint.obtain is not None
        assert endpoint.obtain().reveal() == "at-12345678"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"client_id": ""}, "client_id is not usable"),
        ({"client_secret": ""}, "client_secret is empty"),
        ({"client_secret": "file-secret\n"}, "remove it"),
        ({"client_secret": 5}, "a str or a Secret, not int"),
        ({"client_auth": "none", "client_secret": "x"}, "takes no client_secret"),
        ({"client_auth": "client_secret_post"}, "needs a client_secret"),
        ({"grant": "password"}, "unknown grant 'password'"),
        ({"grant": "client_credentials"}, "needs a client_secret"),
        ({"scope": ["read"]}, "scope must be a string"),
        ({"extra": {"grant_type": "x"}}, "does not belong in extra"),
        ({"timeout": 0}, "above 0"),
        ({"timeout": float("inf")}, "above 0"),
        ({"timeout": True}, "number of seconds"),
        ({"timeout": "10"}, "number of seconds"),
        ({"url": "http://login.example/token"}, "not https"),
        ({"url": "https://login.example/token?client_secret=x"}, "does not belong in the token endpoint URL"),
    ],
)
def test_wrong_settings_are_refused_with_what_to_do(settings: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"url": "https://login.example/token", "client_id": "me"} | settings
    with pytest.raises(ConfigurationError, match=said):
        TokenEndpoint(**given)


def test_a_refused_setting_shows_no_secret_in_its_traceback() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TokenEndpoint("http://login.example/token", client_id="me", client_secret=str.join("", ["hidden", "-secret"]))
    seen = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "hidden-secret" not in "".join(seen.format())


def test_an_endpoint_shows_no_secret_and_is_not_pickled_with_one() -> None:
    endpoint = TokenEndpoint("https://login.example/token?key=hidden", client_id="me", client_secret="hidden")
    for text in (repr(endpoint), str(endpoint), f"{endpoint}", endpoint.identity):
        assert "hidden" not in text
    assert repr(endpoint).startswith("TokenEndpoint('https://login.example/token?…")
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(endpoint)


def test_the_identity_tells_whose_tokens_these_are() -> None:
    def identity(**settings: Any) -> str:
        return TokenEndpoint("https://login.acme.com/token", client_id="cli", **settings).identity

    assert identity() == "token endpoint https://login.acme.com/token, client cli"
    assert identity(scope="read", client_secret="x") == identity()
    client: dict[str, Any] = {"client_secret": "x", "grant": "client_credentials"}
    assert identity(**client) != identity()
    assert identity(**client, scope="read") != identity(**client, scope="write")
    assert identity(**client, extra={"audience": "a"}) != identity(**client, extra={"audience": "b"})


def test_importing_and_making_an_endpoint_loads_no_http_client() -> None:
    program = (
        "import sys; from onerefresh.oauth2 import TokenEndpoint;"
        "TokenEndpoint('https://a.example/token', client_id='me', client_secret='x');"
        "print(*{'httpx2', 'ssl', 'http.client', 'urllib.request'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


class TestAsARefresher:
    """Through a credential, as users have it."""

    def test_many_calls_make_one_token_request(self, server: AuthServer, endpoint_for: EndpointFor) -> None:
        with Credential("acme", endpoint_for(server), token=stale(server)) as acme:
            with ThreadPoolExecutor(20) as pool:
                tokens = {token.reveal() for token in pool.map(lambda _: acme.token(), range(100))}
        assert len(tokens) == 1
        assert (server.counters.token_requests, server.counters.reuse_detected) == (1, 0)

    def test_client_credentials_need_no_login(self, server: AuthServer, endpoint_for: EndpointFor) -> None:
        with Credential("machine", endpoint_for(server, grant="client_credentials")) as machine:
            assert machine.token().reveal() == machine.token().reveal()
        assert server.counters.client_credentials == 1

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ({"status": 400, "body": {"error": "invalid_grant"}}, LoginRequired),
            ({"status": 401, "body": {"error": "invalid_client"}}, ClientRejected),
            ({"status": 429, "headers": {"Retry-After": "600"}}, RefreshUnavailable),
        ],
    )
    def test_callers_are_told_who_must_act(
        self, fault: dict[str, Any], error: type[OnerefreshError], server: AuthServer, endpoint_for: EndpointFor
    ) -> None:
        server.fail_next(count=None, **fault)
        with Credential("acme", endpoint_for(server), token=stale(server)) as acme:
            for _ in range(3):
                with pytest.raises(error, match=r"credential 'acme': .*the token endpoint answered"):
                    acme.token()
        assert server.counters.token_requests == 1

    def test_a_lost_answer_is_asked_for_once_more(self, server: AuthServer, endpoint_for: EndpointFor) -> None:
        server.lose_next_answer()
        server.expect_reuse()
        profile = Profile("strict", resend=0)
        with Credential("acme", endpoint_for(server), token=stale(server), profile=profile) as acme:
            with pytest.raises((LoginRequired, RefreshOutcomeUnknown)):
                acme.token()
        assert server.counters.token_requests == 2

    def test_a_secret_that_cannot_be_had_spends_nothing(self, server: AuthServer, endpoint_for: EndpointFor) -> None:
        def ask() -> str:
            raise KeyError("ACME_SECRET")

        with Credential("acme", endpoint_for(server, client_secret=ask), token=stale(server)) as acme:
            with pytest.raises(ConfigurationError, match="ACME_SECRET"):
                acme.token()
        assert server.counters.token_requests == 0

    def test_a_debug_log_holds_no_token(
        self, server: AuthServer, endpoint_for: EndpointFor, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with Credential("acme", endpoint_for(server), token=stale(server)) as acme:
            assert acme.token().reveal()
        with Credential("other", endpoint_for(server), token=stale(server)) as other:
            server.fail_next(status=400, body={"error": "invalid_grant"})
            with pytest.raises(LoginRequired):
                other.token()
        assert "test-access-" not in caplog.text
        assert "test-refresh-" not in caplog.text
        assert "client+secret" not in caplog.text


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://login.example/token", "login.example:443"),
        ("https://LOGIN.example/other", "login.example:443"),
        ("https://login.example./token", "login.example:443"),
        ("https://login.example:8443/token", "login.example:8443"),
        ("http://[::1]:8080/token", "::1:8080"),
    ],
)
def test_an_endpoint_states_its_host(url: str, host: str) -> None:
    assert TokenEndpoint(url, client_id="cli").host == host
