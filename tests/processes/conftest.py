"""Real processes that share one credential, steered through pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from onerefresh import Credential
from onerefresh.testing import AuthServer

PATIENCE = 25.0
"""Seconds after which something that was to happen is given up: less than the shortest time to live of a lease."""
EXPIRED = 1_000_000_000
ROOT = Path(__file__).parents[2]

Told = dict[str, Any]


class Process:
    """A `worker` of this folder (or another `program`), and all that it has told so far."""

    program = "tests.processes.worker"

    def __init__(self, config: dict[str, Any]) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", self.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._heard: list[Told] = []
        self._news = threading.Condition()
        self._ended = False
        self.errors = ""
        self._readers = [threading.Thread(target=target) for target in (self._listen, self._collect_errors)]
        for reader in self._readers:
            reader.start()
        self._write(config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            told = json.loads(line)
            with self._news:
                self._heard.append(told)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _collect_errors(self) -> None:
        assert self._child.stderr is not None
        self.errors = self._child.stderr.read()

    def _write(self, line: dict[str, Any]) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(line) + "\n")
        self._child.stdin.flush()

    def do(self, command: str, **arguments: Any) -> Self:
        self._write({"do": command, **arguments})
        return self

    def open(self, gate: str) -> None:
        self._write({"open": gate})

    def told(self, kind: str) -> list[Any]:
        with self._news:
            return [told["what"] for told in self._heard if told["told"] == kind]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.told("event") if event["kind"] == kind]

    def until(self, kind: str, *, matches: Callable[[Any], bool] = lambda _: True) -> Any:
        """What it tells of this kind, waited for; the first that matches."""

        def found() -> list[Any]:
            return [told["what"] for told in self._heard if told["told"] == kind and matches(told["what"])]

        with self._news:
            self._news.wait_for(lambda: self._ended or bool(found()), PATIENCE)
            present = found()
        if not present:
            self.kill()
            raise AssertionError(f"no {kind}: {self._heard} {self.errors}")
        return present[0]

    def until_event(self, kind: str) -> dict[str, Any]:
        event: dict[str, Any] = self.until("event", matches=lambda event: event["kind"] == kind)
        return event

    def until_gate(self, name: str) -> None:
        self.until("gate", matches=lambda gate: gate == name)

    def until_answered(self) -> Any:
        """The answer to a command, whichever it is: a token's generation, the statuses of calls, or an error."""
        return self.until_count(1, "token", "statuses", "error", "logged out", "status")[0]

    def until_count(self, count: int, *kinds: str) -> list[Any]:
        """What it tells of these kinds, once it is so much."""

        def found() -> list[Any]:
            return [told["what"] for told in self._heard if told["told"] in kinds]

        with self._news:
            self._news.wait_for(lambda: self._ended or len(found()) >= count, PATIENCE)
            present = found()
        if len(present) < count:
            self.kill()
            raise AssertionError(f"fewer than {count} of {kinds}: {self._heard} {self.errors}")
        return present

    def pause(self) -> None:
        """Stop it, as a debugger or a suspended container would."""
        self._child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._child.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self.wait()

    def wait(self) -> int:
        """Wait until it has ended; how."""
        status = self._child.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # it was killed before it had read everything
        return status

    def finish(self) -> None:
        """Let it come to its end; nothing must have gone wrong."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        assert (self.wait(), self.errors) == (0, "")


class Fleet:
    """Processes that share one credential on one SQLite file."""

    def __init__(self, server: AuthServer, database: Path, processes: ExitStack) -> None:
        self.server = server
        self.database = database
        self.url = f"sqlite:///{database}"
        self.seed = server.issue()
        self._processes = processes

    def save(self, **changes: object) -> None:
        """Put the first token into the store."""
        answer = {**self.seed, **changes}
        with Credential("acme", lambda token: token, store=self.url) as credential:
            credential.login(answer)

    def save_expired(self) -> None:
        seed = {name: value for name, value in self.seed.items() if name != "expires_in"}
        with Credential("acme", lambda token: token, store=self.url) as credential:
            credential.login({**seed, "expires_at": EXPIRED})

    def start(self, **config: Any) -> Process:
        process = self._processes.enter_context(
            Process(
                {
                    "store": self.url,
                    "json_refresh_url": self.server.json_refresh_url,
                    "api_url": self.server.api_url,
                    **config,
                }
            )
        )
        process.until("ready")
        return process

    def start_many(self, count: int, **config: Any) -> list[Process]:
        return [self.start(**config) for _ in range(count)]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))


@pytest.fixture
def new_fleet(new_auth_server: Callable[..., AuthServer], tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Make a server of the given options, and the means to start processes that use it."""
    with ExitStack() as processes:

        def make(*, database: Path | None = None, **options: Any) -> Fleet:
            return Fleet(new_auth_server(**options), database or tmp_path / "tokens.db", processes)

        yield make


assert os.name == "posix", "the tests of processes need signals"
