"""What tells one client from another: the same in each process of a deployment, and not in the next deployment."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any
from unittest.mock import MagicMock

import pytest

from onerefresh import Credential
from onerefresh.credential.client import digest_of
from onerefresh.locks import Lock
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.send_stdlib import StdlibSender
from onerefresh.secret import Secret
from onerefresh.token import Token

PROGRAM = """
URL = "https://acme.com/refresh"
HEADERS = {"X-Key": "one", "X-Other": "two"}
KINDS = frozenset({"a", "b", "c", "d"})
PAIRS = frozenset({frozenset({"a", "b", "c"}), frozenset({"d", "e", "f"}), print})

def post(url, headers):
    return {"url": url, "headers": headers, "kinds": {"x", "y", "z"} & KINDS & PAIRS}

def refresh(token):
    return post(URL, HEADERS)

class Refresher:
    def __init__(self, key):
        self.key = key

    def __call__(self, token):
        return post(URL, {"X-Key": self.key})

refresher = Refresher("one")
"""


def program(text: str = PROGRAM) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "acme.tokens"}
    exec(compile(text, "tokens.py", "exec"), scope)
    return scope


@pytest.mark.seconds
@pytest.mark.parametrize("name", ["refresh", "refresher"])
def test_all_processes_of_a_deployment_agree(name: str, tmp_path: Path) -> None:
    (tmp_path / "tokens.py").write_text(PROGRAM)
    script = f"import tokens; from onerefresh.credential.client import digest_of; print(digest_of(tokens.{name}))"
    found = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(set(found)) == 1
    assert len(found[0].strip()) == 64


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return post(URL, HEADERS)", "return post(URL, {**HEADERS})"),
        ("acme.com/refresh", "acme.com/token"),
        ('"X-Key": "one"', '"X-Key": "two"'),
        ('"headers": headers', '"header": headers'),
        ("def refresh(token)", "def refresh(token, more='x')"),
    ],
)
def test_another_deployment_differs(old: str, new: str) -> None:
    assert PROGRAM.replace(old, new) != PROGRAM
    assert digest_of(program()["refresh"]) == digest_of(program()["refresh"])
    assert digest_of(program()["refresh"]) != digest_of(program(PROGRAM.replace(old, new))["refresh"])


def test_an_object_that_refreshes_is_told_by_its_class_and_its_attributes() -> None:
    scope = program()
    assert digest_of(scope["Refresher"]("one")) == digest_of(scope["refresher"])
    assert digest_of(scope["Refresher"]("two")) != digest_of(scope["refresher"])
    other = program(PROGRAM.replace('"X-Key": self.key', '"X-Keys": self.key'))
    assert digest_of(other["refresher"]) != digest_of(scope["refresher"])


def test_partials_methods_closures_and_secrets_count() -> None:
    refresh: FunctionType = program()["refresh"]

    def made(key: str | Secret) -> Callable[[object], object]:
        return lambda token: (key, token)

    kinds = [
        refresh,
        functools.partial(refresh, more="a"),
        functools.partial(refresh, more="b"),
        made("a"),
        made("b"),
        made(Secret("a")),
        program()["refresher"].__call__,
        MagicMock(),
        print,
    ]
    assert len({digest_of(kind) for kind in kinds}) == len(kinds)


def test_what_refers_to_itself_is_looked_at_once() -> None:
    scope = program("def refresh(token):\n    return again(token)\n\ndef again(token):\n    return refresh(token)\n")
    assert digest_of(scope["refresh"])


URL = "https://login.acme.com/token"


def endpoint(**others: Any) -> TokenEndpoint:
    return TokenEndpoint(**{"url": URL, "client_id": "cli", "client_secret": "one", **others})


@pytest.mark.parametrize(
    "others",
    [
        {"url": URL + "s"},
        {"client_id": "other"},
        {"client_secret": "two"},
        {"client_secret": None},
        {"client_auth": "client_secret_post"},
        {"scope": "read"},
        {"extra": {"audience": "x"}},
        {"send": lambda request: request},
    ],
)
def test_each_setting_of_a_token_endpoint_counts(others: dict[str, Any]) -> None:
    assert digest_of(endpoint()) == digest_of(endpoint())
    assert digest_of(endpoint(**others)) != digest_of(endpoint())


def test_a_sender_of_this_library_says_the_same_whatever_the_library_does_meanwhile() -> None:
    """What it is made of changes all the time, and nobody could correct it."""
    login = endpoint(send=StdlibSender(Address.parse(URL)))
    before = digest_of(login)
    with Lock():
        assert digest_of(login) == before
    assert digest_of(login) == before != digest_of(endpoint())


def test_a_secret_that_a_function_gives_is_looked_at_rarely() -> None:
    asked: list[str] = []

    def secret() -> str:
        asked.append("again")
        return "one"

    login = endpoint(client_secret=secret)
    assert {digest_of(login) for _ in range(10)} == {digest_of(endpoint())}
    assert len(asked) == 1


def test_a_secret_that_cannot_be_had_is_no_error_here() -> None:
    def secret() -> str:
        raise FileNotFoundError("secret.txt")

    assert digest_of(endpoint(client_secret=secret))


class Nested:
    """One of its kind within another: walking down so far is more than Python allows."""

    def __init__(self, inner: object) -> None:
        self.inner = inner


class Changing(dict[str, str]):
    """As a cache that another thread empties meanwhile."""

    def __getitem__(self, name: str) -> str:
        raise KeyError(name)

    def keys(self) -> Any:
        raise RuntimeError("dictionary changed size during iteration")


class Odd:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise LookupError("mine")


def nested() -> Nested:
    found = Nested(None)
    for _ in range(400):
        found = Nested(found)
    return found


@pytest.mark.parametrize("value", [Changing(a="b"), Odd(), nested()])
def test_what_a_refresher_refers_to_costs_no_renewal_whatever_it_is(value: object) -> None:
    limit = sys.getrecursionlimit()

    def refresh(token: Token) -> Mapping[str, object]:
        return {"access_token": "next", "value": value}

    acme = Credential("acme", refresh, token={"access_token": "first", "refresh_token": "one", "expires_at": 1.0})
    assert acme.token().reveal() == "next"
    try:
        sys.setrecursionlimit(400)
        assert digest_of(refresh) == digest_of(refresh)
    finally:
        sys.setrecursionlimit(limit)


def test_settings_that_fail_cost_no_renewal() -> None:
    class Broken:
        @property
        def settings(self) -> str:
            raise KeyError("mine")

        def __call__(self, token: object) -> object:
            return token

    assert digest_of(Broken())
