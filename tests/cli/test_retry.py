"""`onerefresh retry`, and what `status` says of a doubtful end."""

from __future__ import annotations

import json

import pytest

from .conftest import Home

pytestmark = pytest.mark.slow


def test_a_doubtful_end_is_explained_and_retried(home: Home) -> None:
    home.log_in(expires_in=0.001)
    home.server.fail_next(status=401, body="")
    done = home.run("token", "acme")
    assert (done.returncode, done.stdout) == (4, "")
    assert "the session is over, or this client or function is wrong" in done.stderr
    assert done.stderr.endswith("onerefresh login acme --with-token; or: onerefresh retry acme\n")

    status = home.run("status", "acme")
    assert status.returncode == 4
    assert "the session is over, or this client or function is wrong: log in again" in status.stdout
    assert "s, or until: onerefresh retry acme" in status.stdout
    told = json.loads(home.run("status", "acme", "--json").stdout)
    assert (told["state"], told["doubts"], told["asks_again"]) == ("idle", 1, True)
    assert told["retry_after"] > 0.0

    done = home.run("retry", "acme")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "acme: generation 2 expires in 60 min\n"
    assert home.run("retry", "acme").stdout == "acme: nothing failed: nothing was sent\n"


def test_a_dead_session_is_asked_once_more_and_is_dead_again(home: Home) -> None:
    home.log_in(expires_in=0.001)
    home.server.revoke_family()
    assert home.run("token", "acme").returncode == 4
    done = home.run("retry", "--all")
    assert (done.returncode, done.stdout) == (4, "")
    assert "acme" in done.stderr
    assert home.server.counters.token_requests == 2
    assert home.run("token", "acme").returncode == 4
    assert home.server.counters.token_requests == 2


def test_it_needs_a_name_or_all(home: Home) -> None:
    home.configure()
    assert home.run("retry").returncode == 2
    assert home.run("retry", "acme", "--all").returncode == 2
