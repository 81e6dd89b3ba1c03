"""A TCP relay between a client and a server, on which the line breaks where a test wants it to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self, TypeAlias

Change: TypeAlias = Callable[[bytes], bytes | None]
"""What becomes of a piece of data on its way; None: the line breaks there."""


@dataclass(frozen=True, slots=True)
class Request:
    """Data that is passed on, and what becomes of all that comes back on the same connection from then on."""

    data: bytes
    to_client: Change


ChangeOfRequest: TypeAlias = Callable[[bytes], bytes | Request | None]


class Relay:
    """Passes bytes on to the port `target` of loopback, from a port of its own on `host`, until it is closed.

    `to_server` and `to_client` see each piece of data first: assign them at any time, as `lose` and `hang` do.
    `accepted` counts connections, `lost` what `lose` made of it.
    """

    def __init__(self, target: int, *, host: str = "127.0.0.1") -> None:
        self.target = target
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"{host}:{self.port}"
        self.to_server: ChangeOfRequest = bytes
        self.to_client: Change = bytes
        self.accepted = self.lost = 0
        self._is_down = False
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        # The thread ends before the descriptor may be another's: it would take that one's connections.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self.go_down()

    def cut(self) -> None:
        """Break all connections that there are."""
        with self._lock:
            for pair in self._pairs:
                _shut(pair)

    def go_down(self) -> None:
        """From now on nobody gets through."""
        self._is_down = True
        self.cut()

    def come_up(self) -> None:
        """From now on new connections get through again."""
        self._is_down = False

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Nobody gets through."""
        self.go_down()
        try:
            yield
        finally:
            self.come_up()

    def lead_to(self, port: int) -> None:
        """From now on it leads to another server, as a name does after a failover."""
        self.target = port
        self.cut()

    def lose(self, what: str, *, of: bytes, then: Callable[[], object] = lambda: None) -> None:
        """Lose the next "request" that holds the text `of`, or the "answer" to it; do `then` before anybody hears."""

        def lost(_: bytes) -> None:
            self.lost += 1
            then()

        self._change_next(of, {"request": lost, "answer": lambda data: Request(data, lost)}[what])

    def hang(self, *, of: bytes, then: Callable[[], object]) -> None:
        """Do `then` before the next request that holds the text `of` is passed on."""

        def held(data: bytes) -> bytes:
            then()
            return data

        self._change_next(of, held)

    def _change_next(self, mark: bytes, change: ChangeOfRequest) -> None:
        def to_server(data: bytes) -> bytes | Request | None:
            with self._lock:  # several connections may come by at once
                if mark not in data or self.to_server is not to_server:
                    return data
                self.to_server = bytes
            return change(data)

        self.to_server = to_server

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        target = self.target
        try:
            server = socket.create_connection(("127.0.0.1", target))
        except OSError:
            client.close()
            return
        pair = (client, server)
        for one in pair:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.add(pair)
            if self._is_down or target != self.target:  # by now, and what cut the others did not find it
                _shut(pair)
        own: Change | None = None

        def to_server(data: bytes) -> bytes | None:
            nonlocal own
            passed = self.to_server(data)
            if isinstance(passed, Request):
                own, passed = passed.to_client, passed.data
            return passed

        def to_client(data: bytes) -> bytes | None:
            return (own or self.to_client)(data)

        back = threading.Thread(target=_pump, args=(server, client, to_client), daemon=True)
        back.start()
        _pump(client, server, to_server)
        back.join()
        with self._lock:
            self._pairs.discard(pair)
        for one in pair:
            one.close()


def _pump(source: socket.socket, target: socket.socket, change: Change) -> None:
    with contextlib.suppress(OSError):  # the line broke
        while data := source.recv(1 << 16):
            passed = change(data)
            if passed is None:
                break
            target.sendall(passed)
    _shut((source, target))


def _shut(pair: tuple[socket.socket, socket.socket]) -> None:
    for one in pair:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
