"""`onerefresh token`, as processes of their own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from onerefresh.testing import fingerprint

from .conftest import Home

pytestmark = pytest.mark.slow

HEAVY = "httpx2", "httpx", "ssl", "asyncio", "rich", "http.client", "urllib.request"


def test_it_prints_the_stored_token_and_nothing_else(home: Home) -> None:
    answer = home.log_in()
    done = home.run("token", "acme")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{answer['access_token']}\n", "")
    assert home.server.counters.token_requests == 0


def test_an_expired_token_is_refreshed_first(home: Home) -> None:
    answer = home.log_in(expires_in=0.001)
    done = home.run("token", "acme")
    assert done.returncode == 0
    assert done.stdout.strip() != answer["access_token"]
    assert fingerprint(done.stdout.strip()) == home.server.log[-1].issued


def test_json_tells_generation_and_expiry(home: Home) -> None:
    answer = home.log_in()
    shown = json.loads(home.run("token", "acme", "--json").stdout)
    assert shown.pop("expires_at") == pytest.approx(time.time() + 3600, abs=600)
    assert shown == {
        "credential": "acme",
        "access_token": answer["access_token"],
        "generation": 1,
        "scope": "read write",
    }


def test_with_a_fresh_token_it_imports_nothing_slow(home: Home) -> None:
    home.log_in()
    script = f"""
import sys
from onerefresh.cli import main
code = main(["token", "acme"])
print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=home.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("test-access-")
    assert done.stderr == "[]\n"


def test_it_refreshes_without_any_extra(home: Home) -> None:
    home.log_in(expires_in=0.001)
    script = """
import sys
for name in ("httpx2", "httpx", "httpcore2", "httpcore", "rich"):
    sys.modules[name] = None
from onerefresh.cli import main
sys.exit(main(["token", "acme"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=home.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert home.server.counters.refreshes == 1


class TestAgeing:
    """A token that ends soon is renewed before it is printed: no later call of this process could do that."""

    def log_in(self, home: Home) -> str:
        return str(home.log_in(expires_in=3600, expires_at=time.time() + 100.0)["access_token"])

    @pytest.mark.long
    def test_the_next_token_is_printed(self, home: Home) -> None:
        old = self.log_in(home)
        tokens = {home.run("token", "acme").stdout.strip() for _ in range(3)}
        assert old not in tokens
        assert len(tokens) == home.server.counters.token_requests == 1

    def test_a_fleet_sends_one_request(self, home: Home) -> None:
        self.log_in(home)
        fleet = [home.start("token", "acme", "--json") for _ in range(6)]
        printed = [json.loads(process.communicate(timeout=60)[0])["generation"] for process in fleet]
        assert set(printed) <= {1, 2}
        assert 2 in printed
        assert home.server.counters.token_requests == 1

    def test_while_the_endpoint_is_down_the_token_that_serves_is_printed(self, home: Home) -> None:
        old = self.log_in(home)
        home.server.fail_next(None, status=503, headers={"Retry-After": "120"})
        for _ in range(2):
            done = home.run("token", "acme")
            assert (done.returncode, done.stdout.strip()) == (0, old)
        assert home.server.counters.token_requests == 1

    @pytest.mark.long
    def test_after_some_seconds_the_token_that_serves_is_printed_and_the_next_one_is_kept(self, home: Home) -> None:
        old = self.log_in(home)
        home.server.hold("token_sent")
        process = home.start("token", "acme")
        assert process.stdout is not None
        assert process.stdout.readline().strip() == old  # and the process lives on until its request is answered
        home.server.release("token_sent")
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert json.loads(home.run("token", "acme", "--json").stdout)["generation"] == 2
        assert home.server.counters.token_requests == 1


class TestRefused:
    @pytest.mark.long
    def test_the_current_generation_is_refreshed_once(self, home: Home) -> None:
        answer = home.log_in()
        first, second = home.run("token", "acme", "--refused", "1"), home.run("token", "acme", "--refused", "1")
        assert first.stdout == second.stdout != f"{answer['access_token']}\n"
        assert home.server.counters.token_requests == 1

    def test_the_refused_token_may_come_on_standard_input(self, home: Home) -> None:
        old = str(home.log_in()["access_token"])
        newer = home.run("token", "acme", "--refused", "-", stdin=old + "\n").stdout
        assert home.run("token", "acme", "--refused", "-", stdin=old).stdout == newer != old + "\n"
        assert home.server.counters.token_requests == 1

    def test_a_token_that_was_refreshed_only_just_now_is_not_refreshed_again(self, home: Home) -> None:
        home.log_in()
        home.run("token", "acme", "--refused", "1")
        done = home.run("token", "acme", "--refused", "2")
        assert (done.returncode, done.stdout) == (75, "")
        assert "generation 2 was refreshed only just now" in done.stderr
        assert home.server.counters.token_requests == 1

    @pytest.mark.parametrize(
        ("argument", "stdin", "said"),
        [
            ("7", "", "there is no such generation yet; the current one is 1"),
            ("0", "", "--refused takes a generation"),
            ("x", "", "--refused takes a generation"),
            ("-", "  \n", "found no token on standard input"),
        ],
    )
    def test_what_cannot_have_been_refused_is_told(self, home: Home, argument: str, stdin: str, said: str) -> None:
        home.log_in()
        done = home.call("token", "acme", "--refused", argument, stdin=stdin)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


class TestMinValid:
    def test_a_token_that_expires_sooner_is_refreshed(self, home: Home) -> None:
        answer = home.log_in(expires_in=200)
        assert home.run("token", "acme", "--min-valid", "100").stdout == f"{answer['access_token']}\n"
        assert home.run("token", "acme", "--min-valid", "300").stdout != f"{answer['access_token']}\n"
        assert home.server.counters.token_requests == 1

    @pytest.mark.long
    def test_more_than_tokens_ever_live_is_an_error_and_not_a_refresh_a_call(self, home: Home) -> None:
        home.log_in(expires_in=0.001)
        home.run("token", "acme")
        for _ in range(3):
            done = home.run("token", "acme", "--min-valid", "7200")
            assert (done.returncode, done.stdout) == (1, "")
            assert "its tokens are valid for 3600 s only" in done.stderr
        assert home.server.counters.token_requests == 1

    def test_a_token_that_tells_no_expiry_is_printed_as_it_is(self, home: Home) -> None:
        answer = home.log_in(expires_in=0)
        assert home.run("token", "acme", "--min-valid", "7200").stdout == f"{answer['access_token']}\n"

    @pytest.mark.parametrize("argument", ["-1", "nan", "inf", "soon"])
    def test_it_is_a_number_of_seconds(self, home: Home, argument: str) -> None:
        done = home.call("token", "acme", f"--min-valid={argument}")
        assert (done.returncode, done.stdout) == (2, "")
        assert "must be a number of seconds" in done.stderr


class TestFailures:
    """Nothing on standard output, one line on standard error, and an exit code that says who must act."""

    def failed(self, home: Home, code: int) -> str:
        done = home.run("token", "acme")
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert done.stderr.startswith("onerefresh: ")
        assert done.stderr.count("\n") == 1
        return done.stderr

    def test_no_token_yet(self, home: Home) -> None:
        assert "onerefresh login acme --with-token" in self.failed(home, 4)

    def test_a_session_that_is_over_is_asked_for_once(self, home: Home) -> None:
        home.log_in(expires_in=0.001)
        home.server.revoke_family()
        for _ in range(3):
            assert "'invalid_grant'" in self.failed(home, 4)
        assert home.server.counters.token_requests == 1

    def test_a_token_endpoint_that_is_down(self, home: Home) -> None:
        home.log_in(expires_in=0.001)
        home.server.fail_next(None, status=503, headers={"Retry-After": "120"})
        assert "try again in 120 s" in self.failed(home, 75)
        assert "try again in 1" in self.failed(home, 75)
        assert home.server.counters.token_requests == 1

    def test_a_wrong_client_secret(self, home: Home) -> None:
        home.log_in(expires_in=0.001)
        home.environment["CLI_TEST_SECRET"] = "wrong-secret"
        said = self.failed(home, 1)
        assert "'invalid_client'" in said
        assert "wrong-secret" not in said

    def test_a_client_secret_that_is_missing(self, home: Home) -> None:
        home.log_in(expires_in=0.001)
        del home.environment["CLI_TEST_SECRET"]
        assert "the environment variable CLI_TEST_SECRET is not set" in self.failed(home, 2)
        assert home.server.counters.token_requests == 0

    def test_a_damaged_store(self, home: Home) -> None:
        home.log_in()
        (home.folder / "state" / "credentials.db").write_bytes(b"x" * 4096)
        assert "is damaged" in self.failed(home, 1)

    def test_an_unknown_name(self, home: Home) -> None:
        done = home.call("token", "acmee")
        assert (done.returncode, done.stdout) == (2, "")
        assert "has no credential 'acmee', did you mean 'acme'?" in done.stderr

    def test_a_reader_that_has_gone(self, home: Home) -> None:
        home.log_in()
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            home.command("token", "acme"),
            env=home.environment,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (1, "")

    @pytest.mark.usefixtures("unmeasured")
    def test_an_output_that_cannot_be_written(self, home: Home) -> None:
        home.log_in()
        script = f"ulimit -f 0; exec {shlex.join(home.command('token', 'acme'))} > out"
        done = subprocess.run(
            ["bash", "-c", script], env=home.environment, cwd=home.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr == "onerefresh: standard output cannot be written: File too large\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_wait_and_not_the_refresh(home: Home, number: signal.Signals, code: int) -> None:
    home.log_in(expires_in=0.001)
    home.server.hold("token_sent")
    process = home.start("token", "acme")
    home.server.wait_for("token_sent", timeout=60)  # rotated, and the answer is on its way
    process.send_signal(number)
    assert process.stderr is not None
    if number is signal.SIGINT:
        assert process.stderr.readline() == "onerefresh: interrupted\n"
    home.server.release("token_sent")
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert json.loads(home.run("token", "acme", "--json").stdout)["generation"] == 2
    assert home.server.counters.token_requests == 1


def test_debug_tells_what_happens_and_shows_no_secret(home: Home) -> None:
    answer = home.log_in(expires_in=0.001)
    done = home.run("token", "acme", "--debug")
    assert "acme: claimed (generation 1)" in done.stderr
    assert "acme: refreshed (generation 2)" in done.stderr
    secrets = (str(answer["access_token"]), str(answer["refresh_token"]), done.stdout.strip(), "se cret")
    assert not any(secret in done.stderr for secret in (*secrets, "test-access-", "test-refresh-"))


PROCESSES, AT_ONCE = 18, 12
"""The last ones begin when the first ones have ended, and find the new token."""


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        pytest.param({"expires_in": 0.001}, [], id="expired", marks=pytest.mark.long),
        pytest.param({}, ["--refused", "1"], id="revoked"),
    ],
)
def test_many_processes_print_one_token_and_send_one_request(
    home: Home, changes: dict[str, object], arguments: list[str]
) -> None:
    home.log_in(**changes)
    home.server.revoke_access()
    command = shlex.join([*home.command("token", "acme"), *arguments])
    done = subprocess.run(
        ["bash", "-c", f"seq {PROCESSES} | xargs -P {AT_ONCE} -I{{}} {command}"],
        env=home.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    tokens = done.stdout.split()
    assert (len(tokens), len(set(tokens))) == (PROCESSES, 1)
    assert fingerprint(tokens[0]) == home.server.log[-1].issued
    assert home.server.counters.token_requests == 1
