"""Where an API wants the token: the same for every client, with every rule about origins, replays and secrets."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import pytest
from multidict import CIMultiDict
from tests.clients.conftest import refresher
from tests.clients.drivers import FORMS, Driver, Options
from tests.clients.recorder import Recorder
from tests.repetition import pairwise

from onerefresh import ConfigurationError, Credential, Token
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow

EXTRA = {"account": "acme-7", "shop": {"id": 42}}
WAYS: dict[str, str | dict[str, str]] = {
    "another word": "Token {token}",
    "quoted": 'Snowflake Token="{token}"',
    "braces": "{{{token}}}",
    "bare": "{token}",
    "another header": {"X-Api-Key": "{token}"},
    "two headers": {"Authorization": "Bearer {token}", "X-Account": "{extra.account}"},
    "header and shop": {"X-Token": "{token}", "X-Shop": "shop {extra.shop.id}", "X-Version": "2"},
    "query": {"?access_token": "{token}"},
    "odd query": {"?auth[key]": "Bearer {token}&more=no"},
    "cookie": {"cookie:session": "{token}"},
    "quoted cookie": {"Cookie: session.id": '"{token}"'},
    "everywhere": {"Authorization": "OAuth {token}", "X-Key": "{token}", "?k": "{token}", "cookie:s": "{token}"},
}


def fits(form: type[Driver], attach: object) -> bool:
    """Whether this form of a client can keep the rules for tokens in these places."""
    if isinstance(attach, str):
        return True
    assert isinstance(attach, Mapping)
    names = [name for name in attach if not name.startswith(("?", "cookie:", "Cookie:"))]
    return form.any_place or (form.any_header and len(names) == len(attach))


PAIRS = [(name, way) for name, form in FORMS.items() for way, attach in WAYS.items() if fits(form, attach)]
MODES = ["", "&copy=yes"]
ANY_PLACE = [name for name, form in FORMS.items() if form.any_place]
IN_URL = {"?access_token": "{token}"}


class Api:
    """A server that wants the token in one way, and a client that sends it so."""

    def __init__(self, name: str, attach: Any, opened: ExitStack, **options: Any) -> None:
        self.server = opened.enter_context(AuthServer(attach=attach, extra=EXTRA))
        self.credential = Credential("acme", refresher(self.server), token=self.server.issue())
        self.first = self.credential.bearer()
        arguments = {"attach": attach, **options}
        self.driver = opened.enter_context(
            FORMS[name](self.credential, self.server.url, Options(arguments=arguments, pool=20))
        )

    def redirect(self, target: str, more: str = "") -> str:
        return f"{self.server.api_url}/redirect?to={quote(target, safe='')}{more}"


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize(("name", "way"), PAIRS)
def test_the_api_gets_the_token_as_it_wants_it_and_the_replay_has_one_value(
    name: str, way: str, opened: ExitStack
) -> None:
    api = Api(name, WAYS[way], opened)
    assert api.driver.get(api.server.api_url + "/a?b=c").json()["generation"] == 1
    api.server.revoke_access()
    answers = api.driver.together([f"{api.server.api_url}/{number}?b=c" for number in range(8)])
    assert [answer.json()["generation"] for answer in answers] == [2] * 8
    assert api.server.counters.token_requests == 1
    assert 400 not in api.server.counters.api, "two values in one place"
    assert api.driver.get(api.server.api_url + "/refused").status == 401


@pytest.mark.parametrize(("name", "way", "mode"), pairwise((*pair, mode) for pair in PAIRS for mode in MODES))
def test_a_redirect_keeps_the_token_in_the_origin_and_takes_it_nowhere_else(
    name: str, way: str, mode: str, opened: ExitStack
) -> None:
    """Also where the server copies the query of the call into the address, as many do to add a slash."""
    api = Api(name, WAYS[way], opened)
    api.server.revoke_access()
    here = api.driver.get(api.redirect(api.server.api_url + "/there?d=e", mode + "&f=g"))
    assert (here.status, here.json()["path"], here.json()["generation"]) == (200, "/api/there", 2)
    assert ("f=g" in here.json()["query"]) == bool(mode)
    assert api.driver.get(api.redirect(api.server.foreign.url + "/there?d=e", mode)).status == 200
    back = f"{api.server.foreign.url}/redirect?to={quote(api.server.api_url + '/back', safe='')}"
    assert api.driver.get(api.redirect(back, mode)).status == (200 if FORMS[name].per_hop else 401)
    assert api.server.foreign.authorizations == []
    assert api.server.counters.foreign == 2
    assert api.server.counters.token_requests == 1


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.any_header])
def test_a_second_header_stays_in_the_origin_too(
    name: str, credential: Credential, recorder: Recorder, other_recorder: Recorder
) -> None:
    attach = {"Authorization": "Bearer {token}", "X-Account": "acme-7"}
    recorder.moved_to = other_recorder.url + "/there"
    with FORMS[name](credential, recorder.url, Options(arguments={"attach": attach})) as driver:
        assert driver.get(f"{recorder.url}/redirect?to=/here").status == 200
        assert driver.get(f"{recorder.url}/moved").status == 200
    assert recorder.values("x-account") == ["acme-7"] * 3
    assert other_recorder.values("x-account") == other_recorder.values("authorization") == [None]


@pytest.mark.parametrize("name", ANY_PLACE)
def test_an_address_within_the_address_takes_no_token_along(
    name: str, credential: Credential, recorder: Recorder, other_recorder: Recorder
) -> None:
    hidden = quote(quote(f"/items?access_token={credential.bearer()}", safe=""), safe="")
    recorder.moved_to = f"{other_recorder.url}/login?next={hidden}&lang=en#{hidden}"
    with FORMS[name](credential, recorder.url, Options(arguments={"attach": IN_URL})) as driver:
        assert driver.get(f"{recorder.url}/moved").status == 200
    assert other_recorder.targets == ["/login?lang=en"]


@pytest.mark.parametrize("name", ANY_PLACE)
def test_what_is_no_secret_changes_no_address_of_another_origin(
    name: str, credential: Credential, recorder: Recorder, other_recorder: Recorder
) -> None:
    signed = "/2026/file?v=2&sig=a2b7"
    recorder.moved_to = other_recorder.url + signed
    attach = {"?key": "{token}", "?v": "2", "cookie:theme": "7"}
    with FORMS[name](credential, recorder.url, Options(arguments={"attach": attach})) as driver:
        assert driver.get(f"{recorder.url}/moved").status == 200
    assert other_recorder.targets == [signed]


@pytest.mark.parametrize("where", ["", "http://[bad", "http://a:b:c/", "//", "mailto:a@b.c"])
@pytest.mark.parametrize("name", ANY_PLACE)
def test_an_odd_address_is_the_affair_of_the_client(
    name: str, where: str, credential: Credential, recorder: Recorder, other_recorder: Recorder
) -> None:
    """It ends as it does with the token in the header alone, where nothing looks at addresses."""
    ends = []
    for api, attach in ((recorder, None), (other_recorder, IN_URL)):
        api.moved_to = where
        with FORMS[name](credential, api.url, Options(arguments={"attach": attach})) as driver:
            assert driver.get(f"{api.url}/made").status == 201
            try:
                ends.append(str(driver.get(f"{api.url}/moved").status))
            except Exception as error:  # noqa: BLE001 - each client has its own
                ends.append(type(error).__name__)
    assert ends[0] == ends[1]
    assert len(recorder.targets) == len(other_recorder.targets)


@pytest.mark.parametrize("name", ANY_PLACE)
def test_what_the_caller_sends_beside_the_token_stays_as_it_is(
    name: str, credential: Credential, recorder: Recorder
) -> None:
    attach = {"?key": "{token}", "cookie:session": "{token}"}
    first = credential.bearer()
    with FORMS[name](credential, recorder.url, Options(arguments={"attach": attach})) as driver:
        url = f"{recorder.url}/refuse-first?b=1&a=%C3%A9+x&b=2&keys=k"
        assert driver.get(url, headers={"Cookie": "theme=dark; id=7"}).status == 200
    second = credential.bearer()
    assert recorder.targets == [f"/refuse-first?b=1&a=%C3%A9+x&b=2&keys=k&key={token}" for token in (first, second)]
    for cookies, token in zip(recorder.values("cookie"), (first, second), strict=True):
        assert sorted(str(cookies).split("; ")) == ["id=7", f"session={token}", "theme=dark"]


@pytest.mark.parametrize("name", ANY_PLACE)
def test_cookies_in_several_headers_or_as_bytes_stay_with_the_token(
    name: str, credential: Credential, recorder: Recorder
) -> None:
    several: Any = [("Cookie", "a=b"), ("Cookie", "c=d; session=old")]
    headers = {"Cookie": b"a=b; c=d; session=old"} if "requests" in name else several
    headers = CIMultiDict(several) if name == "aiohttp" else headers
    attach = {"cookie:session": "{token}"}
    first = credential.bearer()
    with FORMS[name](credential, recorder.url, Options(arguments={"attach": attach})) as driver:
        assert driver.get(f"{recorder.url}/refuse-first", headers=headers).status == 200
    assert recorder.values("cookie") == [f"a=b; c=d; session={token}" for token in (first, credential.bearer())]


@pytest.mark.parametrize("name", ANY_PLACE)
def test_a_cookie_of_the_jar_gives_way_to_the_token(name: str, credential: Credential, recorder: Recorder) -> None:
    """An API that renews its cookie with each answer would else shut the token out from the second call on."""
    with FORMS[name](credential, recorder.url, Options(arguments={"attach": {"cookie:session": "{token}"}})) as driver:
        for _ in range(2):
            assert driver.get(f"{recorder.url}/set-cookie?is=session%3Dold").status == 200
    assert recorder.values("cookie") == [f"session={credential.bearer()}"] * 2


@pytest.mark.parametrize("name", ANY_PLACE)
def test_nothing_that_a_caller_gets_shows_a_token_in_a_query_or_cookie(name: str, opened: ExitStack) -> None:
    """Logs are searched after every test here, at the finest level."""
    attach = {"?access_token": "{token}", "cookie:session": "{token}"}
    api = Api(name, attach, opened)
    api.server.revoke_access()
    answer = api.driver.get(api.redirect(api.server.api_url + "/there", "&copy=yes"))
    assert answer.status == 200
    assert answer.url == api.server.api_url + "/there"
    history = api.credential.status().history
    assert "test-access-" not in repr([api.credential, api.driver, history])


@pytest.mark.parametrize("parameter", ["access_token", "auth[key]"])
@pytest.mark.parametrize("name", ANY_PLACE)
def test_no_log_shows_a_token_in_an_address_within_the_address(
    name: str, parameter: str, credential: Credential, recorder: Recorder
) -> None:
    """As an API redirects to its page for logging in, and names the place to come back to. Clients log what follows."""
    token = credential.bearer()
    addresses = [
        f"/login?next={quote(f'/items?{parameter}={token}', safe='')}",
        f"/login?next=/items?{parameter}={token}",
        f"/login?{quote(parameter, safe='').lower()}={token}&x=1",
    ]
    with FORMS[name](credential, recorder.url, Options(arguments={"attach": {f"?{parameter}": "{token}"}})) as driver:
        for recorder.moved_to in addresses:
            assert driver.get(f"{recorder.url}/moved").status == 200
    assert len(recorder.targets) == 2 * len(addresses)


@pytest.mark.parametrize("name", ANY_PLACE)
def test_a_call_that_cannot_connect_shows_no_token_of_a_query_or_cookie(
    name: str, opened: ExitStack, nobody: str
) -> None:
    attach = {"?access_token": "{token}", "cookie:session": "{token}", "X-Key": "{token}"}
    with AuthServer() as server:
        credential = Credential("acme", refresher(server), token=server.issue())
        driver = opened.enter_context(FORMS[name](credential, nobody, Options(arguments={"attach": attach})))
        with pytest.raises(driver.own_errors) as raised:
            driver.get(nobody + "/a?b=c")
    seen: list[BaseException | None] = [raised.value]
    for error in seen:
        if error is not None:
            told = traceback.TracebackException.from_exception(error, capture_locals=True, compact=False)
            shown = "".join(told.format()) + repr(error) + str(error) + repr(vars(error))
            shown += str(getattr(getattr(error, "request", None), "url", "")) if "requests" in name else ""
            assert "test-access-" not in shown
            seen += [other for other in (error.__cause__, error.__context__) if other not in seen]


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if not form.any_place])
def test_a_form_that_cannot_keep_the_rules_names_the_one_that_can(name: str, credential: Credential) -> None:
    for attach in (IN_URL, {"cookie:session": "{token}"}):
        with (
            pytest.raises(ConfigurationError, match=r"use Bearer(Transport|Adapter) for it"),
            FORMS[name](credential, "https://api.acme.com", Options(arguments={"attach": attach})),
        ):
            pass


def test_a_function_writes_what_no_template_can(form: type[Driver], credential: Credential, recorder: Recorder) -> None:
    asked: list[int] = []

    def reversed_and_long(token: Token) -> str:
        asked.append(token.generation)
        return f"Odd {token.reveal()[::-1]}"

    with form(credential, recorder.url, Options(arguments={"attach": reversed_and_long})) as driver:
        first = credential.bearer()
        assert driver.get(recorder.url + "/refuse-first").status == 200
        assert driver.get(recorder.url + "/a").status == 200
    second = credential.bearer()
    assert recorder.values("authorization") == [f"Odd {token[::-1]}" for token in (first, second, second)]
    assert asked == [1, 2], "once for each token"


@pytest.mark.parametrize("name", ANY_PLACE)
def test_functions_and_templates_go_together(name: str, credential: Credential, recorder: Recorder) -> None:
    attach = {"x-generation": lambda token: str(token.generation), "?t": lambda token: f"é&{token.generation}"}
    with FORMS[name](credential, recorder.url, Options(arguments={"attach": attach})) as driver:
        assert driver.get(recorder.url + "/refuse-first?t2=x").status == 200
    assert recorder.values("x-generation") == ["1", "2"]
    assert recorder.targets == ["/refuse-first?t2=x&t=%C3%A9%261", "/refuse-first?t2=x&t=%C3%A9%262"]


@pytest.mark.parametrize("name", [name for name in ANY_PLACE if FORMS[name].websockets])
def test_a_websocket_handshake_has_the_token_in_its_query(name: str, opened: ExitStack) -> None:
    api = Api(name, IN_URL, opened)
    address = api.server.api_url.replace("http://", "ws://") + "/websocket"
    assert api.driver.websocket(address, "first") == "first"
    api.server.revoke_access()
    assert api.driver.websocket(address, "second") == "second"
    assert api.server.counters.token_requests == 1
