"""``token(refused=…)`` with the text that an SDK was given: it is as good as the token itself."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from typing import Any

import pytest

from onerefresh import ConfigurationError, Credential, Token
from onerefresh.stores.sqlite import SQLiteStore

SEED = {"access_token": "text-1", "refresh_token": "test-refresh-1", "expires_in": 3600}


class Server:
    """Counts its refreshes. Each gives the next text."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, token: Token) -> dict[str, Any]:
        self.count += 1
        number = self.count + 1
        return {"access_token": f"text-{number}", "refresh_token": f"test-refresh-{number}", "expires_in": 3600}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def acme(server: Server) -> Credential:
    return Credential("acme", server, token=SEED)


def test_the_text_of_the_present_token_brings_the_next_one(acme: Credential, server: Server) -> None:
    given = acme.bearer()
    assert acme.token(refused=given).reveal() == "text-2"
    assert server.count == 1


def test_the_same_text_again_refreshes_nothing(acme: Credential, server: Server) -> None:
    """A hundred callers were refused, and each of them tells."""
    given = acme.bearer()
    assert {acme.token(refused=given).reveal() for _ in range(100)} == {"text-2"}
    assert server.count == 1


@pytest.mark.parametrize("text", ["text-0", "text-12", "text-", "text-1 ", "TEXT-1", "ext-1", "é", "a\nb"])
def test_another_text_refreshes_nothing(acme: Credential, server: Server, text: str) -> None:
    assert acme.token(refused=text).reveal() == "text-1"
    assert server.count == 0


def test_a_task_may_do_so_too(acme: Credential, server: Server) -> None:
    async def run() -> list[str]:
        given = await acme.abearer()
        several = await asyncio.gather(*(acme.atoken(refused=given) for _ in range(20)))
        return [token.reveal() for token in (*several, await acme.atoken(refused="text-0"))]

    assert asyncio.run(run()) == ["text-2"] * 21
    assert server.count == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_process_that_has_not_read_the_store_yet_knows_the_text_too(
    tmp_path: Path, server: Server, asynchronous: bool
) -> None:
    path = tmp_path / "store.db"
    with Credential("acme", server, token=SEED, store=SQLiteStore(path)) as first:
        given = first.bearer()
    with Credential("acme", server, store=SQLiteStore(path)) as again:
        token = asyncio.run(again.atoken(refused=given)) if asynchronous else again.token(refused=given)
        assert token.reveal() == "text-2"
        assert again.token(refused=given).reveal() == "text-2"
    assert server.count == 1


def test_another_text_refreshes_nothing_where_the_store_was_not_read_yet(tmp_path: Path, server: Server) -> None:
    path = tmp_path / "store.db"
    with Credential("acme", server, token=SEED, store=SQLiteStore(path)) as first:
        first.token()
    with Credential("acme", server, store=SQLiteStore(path)) as again:
        assert again.token(refused="text-0").reveal() == "text-1"
    assert server.count == 0


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        ("Bearer text-1", 'the bare text of one, not the text of a header: leave its "Bearer " out'),
        ("bearer text-1", "leave its"),
        ("", "not an empty text"),
        (b"text-1", "not bytes"),
        (1, "not int"),
        (True, "not bool"),
        ({"access_token": "text-1"}, "not dict"),
    ],
)
def test_what_is_no_bare_token_is_refused_and_not_shown(
    acme: Credential, server: Server, refused: Any, says: str
) -> None:
    async def run() -> None:
        await acme.atoken(refused=refused)

    for call in (lambda: acme.token(refused=refused), lambda: asyncio.run(run())):
        with pytest.raises(ConfigurationError, match=says) as caught:
            call()
        ours = [frame for frame in traceback.walk_tb(caught.tb) if "/onerefresh/" in frame[0].f_code.co_filename]
        shown = "".join(traceback.StackSummary.extract(iter(ours), capture_locals=True).format()) + str(caught.value)
        assert "text-1" not in shown
    assert server.count == 0
