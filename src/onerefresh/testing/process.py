"""A server in another process: how to start one, and how to control one by its address."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, Unpack
from urllib.parse import urlsplit

from onerefresh.testing.control import Control
from onerefresh.testing.server import CARRIED_ERRORS, CONTROL_HEADER, CONTROL_PATH
from onerefresh.testing.settings import Mode, Options, Settings

_SLACK = 10.0
"""Seconds that an operation may take beyond the time that it was asked to wait."""


def child_environment() -> dict[str, str]:
    """The environment for a new Python that can import this package, and nothing from the working folder."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(path).is_absolute()]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *paths])}


class RemoteServer(Control):
    """A server that runs in another process, with all methods of `AuthServer`.

    `RemoteServer(url, control_key)` controls a server that somebody else runs; `stop` leaves it running.
    `RemoteServer.start(...)` runs one in a new process, which ends with `stop`, or when this process ends.
    """

    def __init__(self, url: str, control_key: str, *, child: subprocess.Popen[bytes] | None = None) -> None:
        self._address = urlsplit(url).netloc
        self._child = child
        self.control_key = control_key
        super().__init__(self._ask("describe"), control_key)

    @classmethod
    def start(cls, mode: Mode = "revoke_family", **options: Unpack[Options]) -> Self:
        """Run a server in a new process. The arguments are those of `AuthServer`.

        Raises `ValueError` as `Settings` does, and `RuntimeError` where the process ends before it is ready.
        """
        Settings(mode=mode, **options)  # bad choices raise here rather than end the child
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "onerefresh.testing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(),
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            # Settings and key go through pipes, because every user of the machine can read a command line.
            child.stdin.write(json.dumps({"mode": mode, **options}).encode() + b"\n")
            child.stdin.flush()
            line = child.stdout.readline()
            if not line:
                raise RuntimeError("the server process ended before it was ready: see its standard error")
            ready = json.loads(line)
            return cls(ready["url"], ready["control_key"], child=child)
        except BaseException:
            _end(child)
            raise

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Control the server of `onerefresh testserver` through the file that it has written."""
        content: Mapping[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(content["url"], content["control_key"])

    def stop(self) -> None:
        if self._child is not None:
            _end(self._child)

    def _ask(self, operation: str, **arguments: Any) -> Any:
        body = json.dumps({"operation": operation, "arguments": arguments}).encode()
        timeout = _SLACK + float(arguments.get("timeout", 0))
        connection = http.client.HTTPConnection(self._address, timeout=timeout)
        try:
            connection.request("POST", CONTROL_PATH, body, {CONTROL_HEADER: self.control_key, "Connection": "close"})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise PermissionError(f"the server at {self._address} refused control: {content.decode().strip()}")
        reply = json.loads(content)
        for error in CARRIED_ERRORS:
            if reply.get("error") == error.__name__:
                raise error(reply["message"])
        return reply["result"]


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask the child to end, and kill it if it does not."""
    assert child.stdin is not None
    assert child.stdout is not None
    if child.stdin.closed:
        return
    with contextlib.suppress(BrokenPipeError):  # it has ended already
        # A line is written, too: a process that was forked from this one may keep the pipe open.
        child.stdin.write(b"\n")
        child.stdin.close()
    try:
        child.wait(_SLACK)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    child.stdout.close()
