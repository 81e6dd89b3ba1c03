"""While a token is fresh, a call costs no lock, no `await` and no I/O."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.promises.helpers import PATIENCE, Kept

from onerefresh import Credential
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer

ROOT = Path(__file__).parents[2]
WAYS = ("current", "token", "atoken", "bearer", "abearer", "httpx", "httpx, async", "requests")


@pytest.mark.slow
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_it_takes_no_lock_opens_nothing_and_never_waits(auth_server: AuthServer, url: str, store: str) -> None:
    config = {
        "token_url": auth_server.token_url,
        "origin": auth_server.url,
        "token": auth_server.issue(),
        "store": url if store == "sqlite" else "memory",
    }
    child = subprocess.run(
        [sys.executable, "-m", "tests.promises.counting"],
        cwd=ROOT,
        input=json.dumps(config) + "\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == {way: {} for way in WAYS}


def test_it_asks_neither_the_store_nor_the_server(auth_server: AuthServer, login: TokenEndpoint) -> None:
    store = Kept()

    async def tasks() -> None:
        for _ in range(100):
            assert await acme.atoken() is token
            assert await acme.abearer() == token.reveal()

    with Credential("acme", login, token=auth_server.issue(), store=store) as acme:
        token, uses = acme.token(), store.uses["acme"]
        for _ in range(100):
            assert acme.current() is acme.token() is token
            assert acme.bearer() == token.reveal()
        asyncio.run(tasks())
        assert store.uses["acme"] == uses
    assert auth_server.counters.token_requests == 0


def test_it_is_to_be_had_while_everybody_else_waits(auth_server: AuthServer, login: TokenEndpoint) -> None:
    """A login that does not come to its end holds nobody up."""
    store = Kept()
    with Credential("acme", login, token=auth_server.issue(), store=store) as acme, ThreadPoolExecutor(1) as pool:
        token, again = acme.token(), auth_server.issue()
        store.held_at = str(again["refresh_token"])
        logging_in = pool.submit(acme.login, again)
        assert store.reached.wait(PATIENCE)
        threads = threading.active_count()
        assert acme.current() is token
        assert acme.bearer() == token.reveal()
        assert threading.active_count() == threads
        store.go_on.set()
        assert logging_in.result(PATIENCE).generation == 2
