"""One token request under way: its time limit, whether it has been sent, and how much of its answer is read."""

from __future__ import annotations

import contextlib
import io
import socket
import zlib
from collections.abc import Callable, Collection, Iterable
from urllib.parse import unquote, urlsplit

from onerefresh.answers import object_in
from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.codec import TokenResponse
from onerefresh.oauth2.http_answer import Incoming, read_body, read_head, read_on
from onerefresh.real_time import monotonic
from onerefresh.redaction import NOTHING_KNOWN, Redactor
from onerefresh.secret import Secret
from onerefresh.timekeeper import Alarm
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

__all__ = ["LARGEST_BODY", "BoundedBody", "RequestDeadline", "password_of", "proxy_for"]

LARGEST_BODY = 1024 * 1024
"""Bytes of an answer that are read, both before and after its content encoding is undone."""
CUT = b"{"
"""Stands for a body of which a part is lost: the beginning of an object, without its end."""
_BEFORE_THE_BODY = LARGEST_BODY // 2
_IN_ALL = 4 * LARGEST_BODY
"""Bytes that one connection may bring: headers and interim answers first, then a body with the frames of its chunks."""
_MOST_ENCODINGS = 4
_TOO_LARGE = Verdict(FailureKind.NO_ANSWER, "the token endpoint's answer is larger than 1 MiB")


class RequestDeadline:
    """Follows one request, so that a failure can be judged by what is known rather than guessed.

    Every wait ends in time: connecting to each address in turn, proxies, TLS, and reading the answer. Only the look-up
    of a host's name does not, since no system call can end it. At most half of the time is spent on connecting, so that
    a request is sent only while there is time for its answer.
    """

    def __init__(self, timeout: float, hidden: Redactor = NOTHING_KNOWN) -> None:
        self.timeout = timeout
        self._hidden = hidden
        self.sent = False
        self._begun = monotonic()
        self._alarm: Alarm | None = None
        self._connection: socket.socket | None = None
        self._is_cut = False
        self._received = 0
        self._most = _BEFORE_THE_BODY

    def left(self) -> float:
        """Seconds left for the present step: connecting, or the whole request. Raises `TimeoutError` for none."""
        share = self.timeout if self.sent else self.timeout / 2
        seconds = self._begun + share - monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out" if self.sent else "connecting took too long")
        return seconds

    def connect(self, host: str, port: int, connect: Callable[[str, int, float], socket.socket]) -> None:
        """Try the addresses of a host in turn, each with a fair share of the time, until `connect` succeeds.

        `connect` is called with an address, the port and its seconds. Raises the first address's exception.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        failed: Exception = OSError("the host name has no address")
        for number, address in enumerate(addresses):
            try:
                self.watch(connect(address, port, self.left() / (len(addresses) - number)))
            except Exception as error:  # noqa: BLE001 - the client's own errors; the next address may succeed
                failed = failed if number else error
            else:
                return
        raise failed

    def watch(self, connection: socket.socket) -> None:
        """Cut off `connection`, whatever uses it, when the time for connecting is over."""
        self.close()
        # A separate descriptor: that of `connection` moves to another object when TLS is put around it.
        self._connection = connection.dup()
        self._set_alarm()

    def sending(self) -> None:
        """Note that the first byte of the request is about to be sent: from now on the whole time counts.

        Raises `TimeoutError` where connecting took so long that nothing may be sent any more.
        """
        self._stop_alarm()
        self.left()
        if self._is_cut:
            raise TimeoutError("connecting took too long")
        self.sent = True
        self._set_alarm()

    def received(self, part: bytes) -> bytes:
        """Count received bytes of any kind, and return them. No bytes mean the end.

        Raises `RefreshFailure` where a server or proxy sends without an end, and `TimeoutError` where the end was our
        own cut.
        """
        if not part and self._is_cut:
            raise TimeoutError("timed out")
        self._received += len(part)
        if self._received > self._most:
            raise RefreshFailure(_TOO_LARGE)
        return part

    def answer(self, receive: Callable[[int], bytes]) -> TokenResponse:
        """Read the answer. `receive` takes a number of bytes and returns that many at most.

        A body that breaks off, or cannot be decoded, is still an answer where nothing that matters is missing: its
        status says that no token was issued, it is a whole JSON object, which nothing can follow, or the headers set
        cookies, which may be tokens. In the last case the body is `CUT`, since a part of it could pass for a token.
        Otherwise raises `RefreshFailure`, `UnreadableAnswer` or what receiving raised.
        """
        stream = io.BufferedReader(Incoming(receive))
        head = read_head(stream)
        self._most = _IN_ALL
        encoding, is_success = head.encoding, 200 <= head.status < 300
        body = BoundedBody()
        try:
            body.read(read_body(head, stream))
            if is_success and body.is_cut_short(encoding):
                body.read(read_on(stream))
            plain = body.decoded(encoding)
        except Exception:
            is_lost = is_success and not body.is_whole(encoding)
            if is_lost and not head.cookies:
                raise
            plain = CUT if is_lost else body.begun(encoding)
        return TokenResponse(head.status, head.headers, plain, head.cookies)

    def close(self) -> None:
        """Stop watching the time."""
        self._stop_alarm()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def failure(self, error: Exception) -> Verdict:
        """What `error` means for the request. An exception alone shows only what was surely not sent."""
        if isinstance(error, RefreshFailure) and self.sent:
            return error.verdict
        name = type(error).__name__
        if not self.sent:
            # The text may be a proxy's.
            reason = "connecting took too long" if self._is_cut else self._hidden.quote(str(error))
            message = f"{name}: {reason}" if reason else name
            return Verdict(FailureKind.UNAVAILABLE, f"the token endpoint could not be reached ({message})")
        if self._is_cut or monotonic() >= self._begun + self.timeout:
            return Verdict(
                FailureKind.NO_ANSWER, f"the token request was sent, but not answered within {self.timeout:g} s"
            )
        return Verdict(FailureKind.NO_ANSWER, f"the token request was sent and its answer was lost ({name})")

    def _set_alarm(self) -> None:
        with contextlib.suppress(RuntimeError):
            # At the interpreter's exit no thread can start any more. The senders also check `left` before each wait.
            self._alarm = Alarm(self.left(), self._cut)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _cut(self) -> None:
        """End every wait on the connection. TLS is not shut down here, since that could wait itself."""
        self._is_cut = True
        if self._connection is not None:
            with contextlib.suppress(OSError):  # the connection is closed already
                self._connection.shutdown(socket.SHUT_RDWR)


class BoundedBody:
    """The body of an answer while it is read. It shows nothing of its content."""

    __slots__ = ("_read",)

    def __init__(self) -> None:
        self._read = bytearray()

    def read(self, parts: Iterable[bytes]) -> None:
        """Take in all parts. Raises `RefreshFailure` for an answer that is too large."""
        iterator = iter(parts)
        while self._extend(next(iterator, None)):
            if len(self._read) > LARGEST_BODY:
                raise RefreshFailure(_TOO_LARGE)

    def _extend(self, part: bytes | None) -> bool:
        self._read += part or b""
        return part is not None

    def decoded(self, encoding: str) -> bytes:
        """The body with its content encoding undone, for which the request did not ask.

        Raises `RefreshFailure` where it cannot be undone. An encoding that is none, such as ``utf-8``, is ignored.
        """
        whole, plain = self._undone(encoding)
        if not whole:
            raise RefreshFailure(Verdict(FailureKind.NO_ANSWER, "the token endpoint's answer cannot be decoded"))
        return plain

    def begun(self, encoding: str) -> bytes:
        """As much of the body as there is and can be decoded."""
        return self._undone(encoding)[1]

    def is_whole(self, encoding: str) -> bool:
        """Whether the body has a JSON object from its first bracket to its last."""
        return object_in(self.begun(encoding)) is not None

    def is_cut_short(self, encoding: str) -> bool:
        """Whether the body has the beginning of a JSON object, but not its end."""
        return _begins_an_object(self.begun(encoding)) and not self.is_whole(encoding)

    def _undone(self, encoding: str) -> tuple[bool, bytes]:
        """Whether the body could be decoded to its end, and the result."""
        kinds = [kind for kind in encoding.lower().replace(" ", "").split(",") if kind not in ("", "identity")]
        whole, plain = len(kinds) <= _MOST_ENCODINGS, bytes(self._read)
        if not kinds and plain.startswith(_GZIP):
            kinds = ["gzip"]  # whatever the headers say: no text begins with these bytes
        for kind in reversed(kinds[:_MOST_ENCODINGS]):
            if _begins_an_object(plain):
                continue  # a proxy has undone the encoding, but left the header
            if kind in ("gzip", "x-gzip", "deflate"):
                ended, plain = _inflated(plain)
                whole = whole and ended
            else:
                whole = False
        return whole, plain


_GZIP = b"\x1f\x8b\x08"


def _begins_an_object(body: bytes) -> bool:
    return body[:200].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


def _inflated(packed: bytes) -> tuple[bool, bytes]:
    """Whether the data could be unpacked to its end, and the result.

    It may have a header of gzip or zlib, or none, as some servers send it.
    """
    for wbits in (47, -15):
        with contextlib.suppress(zlib.error):
            inflater = zlib.decompressobj(wbits)
            plain = inflater.decompress(packed, LARGEST_BODY)
            while inflater.eof and inflater.unused_data.startswith(_GZIP) and len(plain) < LARGEST_BODY:
                rest, inflater = inflater.unused_data, zlib.decompressobj(wbits)  # gzip may have several members
                plain += inflater.decompress(rest, LARGEST_BODY - len(plain))
            return inflater.eof, plain
    return False, b""


def proxy_for(address: Address, schemes: Collection[str]) -> Secret | None:
    """The URL of the proxy that the environment (``HTTPS_PROXY``, ``NO_PROXY`` …) names for a token endpoint.

    A proxy is used for https only, where it sees nothing but the host. Raises `ConfigurationError` for one whose scheme
    is not among `schemes`.
    """
    from urllib.request import getproxies, proxy_bypass

    if address.scheme != "https" or address.is_loopback or proxy_bypass(f"{address.host}:{address.port}"):
        return None
    proxy = Secret(getproxies().get("https") or getproxies().get("all") or "")
    if proxy and "://" not in proxy.reveal():
        proxy = Secret(f"http://{proxy.reveal()}")
    if proxy and proxy.reveal().partition("://")[0].lower() not in schemes:
        raise ConfigurationError(
            f"the environment sets a proxy that cannot be used: its URL must begin with one of {', '.join(schemes)}"
        )
    return proxy or None


def password_of(proxy: Secret | None) -> list[Secret]:
    """The password in a proxy's URL, which the proxy may repeat in its answers."""
    try:
        password = urlsplit(proxy.reveal()).password if proxy is not None else None
    except ValueError:
        password = None
    return [Secret(unquote(password))] if password else []
