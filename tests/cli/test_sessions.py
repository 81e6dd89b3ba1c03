"""`onerefresh login`, `import`, `status` and `logout`."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import types

import pytest

from onerefresh import load
from onerefresh.this_process import machine, this_process

from .conftest import Home

pytestmark = pytest.mark.slow


class TestLogin:
    @pytest.mark.parametrize("words", [("login", "acme", "--with-token"), ("import", "acme")], ids=" ".join)
    def test_it_stores_a_token_response_and_tells_what_without_showing_it(
        self, home: Home, words: tuple[str, ...]
    ) -> None:
        answer = home.server.issue()
        done = home.run(*words, stdin=json.dumps(answer))
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == "onerefresh: acme: logged in; generation 1 expires in 60 min, scope 'read write'\n"
        assert home.run("token", "acme").stdout == f"{answer['access_token']}\n"

    def test_a_login_replaces_a_session_that_is_over(self, home: Home) -> None:
        home.log_in(expires_in=0.001)
        home.server.revoke_family()
        assert home.run("token", "acme").returncode == 4
        answer = home.log_in()
        assert home.run("token", "acme").stdout == f"{answer['access_token']}\n"

    @pytest.mark.parametrize(
        ("stdin", "said"),
        [
            ("", "there is no token response on standard input"),
            ('{"access_token": "hunter2"', "there is no token response on standard input"),
            ('["hunter2"]', "there is no token response on standard input"),
            ("[" * 100_000, "there is no token response on standard input"),
            ('{"error": "invalid_grant", "hint": "hunter2"}', "no usable access_token (it holds: error, hint)"),
            ('{"access_token": ""}', "no usable access_token (it holds: access_token)"),
            ('{"access_token": "hunter2\\n"}', "an access token that no header can carry: it has control characters"),
            ("{}", "no usable access_token (it holds: nothing)"),
        ],
    )
    def test_what_is_no_token_response_changes_nothing(self, home: Home, stdin: str, said: str) -> None:
        answer = home.log_in()
        done = home.call("login", "acme", "--with-token", stdin=stdin)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert done.stderr.endswith("nothing was changed\n")
        assert "hunter2" not in done.stderr
        assert home.call("token", "acme").stdout == f"{answer['access_token']}\n"

    @pytest.mark.parametrize("words", [("login", "acme", "--with-token"), ("import", "acme")], ids=" ".join)
    def test_an_old_response_whose_refresh_token_is_spent_changes_nothing(
        self, home: Home, words: tuple[str, ...]
    ) -> None:
        answer = home.log_in()
        with load("acme", config=home.config) as acme:
            newer = acme.token(refused=acme.token())
        done = home.call(*words, stdin=json.dumps(answer))
        assert (done.returncode, done.stdout) == (2, "")
        assert "the refresh token of this login is already spent" in done.stderr
        assert str(answer["refresh_token"]) not in done.stderr
        assert home.call("token", "acme").stdout == f"{newer.reveal()}\n"
        assert home.server.session == "alive"

    def test_a_response_without_a_refresh_token_is_stored_and_told(self, home: Home) -> None:
        answer = home.server.issue()
        del answer["refresh_token"]
        done = home.call("import", "acme", stdin=json.dumps(answer))
        assert done.returncode == 0
        assert "the response has no refresh_token: when this token expires, a new login is needed" in done.stderr

    def test_without_a_source_it_says_which_there_is(self, home: Home) -> None:
        done = home.call("login", "acme", stdin=json.dumps(home.server.issue()))
        assert done.returncode == 2
        assert "onerefresh login acme --with-token < answer.json" in done.stderr
        assert home.call("token", "acme").returncode == 4

    def test_a_token_that_is_no_bearer_token_is_refused(self, home: Home) -> None:
        done = home.call(
            "login", "acme", "--with-token", stdin=json.dumps({**home.server.issue(), "token_type": "DPoP"})
        )
        assert done.returncode == 2
        assert "of type 'DPoP'" in done.stderr
        assert "nothing was changed" in done.stderr

    def test_a_terminal_is_not_read(self, home: Home) -> None:
        parent, child = pty.openpty()
        done = subprocess.run(
            home.command("import", "acme"),
            env=home.environment,
            stdin=child,
            capture_output=True,
            text=True,
            check=False,
        )
        os.close(parent)
        os.close(child)
        assert done.returncode == 2
        assert "is read from standard input, which is a terminal" in done.stderr

    def test_client_credentials_need_no_response(self, home: Home) -> None:
        home.configure('grant = "client_credentials"')
        done = home.run("login", "acme")
        assert done.returncode == 0
        assert "logged in; generation 1" in done.stderr
        assert home.run("token", "acme").stdout.startswith("test-access-")
        assert home.server.counters.client_credentials == 1

    @pytest.mark.parametrize(
        ("lines", "is_told"),
        [
            ('fields = { access_token = "token" }', True),
            (
                'body = false\nheaders = { Authorization = "{access_token}" }\nfields = { access_token = "token" }',
                False,
            ),
        ],
    )
    def test_a_login_at_a_json_endpoint_without_a_refresh_token_is_told(
        self, home: Home, lines: str, is_told: bool
    ) -> None:
        """Perhaps fields names another place than the server has it."""
        home.config.write_text(f'[credentials.acme]\njson_endpoint = "https://acme.com/refresh"\n{lines}\n')
        done = home.run("login", "acme", "--with-token", stdin='{"token": "a", "renewal": "r", "expires_in": 60}')
        assert done.returncode == 0
        assert ("the response has no refresh_token: when this token expires" in done.stderr) == is_told

    def test_after_a_logout_a_machine_is_told_how_it_logs_in(self, home: Home) -> None:
        home.configure('grant = "client_credentials"')
        for command in ("login", "logout"):
            assert home.run(command, "acme").returncode == 0
        found = home.run("token", "acme")
        assert found.returncode == 4
        assert "logged out: log in again; run: onerefresh login acme" in found.stderr
        assert "--with-token" not in found.stderr

    def test_a_store_that_ends_with_the_command_is_refused(self, home: Home) -> None:
        home.configure('store = "memory"')
        done = home.call("import", "acme", stdin=json.dumps(home.server.issue()))
        assert done.returncode == 2
        assert 'write store = "sqlite"' in done.stderr


class TestStatus:
    def test_all_credentials_have_a_line_each(self, home: Home) -> None:
        home.configure()
        text = home.config.read_text()
        home.config.write_text(text + text.replace("acme", "beta-two"))
        home.log_in()
        done = home.run("status")
        assert (done.returncode, done.stderr) == (0, "")
        told = "beta-two  no token yet: log in with: onerefresh login beta-two --with-token"
        assert done.stdout == f"acme      generation 1 expires in 60 min\n{told}\n"
        assert [shown["state"] for shown in json.loads(home.run("status", "--json").stdout)] == ["idle", "empty"]

    def test_one_refresher_that_raises_hides_none_of_the_others(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Odd:
            @property
            def identity(self) -> str:
                raise KeyError("ACME_TENANT")

            def __call__(self, token: object) -> object:
                return token

        module = types.ModuleType("odd_refreshers")
        module.odd = Odd()  # type: ignore[attr-defined]  # it is a module of a user
        monkeypatch.setitem(sys.modules, "odd_refreshers", module)
        home.configure()
        home.log_in()
        text = home.config.read_text()
        home.config.write_text(f'[credentials.odd]\nrefresher = "odd_refreshers:odd"\n{text}')
        done = home.call("status")
        assert done.returncode == 2, done.stderr
        odd, acme = done.stdout.splitlines()
        assert "cannot be read" in odd
        assert "KeyError" in odd
        assert acme == "acme  generation 1 expires in 60 min"
        done = home.call("retry", "--all")
        assert (done.returncode, done.stdout) == (2, "acme: nothing failed, so nothing was sent\n")
        assert "KeyError" in done.stderr

    def test_one_record_that_cannot_be_read_hides_none_of_the_others(self, home: Home) -> None:
        """It ended the whole list."""
        home.configure()
        text = home.config.read_text()
        home.config.write_text(text.replace("acme", "beta-two") + text)
        home.log_in()
        with contextlib.closing(sqlite3.connect(home.folder / "state" / "credentials.db")) as database, database:
            database.execute("INSERT INTO records VALUES ('beta-two', 'version', 'no record')")
        done = home.run("status")
        assert (done.returncode, done.stderr) == (1, "")
        first, second = done.stdout.splitlines()
        assert first.startswith("beta-two  cannot be read: the stored record cannot be read (it is damaged")
        assert second == "acme      generation 1 expires in 60 min"
        shown = json.loads(home.run("status", "--json").stdout)
        assert ("damaged" in shown[0]["error"], shown[1]["state"]) == (True, "idle")

    def test_one_credential_is_told_in_full(self, home: Home) -> None:
        home.log_in(expires_in=0.001)
        home.run("token", "acme")
        done = home.run("status", "acme")
        assert done.returncode == 0
        lines = done.stdout.splitlines()
        assert lines[:2] == ["credential   acme", "status       generation 2 expires in 60 min"]
        assert "refreshable  yes" in lines
        told = [line.partition("generation ")[2] for line in lines[-2:]]
        assert told[0] == f"1: login by {this_process()}"
        assert re.fullmatch(rf"2: refresh by {re.escape(machine())}:\d+ \(expired\)", told[1])
        [place] = [line for line in lines if line.startswith("store")]
        assert place.endswith(f"{home.folder}/state/credentials.db")
        assert "test-" not in done.stdout.replace(str(home.folder), "")

    def test_the_end_of_the_refresh_token_is_told(self, home: Home) -> None:
        answer = {**home.server.issue(), "refresh_expires_in": 86_400}
        assert home.run("login", "acme", "--with-token", stdin=json.dumps(answer)).returncode == 0
        line = next(line for line in home.run("status", "acme").stdout.splitlines() if line.startswith("refreshable"))
        assert re.fullmatch(r"refreshable  yes, until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", line)
        shown = json.loads(home.run("status", "acme", "--json").stdout)
        assert shown["refresh_expires_at"] > shown["expires_at"]
        assert (shown["refresh_end_moves"], shown["clock_skew"]) == (True, 0.0)

    def test_json_is_one_object_without_a_secret(self, home: Home) -> None:
        home.log_in()
        done = home.run("status", "acme", "--json")
        shown = json.loads(done.stdout)
        assert (shown["credential"], shown["state"], shown["generation"]) == ("acme", "idle", 1)
        assert (shown["refreshable"], shown["failure"]) == (True, None)
        [login] = shown["history"]
        assert (login["what"], login["process"], login["reason"]) == ("login", this_process(), None)
        assert (shown["since"], shown["store"].endswith("credentials.db")) == (None, True)
        assert "test-" not in done.stdout.replace(str(home.folder), "")

    @pytest.mark.long
    def test_the_exit_code_says_where_somebody_has_to_log_in(self, home: Home) -> None:
        done = home.run("status", "acme")
        assert (done.returncode, "no token yet: log in" in done.stdout) == (4, True)
        home.log_in(expires_in=0.001)
        done = home.run("status", "acme")
        assert (done.returncode, "the next call refreshes it" in done.stdout) == (0, True)
        home.server.revoke_family()
        home.run("token", "acme")
        done = home.run("status", "acme")
        assert (done.returncode, "the session is over" in done.stdout) == (4, True)
        assert "log in again with: onerefresh login acme --with-token" in done.stdout
        assert re.search(r"^refreshable  no, since \d{4}-\d\d-\d\d .*: the session is over$", done.stdout, re.MULTILINE)
        shown = json.loads(home.run("status", "acme", "--json").stdout)
        assert (shown["refreshable"], "invalid_grant" in shown["failure"]) == (False, True)
        assert shown["since"] >= shown["history"][0]["at"]
        assert home.run("status").returncode == 0
        home.run("logout", "acme")
        done = home.call("status", "acme")
        assert re.search(r"^refreshable  no, since \d{4}-.*: it was logged out$", done.stdout, re.MULTILINE)

    def test_a_pause_of_the_token_endpoint_is_told(self, home: Home) -> None:
        home.log_in(expires_in=0.001)
        home.server.fail_next(status=429, headers={"Retry-After": "600"})
        home.run("token", "acme")
        assert "; nothing is sent for 10 min" in home.run("status", "acme").stdout
        assert home.server.counters.token_requests == 1

    def test_client_credentials_never_need_a_person(self, home: Home) -> None:
        home.configure('grant = "client_credentials"')
        done = home.call("status", "acme")
        assert (done.returncode, "no token yet; the first call fetches one" in done.stdout) == (0, True)

    def test_a_function_may_renew_without_a_refresh_token(self, home: Home) -> None:
        (home.folder / "mine.py").write_text("def renew(token):\n    return {'access_token': token.reveal() + '+'}\n")
        home.environment["PYTHONPATH"] = os.pathsep.join([str(home.folder), home.environment["PYTHONPATH"]])
        home.config.write_text('[credentials.acme]\nrefresher = "mine:renew"\n')
        done = home.run("login", "acme", "--with-token", stdin='{"access_token": "a", "expires_in": 0.001}')
        assert (done.returncode, "log in again" in done.stderr) == (0, False)
        assert ", the next call asks its refresher" in home.run("status", "acme").stdout
        assert home.run("token", "acme").stdout == "a+\n"

    def test_a_file_without_credentials_is_told(self, home: Home) -> None:
        home.config.write_text("")
        done = home.call("status")
        assert (done.returncode, done.stdout) == (0, f"{home.config} has no credentials\n")


class TestLogout:
    def test_it_deletes_the_tokens_and_says_what_it_did_not_do(self, home: Home) -> None:
        answer = home.log_in()
        done = home.run("logout", "acme")
        assert (done.returncode, done.stdout) == (0, "")
        told = "the server was not told, since the configuration file names no revocation_endpoint or logout"
        assert done.stderr == f"onerefresh: acme: logged out here; {told}\n"
        assert home.server.counters.revocations == 0
        assert str(answer["refresh_token"]).encode() not in (home.folder / "state" / "credentials.db").read_bytes()
        assert home.run("token", "acme").returncode == 4
        status = home.run("status", "acme")
        assert (status.returncode, "logged out" in status.stdout) == (4, True)

    def test_it_says_whether_the_server_has_revoked_the_token(self, home: Home) -> None:
        home.configure(f'revocation_endpoint = "{home.server.revoke_url}"')
        home.log_in()
        done = home.call("logout", "acme")
        assert done.stderr == "onerefresh: acme: logged out here; the server has revoked the token\n"
        assert home.server.counters.revocations == 1
        done = home.call("logout", "acme")
        assert done.stderr == "onerefresh: acme: logged out here; there was no token to revoke\n"
        home.log_in()
        done = home.call("logout", "acme", "--json")
        assert json.loads(done.stdout) == {"credential": "acme", "revocation": "revoked", "detail": None}
        assert done.stderr == ""
        home.configure('revocation_endpoint = "http://127.0.0.1:9/"')
        home.log_in()
        done = home.call("logout", "acme")
        assert (done.returncode, done.stdout) == (0, "")
        assert "has not confirmed that it revoked the token, which may live on there (the revo" in done.stderr
        home.log_in()
        told = json.loads(home.call("logout", "acme", "--json").stdout)
        assert (told["revocation"], "could not be reached" in told["detail"]) == ("not_confirmed", True)

    def test_a_second_logout_is_no_failure(self, home: Home) -> None:
        assert [home.run("logout", "acme").returncode for _ in range(2)] == [0, 0]
