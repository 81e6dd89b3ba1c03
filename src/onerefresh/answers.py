"""The fields of a token answer (RFC 6749 section 5.1), under the names that servers use for them."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping

__all__ = [
    "KNOWN",
    "NO_ACCESS_TOKEN",
    "as_seconds",
    "claim_of",
    "claims_of",
    "field_of",
    "fitting",
    "is_secret",
    "loss_in",
    "names_access_token",
    "names_of",
    "not_bearer",
    "object_in",
    "read_json",
    "scope_of",
    "short_scope",
    "type_of",
    "unsendable",
]

# The standard's name first (RFC 6749 section 5.1), then those of plain JSON APIs.
_NAMES = {
    "access_token": ("access_token", "accessToken", "AccessToken", "access", "token"),
    "refresh_token": ("refresh_token", "refreshToken", "RefreshToken", "refresh"),
    "scope": ("scope",),
}
"""The names of fields, in the order in which they count. `onerefresh.expiry` knows those of a token's end."""
KNOWN = frozenset({"expires_in", "expiresIn", "expires_at", "expiresAt"}.union(*_NAMES.values()))
"""Fields that a token's attributes hold, so that its `extra` has no place for them."""
NO_ACCESS_TOKEN = " (no access token yet)"
"""Stands for the access token of a session of which only the refresh token is known.

No header can carry it, since it begins with a space. So it is refreshed before its first use, by every version.
"""
LONGEST_NUMBER = 40
"""A text with more characters is no number of seconds."""
LONGEST_SCOPE = 4096
LARGEST_BITS = 10_000
LARGEST_EXTRA = 65_536
"""About how many characters of an answer's other fields are kept with a token."""


def field_of(answer: Mapping[str, object], name: str) -> object:
    """The field `name`, under whichever name the server uses; None where there is none."""
    return next((answer[known] for known in _NAMES[name] if answer.get(known) is not None), None)


def scope_of(answer: Mapping[str, object]) -> str | None:
    """The scope as one text; some servers send a list."""
    value = field_of(answer, "scope")
    if isinstance(value, (list, tuple)):
        value = " ".join(one for one in value if isinstance(one, str))
    return short_scope(value) if isinstance(value, str) else None


def short_scope(scope: str) -> str:
    """The scope without the values at its end that exceed `LONGEST_SCOPE` characters."""
    if len(scope) <= LONGEST_SCOPE:
        return scope
    return scope[: LONGEST_SCOPE + 1].rpartition(" ")[0] or scope[:LONGEST_SCOPE]


def fitting(extra: Mapping[str, object]) -> dict[str, object]:
    """The entries of `extra` that may be kept, from the first one on.

    They are stored with every token, and their number grows with every answer.
    """
    kept, left = {}, LARGEST_EXTRA
    for name, value in extra.items():
        try:
            weight = _weight([name, value], left)
        except Exception:  # noqa: BLE001 - a value of a user's class may raise anything, and must cost no token
            weight = left + 1
        if weight <= left:
            kept[name] = value
            left -= weight
    return kept


def _weight(value: object, most: int) -> int:
    """About the length of `value` as JSON; some larger number than `most` where it is longer than that."""
    weight, waiting = 0, [value]
    while waiting and weight <= most:
        inner = waiting.pop()
        weight += 4
        if isinstance(inner, (str, bytes)):
            weight += len(inner)
        elif isinstance(inner, int):
            # Python writes no int of more than 4300 digits, so the whole record could not be written.
            weight += inner.bit_length() // 3 if inner.bit_length() < LARGEST_BITS else most + 1
        elif isinstance(inner, Mapping):
            waiting += [*inner.keys(), *inner.values()]
        elif isinstance(inner, (list, tuple, set, frozenset)):
            waiting += inner
    return weight


def read_json(text: bytes | str) -> object:
    """Parse JSON that another party wrote.

    Raises ValueError, or RecursionError where it is nested too deep. An answer stays readable, in little time, where it
    has a number of more digits than Python converts, a line break within a text, or a text that is not Unicode.
    """
    return json.loads(_unicode(text), cls=_Lenient)


def object_in(body: bytes) -> dict[str, object] | None:
    """The JSON object in a body; None where there is none.

    An object with a token may stand between other text: a prefix against script inclusion, a warning, a comment.
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


def claims_of(access: str) -> Mapping[str, object]:
    """The claims of a JWT (RFC 7519 section 4.1), not verified, since they only say when to refresh."""
    parts = access.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = read_json(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


# What a header field can hold and all servers read in the same way. RFC 9110 section 5.5 allows visible characters with
# spaces and tabs between them, strips both ends, and treats anything but ASCII as opaque. RFC 6749 appendix A.12 leaves
# out tabs, too. The b64token of RFC 6750 would be too narrow: servers issue tokens such as "7|secret".
_SENDABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def unsendable(access: str) -> str | None:
    """Why no header can carry this access token, in words for an error; None where one can.

    This is the one definition of a valid access token, wherever tokens are made, stored, handed out and sent.
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
    """Whether a field of this name holds a secret: a token, or a long value whose name suggests a secret."""
    return name in _TOKENS or (len(value) >= _LONG and _SECRET_NAMES.search(name) is not None)


_TYPES = ("token_type", "tokenType")
_NOT_BEARER = {name.casefold(): name for name in ("DPoP", "mac", "N_A")}  # RFC 9449, RFC 8693, an old draft


def not_bearer(answer: Mapping[str, object]) -> str | None:
    """Why the answer's access token is not sent as a bearer token (RFC 6749 section 7.1), and what to do.

    None where it may be sent: servers call bearer tokens by many names.
    """
    name = _NOT_BEARER.get(type_of(answer).casefold())
    if name is None:
        return None
    return (
        f"the answer's token is of type {name!r}, which must not be sent as a bearer token (RFC 6749 section 7.1): "
        "configure the server to issue bearer tokens to this client"
    )


def names_access_token(answer: Mapping[str, object]) -> bool:
    """Whether the answer has a field for the access token, whatever its value; else it may be no token answer."""
    return any(name in answer for name in _NAMES["access_token"])


def loss_in(answer: object) -> str:
    """An addition to the message where nothing of an answer is used: what becomes of its refresh token."""
    if not isinstance(answer, Mapping) or not isinstance(field_of(answer, "refresh_token"), str):
        return ""
    return "; the refresh token in it is not kept: if the server rotates refresh tokens, log in again"


def type_of(answer: Mapping[str, object]) -> str:
    """The token type as the server writes it; empty where the answer has none."""
    found = next((answer[name] for name in _TYPES if answer.get(name) is not None), "")
    return found.strip() if isinstance(found, str) else ""


def as_seconds(value: object) -> float | None:
    """`value` as a number of seconds; None where it is none.

    An odd expiry must not cost the token that came with it.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and len(value) > LONGEST_NUMBER:
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None


def names_of(name: str) -> tuple[str, ...]:
    """The names that servers use for the field `name`."""
    return _NAMES.get(name, (name,))


def claim_of(token: str, name: str) -> object:
    """A claim of a JWT, not verified; None where there is none."""
    return claims_of(token).get(name)
