"""`onerefresh retry`, and what `status` says of a doubtful end."""

from __future__ import annotations

import json

import pytest

from onerefresh import load

from .conftest import SECRET, Home

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_a_doubtful_end_is_explained_and_retried(home: Home) -> None:
    home.log_in(expires_in=0.001)
    home.server.fail_next(status=401, body="")
    done = home.run("token", "acme")
    assert (done.returncode, done.stdout) == (4, "")
    assert "the session is over, or the client settings or the refresher are wrong" in done.stderr
    assert done.stderr.endswith("onerefresh login acme --with-token; or: onerefresh retry acme\n")

    status = home.run("status", "acme")
    assert status.returncode == 4
    assert "the session is over, or the client settings or the refresher are wrong: log in again" in status.stdout
    assert "s, or until: onerefresh retry acme" in status.stdout
    told = json.loads(home.run("status", "acme", "--json").stdout)
    assert (told["state"], told["doubts"], told["asks_again"]) == ("idle", 1, True)
    assert told["retry_after"] > 0.0

    done = home.run("retry", "acme")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "acme: generation 2 expires in 60 min\n"
    assert home.run("retry", "acme").stdout == "acme: nothing failed, so nothing was sent\n"


@pytest.mark.long
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


LIVES = {"healthy": 300.0, "dead": 0.001, "doubtful": 0.001, "pausing": 0.001, "serving": 300.0, "logged out": 300.0}
"""Credentials of one store, and how long their first access tokens live."""


def log_all_in(home: Home) -> dict[str, dict[str, object]]:
    sections = []
    for name in LIVES:
        home.configure(name=f'"{name}"')
        sections.append(home.config.read_text())
    home.config.write_text("\n".join(sections))
    answers = {name: {**home.server.issue(), "expires_in": life} for name, life in LIVES.items()}
    for name, answer in answers.items():
        with load(name, config=home.config) as credential:
            credential.login(answer)
    return answers


@pytest.mark.long
def test_all_of_a_store_are_asked_for_but_those_that_are_healthy(home: Home) -> None:
    """Each command is a process of its own: what it goes by stands in the store."""
    answers = log_all_in(home)
    secrets = [
        SECRET,
        *(str(answer[name]) for answer in answers.values() for name in ("access_token", "refresh_token")),
    ]
    echo = f"who is {answers['doubtful']['refresh_token']} with {SECRET}?"
    pause = {"Retry-After": "600"}
    home.server.fail_next(status=401, body=echo)
    assert home.run("token", "doubtful").returncode == 4
    home.server.fail_next(status=429, headers=pause, body={"error": "slow_down", "error_description": echo})
    assert home.run("token", "pausing").returncode == 75
    home.server.fail_next(status=503, headers=pause)
    assert home.run("token", "serving", "--refused", "1").returncode == 75
    home.server.revoke_family(str(answers["dead"]["refresh_token"]))
    assert home.run("token", "dead").returncode == 4
    assert home.run("logout", "logged out").returncode == 0

    before = home.server.counters.token_requests
    done = home.run("--debug", "retry", "--all")
    assert done.returncode == 4
    assert done.stdout.splitlines() == [
        "healthy: nothing failed, so nothing was sent",
        "doubtful: generation 2 expires in 60 min",
        "pausing: generation 2 expires in 60 min",
        "serving: generation 2 expires in 60 min",
        "logged out: nothing failed, so nothing was sent",
    ]
    assert "credential 'dead': the session is over" in done.stderr
    assert home.server.counters.token_requests == before + 4
    again = home.run("retry", "--all")
    assert (again.returncode, again.stdout.count("nothing was sent")) == (4, 5)
    assert home.server.counters.token_requests == before + 5, "of the dead one alone"
    assert home.server.counters.reuse_detected == 0
    for text in secrets:
        assert text not in done.stdout + done.stderr + again.stdout + again.stderr


@pytest.mark.long
def test_several_processes_that_retry_at_once_ask_once(home: Home) -> None:
    home.log_in(expires_in=0.001)
    home.server.fail_next(status=401, body="")
    assert home.run("token", "acme").returncode == 4
    home.server.hold("token")
    several = [home.start("retry", "--all") for _ in range(3)]
    home.server.wait_for("token", 1, timeout=60.0)
    home.server.release("token")
    told = [one.communicate(timeout=120)[0] for one in several]
    assert all(line.startswith("acme: ") for line in told)
    assert [one.returncode for one in several] == [0, 0, 0]
    assert (home.server.counters.token_requests, home.server.counters.reuse_detected) == (2, 0)


def test_it_needs_a_name_or_all(home: Home) -> None:
    home.configure()
    assert home.run("retry").returncode == 2
    assert home.run("retry", "acme", "--all").returncode == 2
