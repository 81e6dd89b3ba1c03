"""Other processes: real ones, that do what one of the scripts says and tell of it line by line."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

PATIENCE = 30.0
ROOT = Path(__file__).parents[2]


class Child:
    """Runs ``scripts/NAME.py`` with `options` as its command line; what it prints is read line by line.

    `scripts` is the package to look in.
    """

    scripts = "tests.core.scripts"

    def __init__(self, name: str, **options: object) -> None:
        arguments = [f"{option}={value}" for option, value in options.items()]
        self._child = subprocess.Popen(
            [sys.executable, "-m", f"{self.scripts}.{name}", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # its own children end with it
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="a child's reader")
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self) -> str:
        """The next line that it prints."""
        try:
            found = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            pytest.fail("the child says nothing")
        assert found is not None, "the child ended without another line"
        return found

    def rest(self) -> list[str]:
        """All further lines, when it has ended."""
        found = []
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            found.append(line)
        return found

    def tell(self, line: str = "") -> None:
        """Write a line to its standard input."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{line}\n")
        self._child.stdin.flush()

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._child.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Its exit code."""
        return self._child.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            self._reader.join()
            assert self._child.stdout is not None
            self._child.stdout.close()
