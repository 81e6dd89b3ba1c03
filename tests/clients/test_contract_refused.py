"""Refusals of the user's own, in every client: what a rule says decides, and it costs nobody a refresh or an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from tests.clients.conftest import OpenDriver, refresher
from tests.clients.drivers import FORMS, Driver, Options
from tests.clients.scripted import Scripted, answer, head
from tests.repetition import pairwise

from onerefresh import ConfigurationError, Credential, InteractionRequired, Token
from onerefresh.clients.refused import (
    ApiAnswer,
    RefusedWhen,
    graphql,
    json_code,
    login_page,
    slack,
)
from onerefresh.damping import Target
from onerefresh.events import Event, Kind, subscribe
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow

EXPIRED = json_code(403, "TOKEN_EXPIRED")
SHAPES: dict[str, tuple[Any, int]] = {
    "code_in_403": (EXPIRED, 403),
    "code_in_400": (json_code(400, 190, at="error.code"), 400),
    "slack": ("slack", 200),
    "graphql": ("graphql", 200),
    "login_redirect": ("login_page", 302),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refusal_of_that_shape_goes_again_with_the_next_token(
    open_driver: OpenDriver, server: AuthServer, credential: Credential, name: str, method: str
) -> None:
    driver = open_driver(credential, pool=1, arguments={"refused": SHAPES[name][0]})
    server.refuse_with(name)
    server.revoke_access()
    arguments = driver.bodies["bytes"]() if method == "POST" else {}
    answered = driver.call(method, server.api_url + "/a", **arguments)
    assert answered.status == 200
    assert (answered.json()["method"], answered.json()["generation"]) == (method, 2)
    assert server.counters.token_requests == 1
    assert driver.get(server.api_url + "/b").json()["generation"] == 2, "the connection is free again"


@pytest.mark.parametrize("name", SHAPES)
def test_without_a_rule_it_is_an_answer(
    open_driver: OpenDriver, server: AuthServer, credential: Credential, name: str
) -> None:
    driver = open_driver(credential, redirects=False)
    assert driver.get(f"{server.api_url}/refused?challenge={name}").status == SHAPES[name][1]
    assert server.counters.token_requests == 0


@pytest.mark.parametrize("name", SHAPES)
def test_an_api_that_always_answers_so_causes_one_refresh(
    open_driver: OpenDriver, server: AuthServer, credential: Credential, name: str
) -> None:
    driver = open_driver(credential, redirects=False, arguments={"refused": SHAPES[name][0]})
    address = f"{server.api_url}/refused?challenge={name}"
    assert [driver.get(address).status for _ in range(5)] == [SHAPES[name][1]] * 5
    assert server.counters.token_requests == 1


@pytest.mark.parametrize("statuses", [{401}, {401, 403}])
def test_a_call_that_is_forbidden_spends_no_refresh_and_a_true_expiry_after_it_gets_one(
    open_driver: OpenDriver, server: AuthServer, credential: Credential, statuses: set[int]
) -> None:
    driver = open_driver(credential, arguments={"refused": EXPIRED, "refused_statuses": statuses})
    forbidden = f"{server.api_url}/refused?challenge=other_403"
    for _ in range(3):
        found = driver.get(forbidden)
        assert (found.status, found.json()) == (403, {"code": "FORBIDDEN"})
    assert server.counters.token_requests == 0
    server.refuse_with("code_in_403")
    server.revoke_access()
    assert driver.get(server.api_url + "/a").status == 200
    assert server.counters.token_requests == 1


def test_a_refusal_as_usual_is_one_beside_the_rule_too(
    open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    driver = open_driver(credential, arguments={"refused": [EXPIRED, "slack", "graphql", "login_page"]})
    server.revoke_access()
    assert driver.get(server.api_url + "/a").status == 200
    with pytest.raises(InteractionRequired):
        driver.get(f"{server.api_url}/refused?challenge=insufficient_claims")
    assert server.counters.token_requests == 1


def test_a_rule_may_say_that_a_401_is_no_refusal(
    open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    driver = open_driver(credential, arguments={"refused": lambda found: False if found.status == 401 else None})
    assert driver.get(server.api_url + "/refused").status == 401
    assert server.counters.token_requests == 0


@pytest.mark.parametrize("name", ["slack", "graphql", "login_redirect", "code_in_403"])
def test_parallel_calls_share_one_refresh(
    open_driver: OpenDriver, server: AuthServer, credential: Credential, name: str
) -> None:
    driver = open_driver(credential, arguments={"refused": SHAPES[name][0]})
    server.refuse_with(name)
    server.revoke_access()
    answers = driver.together([f"{server.api_url}/{number}" for number in range(20)])
    assert [found.json().get("generation") for found in answers] == [2] * 20
    assert server.counters.token_requests == 1


EVERYWHERE = {"Authorization": "OAuth {token}", "X-Key": "{token}", "?k": "{token}", "cookie:s": "{token}"}


PLACES: dict[str, Any] = {"one place": "Token {token}", "everywhere": EVERYWHERE}


@pytest.mark.parametrize(
    ("name", "place", "shape"),
    pairwise(
        (name, place, shape)
        for shape, (name, form), place in product(SHAPES, FORMS.items(), PLACES)
        if place == "one place" or form.any_place
    ),
)
def test_a_rule_serves_a_token_in_any_place(name: str, place: str, shape: str) -> None:
    attach = PLACES[place]
    with AuthServer(attach=attach) as server:
        credential = Credential("acme", refresher(server), token=server.issue())
        with FORMS[name](
            credential, server.url, Options(arguments={"attach": attach, "refused": SHAPES[shape][0]})
        ) as it:
            server.refuse_with(shape)
            server.revoke_access()
            assert it.get(server.api_url + "/a?b=c").json()["generation"] == 2
        assert server.counters.token_requests == 1


# --- GraphQL ---

MUTATION = json.dumps({"query": "mutation { done { id } me { id } }"}).encode()
QUERY = json.dumps({"query": "{ done { id } me { id } }"}).encode()
HASH = json.dumps({"extensions": {"persistedQuery": {"sha256Hash": "0" * 64}}}).encode()


def posted(driver: Driver, url: str, body: bytes) -> Any:
    """The JSON of the answer to a POST with this body in memory."""
    name = "data" if not hasattr(driver, "package") else "content"
    return driver.call("POST", url, **{name: body, "headers": {"Content-Type": "application/json"}}).json()


@pytest.mark.parametrize(
    ("shape", "body", "goes_again"),
    [
        ("graphql", MUTATION, True),
        ("graphql", QUERY, True),
        ("graphql_with_data", MUTATION, False),
        ("graphql_with_data", QUERY, True),
        ("graphql_with_data", HASH, False),
    ],
)
def test_a_mutation_goes_again_only_where_nothing_came_back(
    open_driver: OpenDriver, server: AuthServer, shape: str, body: bytes, goes_again: bool
) -> None:
    credential = Credential("acme", refresher(server), token=server.issue())
    driver = open_driver(credential, arguments={"refused": "graphql"})
    server.refuse_with(shape)
    server.revoke_access()
    found = posted(driver, server.api_url + "/graphql", body)
    assert ("generation" in found) is goes_again
    assert server.counters.token_requests == int(goes_again)


# --- Redirects to a login page ---


def test_a_redirect_to_a_login_page_is_judged_before_it_is_followed(form: type[Driver], server: AuthServer) -> None:
    """`BearerAuth` of httpx cannot: it replays the refused call after the client has followed the redirect."""
    credential = Credential("acme", refresher(server), token=server.issue())
    script = [head("Location: /login", "Content-Length: 0", status=302), b""]
    good = answer(b'{"done": true}')
    turns = [script, good]
    with Scripted({"/a": lambda: turns.pop(0), "/login": lambda: answer(b"Log in", kind="text/html")}) as scripted:
        with form(credential, scripted.url, Options(arguments={"refused": "login_page"})) as driver:
            found = driver.post(scripted.url + "/a", "bytes")
    assert found.json() == {"done": True}
    follows_first = "auth" in form.__name__ and "httpx" in form.__name__
    assert scripted.seen == (["/a", "/login", "/a"] if follows_first else ["/a", "/a"])


def test_a_rule_is_asked_once_about_each_answer(form: type[Driver], server: AuthServer) -> None:
    """It may count, or say something else when it is asked again."""
    asked: list[int] = []

    def once(found: ApiAnswer) -> bool:
        asked.append(found.status)
        return asked.count(302) == 1

    credential = Credential("acme", refresher(server), token=server.issue())
    turns = [[head("Location: /there", "Content-Length: 0", status=302), b""], answer(b'{"done": true}')]
    with Scripted({"/a": lambda: turns.pop(0), "/there": lambda: answer(b"Log in", kind="text/html")}) as scripted:
        rule = RefusedWhen(once, statuses=302, content_types=())
        with form(credential, scripted.url, Options(arguments={"refused": rule})) as driver:
            assert driver.post(scripted.url + "/a", "bytes").json() == {"done": True}
    assert asked == [302]


def test_another_redirect_is_followed_as_usual(
    open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    driver = open_driver(credential, arguments={"refused": "login_page"})
    found = driver.get(f"{server.api_url}/redirect?to=%2Fapi%2Fthere")
    assert (found.json()["path"], server.counters.token_requests) == ("/api/there", 0)


def test_a_login_page_at_another_origin_is_not_ours_to_judge_and_gets_no_token(
    open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    driver = open_driver(credential, arguments={"refused": ["login_page", EXPIRED]})
    elsewhere = server.foreign.url.replace(":", "%3A").replace("/", "%2F")
    refused = driver.get(f"{server.api_url}/redirect?status=302&to={elsewhere}%2Frefused%3Fchallenge%3Dcode_in_403")
    assert refused.status == 403
    assert (server.counters.token_requests, server.foreign.authorizations) == (0, [])
    driver.get(f"{server.api_url}/redirect?status=302&to={elsewhere}%2Flogin")
    assert (server.counters.token_requests, server.foreign.authorizations) == (1, [])


# --- Rules that are at fault ---


@pytest.fixture
def told() -> Iterator[Callable[[], Event]]:
    """Waits for the event about a rule."""
    found: list[Event] = []
    arrived = threading.Event()

    def hook(event: Event) -> None:
        if event.kind is Kind.RULE_FAILED:
            found.append(event)
            arrived.set()

    def wait() -> Event:
        assert arrived.wait(20)
        assert len(found) == 1
        return found[0]

    unsubscribe = subscribe(hook)
    yield wait
    unsubscribe()


def broken(found: ApiAnswer) -> bool:
    raise KeyError(found.body)


async def forgets_to_be_plain(_: ApiAnswer) -> bool:
    return True


BROKEN: list[tuple[Callable[[ApiAnswer], Any], str]] = [
    (broken, "raised KeyError"),
    (lambda found: found.json()["nothing"], "raised KeyError"),
    (lambda _: "yes", "returned str, and not True, False or None"),
    (lambda found: forgets_to_be_plain(found), "returned coroutine, and not True, False or None"),
]


@pytest.mark.parametrize(("judge", "says"), BROKEN)
def test_a_rule_that_fails_costs_no_answer_and_is_named(
    form: type[Driver], server: AuthServer, told: Callable[[], Event], judge: Any, says: str
) -> None:
    name = f"{id(form)} {BROKEN.index((judge, says))}"  # each rule is reported once a minute
    credential = Credential("acme", refresher(server), token=server.issue())
    rule = RefusedWhen(judge, statuses={200, 401}, name=name)
    with form(credential, server.url, Options(arguments={"refused": rule})) as driver:
        for _ in range(5):
            assert driver.get(server.api_url + "/a").status == 200
        assert server.counters.token_requests == 0
        server.revoke_access()
        assert driver.get(server.api_url + "/a").json()["generation"] == 2, "a 401 is judged as usual"
    event = told()
    assert event.detail == f"the rule {name} of refused= {says}: the answer was judged as usual"
    assert (event.credential, event.generation) == ("acme", 1)


def test_a_rule_that_looks_at_a_body_without_saying_so_is_told_how(
    open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    rule = lambda found: b"expired" in found.body if found.status == 404 else None  # noqa: E731
    driver = open_driver(credential, pool=1, arguments={"refused": rule})
    with pytest.raises(ConfigurationError, match=r"write RefusedWhen\(rule, statuses=\{403\}, content_types=JSON\)"):
        driver.get(server.api_url + "/status/404")
    assert driver.get(server.api_url + "/a").status == 200, "the connection is free again"


# --- What the credential learns ---


class Telling(Credential):
    """Notes what the integration tells of each token."""

    told: list[tuple[int, bool]]

    def replayed(self, token: Token, *, accepted: bool, target: Target | None = None) -> None:
        self.told.append((token.generation, accepted))
        super().replayed(token, accepted=accepted, target=target)


def test_the_credential_is_told_how_the_api_took_each_replay(open_driver: OpenDriver, server: AuthServer) -> None:
    credential = Telling("acme", refresher(server), token=server.issue())
    credential.told = []
    driver = open_driver(credential, arguments={"refused": "slack"})
    server.refuse_with("slack")
    server.revoke_access()
    assert driver.get(server.api_url + "/a").json()["generation"] == 2
    assert driver.get(server.api_url + "/a").status == 200
    assert driver.get(server.api_url + "/refused").json()["ok"] is False
    assert credential.told == [(2, True), (3, False)]


def test_an_answer_that_a_rule_minds_not_proves_a_token(open_driver: OpenDriver, server: AuthServer) -> None:
    over = {**server.issue(), "expires_at": 1}
    over.pop("expires_in")
    credential = Credential("acme", refresher(server), token=over)
    driver = open_driver(credential, arguments={"refused": ["slack", EXPIRED]})
    assert driver.get(server.api_url + "/refused?challenge=slack").json()["ok"] is False
    assert credential.unproven is not None
    assert driver.get(server.api_url + "/a").status == 200
    assert credential.unproven is None


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(
    ("refused", "says"),
    [
        ("graphQL", "there is no rule 'graphQL': the names are graphql, login_page, slack"),
        ([], "refused is empty"),
        (401, "or a function, not int"),
        (slack, r"call the function: slack\(…\)"),
        (RefusedWhen, "must be a function of an ApiAnswer"),
        (forgets_to_be_plain, "must be a plain function"),
    ],
)
def test_wrong_rules_say_what_is_wrong(name: str, credential: Credential, refused: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        FORMS[name](credential, "https://api.acme.com", Options(arguments={"refused": refused})).__enter__()


def test_rules_with_arguments_serve_every_client(
    open_driver: OpenDriver, server: AuthServer, credential: Credential
) -> None:
    rules = [slack("token_expired"), graphql("MINE"), login_page("/session"), EXPIRED]
    driver = open_driver(credential, arguments={"refused": rules})
    server.refuse_with("slack")
    server.revoke_access()
    assert driver.get(server.api_url + "/a").json()["generation"] == 2
