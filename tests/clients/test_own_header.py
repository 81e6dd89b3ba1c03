"""A call with a header of its own, as many SDKs make it, never fails in silence; ``replace=True`` puts ours there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import quote

import pytest
from tests.clients.conftest import OpenDriver, refresher
from tests.clients.drivers import FORMS, Driver, Options
from tests.clients.recorder import Recorder

from onerefresh import ConfigurationError, Credential, LoginRequired
from onerefresh.announcing import announce
from onerefresh.events import Event, Kind, subscribe
from onerefresh.testing import AuthServer, fingerprint

pytestmark = pytest.mark.slow

DUMMY = "sk-dummy-key-of-an-sdk"
BEARER = {"Authorization": "Bearer {token}"}
THEIRS = {"headers": {"Authorization": f"Bearer {DUMMY}"}}
OTHER_HEADERS = [name for name, form in FORMS.items() if form.any_header]
ANY_PLACE = [name for name, form in FORMS.items() if form.any_place]
Told = Callable[[], list[Event]]


@pytest.fixture
def told() -> Iterator[Told]:
    """All events about calls without the token, up to now."""
    events: SimpleQueue[Event] = SimpleQueue()
    unsubscribe = subscribe(events.put)

    def told() -> list[Event]:
        announce(lambda: Event(Kind.STORE_UP, "the last one"))  # they are published in their order
        found: list[Event] = []
        while True:
            event = events.get(timeout=30)
            if event.credential == "the last one":
                return [one for one in found if one.kind is Kind.NOT_ATTACHED]
            found.append(event)

    yield told
    unsubscribe()


def test_the_first_call_with_a_header_of_its_own_is_a_warning_with_both_ways_out(
    driver: Driver, server: AuthServer, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [driver.get(f"{server.api_url}/private-path?q=1", **THEIRS).status for _ in range(20)]
    assert answers == [401] * 20
    assert server.counters.token_requests == 0
    (event,) = told()
    assert (event.kind, event.credential) == (Kind.NOT_ATTACHED, "acme")
    assert "Authorization" in event.detail
    assert "replace=True" in event.detail
    assert "do not set" in event.detail
    (line,) = [
        record for record in caplog.records if record.name == "onerefresh" and "not attached" in record.getMessage()
    ]
    assert line.levelno == logging.WARNING
    shown = f"{event!r} {line.getMessage()}"
    assert DUMMY not in shown
    assert "private-path" not in shown


def test_each_integration_object_tells_it_once(
    open_driver: OpenDriver, server: AuthServer, credential: Credential, told: Told
) -> None:
    for _ in range(2):
        driver = open_driver(credential)
        for _ in range(2):
            assert driver.get(server.api_url + "/a", **THEIRS).status == 401
    assert len(told()) == 2


def test_calls_at_once_tell_it_once(driver: Driver, server: AuthServer, told: Told) -> None:
    begun = [driver.soon("GET", f"{server.api_url}/{number}", **THEIRS) for number in range(20)]
    assert [one.result(30).status for one in begun] == [401] * 20
    assert len(told()) == 1


def test_a_call_elsewhere_and_one_without_such_a_header_tell_nothing(
    driver: Driver, server: AuthServer, told: Told
) -> None:
    assert driver.get(server.foreign.url + "/a", **THEIRS).status == 200
    assert driver.get(server.api_url + "/a").status == 200
    server.revoke_access()
    assert driver.get(server.api_url + "/a").status == 200
    assert told() == []


def test_replace_puts_the_token_in_the_place_of_theirs(
    open_driver: OpenDriver, server: AuthServer, credential: Credential, told: Told
) -> None:
    driver = open_driver(credential, arguments={"replace": True})
    assert driver.get(server.api_url + "/a", **THEIRS).json()["generation"] == 1
    server.revoke_access()
    begun = [driver.soon("GET", f"{server.api_url}/{number}", **THEIRS) for number in range(20)]
    assert [one.result(30).json()["generation"] for one in begun] == [2] * 20
    assert server.counters.token_requests == 1
    assert told() == []


def test_replace_touches_no_call_to_another_origin(
    open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    driver = open_driver(credential, arguments={"replace": True})
    assert driver.get(server.foreign.url + "/a", **THEIRS).status == 200
    assert server.foreign.authorizations == [fingerprint(DUMMY)]


def test_a_redirect_elsewhere_takes_neither_the_token_nor_theirs_along(
    open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    driver = open_driver(credential, arguments={"replace": True})
    away = f"{server.api_url}/redirect?to={quote(server.foreign.url + '/there', safe='')}"
    assert driver.get(away, **THEIRS).status == 200
    here = f"{server.api_url}/redirect?to=/api/there"
    server.revoke_access()
    assert driver.get(here, **THEIRS).json()["generation"] == 2
    assert server.foreign.authorizations == []
    assert server.counters.token_requests == 1


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("name", OTHER_HEADERS)
def test_it_holds_for_a_header_of_the_apis_own(
    name: str, replace: bool, credential: Credential, recorder: Recorder, told: Told
) -> None:
    arguments = {"header": "X-Api-Key", "scheme": "", "replace": replace}
    with FORMS[name](credential, recorder.url, Options(arguments=arguments)) as driver:
        assert driver.get(recorder.url + "/a", headers={"x-api-key": DUMMY, "authorization": "Basic abc"}).status == 200
    assert recorder.values("x-api-key") == [credential.bearer() if replace else DUMMY]
    assert recorder.values("authorization") == ["Basic abc"]
    assert len(told()) == int(not replace)


@pytest.mark.parametrize("own", [{"X-Account": "theirs"}, {}])
@pytest.mark.parametrize("name", OTHER_HEADERS)
def test_one_of_two_headers_is_enough_to_leave_both_alone(
    name: str, own: dict[str, str], credential: Credential, recorder: Recorder, told: Told
) -> None:
    attach = {"Authorization": "Bearer {token}", "X-Account": "7"}
    with FORMS[name](credential, recorder.url, Options(arguments={"attach": attach})) as driver:
        driver.get(recorder.url + "/a", headers=own)
    assert recorder.values("x-account") == ["theirs" if own else "7"]
    assert recorder.values("authorization") == [None if own else f"Bearer {credential.bearer()}"]
    assert len(told()) == len(own)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("name", ANY_PLACE)
def test_it_holds_for_a_parameter_of_the_query(
    name: str, replace: bool, credential: Credential, recorder: Recorder, told: Told
) -> None:
    arguments = {"attach": {"?api_key": "{token}"}, "replace": replace}
    with FORMS[name](credential, recorder.url, Options(arguments=arguments)) as driver:
        assert driver.get(recorder.url + "/a?x=1&api%5Fkey=theirs&y=2&api_key=again").status == 200
    ours = f"/a?x=1&y=2&api_key={credential.bearer()}"
    theirs = ("/a?x=1&api%5Fkey=theirs&y=2&api_key=again", "/a?x=1&api_key=theirs&y=2&api_key=again")
    assert recorder.targets == [ours] if replace else recorder.targets[0] in theirs
    assert ["?api_key" in event.detail for event in told()] == [True] * (not replace)


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_replace_is_true_or_false(open_driver: OpenDriver, credential: Credential, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="replace must be True or False"):
        open_driver(credential, arguments={"replace": wrong})


def test_netrc_that_takes_the_tokens_place_after_a_redirect_is_told_too(
    server: AuthServer, credential: Credential, told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(path))
    with FORMS["requests"](credential, server.url, Options(trust_env=True)) as driver:
        assert driver.get(server.api_url + "/a").status == 200
        assert told() == []
        assert driver.get(f"{server.api_url}/redirect?to=/api/there").status == 401
    (event,) = told()
    assert "use BearerAdapter, or a session whose trust_env is off" in event.detail
    assert "something" not in repr(event)


@pytest.mark.parametrize("attach", [{"X-Account": "7", **BEARER}, {**BEARER, "X-Account": "7"}], ids=["last", "first"])
def test_netrc_that_takes_one_of_two_places_spends_no_refresh(
    attach: dict[str, str], told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(path))
    with AuthServer(attach=attach) as server:
        acme = Credential("acme", refresher(server), token=server.issue())
        with FORMS["requests"](acme, server.url, Options(trust_env=True, arguments={"attach": attach})) as driver:
            assert driver.get(f"{server.api_url}/redirect?to=/api/there").status == 401
        assert server.counters.token_requests == 0
    (event,) = told()
    assert "a call brings its own Authorization" in event.detail


@pytest.mark.parametrize("attach", [{"X-Account": "7", **BEARER}, {**BEARER, "X-Account": "7"}], ids=["last", "first"])
def test_a_refusal_of_a_call_that_lost_one_of_two_places_spends_no_refresh(attach: dict[str, str]) -> None:
    """requests takes Authorization away, and nothing else, where a redirect leads to another port."""
    with AuthServer(attach=attach) as server, AuthServer(attach=attach) as other:
        acme = Credential("acme", refresher(server), token=server.issue())
        arguments = {"attach": attach}
        with FORMS["requests"](acme, [server.url, other.url], Options(arguments=arguments)) as driver:
            away = quote(other.api_url + "/there", safe="")
            assert driver.get(f"{server.api_url}/redirect?to={away}").status == 401
        assert server.counters.token_requests == 0


@pytest.mark.parametrize("attach", [{"X-Account": "7", **BEARER}, {**BEARER, "X-Account": "7"}], ids=["last", "first"])
def test_a_call_that_lost_one_of_two_places_follows_further_redirects(
    attach: dict[str, str], credential: Credential, recorder: Recorder, other_recorder: Recorder
) -> None:
    other_recorder.moved_to = "/there"
    arguments = {"attach": attach}
    with FORMS["requests"](credential, [recorder.url, other_recorder.url], Options(arguments=arguments)) as driver:
        assert driver.get(f"{recorder.url}/redirect?to={quote(other_recorder.url + '/moved', safe='')}").status == 200
    assert other_recorder.targets == ["/moved", "/there"]
    assert other_recorder.values("authorization") == [None, None]


def test_a_token_endpoint_of_the_same_origin_keeps_its_own_header(server: AuthServer, credential: Credential) -> None:
    """Why `replace` is not the default: a refresher may use the client that it serves."""
    for form in FORMS.values():
        with form(credential, server.url, Options()) as driver:
            basic = {"Authorization": "Basic Y2xpZW50OnNlY3JldA=="}
            body = {"data": {"grant_type": "client_credentials"}, "headers": basic}
            assert driver.call("POST", server.token_url, **body).status == 200


def test_a_session_whose_own_header_is_replaced_ends_as_any_other(open_driver: OpenDriver, server: AuthServer) -> None:

    credential = Credential("acme", refresher(server), token=server.issue())
    driver = open_driver(credential, arguments={"replace": True})
    server.revoke_family()
    with pytest.raises(LoginRequired):
        driver.get(server.api_url + "/a", **THEIRS)
