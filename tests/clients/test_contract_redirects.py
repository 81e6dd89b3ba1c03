"""Redirects and other origins: the token goes where it belongs, and a refusal from elsewhere is none of ours."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from tests.clients.conftest import OpenDriver
from tests.clients.drivers import FORMS, Driver, Options
from tests.clients.recorder import Recorder

from onerefresh import Credential, OnerefreshError
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow


def redirect(server: AuthServer, target: str, status: int = 307) -> str:
    return f"{server.api_url}/redirect?status={status}&to={quote(target, safe='')}"


def calls(server: AuthServer) -> list[tuple[str, str, str]]:
    return [(entry.method, entry.path, entry.outcome) for entry in server.log if entry.kind == "api"]


@pytest.mark.parametrize("status", [302, 307, 308])
@pytest.mark.parametrize("refused", [False, True])
def test_a_redirect_within_the_origin_keeps_the_token(
    driver: Driver, server: AuthServer, status: int, refused: bool
) -> None:
    if refused:
        server.revoke_access()
    answer = driver.get(redirect(server, server.api_url + "/there", status))
    assert (answer.status, answer.json()["path"]) == (200, "/api/there")
    assert answer.json()["generation"] == (2 if refused else 1)
    assert server.counters.token_requests == int(refused)
    assert server.counters.api.get(401, 0) == int(refused), "the next hop has the next token at once"


def test_a_redirect_by_a_relative_address_keeps_the_token(driver: Driver, server: AuthServer) -> None:
    server.revoke_access()
    assert driver.get(redirect(server, "/api/there")).json()["path"] == "/api/there"
    assert server.counters.token_requests == 1


def test_what_was_accepted_before_a_redirect_is_not_sent_again(driver: Driver, server: AuthServer) -> None:
    server.hold("api", every=2)
    begun = driver.soon("POST", redirect(server, server.api_url + "/there", 303), **driver.bodies["bytes"]())
    server.wait_for("api", 2)
    server.revoke_access()
    server.release("api")
    answer = begun.result(30)
    assert (answer.status, answer.json()["method"]) == (200, "GET")
    assert calls(server) == [
        ("POST", "/api/redirect", "accepted"),
        ("GET", "/api/there", "refused"),
        ("GET", "/api/there", "accepted"),
    ]


@pytest.mark.parametrize("path", ["/there", "/refused", "/refused?challenge=bare", "/refused?challenge=none"])
@pytest.mark.parametrize("refused", [False, True])
def test_a_redirect_to_another_origin_leaves_the_token_behind(
    driver: Driver, server: AuthServer, path: str, refused: bool
) -> None:
    if refused:
        server.revoke_access()
    answer = driver.get(redirect(server, server.foreign.url + path))
    assert answer.status == (200 if path == "/there" else 401)
    assert server.foreign.authorizations == []
    assert server.counters.foreign == 1
    assert server.counters.token_requests == int(refused)


def test_a_redirect_elsewhere_and_back_shows_the_token_to_nobody_else(
    form: type[Driver], driver: Driver, server: AuthServer
) -> None:
    back = f"{server.foreign.url}/redirect?to={quote(server.api_url + '/back', safe='')}"
    answer = driver.get(redirect(server, back))
    # An integration around the whole call cannot give the last hop its token again; its refusal is none of the token.
    assert answer.status == (200 if form.per_hop else 401)
    assert server.foreign.authorizations == []
    assert server.counters.token_requests == 0


@pytest.mark.parametrize("path", ["/there", "/refused"])
def test_a_call_to_another_origin_carries_nothing(driver: Driver, server: AuthServer, path: str) -> None:
    for _ in range(2):
        driver.get(server.foreign.url + path)
    assert server.foreign.authorizations == []
    assert server.counters.foreign == 2
    assert server.counters.token_requests == 0


def test_a_redirect_that_is_not_followed_is_an_answer(
    open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    driver = open_driver(credential, redirects=False)
    server.revoke_access()
    assert driver.get(redirect(server, server.foreign.url)).status == 307
    assert server.counters.foreign == 0
    assert server.counters.token_requests == 1


def test_several_origins_share_the_token_and_no_third_one_does(
    open_driver: OpenDriver, server: AuthServer, credential: Credential, recorder: Recorder
) -> None:
    driver = open_driver(credential, origins=[server.url, recorder.url])
    driver.get(recorder.url + "/a")
    assert recorder.values("authorization") == [f"Bearer {credential.bearer()}"]
    driver.get(server.foreign.url)
    assert server.foreign.authorizations == []


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.any_header])
@pytest.mark.parametrize("scheme", ["", None, "Token"])
def test_a_header_of_the_apis_own_stays_in_its_origin_too(
    name: str, scheme: str | None, credential: Credential, recorder: Recorder, other_recorder: Recorder
) -> None:
    written = f"{scheme} {credential.bearer()}" if scheme else credential.bearer()
    options = Options(arguments={"header": "X-Api-Key", "scheme": scheme})
    with FORMS[name](credential, recorder.url, options) as driver:
        assert driver.get(recorder.url + "/a").status == 200
        elsewhere = quote(other_recorder.url + "/b", safe="")
        assert driver.get(f"{recorder.url}/redirect?to={elsewhere}").status == 200
        assert driver.get(f"{recorder.url}/redirect?to=/c").status == 200
    assert recorder.values("x-api-key") == [written] * 4
    assert recorder.values("authorization") == [None] * 4
    assert other_recorder.values("x-api-key") == [None]
    assert not other_recorder.shows(credential.bearer())


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.any_header])
def test_a_refused_header_of_the_apis_own_is_replaced(name: str, credential: Credential, recorder: Recorder) -> None:
    first = credential.bearer()
    options = Options(arguments={"header": "X-Api-Key", "scheme": ""})
    with FORMS[name](credential, recorder.url, options) as driver:
        assert driver.get(f"{recorder.url}/refuse-until?text=nothing").status == 401
    second = credential.bearer()
    assert recorder.values("x-api-key") == [first, second]
    assert first != second


def test_a_hook_that_raises_for_a_status_sees_the_last_answer_only(
    form: type[Driver], open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    driver = open_driver(credential, raising_hook=True)
    server.revoke_access()
    if form.survives_raising_hooks:
        assert driver.get(server.api_url + "/a").status == 200
        assert server.counters.token_requests == 1
    else:
        # httpx runs its hooks below the auth flow, which then never learns of the refusal: hence the transport form.
        with pytest.raises(form.own_errors):
            driver.get(server.api_url + "/a")
        assert server.counters.token_requests == 0
    with pytest.raises(form.own_errors):
        driver.get(server.api_url + "/status/503")


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if "httpx" in name])
def test_where_httpx_allows_no_redirect_the_transport_form_replays_all_the_same(
    name: str, server: AuthServer, credential: Credential
) -> None:
    form = FORMS[name]
    server.revoke_access()
    with form(credential, server.url, Options(no_redirects_at_all=True, pool=1)) as driver:
        if form.survives_no_redirects:
            assert driver.get(server.api_url + "/a").status == 200
        else:
            with pytest.raises(form.own_errors, match="redirects"):
                driver.get(server.api_url + "/a")
        assert driver.get(server.api_url + "/b").json()["generation"] == 2, "the next call has the next token"
    assert server.counters.token_requests == 1


@pytest.fixture
def netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.usefixtures("netrc")
def test_netrc_gets_between_the_token_and_its_origin_only_where_the_client_lets_it(
    form: type[Driver], open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    driver = open_driver(credential, trust_env=True)
    first = driver.get(server.api_url + "/a").status
    redirected = driver.get(redirect(server, server.api_url + "/there")).status
    assert (first, redirected) == form.with_netrc
    assert server.counters.token_requests == 0, "a refusal of somebody's password is none of the token"


def test_an_error_of_ours_is_no_error_of_the_client(form: type[Driver]) -> None:
    assert not any(issubclass(OnerefreshError, kind) or issubclass(kind, OnerefreshError) for kind in form.own_errors)
