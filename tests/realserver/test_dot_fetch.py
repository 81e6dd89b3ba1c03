"""The command's main job against django-oauth-toolkit: three processes, one session, tokens that live for seconds."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.realserver.conftest import DotServer

pytestmark = [pytest.mark.slow, pytest.mark.long]

PROCESSES = 3
CALLS = 104
"""Calls of each process, 8 at a time: 13 rounds."""

SECONDS_A_CALL = 1.0
"""All in all, the calls of a process take at least three lifetimes of a token."""


class Command:
    """``onerefresh`` with a configuration file and an environment of its own."""

    def __init__(self, folder: Path, dot: DotServer) -> None:
        self.folder = folder
        self.config = folder / "onerefresh.toml"
        self.config.write_text(
            f"""
            store = "sqlite:///{folder / "tokens" / "onerefresh.db"}"

            [credentials.acme]
            token_endpoint = "{dot.token_url}"
            client_id = "{dot.client_id}"
            client_secret = {{ env = "ACME_SECRET" }}
            origins = ["{dot.url}"]
            """,
            encoding="utf-8",
        )
        self.config.chmod(stat.S_IRUSR | stat.S_IWUSR)
        self.environment = {
            **os.environ,
            "ACME_SECRET": dot.client_secret,
            "NO_PROXY": "127.0.0.1",
            "ONEREFRESH_DEBUG": "1",
        }

    def arguments(self, command: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "onerefresh", command, "acme", "--config", str(self.config), *arguments]

    def run(self, command: str, *arguments: str, given: str = "") -> str:
        """What it prints; fails the test unless it succeeds."""
        done = subprocess.run(
            self.arguments(command, *arguments),
            input=given,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

    def generation(self) -> int:
        status: dict[str, Any] = json.loads(self.run("status", "--json"))
        return int(status["generation"])

    @contextlib.contextmanager
    def fetching(self, urls: list[str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
        """``fetch``, begun: URLs from standard input, bodies to the folder `output`, what it says beside it."""
        given = output.with_suffix(".urls")
        given.write_text("".join(f"{url}\n" for url in urls), encoding="utf-8")
        with (
            given.open() as stdin,
            output.with_suffix(".log").open("w") as log,
            subprocess.Popen(
                self.arguments("fetch", "--concurrency", "8", "--output", str(output)),
                stdin=stdin,
                stdout=log,
                stderr=log,
                env=self.environment,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()  # does nothing where it has ended


def items_in(folder: Path) -> list[int]:
    return sorted(json.loads(body.read_bytes())["item"] for body in folder.iterdir())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lifetime", [3])
def test_three_processes_fetch_hundreds_of_urls_over_several_lifetimes_and_the_session_lives(
    dot: DotServer, tmp_path: Path
) -> None:
    command = Command(tmp_path, dot)
    command.run("login", "--with-token", given=json.dumps(dot.first_tokens()))
    parts = [range(CALLS * part, CALLS * (part + 1)) for part in range(PROCESSES)]
    outputs = [tmp_path / f"part-{part}" for part in range(PROCESSES)]

    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                command.fetching([dot.item_url(number, seconds=SECONDS_A_CALL) for number in part], output)
            )
            for part, output in zip(parts, outputs, strict=True)
        ]
        codes = [process.wait() for process in processes]
    logs = [output.with_suffix(".log").read_text(encoding="utf-8") for output in outputs]
    assert codes == [0] * PROCESSES, "\n\n".join(log[-2000:] for log in logs)

    assert [items_in(output) for output in outputs] == [list(part) for part in parts]
    before = command.generation()
    assert before >= 4  # at least three lifetimes

    # The session goes on: in three seconds at most the token ages, and the command gets the next one.
    while command.generation() == before:
        assert command.run("token").strip()

    report = dot.report()
    refreshes = command.generation() - 1
    assert report.token_requests == {"password 200": 1, "refresh_token 200": refreshes}
    assert (report.sessions, report.refresh_tokens, report.live_refresh_tokens) == (1, refreshes + 1, 1)
    assert report.api_calls["200"] == PROCESSES * CALLS
    assert set(report.api_calls) <= {"200", "401"}

    hidden = [*dot.tokens(), dot.client_secret]
    assert len(hidden) == report.refresh_tokens + 2
    assert not [text for text in hidden if any(text in log for log in logs)]
    assert "refreshed (generation 2)" in "".join(logs)  # they do tell what happened
