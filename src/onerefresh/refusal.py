"""Where a token may go, and what it means when an API refuses it.

Rules for every client integration, without any client: the origins a token belongs to (RFC 6454), how it is written
into a header (RFC 6750), what an answer's challenges mean, which bodies can be sent again.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self, TypeAlias
from urllib.parse import urlsplit

from onerefresh.answers import unsendable
from onerefresh.challenges import TOKEN, Challenge, parse_challenges
from onerefresh.errors import ConfigurationError, InteractionRequired, RefreshProtocolError
from onerefresh.redaction import LONGEST_CHALLENGE, Redactor
from onerefresh.token import Token

__all__ = [
    "Bearer",
    "Decision",
    "HeaderText",
    "Interaction",
    "Origins",
    "PassThrough",
    "Refused",
    "arewind",
    "body_position",
    "judge_refusal",
    "rewind",
]

_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORT: Final = {"http": 80, "https": 443}
_HOST_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
# IDNA 2003 and 2008 take these for different hosts: ß, final sigma, joiner, non-joiner, and letters that are not seen.
_DEVIATIONS: Final = frozenset("ßς\u200c\u200d\u115f\u1160\u17b4\u17b5")
_REMEMBERED = 256


class Origins:
    """The origins that may see a token: scheme, host and port, one or several, never a wildcard.

    Each is written ``https://api.example.com`` or ``https://api.example.com:8443``. ``wss`` counts as ``https`` and
    ``ws`` as ``http``; case, default ports and a trailing dot are normalised. An international name is taken where all
    standards agree which host it is, else it must be written as ``xn--…``. Plain ``http`` is
    taken where it is written out, and sends the token unencrypted (RFC 6750 section 5.3 wants TLS): use it on
    loopback and on networks that are trusted. ``http://host`` on port 80 covers ``https://host`` on port 443 as well,
    since clients carry the header along when a host redirects to its own TLS; never the other way round.

    Raises `ConfigurationError` for anything else: no scheme, a path, a query, user information, no origin at all.
    """

    __slots__ = ("_allowed", "_known")

    def __init__(self, origins: str | Iterable[str]) -> None:
        allowed = {_parse_origin(origin) for origin in _several(origins)}
        if not allowed:
            raise ConfigurationError("origins is empty: name the origin of the API, such as 'https://api.example.com'")
        upgraded = {("https", host, 443) for scheme, host, port in allowed if (scheme, port) == ("http", 80)}
        self._allowed = frozenset(allowed | upgraded)
        self._known: dict[tuple[str, str | None, int | None], bool] = {}

    def cover(self, scheme: str, host: str | None, port: int | None) -> bool:
        """Whether a request to there may carry the token. `port` None is the scheme's default.

        Takes the parts as the client connects to them: an international host in its ASCII form, since clients differ in
        how they get there. In any other form it is not covered. Never raises.
        """
        parts = (scheme, host, port)
        known = self._known.get(parts)
        if known is None:
            known = bool(host and host.isascii()) and _normalise(scheme, host, port) in self._allowed
            if len(self._known) < _REMEMBERED:
                self._known[parts] = known
        return known

    def cover_url(self, url: str) -> bool:
        """`cover` for clients that keep a URL as text and connect to what `urllib.parse` reads from it."""
        try:
            split = urlsplit(url)
            return self.cover(split.scheme, split.hostname, split.port)
        except ValueError:
            return False

    def __iter__(self) -> Iterator[str]:
        for scheme, host, port in sorted(self._allowed):
            shown = f"[{host}]" if ":" in host else host
            yield f"{scheme}://{shown}" + ("" if port == _DEFAULT_PORT[scheme] else f":{port}")

    def __repr__(self) -> str:
        return f"Origins({', '.join(self)})"


def _several(origins: object) -> Iterable[object]:
    if isinstance(origins, str):
        return (origins,)
    if not isinstance(origins, Iterable) or isinstance(origins, (bytes, bytearray)):
        raise ConfigurationError(f"origins is a str or several of them, not {type(origins).__name__}")
    return origins


def _parse_origin(origin: object) -> tuple[str, str, int]:
    if not isinstance(origin, str):
        raise ConfigurationError(f"an origin is a str such as 'https://api.example.com', not {type(origin).__name__}")
    if any(character <= " " or character == "\x7f" for character in origin):
        raise ConfigurationError(f"{origin!r} is no origin: remove spaces and control characters")
    try:
        split = urlsplit(origin)
        port = split.port
    except ValueError as error:
        raise ConfigurationError(f"{origin!r} is no origin: {error}") from None
    if split.scheme not in _SCHEMES or not split.hostname:
        raise ConfigurationError(f"{origin!r} is no origin: write it with its scheme: 'https://api.example.com'")
    if split.username is not None or split.password is not None:
        # The text itself is left out: it may hold a password.
        raise ConfigurationError("an origin has no user and password: remove what stands before the '@'")
    if split.path not in ("", "/") or "?" in origin or "#" in origin:
        raise ConfigurationError(f"{origin!r} is more than an origin: remove what follows the host and the port")
    if "*" in split.hostname:
        raise ConfigurationError(f"{origin!r}: wildcards are not supported, name each origin")
    normal = _normalise(split.scheme, split.hostname, port)
    if normal is None:
        raise ConfigurationError(
            f"{origin!r} is no origin: its host or port is not valid (write an international name as 'xn--…')"
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
        # Clients read 127.1 and 0x7f.1 in different ways: only four plain numbers are an address.
        return str(ipaddress.IPv4Address(host)) if _NUMBER.fullmatch(host.rpartition(".")[2]) else host
    except ValueError:
        return None


def _in_ascii(host: str) -> str:
    """An international name as it goes over the wire. Raises `ValueError` where IDNA 2003 and 2008 may not agree on it.

    This package may not use more than the standard library, which knows IDNA 2003 and Unicode 3.2; clients know 2008.
    They agree where the rules of both spell a name in the same way (Cherokee, for one, was changed since).
    """
    from encodings.idna import nameprep
    from unicodedata import normalize, ucd_3_2_0

    spelled = normalize("NFKC", normalize("NFKC", host).casefold())
    is_plain = all(letter in "-." or ucd_3_2_0.category(letter)[0] in "LMN" for letter in spelled)
    if not is_plain or _DEVIATIONS & {*host.lower(), *spelled} or ".".join(map(nameprep, host.split("."))) != spelled:
        raise ValueError("standards differ on this name")
    return spelled.encode("idna").decode("ascii")


@dataclass(frozen=True, slots=True)
class PassThrough:
    """The answer is the caller's: it says nothing about our token, or nothing that a newer one could change."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The token was refused: the next one may be taken."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """The person must prove more: `error` is the code, `challenge` the whole challenge that says what."""

    error: str
    challenge: str


Decision: TypeAlias = PassThrough | Refused | Interaction

# A 401 that offers nothing but these was never about a bearer token.
_OTHER_SCHEMES: Final = frozenset({"basic", "digest", "kerberos", "negotiate", "ntlm"})
# RFC 9470 section 3, and Microsoft Entra's claims challenge.
_INTERACTION: Final = frozenset({"insufficient_user_authentication", "insufficient_claims"})
# RFC 9449 section 8 and RFC 6750 section 3.1: another token of the same kind would be refused just so.
_NOT_THE_TOKEN: Final = frozenset({"use_dpop_nonce", "insufficient_scope"})


def judge_refusal(challenges: Iterable[Challenge], scheme: str = "Bearer") -> Decision:
    """What an answer with a refusing status means to a token that was sent with `scheme`.

    No challenge, or one without an error, is a refusal, since many servers say no more.
    """
    offered = list(challenges)
    ours = [challenge for challenge in offered if challenge.scheme not in _OTHER_SCHEMES - {scheme.lower()}]
    if offered and not ours:
        return PassThrough()
    errors = {challenge.params.get("error", ""): challenge for challenge in reversed(ours)}
    if "use_dpop_nonce" in errors:
        return PassThrough()
    for error in errors.keys() & _INTERACTION:
        return Interaction(error, errors[error].text)
    if errors and errors.keys() <= _NOT_THE_TOKEN:
        return PassThrough()
    return Refused()


class HeaderText(str):
    """A header's value with the token in it, and the `token` it was made from. Its ``repr`` shows neither.

    Clients keep it in their requests, and those in their responses, which people pickle: there it is ``…``.
    """

    __slots__ = ("token",)
    token: Token

    def __repr__(self) -> str:
        return "'…'"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return (str, ("…",))


_RESERVED_HEADERS: Final = frozenset(
    {"connection", "content-length", "content-type", "cookie", "host", "proxy-authorization", "transfer-encoding"}
)


class Bearer:
    """How one credential meets one API: which origins get the token, in which header, which statuses refuse it.

    `credential` is its name, for errors. `scheme` stands before the token; ``""`` or None sends the bare token
    (``X-Api-Key`` and its like). Raises `ConfigurationError` for arguments that make no sense.
    """

    __slots__ = ("_last", "credential", "header", "origins", "refused_statuses", "scheme")

    def __init__(
        self,
        credential: str,
        origins: str | Iterable[str],
        *,
        header: str = "Authorization",
        scheme: str | None = "Bearer",
        refused_statuses: Collection[int] = frozenset({401}),
    ) -> None:
        self.credential = credential
        self.origins = Origins(origins)
        self.header = _checked_header(header)
        self.scheme = _checked_scheme(scheme)
        self.refused_statuses = _checked_statuses(refused_statuses)
        self._last: HeaderText | None = None

    def text(self, token: Token) -> HeaderText:
        """The header's value for `token`.

        Raises `RefreshProtocolError` where no header can carry it. A credential gives out no such token.
        """
        last = self._last
        if last is not None and last.token is token:
            return last
        if (said := unsendable(token.reveal())) is not None:
            raise RefreshProtocolError(
                f"the credential has {said}",
                credential=self.credential,
                generation=token.generation,
            )
        text = HeaderText(f"{self.scheme} {token.reveal()}" if self.scheme else token.reveal())
        text.token = token
        self._last = text
        return text

    def judge(self, status: int, headers: Iterable[str]) -> Decision:
        """What an answer means to the token that its request carried; `headers` are its ``WWW-Authenticate``."""
        if status not in self.refused_statuses:
            return PassThrough()
        return judge_refusal(parse_challenges(headers), self.scheme)

    def interaction(self, decision: Interaction, token: Token) -> InteractionRequired:
        """The error that tells the person what the API asked for when it was sent `token`."""
        return InteractionRequired(
            f"the API wants more of the person than this token proves ({decision.error})",
            credential=self.credential,
            generation=token.generation,
            challenge=Redactor(token.secrets).whole(decision.challenge, LONGEST_CHALLENGE),  # it may repeat them
        )


def _checked_header(header: object) -> str:
    if not isinstance(header, str) or not TOKEN.fullmatch(header):
        raise ConfigurationError(f"header {header!r} is no name of a header (RFC 9110 section 5.1)")
    if header.lower() in _RESERVED_HEADERS:
        raise ConfigurationError(f"header {header!r} has another meaning: use 'Authorization', or a name of the API's")
    return header


def _checked_scheme(scheme: object) -> str:
    if scheme is None or scheme == "":
        return ""
    if not isinstance(scheme, str) or not TOKEN.fullmatch(scheme):
        raise ConfigurationError(f"scheme {scheme!r} is no authentication scheme: use one word, or '' for none")
    return scheme


def _checked_statuses(statuses: object) -> frozenset[int]:
    if not isinstance(statuses, Collection) or isinstance(statuses, (str, bytes)) or not statuses:
        raise ConfigurationError("refused_statuses is a set of HTTP statuses, such as {401, 403}")
    for status in statuses:
        if not isinstance(status, int) or not 400 <= status <= 599 or status == 407:
            raise ConfigurationError(f"refused_statuses: {status!r} is not from 400 to 599, or is a proxy's own 407")
    return frozenset(statuses)


def body_position(body: object) -> int | None:
    """Where a file begins that is about to be sent; None for any other body, and for a file that cannot tell."""
    if not hasattr(body, "read") or isinstance(body, AsyncIterable):
        return None
    try:
        position = body.tell()  # type: ignore[attr-defined]  # a file without it raises AttributeError
    except (AttributeError, OSError, ValueError):
        return None
    return position if isinstance(position, int) else None


def rewind(body: object, position: int | None) -> bool:
    """Whether `body`, which was sent once, can be sent again; a file is moved back to `position` for that.

    No body, bytes and text can; a file that seeks can; an iterator cannot; another iterable can where it starts
    anew each time and is not used up (it is asked for its first item).
    """
    if body is None or isinstance(body, (bytes, bytearray, memoryview, str)):
        return True
    if hasattr(body, "read"):
        return position is not None and _seek(body, position)
    if isinstance(body, Iterator) or not isinstance(body, Iterable):
        return False
    return iter(body) is not iter(body) and any(True for _ in body)


async def arewind(body: object, position: int | None) -> bool:
    """`rewind`, for bodies that may be asynchronous iterables too."""
    if not isinstance(body, AsyncIterable):
        return rewind(body, position)
    if isinstance(body, AsyncIterator) or aiter(body) is aiter(body):
        return False
    items = aiter(body)
    try:
        async for _ in items:
            return True
        return False
    finally:
        if hasattr(items, "aclose"):
            await items.aclose()


def _seek(body: object, position: int) -> bool:
    try:
        body.seek(position)  # type: ignore[attr-defined]  # a file without it raises AttributeError
        return bool(body.tell() == position)  # type: ignore[attr-defined]  # likewise
    except (AttributeError, OSError, ValueError):
        return False
