"""The server's side of a websocket that echoes text (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import BinaryIO

from onerefresh.testing.http import Request

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10


def upgrade_headers(request: Request) -> tuple[tuple[str, str], ...] | None:
    """The headers of the 101 answer; None where the request is no websocket handshake (section 4.2.1)."""
    key = request.header("sec-websocket-key")
    wanted = (request.header("upgrade") or "").lower() == "websocket"
    if not wanted or key is None or request.method != "GET" or request.header("sec-websocket-version") != "13":
        return None
    # Section 1.3 demands SHA-1, which protects nothing here.
    accept = base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()
    return (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept))


def echo(reader: BinaryIO, send: Callable[[bytes], None]) -> None:
    """Send every data frame back, answer pings, until the client closes."""
    while (frame := _read_frame(reader)) is not None:
        opcode, payload = frame
        if opcode in (_TEXT, _BINARY):
            send(_frame(opcode, payload))
        elif opcode == _PING:
            send(_frame(_PONG, payload))
        elif opcode == _CLOSE:
            send(_frame(_CLOSE, payload))
            return


def _read_frame(reader: BinaryIO) -> tuple[int, bytes] | None:
    """Opcode and payload; None at the end of the stream, or for a frame that breaks the rules (section 5.1)."""
    head = reader.read(2)
    if len(head) < 2:
        return None
    final, opcode, masked, size = head[0] & 0x80, head[0] & 0x0F, head[1] & 0x80, head[1] & 0x7F
    if size >= 126:
        size = int.from_bytes(reader.read(2 if size == 126 else 8))
    if not final or not masked:
        return None
    mask = reader.read(4)
    payload = reader.read(size)
    return opcode, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | opcode, size])
    elif size < 65536:
        head = bytes([0x80 | opcode, 126]) + size.to_bytes(2)
    else:
        head = bytes([0x80 | opcode, 127]) + size.to_bytes(8)
    return head + payload
