"""`onerefresh adopt`: consent to send a stored token to the endpoint that the file names."""

from __future__ import annotations

import pytest

from .conftest import Home

pytestmark = pytest.mark.slow


def test_a_token_of_another_client_is_refused_until_it_is_adopted(home: Home) -> None:
    home.configure()
    text = home.config.read_text()
    home.config.write_text(text.replace('client_id = "client"', 'client_id = "another"'))
    home.log_in(expires_in=0.001)
    home.config.write_text(text)
    refused = home.run("token", "acme")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert ", client another, and this is token endpoint " in refused.stderr
    assert "or consent with: onerefresh adopt acme" in refused.stderr
    assert home.server.counters.token_requests == 0
    for said in ("adopted; it belonged to token endpoint ", "nothing to adopt"):
        done = home.run("adopt", "acme")
        assert (done.returncode, done.stdout) == (0, "")
        assert said in done.stderr
    assert home.run("token", "acme").returncode == 0
    assert home.server.counters.token_requests == 1


def test_all_are_adopted_and_one_that_cannot_be_stops_none_of_the_others(home: Home) -> None:
    home.configure()
    text = home.config.read_text()
    function = '[credentials.beta]\nrefresher = "json:loads"\n'
    home.config.write_text(function + text.replace('client_id = "client"', 'client_id = "another"'))
    home.log_in(expires_in=0.001)
    home.config.write_text(function + text)
    done = home.run("adopt", "--all")
    assert done.returncode == 2
    assert "beta" in done.stderr
    assert "no `identity`" in done.stderr
    assert "acme: adopted; it belonged to " in done.stderr
    assert home.run("adopt").returncode == 2
