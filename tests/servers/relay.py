"""A TCP relay between a client and a server, on which the line breaks where a test wants it to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Self, TypeAlias

Change: TypeAlias = Callable[[bytes], bytes | None]
"""What becomes of a piece of data on its way; None: the line breaks there."""


class Relay:
    """Passes bytes on to `port` of loopback, from a port of its own on `host`, until it is closed.

    `to_server` and `to_client` see each piece of data first. Assign them, and `target`, at any time: new connections
    lead to the port that `target` says.
    """

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        self.target = port
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.to_server: Change = bytes
        self.to_client: Change = bytes
        self.accepted = 0
        self._is_down = False
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The thread ends before the descriptor may be another's: it would take that one's connections.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Break all connections that there are."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            _shut(pair)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Nobody gets through."""
        with self._lock:
            self._is_down = True
        self.cut()
        try:
            yield
        finally:
            with self._lock:
                self._is_down = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        pair = (client, server)
        for one in pair:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.add(pair)
            is_down = self._is_down
        if is_down:
            _shut(pair)
        back = threading.Thread(
            target=self._pump, args=(server, client, lambda data: self.to_client(data)), daemon=True
        )
        back.start()
        self._pump(client, server, lambda data: self.to_server(data))
        back.join()
        with self._lock:
            self._pairs.discard(pair)
        for one in pair:
            one.close()

    def _pump(self, source: socket.socket, target: socket.socket, change: Change) -> None:
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
