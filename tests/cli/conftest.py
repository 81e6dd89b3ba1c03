"""A home of one's own for each test: a configuration file, a store, and a test server."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from onerefresh import load
from onerefresh.cli import main
from onerefresh.testing import AuthServer
from onerefresh.token_response import parse_answer

SECRET = "se cret+%:ü"


@dataclass
class Home:
    """Where the command finds everything; `run` and `start` run it as a process of its own, `call` in this one."""

    folder: Path
    server: AuthServer
    environment: dict[str, str] = field(repr=False)
    started: list[subprocess.Popen[str]] = field(default_factory=list, repr=False)

    @property
    def config(self) -> Path:
        return self.folder / "onerefresh.toml"

    @property
    def origin(self) -> str:
        return self.server.url

    def configure(self, *more: str, name: str = "acme") -> None:
        """Write a section for the test server, with these lines more."""
        lines = [
            f"[credentials.{name}]",
            f'token_endpoint = "{self.server.token_url}"',
            'client_id = "client"',
            'client_secret = { env = "CLI_TEST_SECRET" }',
            f'origins = ["{self.origin}"]',
            *more,
        ]
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.config.chmod(0o600)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-W", "error", "-m", "onerefresh", *arguments]

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def call(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """As `run`, in this process: for what is only about arguments and words, at a hundredth of the work."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            patch.chdir(self.folder)
            code = main(arguments)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def log_in(self, **changes: object) -> dict[str, object]:
        """Log the credential in with a new session of the server; the answer, with these changes.

        In this process, as the command `login` does it: one more process for each test would prove nothing more.
        """
        answer = {**self.server.issue(), **changes}
        with load("acme", config=self.config) as credential:
            credential.login(parse_answer(answer, at=time.time(), kept=True))
        return answer


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home with a credential `acme`; this process sees the same environment."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLI_TEST_SECRET", SECRET)
    monkeypatch.setenv("ONEREFRESH_CONFIG", str(tmp_path / "onerefresh.toml"))
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("ONEREFRESH_DEBUG", raising=False)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with AuthServer(client_secret=SECRET) as server:
        found = Home(tmp_path, server, environment)
        found.configure()
        yield found
        for process in found.started:
            if process.poll() is None:  # its test has failed
                process.kill()
                process.communicate()
