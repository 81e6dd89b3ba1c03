"""What the command says speaks of the command: every message of the library that a person may see there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import onerefresh
from onerefresh import ConfigurationError, LoginRequired, RefreshOutcomeUnknown, RefreshProtocolError
from onerefresh.cli.failure import explain
from onerefresh.cli.hints import for_command

SOURCE = Path(onerefresh.__file__).parent
PYTHON = re.compile(
    r"(?<![?&])\b(token|token_for|obtain|adopt|save|store|moved_from|keys|refresher_for|profile|patience|durable"
    r"|max_wait|client_id|allow_unencrypted_http|answer|body|cookies|dead|fields|grant|headers|keep|query|renamed)=(?!yes)|\b[a-z]\w*\(\)|=True\b|\b(EncryptedStore|Credentials)\b"
)
"""Arguments and methods, which a person at a terminal does not have."""
ELSEWHERE = ("cli/", "testing/", "credentials/", "clients/", "stores/encrypted.py", "stores/postgres/")
"""What only programs come to: the messages of the command itself, of the test server, and about objects in Python."""
NOT_PRINTED = (
    "save= replaces store=",  # the file has no save
    "`await atoken()`",  # the command has no event loop
    "contradicts adopt_plain=True",
    "token= belongs to another account",  # the file has no first tokens
    "token= is ignored",
    ", client_id=",  # a repr
    ", grant=",
    ", expires_at=",
    ", store=",
    "Credential(",
    "pass a send=",  # the file has no assertions
)


def messages() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        place = str(path.relative_to(SOURCE))
        if place.startswith(ELSEWHERE):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                yield place, "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                yield place, node.value


@pytest.fixture(scope="module")
def shown() -> list[str]:
    """Found when a test asks: each worker of a parallel run collects all tests, and runs a few."""
    return sorted({text for _, text in messages() if " " in text and PYTHON.search(text)})


def test_there_are_such_messages(shown: list[str]) -> None:
    assert len(shown) > 10


def test_each_message_of_the_library_speaks_of_the_command(shown: list[str]) -> None:
    printed = [text for text in shown if not any(words in text for words in NOT_PRINTED)]
    told = [for_command(text, "acme") for text in printed]
    assert [text for text in told if PYTHON.search(text)] == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LoginRequired("there is no token yet: log in, or pass a first one with token="), "no token yet: log in; pipe"),
        (LoginRequired("x", proven=False), "onerefresh login acme --with-token; or: onerefresh retry acme"),
        (ConfigurationError("consent with adopt=True or onerefresh adopt NAME"), "consent with: onerefresh adopt acme"),
        (
            RefreshOutcomeUnknown("the refresh token may be spent, and is not sent again before retry() or a login"),
            "not sent again before onerefresh retry acme or a login",
        ),
        (RefreshProtocolError("the answer belongs to another account"), "onerefresh login acme --with-token"),
        (RefreshProtocolError("name its place with fields="), "name its place with fields in the configuration file"),
    ],
)
def test_an_error_names_the_command_and_the_credential(error: onerefresh.OnerefreshError, told: str) -> None:
    assert told in explain(error.about("acme"))
    assert not PYTHON.search(explain(error.about("acme")))


def test_a_name_is_one_word_for_a_shell() -> None:
    assert "onerefresh retry 'my acme'" in explain(LoginRequired("call retry()", proven=False).about("my acme"))
    assert for_command("call retry()") == "call onerefresh retry NAME"
