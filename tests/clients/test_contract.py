"""What every client integration does, whatever its client."""

from __future__ import annotations

import time
import traceback
from contextlib import ExitStack
from typing import Any

import pytest
from tests.clients.conftest import OpenDriver, refresher
from tests.clients.drivers import FORMS, Driver, Options

from onerefresh import (
    ClientRejected,
    ConfigurationError,
    Credential,
    InteractionRequired,
    LoginRequired,
    OnerefreshError,
    RefresherFailed,
    RefreshProtocolError,
    Token,
    WaitTimeout,
)
from onerefresh.damping import Target
from onerefresh.testing import AuthServer, fingerprint

pytestmark = pytest.mark.slow

SOME = 30
"""Calls at once, where it is enough that they are many: that a hundred share one refresh has a test of its own."""


def presented(server: AuthServer) -> list[str | None]:
    return [entry.presented for entry in server.log if entry.kind == "api"]


def test_a_call_carries_the_token(driver: Driver, server: AuthServer, credential: Credential) -> None:
    answer = driver.get(server.api_url + "/a?b=c")
    assert (answer.status, answer.json()["generation"], answer.json()["query"]) == (200, 1, "b=c")
    assert presented(server) == [fingerprint(credential.token().reveal())]
    assert server.counters.token_requests == 0


def test_a_refused_call_goes_again_with_the_next_token(driver: Driver, server: AuthServer) -> None:
    server.revoke_access()
    answer = driver.get(server.api_url + "/a")
    assert (answer.status, answer.json()["generation"]) == (200, 2)
    assert server.counters.api == {200: 1, 401: 1}
    assert server.counters.token_requests == 1


@pytest.mark.parametrize("pool", [100, 1])
def test_100_refused_calls_share_one_refresh(
    open_driver: OpenDriver, server: AuthServer, credential: Credential, pool: int
) -> None:
    driver = open_driver(credential, pool=pool)
    assert driver.get(server.api_url + "/warm").status == 200
    server.revoke_access()
    answers = driver.together([f"{server.api_url}/{number}" for number in range(100)])
    assert [answer.status for answer in answers] == [200] * 100
    assert server.counters.token_requests == 1


def test_every_client_at_once_shares_one_refresh(server: AuthServer, credential: Credential) -> None:
    """Blocking clients in hundreds of threads, and async ones on nine event loops, of asyncio and of trio."""
    with ExitStack() as opened:
        drivers = [opened.enter_context(form(credential, server.url, Options(pool=10))) for form in FORMS.values()]
        server.revoke_access()
        begun = [driver.soon("GET", f"{server.api_url}/{number}") for number in range(10) for driver in drivers]
        assert [one.result(60).status for one in begun] == [200] * 10 * len(FORMS)
    assert server.counters.token_requests == 1


def test_refusals_that_come_after_the_refresh_start_no_other(driver: Driver, server: AuthServer) -> None:
    server.late_refusals(every=2)
    server.revoke_access()
    answers = driver.together([f"{server.api_url}/{number}" for number in range(SOME)])
    assert [answer.status for answer in answers] == [200] * SOME
    assert server.counters.token_requests == 1


def test_a_refresh_may_return_the_same_access_token_text(form: type[Driver]) -> None:
    with AuthServer(same_access_text=True) as server:
        credential = Credential("acme", refresher(server), token=server.issue())
        with form(credential, server.url, Options()) as driver:
            server.revoke_access()
            answers = driver.together([f"{server.api_url}/{number}" for number in range(SOME)])
        assert [answer.status for answer in answers] == [200] * SOME
        assert server.counters.token_requests == 1


def test_a_token_that_is_known_to_be_over_is_never_sent_and_the_next_one_is_proven(
    open_driver: OpenDriver, server: AuthServer
) -> None:
    over = {**server.issue(), "expires_at": time.time() - 60}
    over.pop("expires_in")
    credential = Credential("acme", refresher(server), token=over)
    driver = open_driver(credential)
    answers = driver.together([f"{server.api_url}/{number}" for number in range(SOME)])
    assert [answer.status for answer in answers] == [200] * SOME
    assert server.counters.api == {200: SOME}
    assert server.counters.token_requests == 1
    assert credential.unproven is None


def test_an_answer_of_another_kind_proves_a_token_and_a_refusal_does_not(
    open_driver: OpenDriver, server: AuthServer
) -> None:
    over = {**server.issue(), "expires_at": time.time() - 60}
    over.pop("expires_in")
    credential = Credential("acme", refresher(server), token=over)
    driver = open_driver(credential)
    assert driver.get(server.api_url + "/refused?challenge=use_dpop_nonce").status == 401
    assert credential.unproven is not None
    assert driver.get(server.api_url + "/status/404").status == 404
    assert credential.unproven is None


def test_an_api_that_always_refuses_causes_one_refresh(driver: Driver, server: AuthServer) -> None:
    answers = [driver.get(server.api_url + "/refused") for _ in range(10)]
    assert [answer.status for answer in answers] == [401] * 10
    assert [answer.json() for answer in answers] == [{"error": "invalid_token"}] * 10
    assert server.counters.token_requests == 1
    assert server.counters.api == {401: 11}, "one replay in all"


class Telling(Credential):
    """Notes what the integration tells of each replay."""

    told: list[tuple[int, bool]]

    def replayed(self, token: Token, *, accepted: bool, target: Target | None = None) -> None:
        self.told.append((token.generation, accepted))
        super().replayed(token, accepted=accepted, target=target)


def test_the_credential_is_told_how_the_api_took_each_replay(open_driver: OpenDriver, server: AuthServer) -> None:
    credential = Telling("acme", refresher(server), token=server.issue())
    credential.told = []
    driver = open_driver(credential)
    assert driver.get(server.api_url + "/a").status == 200
    server.revoke_access()
    assert driver.get(server.api_url + "/a").status == 200
    assert driver.get(server.api_url + "/a").status == 200
    assert driver.get(server.api_url + "/refused").status == 401
    assert driver.get(server.api_url + "/refused").status == 401
    assert credential.told == [(2, True), (3, False)]


@pytest.mark.parametrize("challenge", ["none", "bare", "invalid_token", "basic_and_bearer", "basic", "negotiate"])
def test_a_refusal_of_our_token_is_one_however_it_is_said(driver: Driver, server: AuthServer, challenge: str) -> None:
    server.refuse_with(challenge)
    server.revoke_access()
    assert driver.get(server.api_url + "/a").status == 200
    assert server.counters.token_requests == 1


@pytest.mark.parametrize(
    ("challenge", "status"),
    [
        ("use_dpop_nonce", 401),
        ("forbidden", 403),
        ("bad_request", 400),
        ("proxy", 407),
        ("ok_with_error", 200),
        ("login_page", 200),
    ],
)
def test_an_answer_that_is_not_about_our_token_passes_through(
    driver: Driver, server: AuthServer, challenge: str, status: int
) -> None:
    answer = driver.get(f"{server.api_url}/refused?challenge={challenge}")
    assert answer.status == status
    assert server.counters.token_requests == 0
    assert server.counters.api == {status: 1}
    assert answer.body


@pytest.mark.parametrize("challenge", ["insufficient_user_authentication", "insufficient_claims"])
def test_an_api_that_wants_more_of_the_person_raises_what_it_wants(
    open_driver: OpenDriver, server: AuthServer, credential: Credential, challenge: str
) -> None:
    driver = open_driver(credential, pool=1)
    with pytest.raises(InteractionRequired) as caught:
        driver.get(f"{server.api_url}/refused?challenge={challenge}")
    assert challenge in str(caught.value.challenge)
    assert (caught.value.credential, caught.value.generation) == ("acme", 1)
    assert server.counters.token_requests == 0
    assert driver.get(server.api_url + "/a").status == 200, "the connection is free again"


def test_an_api_may_want_more_of_the_person_after_the_replay(
    open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    driver = open_driver(credential, pool=1)
    server.hold("token")
    begun = driver.soon("GET", server.api_url + "/refused")
    server.wait_for("token")
    server.refuse_with("insufficient_claims")
    server.release("token")
    with pytest.raises(InteractionRequired):
        begun.result(30)
    assert server.counters.token_requests == 1
    assert driver.get(server.api_url + "/a").status == 200


def test_a_callers_own_header_wins(driver: Driver, server: AuthServer) -> None:
    own = {"authorization": "Bearer of-the-caller"}
    assert driver.get(server.api_url + "/a", headers=own).status == 401
    assert presented(server) == [fingerprint("of-the-caller")]
    assert server.counters.token_requests == 0


def test_an_api_may_refuse_with_a_status_of_its_own(
    open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    driver = open_driver(credential, arguments={"refused_statuses": {400}})
    server.refuse_with("bad_request")
    server.revoke_access()
    assert driver.get(server.api_url + "/a").status == 200
    assert driver.get(server.api_url + "/refused?challenge=invalid_token").status == 401
    assert server.counters.token_requests == 1


@pytest.mark.parametrize("size", [1_000_000, 3_000_000])
def test_a_long_refusal_frees_its_connection_too(
    open_driver: OpenDriver, server: AuthServer, credential: Credential, size: int
) -> None:
    driver = open_driver(credential, pool=1)
    server.revoke_access()
    answers = driver.together([f"{server.api_url}/{number}?bytes={size}" for number in range(8)])
    assert [answer.status for answer in answers] == [200] * 8
    assert driver.get(f"{server.api_url}/refused").status == 401
    returned = driver.get(f"{server.api_url}/refused?bytes={size}")
    assert returned.status == 401
    assert len(returned.body) == min(size, 1_048_576), "of a refusal 1 MiB is kept"
    assert driver.get(server.api_url + "/a").status == 200


FAILURES: list[tuple[dict[str, Any], type[OnerefreshError]]] = [
    ({"status": 400, "body": {"error": "invalid_grant"}}, LoginRequired),
    ({"status": 401, "body": {"error": "invalid_client"}}, ClientRejected),
    ({"status": 200, "body": {"nothing": "here"}}, RefreshProtocolError),
]


@pytest.mark.parametrize(("failure", "kind"), FAILURES, ids=[kind.__name__ for _, kind in FAILURES])
def test_a_refresh_that_fails_raises_unchanged_and_no_client_tries_again(
    open_driver: OpenDriver, server: AuthServer, failure: dict[str, Any], kind: type[OnerefreshError]
) -> None:
    credential = Credential("acme", refresher(server), token=server.issue())
    driver = open_driver(credential, pool=1)
    server.fail_next(None, **failure)
    server.revoke_access()
    with pytest.raises(OnerefreshError) as caught:
        driver.get(server.api_url + "/a")
    assert type(caught.value) is kind
    assert not isinstance(caught.value, driver.own_errors)
    assert caught.value.credential == "acme"
    assert server.counters.api == {401: 1}
    server.recover()
    credential.login(server.issue())
    assert driver.get(server.api_url + "/a").status == 200, "the connection is free again"


def test_an_error_of_the_refresher_raises_as_its_failure(open_driver: OpenDriver, server: AuthServer) -> None:
    def broken(token: object) -> dict[str, object]:
        raise ZeroDivisionError

    driver = open_driver(Credential("acme", broken, token=server.issue()), pool=1)
    server.revoke_access()
    with pytest.raises(RefresherFailed) as caught:
        driver.get(server.api_url + "/a")
    assert _is_among_causes(ZeroDivisionError, caught.value)
    assert server.counters.api == {401: 1}


def _is_among_causes(kind: type[BaseException], error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error is not None


def test_a_wait_that_is_too_long_raises_unchanged_and_the_refresh_goes_on(
    open_driver: OpenDriver, server: AuthServer
) -> None:
    credential = Credential("acme", refresher(server), token=server.issue(), max_wait=0.3)
    driver = open_driver(credential, pool=1)
    server.hold("token")
    server.revoke_access()
    with pytest.raises(WaitTimeout) as caught:
        driver.get(server.api_url + "/a")
    assert type(caught.value) is WaitTimeout
    assert server.counters.api == {401: 1}
    server.release("token")
    credential.token(max_wait=30)
    assert driver.get(server.api_url + "/a").json()["generation"] == 2
    assert server.counters.token_requests == 1


def test_no_traceback_shows_a_token_even_with_its_locals(driver: Driver, server: AuthServer) -> None:
    server.fail_next(None, status=400, body={"error": "invalid_grant"})
    server.revoke_access()
    with pytest.raises(LoginRequired) as caught:
        driver.get(server.api_url + "/a")
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "test-access-" not in shown
    assert "test-refresh-" not in shown


@pytest.mark.parametrize("path", ["stream", "events"])
def test_streamed_answers_come_through_whole(driver: Driver, server: AuthServer, path: str) -> None:
    form = "chunk {}\n" if path == "stream" else "data: {}\n\n"
    server.revoke_access()
    pieces = driver.stream(f"{server.api_url}/{path}?count=5")
    assert b"".join(pieces).decode() == "".join(form.format(number) for number in range(1, 6))
    assert server.counters.token_requests == 1


def test_a_refusal_that_is_returned_can_be_streamed(driver: Driver, server: AuthServer) -> None:
    assert b"".join(driver.stream(server.api_url + "/refused")) == b'{"error": "invalid_token"}'
    assert b"".join(driver.stream(server.api_url + "/refused")) == b'{"error": "invalid_token"}'
    assert server.counters.token_requests == 1


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.websockets])
def test_a_websocket_handshake_is_a_call_like_any_other(name: str, server: AuthServer, credential: Credential) -> None:
    address = server.api_url.replace("http://", "ws://") + "/websocket"
    with FORMS[name](credential, server.url, Options()) as driver:
        assert driver.websocket(address, "first") == "first"
        server.revoke_access()
        assert driver.websocket(address, "second") == "second"
    assert server.counters.token_requests == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"credential": "acme"}, "credential must be an onerefresh.Credential, not str"),
        ({"origins": []}, "origins is empty"),
        ({"origins": "api.acme.com"}, "with its scheme"),
        ({"origins": "https://api.acme.com/v1"}, "remove what follows"),
        ({"header": "not a name"}, "is not a valid header name"),
        ({"scheme": "not one word"}, "not an authentication scheme"),
        ({"refused_statuses": {200}}, "must be from 400 to 599"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(
    open_driver: OpenDriver, credential: Credential, arguments: dict[str, Any], says: str
) -> None:
    given: dict[str, Any] = {"credential": credential, "origins": "https://api.acme.com", **arguments}
    with pytest.raises(ConfigurationError, match=says):
        open_driver(given.pop("credential"), origins=given.pop("origins"), arguments=given)
