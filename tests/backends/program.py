"""The program of `docs/backends.md`: its files as the page shows them, and processes that run it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.package import ROOT, alone
from tests.servers.postgres import end_with_parent

from onerefresh.testing import AuthServer

PATIENCE = 60.0
GUIDE = (ROOT / "docs" / "backends.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
FILES = {re.match(r"# (\w+\.py)\n", block)[1]: block for block in BLOCKS}  # type: ignore[index]  # each has a name
COMMANDS = re.findall(r"^\$ (.*)$", GUIDE, re.MULTILINE)


class Program:
    """The guide's files in a folder, with the test server in place of acme.com, and the processes that run them."""

    def __init__(self, folder: Path, server: AuthServer, store: str) -> None:
        folder.mkdir()
        self.folder, self.server, self.store = folder, server, store
        for name, text in FILES.items():
            (folder / name).write_text(text.replace("https://acme.com", server.url), "utf-8")
        self.environment = {
            **os.environ,
            "ACME_SECRET": server.client_secret or "",
            "TOKEN_STORE": store,
            "ONEREFRESH_STATE": str(folder / "state"),
            "PYTHONPATH": os.pathsep.join([str(folder), alone()]),
            "PYTHONUNBUFFERED": "1",
        }

    def change(self, name: str, old: str, new: str) -> None:
        """Change a file of the guide for this test."""
        text = (self.folder / name).read_text("utf-8")
        assert old in text
        (self.folder / name).write_text(text.replace(old, new), "utf-8")

    def add(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, "utf-8")

    def run(self, *words: str) -> Running:
        """Run a Python program or module."""
        return Running([sys.executable, *words], self.folder, self.environment)

    @contextmanager
    def serving(self, *words: str) -> Iterator[Site]:
        """Run a web server; `{fd}` in the words is the number of its listening socket."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(256)
            number = listener.fileno()
            command = [sys.executable, "-m", *(word.format(fd=number) for word in words)]
            with Running(command, self.folder, self.environment, passed=[number]) as running:
                yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}", running)


class Running:
    """A process of the program, with its own log, in a process group of its own that ends with the test."""

    def __init__(
        self, command: list[str], folder: Path, environment: Mapping[str, str], passed: list[int] | None = None
    ) -> None:
        self._log = (folder / f"log-{len(list(folder.glob('log-*')))}").open("w+b")
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
            pass_fds=passed or [], start_new_session=True, preexec_fn=end_with_parent,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """In order if it can; whatever is left of its group is killed."""
        if self.process.poll() is None:
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE / 4)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log = self.said
        self._log.close()

    @property
    def said(self) -> str:
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]

    def finished(self) -> str:
        """Wait until it has ended well; what it said."""
        code = self.process.wait(PATIENCE)
        said = self.said
        assert code == 0, said
        return said


class Site:
    """A web server that runs."""

    def __init__(self, url: str, running: Running) -> None:
        self.url, self.running = url, running


def until_sent(server: AuthServer, call: Callable[[], object]) -> None:
    """Call until a refresh token is spent: a process that has just read an ageing token renews it a second later."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        call()
        with suppress(TimeoutError):
            server.wait_for("token_sent", timeout=0.3)
            return
    raise TimeoutError("no token request was sent")
