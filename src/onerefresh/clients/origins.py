"""The origins that may receive a token (RFC 6454)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

from onerefresh.errors import ConfigurationError

__all__ = ["Origins"]

_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORT: Final = {"http": 80, "https": 443}
_HOST_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
# IDNA 2003 and 2008 read these as different hosts: ß, final sigma, joiner, non-joiner, and invisible letters.
_DEVIATIONS: Final = frozenset("ßς\u200c\u200d\u115f\u1160\u17b4\u17b5")
_REMEMBERED, _LONGEST_REMEMBERED = 256, 300
_PARTS: Final = frozenset("@?#")


class Origins:
    """The origins that may receive a token: scheme, host and port, one or several, never a wildcard.

    Each is written ``https://api.example.com`` or ``https://api.example.com:8443``. ``wss`` counts as ``https`` and
    ``ws`` as ``http``; case, default ports and a trailing dot are normalised. An international name is accepted where
    all standards agree on its host; otherwise it must be written as ``xn--…``.

    Plain ``http`` is accepted where it is written out. It sends the token unencrypted (RFC 6750 section 5.3 demands
    TLS): use it on loopback and on trusted networks. ``http://host`` on port 80 covers ``https://host`` on port 443 as
    well, since clients carry the header along when a host redirects to its own TLS. It is never covered the other way
    round.

    `only`: the one origin in its normal form; empty where there are several.

    Raises `ConfigurationError` for anything else: no scheme, a path, a query, user information, no origin at all.
    """

    __slots__ = ("_allowed", "_known", "_known_urls", "only")

    def __init__(self, origins: str | Iterable[str]) -> None:
        allowed = {_parse_origin(origin) for origin in _several(origins)}
        if not allowed:
            raise ConfigurationError("origins is empty: give the origin of the API, such as 'https://api.example.com'")
        upgraded = {("https", host, 443) for scheme, host, port in allowed if (scheme, port) == ("http", 80)}
        self._allowed = frozenset(allowed | upgraded)
        self.only = _shown(*next(iter(allowed))) if len(self._allowed) == 1 else ""
        self._known: dict[tuple[str, str | bytes | None, int | None], str] = {}
        self._known_urls: dict[str, str] = {}

    def cover(self, scheme: str, host: str | bytes | None, port: int | None) -> bool:
        """Whether a request to this scheme, host and port may carry the token. `port` None: the scheme's default.

        The arguments are those to which the client connects: an international host in its ASCII form, since clients
        differ in how they make it. Any other form is not covered. Never raises.
        """
        return self.of(scheme, host, port) != ""

    def of(self, scheme: str, host: str | bytes | None, port: int | None) -> str:
        """The origin of this scheme, host and port in its normal form; empty where it is not covered.

        The arguments are those of `cover`.
        """
        try:
            return self._known[scheme, host, port]
        except KeyError:
            name = host.decode("latin-1") if isinstance(host, bytes) else host
            origin = _normalise(scheme, name, port) if name and name.isascii() else None
            found = _shown(*origin) if origin in self._allowed and origin is not None else ""
            if len(self._known) < _REMEMBERED:
                self._known[scheme, host, port] = found
            return found

    def target_of(self, url: str) -> tuple[str, str]:
        """The origin and the path of a URL, as it is sent: without its query and fragment. See `of_url`."""
        end = url.find("/", 8)
        origin, path = self._known_urls.get(url[: end + 1]) or self.of_url(url), url[end:] if end > 0 else ""
        if "?" in path or "#" in path:
            path = path.partition("#")[0].partition("?")[0]
        return origin, path

    def cover_url(self, url: str) -> bool:
        """As `cover`, for clients that keep a URL as text and connect to what `urllib.parse` reads from it."""
        return self.of_url(url) != ""

    def of_url(self, url: str) -> str:
        """As `of`, for the clients of `cover_url`."""
        # All that decides is before the path's first slash, so that most calls need one look-up.
        start = url[: url.find("/", 8) + 1] if url.startswith(("https://", "http://")) else ""
        try:
            return self._known_urls[start]
        except KeyError:
            found = self._read_url(start or url)
            # What is before an @ or after a question mark may be secret.
            is_plain = start and len(start) <= _LONGEST_REMEMBERED and _PARTS.isdisjoint(start)
            if is_plain and len(self._known_urls) < _REMEMBERED:
                self._known_urls[start] = found
            return found

    def _read_url(self, url: str) -> str:
        try:
            split = urlsplit(url)
            return self.of(split.scheme, split.hostname, split.port)
        except ValueError:
            return ""

    def __iter__(self) -> Iterator[str]:
        for origin in sorted(self._allowed):
            yield _shown(*origin)

    def __repr__(self) -> str:
        return f"Origins({', '.join(self)})"


def _shown(scheme: str, host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + ("" if port == _DEFAULT_PORT[scheme] else f":{port}")


def _several(origins: object) -> Iterable[object]:
    if isinstance(origins, str):
        return (origins,)
    if not isinstance(origins, Iterable) or isinstance(origins, (bytes, bytearray)):
        raise ConfigurationError(f"origins must be a string or several strings, not {type(origins).__name__}")
    return origins


def _parse_origin(origin: object) -> tuple[str, str, int]:
    if not isinstance(origin, str):
        raise ConfigurationError(
            f"an origin must be a string such as 'https://api.example.com', not {type(origin).__name__}"
        )
    if any(character <= " " or character == "\x7f" for character in origin):
        raise ConfigurationError(f"{origin!r} is not an origin: remove spaces and control characters")
    try:
        split = urlsplit(origin)
        port = split.port
    except ValueError as error:
        raise ConfigurationError(f"{origin!r} is not an origin: {error}") from None
    if split.scheme not in _SCHEMES or not split.hostname:
        raise ConfigurationError(f"{origin!r} is not an origin: write it with its scheme: 'https://api.example.com'")
    if split.username is not None or split.password is not None:
        # The text itself is left out: it may hold a password.
        raise ConfigurationError("an origin has no user name and password: remove what is before the '@'")
    if split.path not in ("", "/") or "?" in origin or "#" in origin:
        raise ConfigurationError(f"{origin!r} is more than an origin: remove what follows the host and the port")
    if "*" in split.hostname:
        raise ConfigurationError(f"{origin!r}: wildcards are not supported: list each origin")
    normal = _normalise(split.scheme, split.hostname, port)
    if normal is None:
        raise ConfigurationError(
            f"{origin!r} is not an origin: its host or port is not valid (write an international name as 'xn--…')"
        )
    return normal


def _normalise(scheme: str, host: str | None, port: int | None) -> tuple[str, str, int] | None:
    known = _SCHEMES.get(scheme.lower())
    name = _normal_host(host) if host else None
    if known is None or name is None:
        return None
    number = _DEFAULT_PORT[known] if port is None else port
    return (known, name, number) if 0 < number < 65_536 else None


def _normal_host(host: str) -> str | None:
    try:
        if ":" in host:
            address = ipaddress.IPv6Address(host)
            return None if address.scope_id else str(address)
        if not host.isascii():
            host = _in_ascii(host)
        host = host.lower().removesuffix(".")
        if not _HOST_NAME.fullmatch(host) or ".." in host:
            return None
        # Clients read 127.1 and 0x7f.1 in different ways, so only four plain numbers are an address.
        return str(ipaddress.IPv4Address(host)) if _NUMBER.fullmatch(host.rpartition(".")[2]) else host
    except ValueError:
        return None


def _in_ascii(host: str) -> str:
    """An international name in ASCII, as requests send it.

    Raises `ValueError` where IDNA 2003 and 2008 may differ. This package uses only the standard library, which
    implements IDNA 2003 with Unicode 3.2; clients implement IDNA 2008. They agree where the rules of both spell a name
    in the same way (Cherokee, for example, has changed since).
    """
    from encodings.idna import nameprep
    from unicodedata import normalize, ucd_3_2_0

    spelled = normalize("NFKC", normalize("NFKC", host).casefold())
    is_plain = all(letter in "-." or ucd_3_2_0.category(letter)[0] in "LMN" for letter in spelled)
    if not is_plain or _DEVIATIONS & {*host.lower(), *spelled} or ".".join(map(nameprep, host.split("."))) != spelled:
        raise ValueError("standards differ on this name")
    return spelled.encode("idna").decode("ascii")
