"""One token request on its way: whether it has been sent, how long it may take, and how much is read of its answer."""

from __future__ import annotations

import contextlib
import socket
import time
import zlib
from collections.abc import Collection, Iterable
from urllib.parse import unquote, urlsplit

from onerefresh.errors import ConfigurationError
from onerefresh.latches import Alarm
from onerefresh.oauth2.address import Address
from onerefresh.redaction import Redactor
from onerefresh.token import Secret
from onerefresh.verdict import NOTHING_KNOWN, Meaning, RefreshFailure, Verdict

__all__ = ["LARGEST_BODY", "Body", "Wire", "password_of", "proxy_for"]

LARGEST_BODY = 1024 * 1024
"""Bytes of an answer that are read, before and after its content encoding is undone."""


class Wire:
    """Follows one request, so that a failure can be told from what is known rather than guessed.

    Half of the time at most goes into connecting: a request is sent only while there is time for its answer.
    """

    def __init__(self, timeout: float, hidden: Redactor = NOTHING_KNOWN) -> None:
        self.timeout = timeout
        self._hidden = hidden
        self.sent = False
        self._begun = time.monotonic()
        self._alarm: Alarm | None = None
        self._is_cut = False

    @property
    def connect_timeout(self) -> float:
        """Seconds left for connecting."""
        return max(self._begun + self.timeout / 2 - time.monotonic(), 0.001)

    def sending(self, connection: socket.socket) -> None:
        """To be called right before the first byte of the request is sent; cuts `connection` when the time is over.

        Raises `TimeoutError` where connecting took so long that nothing is to be sent any more.
        """
        if time.monotonic() > self._begun + self.timeout / 2:
            raise TimeoutError("connecting took too long")
        with contextlib.suppress(RuntimeError):
            # At the interpreter's exit no thread can start any more; each single wait is bounded all the same.
            self._alarm = Alarm(self._begun + self.timeout - time.monotonic(), lambda: self._cut(connection))
        self.sent = True

    def close(self) -> None:
        """End the watch over the time."""
        if self._alarm is not None:
            self._alarm.cancel()

    def failure(self, error: Exception) -> Verdict:
        """What `error`, raised by the connection, means for the request."""
        if isinstance(error, RefreshFailure):
            return error.verdict
        name = type(error).__name__
        if not self.sent:
            reason = self._hidden.quote(str(error))  # a proxy's own words, perhaps
            said = f"{name}: {reason}" if reason else name
            return Verdict(Meaning.UNAVAILABLE, f"the token endpoint could not be reached ({said})")
        if self._is_cut or time.monotonic() >= self._begun + self.timeout:
            return Verdict(Meaning.NO_ANSWER, f"the token request was sent and not answered within {self.timeout:g} s")
        return Verdict(Meaning.NO_ANSWER, f"the token request was sent and its answer was lost ({name})")

    def _cut(self, connection: socket.socket) -> None:
        """End every wait on the connection. TLS says no goodbye here: that could wait itself."""
        self._is_cut = True
        with contextlib.suppress(OSError):  # it is closed already
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


class Body:
    """The body of an answer while it is read; shows nothing of it."""

    __slots__ = ("_read",)

    def __init__(self) -> None:
        self._read = bytearray()

    def read(self, parts: Iterable[bytes]) -> None:
        """Take all parts. Raises `RefreshFailure` for an answer that is too large."""
        iterator = iter(parts)
        while self._extend(next(iterator, None)):
            if len(self._read) > LARGEST_BODY:
                raise RefreshFailure(Verdict(Meaning.NO_ANSWER, "the token endpoint's answer is larger than 1 MiB"))

    def _extend(self, part: bytes | None) -> bool:
        self._read += part or b""
        return part is not None

    def decoded(self, encoding: str) -> bytes:
        """The body without its content encoding, which was not asked for. Raises `RefreshFailure` for unknown ones."""
        kind = encoding.strip().lower()
        if kind in ("", "identity"):
            return bytes(self._read)
        if kind in ("gzip", "x-gzip", "deflate"):
            with contextlib.suppress(zlib.error):
                inflater = zlib.decompressobj(wbits=47)  # gzip and zlib alike
                whole = inflater.decompress(bytes(self._read), LARGEST_BODY)
                if inflater.eof:
                    return whole
        raise RefreshFailure(Verdict(Meaning.NO_ANSWER, "the token endpoint's answer cannot be decoded"))


def proxy_for(address: Address, schemes: Collection[str]) -> Secret | None:
    """The URL of the proxy that the environment (``HTTPS_PROXY``, ``NO_PROXY`` …) names for a token endpoint.

    A proxy serves for https alone, where it sees nothing but the host. Raises `ConfigurationError` for one whose
    scheme is not among `schemes`.
    """
    from urllib.request import getproxies, proxy_bypass

    if address.scheme != "https" or address.is_loopback or proxy_bypass(f"{address.host}:{address.port}"):
        return None
    proxy = Secret(getproxies().get("https") or getproxies().get("all") or "")
    if proxy and "://" not in proxy.reveal():
        proxy = Secret(f"http://{proxy.reveal()}")
    if proxy and proxy.reveal().partition("://")[0].lower() not in schemes:
        raise ConfigurationError(
            f"the environment names a proxy that cannot be used: its URL begins with one of {', '.join(schemes)}"
        )
    return proxy or None


def password_of(proxy: Secret | None) -> list[Secret]:
    """The password in a proxy's URL: the proxy may repeat it."""
    try:
        password = urlsplit(proxy.reveal()).password if proxy is not None else None
    except ValueError:
        password = None
    return [Secret(unquote(password))] if password else []
