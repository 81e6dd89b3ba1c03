"""Several hosts on one machine: a network namespace for each, joined by a bridge.

All addresses are of 198.18.0.0/15, which is for tests (RFC 2544), and exist in these namespaces alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

__all__ = ["Network", "enter", "inside", "why_not"]

ADDRESS = "198.18.0.{}"
CLONE_NEWNET = 0x40000000
NOBODY_LISTENS = 9
PATIENCE = 30.0
HERE = "/proc/thread-self/ns/net"


def why_not() -> str | None:
    """Why there can be no namespaces here; None where there can."""
    if shutil.which("ip", path=_path()) is None:
        return "there is no command `ip` (package iproute2)"
    name = f"onerefresh-{os.getpid()}-try"
    try:
        _ip("netns", "add", name)
        try:
            _ip("-n", name, "link", "add", "try", "type", "bridge")
        finally:
            _ip("netns", "delete", name)
    except subprocess.CalledProcessError as error:
        return f"namespaces and bridges cannot be made: {error.stderr.strip()}"
    return None


class Network:
    """One namespace for servers, `address` in it, and some for clients. All are gone at the end.

    `files`: of the clients' namespaces.
    """

    address = ADDRESS.format(1)

    def __init__(self, hosts: int) -> None:
        prefix = f"onerefresh-{os.getpid()}-"
        self._servers = f"{prefix}servers"
        self._hosts = [f"{prefix}host-{number}" for number in range(hosts)]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as made:
            for name in (self._servers, *self._hosts):
                _ip("netns", "add", name)
                made.callback(_ip, "netns", "delete", name)
                _ip("-n", name, "link", "set", "lo", "up")
            self._in(self._servers, "link", "add", "bridge", "type", "bridge", "stp_state", "0", "forward_delay", "0")
            self._in(self._servers, "address", "add", f"{self.address}/24", "dev", "bridge")
            self._in(self._servers, "link", "set", "bridge", "up")
            for number, name in enumerate(self._hosts):
                self._plug_in(number, name)
            self._made = made.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()

    @property
    def files(self) -> list[str]:
        return [_file(name) for name in self._hosts]

    @contextlib.contextmanager
    def among_the_servers(self) -> Iterator[None]:
        """This thread, and what it starts, is in the servers' namespace."""
        with inside(_file(self._servers)):
            yield

    @contextlib.contextmanager
    def cut_off(self, number: int) -> Iterator[None]:
        """This host's cable is pulled out until the end, when the host reaches the servers again."""
        self._in(self._servers, "link", "set", f"port-{number}", "down")
        try:
            yield
        finally:
            self._in(self._servers, "link", "set", f"port-{number}", "up")
        deadline = time.monotonic() + PATIENCE  # the system looks at its cables once a second, and so for neighbours
        while not self.reaches(number):
            assert time.monotonic() < deadline, "the host does not come back"
            time.sleep(0.02)

    def reaches(self, number: int) -> bool:
        """Whether this host reaches the servers."""
        with inside(self.files[number]), socket.socket() as probe:
            probe.settimeout(0.1)
            try:
                probe.connect((self.address, NOBODY_LISTENS))
            except ConnectionRefusedError:
                return True  # they said so themselves
            except OSError:
                return False
            raise AssertionError("somebody listens on the port of discard")

    def _plug_in(self, number: int, name: str) -> None:
        port = f"port-{number}"
        self._in(self._servers, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        self._in(self._servers, "link", "set", port, "master", "bridge", "up")
        self._in(name, "address", "add", f"{ADDRESS.format(10 + number)}/24", "dev", "eth0")
        self._in(name, "link", "set", "eth0", "up")

    def _in(self, namespace: str, *words: str) -> None:
        _ip("-n", namespace, *words)


def enter(file: str) -> None:
    """Put this thread, and the threads that it starts, into the network namespace of that file."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {file}")
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def inside(file: str) -> Iterator[None]:
    """This thread is in that network namespace until the end."""
    descriptor = os.open(HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(file)
        try:
            yield
        finally:
            enter(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _file(name: str) -> str:
    return str(Path("/run/netns") / name)


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def _ip(*words: str) -> None:
    command = shutil.which("ip", path=_path())
    assert command is not None
    subprocess.run([command, *words], check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)
