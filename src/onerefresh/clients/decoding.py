"""Decodes the beginning of a compressed body (RFC 9110 section 8.4.1), so that a rule can read it."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol

__all__ = ["Decoder", "decoder_for"]

_SLICE: Final = 1024
"""So many bytes are decoded at once, for libraries without a limit: a bomb must not fill the memory."""


class Decoder(Protocol):
    """Decodes a body piece by piece."""

    def decode(self, piece: bytes, most: int) -> bytes:
        """The next decoded bytes. It stops after about `most`. Raises any error for bytes that are damaged."""
        ...


class _Plain:
    def decode(self, piece: bytes, most: int) -> bytes:
        return piece[:most]


class _Zlib:
    """gzip and deflate. Some servers leave out the header of the latter."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._stream: zlib._Decompress | None = None

    def decode(self, piece: bytes, most: int) -> bytes:
        if not piece:
            return b""
        if self._stream is None:
            has_header = self._window != zlib.MAX_WBITS or piece[0] & 0x0F == zlib.DEFLATED
            self._stream = zlib.decompressobj(self._window if has_header else -zlib.MAX_WBITS)
        return self._stream.decompress(piece, most)


class _Library:
    """A coding of another library. `limit`: the keyword that bounds what it returns at once; older versions lack it."""

    def __init__(self, decode: Callable[..., bytes], limit: str = "") -> None:
        self._decode = decode
        self._limit = limit

    def decode(self, piece: bytes, most: int) -> bytes:
        found = bytearray()
        for start in range(0, len(piece), _SLICE):
            found += self._limited(piece[start : start + _SLICE], most - len(found))
            if len(found) >= most:
                break
        return bytes(found)

    def _limited(self, piece: bytes, most: int) -> bytes:
        if self._limit:
            try:
                return self._decode(piece, **{self._limit: most})
            except TypeError:
                self._limit = ""
        return self._decode(piece)


class _Chain:
    """Several codings, of which the last one is undone first."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    def decode(self, piece: bytes, most: int) -> bytes:
        for decoder in self._decoders:
            piece = decoder.decode(piece, most)
        return piece


def _brotli() -> Decoder | None:
    for name in ("brotli", "brotlicffi"):
        library = _imported(name)
        if library is not None:
            return _Library(library.Decompressor().process, "output_buffer_limit")
    return None


def _zstd() -> Decoder | None:
    for name in ("compression.zstd", "backports.zstd"):
        library = _imported(name)
        if library is not None:
            return _Library(library.ZstdDecompressor().decompress, "max_length")
    library = _imported("zstandard")
    return None if library is None else _Library(library.ZstdDecompressor().decompressobj().decompress)


def _imported(name: str) -> Any:
    """The library; None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_MOST_CODINGS: Final = 4
_CODINGS: Final[dict[str, Callable[[], Decoder | None]]] = {
    "identity": _Plain,
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "deflate": lambda: _Zlib(zlib.MAX_WBITS),
    "br": _brotli,
    "zstd": _zstd,
}


def decoder_for(encoding: str) -> Decoder | None:
    """What decodes a body with this ``Content-Encoding``; None where nothing here can."""
    names = [name.strip().lower() for name in encoding.split(",") if name.strip()]
    if not names:
        return _Plain()
    if len(names) > _MOST_CODINGS:
        return None
    decoders: list[Decoder] = []
    for name in reversed(names):
        decoder = _CODINGS[name]() if name in _CODINGS else None
        if decoder is None:
            return None
        decoders.append(decoder)
    return _Chain(decoders)
