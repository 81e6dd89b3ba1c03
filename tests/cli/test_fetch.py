"""`onerefresh fetch`, as processes of their own, against real servers."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .conftest import Home

pytestmark = pytest.mark.slow

MEBIBYTE = 1024 * 1024


class Bodies(BaseHTTPRequestHandler):
    """``/large`` sends 200 MiB, ``/cut`` ends in the middle of its body, ``/silent`` before any answer."""

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/silent":
            self._headers_buffer.clear()  # type: ignore[attr-defined]  # nothing of the answer is sent
            return
        size = 200 * MEBIBYTE if self.path == "/large" else 100
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.path == "/cut":
            self.wfile.write(b"x" * 50)
            return
        for _ in range(200):
            self.wfile.write(b"x" * MEBIBYTE)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def bodies() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bodies)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send_to(home: Home, origin: str) -> None:
    """Let the token go to this origin in place of the test server."""
    home.config.write_text(home.config.read_text().replace(f'["{home.origin}"]', f'["{origin}"]'))


def urls_of(home: Home, count: int) -> list[str]:
    return [f"{home.server.api_url}/items/{number}" for number in range(1, count + 1)]


class TestWhatIsPrinted:
    def test_the_body_of_a_single_url(self, home: Home) -> None:
        home.log_in()
        done = home.run("fetch", "acme", f"{home.server.api_url}/items/1?page=2")
        assert (done.returncode, done.stderr) == (0, "")
        shown = json.loads(done.stdout)
        assert (shown["path"], shown["query"], shown["generation"]) == ("/api/items/1", "page=2", 1)

    def test_nothing_of_a_single_url_that_failed(self, home: Home) -> None:
        home.log_in()
        url = f"{home.server.api_url}/status/503"
        done = home.run("fetch", "acme", url)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"onerefresh: {url}: 503 Service Unavailable\n"

    @pytest.mark.long
    def test_a_line_for_each_of_several_urls(self, home: Home) -> None:
        home.log_in()
        api = home.server.api_url
        done = home.run("fetch", "acme", f"{api}/a", f"{api}/status/404", f"{api}/refused", f"{api}/a")
        assert done.returncode == 1
        lines = sorted(re.sub(r" +", " ", line) for line in done.stdout.splitlines())
        size = len(home.run("fetch", "acme", f"{api}/a").stdout)
        assert lines == [
            *[f"200 {size} {api}/a"] * 2,
            f"401 0 {api}/refused Unauthorized",
            f"404 0 {api}/status/404 Not Found",
        ]
        assert re.fullmatch(r"onerefresh: 2 of 4 URLs fetched, 2 failed, in \d+\.\d s\n", done.stderr)

    @pytest.mark.long
    def test_a_progress_bar_and_the_failures_on_a_terminal(self, home: Home) -> None:
        home.log_in()
        failing = f"{home.server.api_url}/status/500"
        parent, child = pty.openpty()
        with subprocess.Popen(
            home.command("fetch", "acme", *urls_of(home, 20), failing),
            env={**home.environment, "TERM": "xterm-256color", "COLUMNS": "100"},
            stdin=subprocess.DEVNULL,
            stdout=child,
            stderr=child,
        ) as process:
            os.close(child)
            shown = everything_from(parent)
        assert process.returncode == 1
        assert "21/21" in shown
        assert f"500          0  {failing}  Internal Server Error" in shown
        assert "20 of 21 URLs fetched, 1 failed" in shown
        assert "items/1" not in shown


def everything_from(terminal: int) -> str:
    """What a program wrote to its terminal until it ended."""
    read = b""
    while True:
        try:
            read += os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
    os.close(terminal)
    return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", read).decode()


class TestTokens:
    @pytest.mark.long
    def test_a_token_that_dies_under_the_calls_is_refreshed_once(self, home: Home) -> None:
        home.log_in()
        home.server.hold("api")
        process = home.start("fetch", "acme", "--concurrency", "20", *urls_of(home, 100))
        home.server.wait_for("api", 20, timeout=60)
        home.server.revoke_access()
        home.server.release("api")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.count("\n200 ") + out.startswith("200 ") == 100
        assert home.server.counters.token_requests == 1
        assert home.server.counters.api == {200: 100, 401: 20}

    def test_a_token_that_ages_is_renewed_beside_the_calls_and_saved_before_the_end(self, home: Home) -> None:
        home.log_in(expires_in=3600, expires_at=time.time() + 100.0)
        home.run("fetch", "acme", f"{home.origin}/api/items/1")
        assert json.loads(home.run("status", "acme", "--json").stdout)["generation"] == 2
        assert home.server.counters.token_requests == 1

    @pytest.mark.long
    def test_several_processes_share_one_refresh(self, home: Home) -> None:
        home.log_in(expires_in=0.001)
        processes = [home.start("fetch", "acme", *urls_of(home, 25)) for _ in range(4)]
        assert [process.communicate(timeout=60)[0].count("200 ") for process in processes] == [25] * 4
        assert home.server.counters.token_requests == 1

    def test_a_session_that_is_over_ends_everything_once(self, home: Home) -> None:
        home.log_in()
        home.server.revoke_family()
        home.server.revoke_access()
        done = home.run("fetch", "acme", *urls_of(home, 100))
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.count("\n") == 1
        assert "the session is over, log in again" in done.stderr
        assert home.server.counters.token_requests == 1

    def test_what_was_fetched_before_the_end_is_told(self, home: Home) -> None:
        home.log_in()
        home.server.hold("api")
        process = home.start("fetch", "acme", "--concurrency", "1", *urls_of(home, 10))
        home.server.wait_for("api", timeout=60)
        home.server.release("api", 1)
        home.server.wait_for("api", 2, timeout=60)
        home.server.revoke_family()
        home.server.revoke_access()
        home.server.release("api")
        _, err = process.communicate(timeout=60)
        assert process.returncode == 4
        assert re.match(
            r"onerefresh: 1 of 10 URLs fetched, in \d+\.\d s; stopped\nonerefresh: credential 'acme': ", err
        )

    def test_it_goes_to_the_origins_and_nowhere_else(self, home: Home) -> None:
        home.log_in()
        foreign = home.server.foreign.url
        done = home.call("fetch", "acme", *urls_of(home, 3), f"{foreign}/x", f"{foreign}/y")
        assert (done.returncode, done.stdout) == (2, "")
        assert (
            f"'{foreign}/x' (and 1 more) is outside the origins of 'acme': {home.origin}; nothing was sent"
            in done.stderr
        )
        assert home.server.log == []

    def test_a_redirect_elsewhere_is_followed_without_it(self, home: Home) -> None:
        home.log_in()
        target = f"{home.server.foreign.url}/landed"
        done = home.run("fetch", "acme", f"{home.server.api_url}/redirect?to={target}&status=302")
        assert json.loads(done.stdout) == {"path": "/landed", "method": "GET", "authorization": None}
        assert home.server.foreign.authorizations == []

    def test_without_origins_nothing_is_sent(self, home: Home) -> None:
        home.log_in()
        home.config.write_text("\n".join(home.config.read_text().splitlines()[:-1]))
        done = home.call("fetch", "acme", *urls_of(home, 3))
        assert (done.returncode, done.stdout) == (2, "")
        assert "credentials.acme has no origins" in done.stderr
        assert home.server.log == []


class TestUrls:
    @pytest.mark.long
    def test_they_come_from_standard_input_too(self, home: Home) -> None:
        home.log_in()
        first, *others = urls_of(home, 3)
        stdin = "\n".join([*others, "", "  "])
        done = home.run("fetch", "acme", first, "-", stdin=stdin)
        assert (done.returncode, done.stdout.count("200 ")) == (0, 3)
        assert home.run("fetch", "acme", stdin=stdin).stdout.count("200 ") == 2

    def test_a_single_one_from_standard_input_has_a_line(self, home: Home) -> None:
        home.log_in()
        assert home.run("fetch", "acme", stdin=urls_of(home, 1)[0]).stdout.startswith("200 ")

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("", "there is no URL: give URLs as arguments, or pipe them in"),
            ("http:///x", "'http:///x' is not a URL to fetch"),
            ("https://a.example:port/", "'https://a.example:port/' is not a URL (Invalid port: 'port')"),
            ("items/1", "'items/1' is not a URL to fetch: write the full URL"),
            ("ftp://127.0.0.1/x", "'ftp://127.0.0.1/x' is not a URL to fetch"),
            ("http://me:hunter2@127.0.0.1/", "a URL for 127.0.0.1 contains a user name or password"),
        ],
    )
    def test_what_is_no_url_is_told_before_anything_is_sent(self, home: Home, url: str, said: str) -> None:
        home.log_in()
        done = home.call("fetch", "acme", stdin=f"{urls_of(home, 1)[0]}\n{url}\n" if url else "")
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert "hunter2" not in done.stderr
        assert home.server.log == []

    def test_no_more_calls_at_a_time_than_asked_for(self, home: Home) -> None:
        home.log_in()
        done = home.run("fetch", "acme", "--concurrency", "3", *urls_of(home, 60))
        assert done.returncode == 0
        log = home.server.log
        together = [sum(other.arrived <= one.arrived < other.answered for other in log) for one in log]
        assert max(together) <= 3

    @pytest.mark.parametrize("concurrency", ["0", "201", "-1", "many"])
    def test_a_concurrency_that_cannot_be_is_told(self, home: Home, concurrency: str) -> None:
        done = home.call("fetch", "acme", f"--concurrency={concurrency}", *urls_of(home, 1))
        assert (done.returncode, done.stdout) == (2, "")
        assert "must be a whole number from 1 to 200" in done.stderr


class TestFiles:
    @pytest.mark.long
    def test_each_body_has_a_file_named_for_its_url(self, home: Home) -> None:
        home.log_in()
        api = home.server.api_url
        done = home.run(
            "fetch",
            "acme",
            "--output",
            "out/deep",
            f"{api}/a?b=1",
            f"{api}/A?b=1",
            f"{api}/..%2f..%2fx",
            f"{api}/status/404",
        )
        assert done.returncode == 1
        folder = home.folder / "out" / "deep"
        assert sorted(path.name for path in folder.iterdir()) == ["api_.._.._x", "api_A_b=1-2", "api_a_b=1"]
        assert json.loads((folder / "api_a_b=1").read_text())["path"] == "/api/a"
        assert "out/deep/api_a_b=1\n" in done.stdout

    def test_an_older_file_is_replaced(self, home: Home) -> None:
        home.log_in()
        path = home.folder / "api_items_1"
        path.write_text("old")
        home.run("fetch", "acme", "--output", ".", *urls_of(home, 1))
        assert json.loads(path.read_text())["path"] == "/api/items/1"

    def test_a_body_that_does_not_arrive_whole_leaves_no_file(self, home: Home) -> None:
        home.log_in()
        with bodies() as origin:
            send_to(home, origin)
            done = home.run("fetch", "acme", "--output", "out", f"{origin}/cut", f"{origin}/silent")
        assert done.returncode == 1
        assert "peer closed connection without sending complete message body" in done.stdout
        assert "server disconnected without sending a response" in done.stdout.lower()
        assert list((home.folder / "out").iterdir()) == []

    @pytest.mark.long
    def test_a_large_body_is_never_held_in_memory(self, home: Home) -> None:
        home.log_in()
        script = """
import resource, sys
from pathlib import Path
from onerefresh.cli import main
code = main(sys.argv[1:])
if sys.platform == "linux":  # where ru_maxrss counts what this process's parent had before exec
    print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 * 1024))
sys.exit(code)
"""
        with bodies() as origin:
            send_to(home, origin)
            command = [sys.executable, "-c", script, "fetch", "acme", "--output", "out", f"{origin}/large"]
            done = subprocess.run(
                command, env=home.environment, cwd=home.folder, capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, done.stderr
        assert (home.folder / "out" / "large").stat().st_size == 200 * MEBIBYTE
        assert int(done.stdout.splitlines()[-1]) < 150  # MiB; Python with the client needs about 60

    def test_a_disk_that_is_full_ends_everything(self, home: Home) -> None:
        home.log_in()
        with bodies() as origin:
            send_to(home, origin)
            command = " ".join(home.command("fetch", "acme", "--output", "out", f"{origin}/large"))
            done = subprocess.run(
                ["bash", "-c", f"ulimit -f 1000; exec {command}"],
                env=home.environment,
                cwd=home.folder,
                capture_output=True,
                text=True,
                check=False,
            )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "onerefresh: out/large cannot be written: File too large\n"
        assert list((home.folder / "out").iterdir()) == []

    def test_a_folder_that_cannot_be_is_told_before_anything_is_sent(self, home: Home) -> None:
        home.log_in()
        (home.folder / "file").write_text("")
        done = home.call("fetch", "acme", "--output", "file", *urls_of(home, 1))
        assert (done.returncode, done.stdout) == (2, "")
        assert "--output file: File exists; use another folder" in done.stderr
        assert home.server.log == []


def test_an_interrupt_ends_it_and_leaves_no_part_of_a_file(home: Home) -> None:
    home.log_in()
    process = home.start("fetch", "acme", "--output", "out", f"{home.server.api_url}/stream?count=1000&pause=0.05")
    home.server.wait_for("api", timeout=60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "onerefresh: interrupted\n")
    assert list((home.folder / "out").iterdir()) == []


def test_without_its_extra_it_says_how_to_install_it(home: Home) -> None:
    script = """
import sys
sys.modules["rich"] = None
from onerefresh.cli import main
sys.exit(main(["fetch", "acme", "x"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=home.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "onerefresh: onerefresh fetch needs rich: run pip install 'onerefresh[cli]'\n"


@pytest.mark.parametrize("challenge", ["slack", "code_in_403"])
def test_the_file_says_what_refuses_the_token(home: Home, challenge: str) -> None:
    home.configure('refused = ["slack", { statuses = [403], codes = ["TOKEN_EXPIRED"] }]')
    home.log_in()
    home.server.refuse_with(challenge)
    home.server.revoke_access()
    done = home.run("fetch", "acme", *urls_of(home, 5))
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 5), done.stdout
    assert home.server.counters.token_requests == 1


def test_paths_are_relative_to_the_working_folder(home: Home) -> None:
    home.log_in()
    assert home.call("fetch", "acme", "--output", "out", *urls_of(home, 1)).returncode == 0
    assert (home.folder / "out" / "api_items_1").exists()
    assert not Path("out").exists()
