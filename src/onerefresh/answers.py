"""What stands in a token answer (RFC 6749 section 5.1), under the names that servers use for it."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping

__all__ = [
    "KNOWN",
    "as_moment",
    "as_seconds",
    "claimed_expiry",
    "expiry_of",
    "field_of",
    "fitting",
    "is_secret",
    "loss_in",
    "names_access_token",
    "not_bearer",
    "object_in",
    "read_json",
    "scope_of",
    "short_scope",
    "times_of_old",
    "type_of",
    "unsendable",
]

# The standard's name first (RFC 6749 section 5.1), then those of plain JSON APIs.
_NAMES = {
    "access_token": ("access_token", "accessToken", "access"),
    "refresh_token": ("refresh_token", "refreshToken", "refresh"),
    "expires_in": ("expires_in", "expiresIn"),
    "expires_at": ("expires_at", "expiresAt"),
    "scope": ("scope",),
}
KNOWN = frozenset(name for names in _NAMES.values() for name in names)
LONGEST_LIFE = 3_153_600_000.0
"""Seconds, a hundred years: no token lives longer, whatever its server says."""
LATEST = 32_503_680_000.0
"""Seconds since the epoch, the year 3000: what is later counts as that. Not every system can write later dates."""
LONGEST_NUMBER = 40
"""A text with more characters is no number of seconds."""
LONGEST_SCOPE = 4096
LARGEST_BITS = 10_000
LARGEST_EXTRA = 65_536
"""So many characters, about, of what else a server answers are kept with a token."""
_MILLISECONDS_FROM = 100_000_000_000  # as seconds this is the year 5138, so such an expiry counts milliseconds


def field_of(answer: Mapping[str, object], name: str) -> object:
    """The field of this name, whatever the server calls it; None where there is none."""
    return next((answer[known] for known in _NAMES[name] if answer.get(known) is not None), None)


def scope_of(answer: Mapping[str, object]) -> str | None:
    """The scope, which some servers answer as a list."""
    value = field_of(answer, "scope")
    if isinstance(value, (list, tuple)):
        value = " ".join(one for one in value if isinstance(one, str))
    return short_scope(value) if isinstance(value, str) else None


def short_scope(scope: str) -> str:
    """The scope, without those at its end that are too many."""
    if len(scope) <= LONGEST_SCOPE:
        return scope
    return scope[: LONGEST_SCOPE + 1].rpartition(" ")[0] or scope[:LONGEST_SCOPE]


def fitting(extra: Mapping[str, object]) -> dict[str, object]:
    """What may be kept of this, the first of it first: it is stored with every token, and grows with every answer."""
    kept, left = {}, LARGEST_EXTRA
    for name, value in extra.items():
        try:
            weight = _weight([name, value], left)
        except Exception:  # noqa: BLE001 - a value of the user's own kind may raise anything, and must cost no token
            weight = left + 1
        if weight <= left:
            kept[name] = value
            left -= weight
    return kept


def _weight(value: object, most: int) -> int:
    """About the length of `value` as JSON; where that is more than `most`, any number that is."""
    weight, waiting = 0, [value]
    while waiting and weight <= most:
        inner = waiting.pop()
        weight += 4
        if isinstance(inner, (str, bytes)):
            weight += len(inner)
        elif isinstance(inner, int):
            # Python writes no number of more than 4300 digits, and the whole record could not be written.
            weight += inner.bit_length() // 3 if inner.bit_length() < LARGEST_BITS else most + 1
        elif isinstance(inner, Mapping):
            waiting += [*inner.keys(), *inner.values()]
        elif isinstance(inner, (list, tuple, set, frozenset)):
            waiting += inner
    return weight


def read_json(text: bytes | str) -> object:
    """What JSON says that somebody else wrote. Raises ValueError, or RecursionError where it is nested too deep.

    A number that no field could mean costs neither the answer that it stands in, as Python's own limit on its digits
    would, nor much time. Nor does a line break within a text, or a text that is not in Unicode.
    """
    return json.loads(_unicode(text), cls=_Lenient)


def object_in(body: bytes) -> dict[str, object] | None:
    """The JSON object that a body holds; None where it holds none.

    It may stand between other text where it brings a token: a prefix against scripts, a warning, a comment.
    """
    text = _unicode(body)
    try:
        found = read_json(text)
    except RecursionError:
        return None
    except ValueError:
        found = _object_within(text)
    return found if isinstance(found, dict) else None


def _object_within(text: str) -> object:
    begin = text.find("{")
    try:
        found, _ = _Lenient().raw_decode(text, max(begin, 0))
    except (ValueError, RecursionError):
        return None
    is_answer = isinstance(found, dict) and any(field_of(found, name) for name in ("access_token", "refresh_token"))
    return found if is_answer else None


def _unicode(text: bytes | str) -> str:
    if isinstance(text, str):
        return text
    try:
        return text.decode(json.detect_encoding(text), "surrogatepass")
    except UnicodeDecodeError:
        return text.decode("latin-1")


class _Lenient(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__(parse_int=_whole_number, strict=False)


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_NUMBER else float(digits)


def expiry_of(answer: Mapping[str, object], access: str, at: float) -> float | None:
    """When the token in an answer to a request at `at` expires; None: nobody knows."""
    lifetime = as_seconds(field_of(answer, "expires_in"))
    if lifetime is not None and lifetime > 0:
        return at + min(lifetime, LONGEST_LIFE)
    moment = _moment(answer)
    if moment is not None:
        return moment
    return claimed_expiry(access) if lifetime is None else None


def times_of_old(answer: Mapping[str, object], access: str, at: float) -> tuple[float, float | None]:
    """When an answer that may be old was issued, and when it expires.

    Nothing tells when a token came that is no JWT and has ``expires_in`` alone: it is taken for new.
    """
    lifetime, claims = as_seconds(field_of(answer, "expires_in")), _claims(access)
    lifetime = None if lifetime is None else min(lifetime, LONGEST_LIFE)
    issued, moment = as_moment(claims.get("iat")), _moment(answer)
    if moment is None and (lifetime is None or lifetime > 0):
        moment = as_moment(claims.get("exp"))
    if moment is not None and lifetime is not None and lifetime > 0:
        issued = moment - lifetime
    if issued is None or issued > at or (moment is not None and issued >= moment):
        issued = at
    if moment is None and lifetime is not None and lifetime > 0:
        moment = issued + lifetime
    return (issued if moment is not None else at), moment


def _moment(answer: Mapping[str, object]) -> float | None:
    """``expires_at``, where it is a number of seconds or milliseconds since the epoch."""
    moment = as_seconds(field_of(answer, "expires_at"))
    if moment is None or moment <= 0:
        return None
    return as_moment(moment / 1000 if moment >= _MILLISECONDS_FROM else moment)


def claimed_expiry(access: str) -> float | None:
    """``exp`` of a JWT (RFC 7519 section 4.1.4)."""
    return as_moment(_claims(access).get("exp"))


def _claims(access: str) -> Mapping[str, object]:
    """The claims of a JWT (RFC 7519 section 4.1), read without verifying: they only say when to refresh."""
    parts = access.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = read_json(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


# What a header field holds, and all servers read in the same way. RFC 9110 section 5.5: visible characters, with spaces
# and tabs between them; what stands at the ends is taken off, and what is not ASCII is opaque. RFC 6749 appendix A.12
# leaves the tabs out, too. The b64token of RFC 6750 would be too narrow: servers issue tokens such as "7|secret".
_SENDABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def unsendable(access: str) -> str | None:
    """Why no header can carry this access token, in words for an error; None where one can.

    The one definition of a valid access token: where tokens are made, stored, handed out and written into a header.
    """
    if _SENDABLE.fullmatch(access):
        return None
    if not access.strip():
        why = "it is empty"
    elif not access.isascii():
        why = "it has characters that are not ASCII, which servers read in different ways (RFC 9110 section 5.5)"
    elif any(not " " <= character <= "~" for character in access):
        why = "it has control characters, such as a line break"
    else:
        why = "it begins or ends with a space"
    return f"an access token that no header can carry: {why}"


_TOKENS = frozenset((*_NAMES["access_token"], *_NAMES["refresh_token"]))
_SECRET_NAMES = re.compile(
    r"token(?!.?type)|secret|passw|assertion|jwt|session|ticket|cookie|credential|authorization|api.?key", re.IGNORECASE
)
_LONG = 8


def is_secret(name: str, value: str) -> bool:
    """Whether a field of this name holds a secret: the tokens themselves, and what is named like one and is long."""
    return name in _TOKENS or (len(value) >= _LONG and _SECRET_NAMES.search(name) is not None)


_TYPES = ("token_type", "tokenType")
_NOT_BEARER = {name.casefold(): name for name in ("DPoP", "mac", "N_A")}  # RFC 9449, RFC 8693, an old draft


def not_bearer(answer: Mapping[str, object]) -> str | None:
    """Why the access token of this answer is not sent as a bearer token (RFC 6749 section 7.1), and what to do.

    None where it may be: servers call bearer tokens by many names.
    """
    name = _NOT_BEARER.get(type_of(answer).casefold())
    if name is None:
        return None
    return (
        f"the answer's token is of type {name!r}, which must not be sent as a bearer token (RFC 6749 section 7.1): "
        "have the server issue bearer tokens to this client"
    )


def names_access_token(answer: Mapping[str, object]) -> bool:
    """Whether it has a field for the access token, whatever stands there: else it may be no token answer at all."""
    return any(name in answer for name in _NAMES["access_token"])


def loss_in(answer: object) -> str:
    """What to add where nothing of an answer to a renewal is used: what becomes of the refresh token in it."""
    if not isinstance(answer, Mapping) or not isinstance(field_of(answer, "refresh_token"), str):
        return ""
    return "; the refresh token in it is not kept: if the server rotates refresh tokens, log in again"


def type_of(answer: Mapping[str, object]) -> str:
    """Its token type as the server writes it, or nothing."""
    found = next((answer[name] for name in _TYPES if answer.get(name) is not None), "")
    return found.strip() if isinstance(found, str) else ""


def as_seconds(value: object) -> float | None:
    """A number of seconds, or None where this is none: an odd expiry must not cost the token that came with it."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and len(value) > LONGEST_NUMBER:
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None


def as_moment(value: object) -> float | None:
    """Seconds since the epoch that a calendar has, or None where this is no number."""
    seconds = as_seconds(value)
    return None if seconds is None else min(max(seconds, 0.0), LATEST)
