"""The parts of a token endpoint's answer that brings no token: its code, its texts, its headers.

Other parties wrote all of it. None of it is shown before `onerefresh.redaction` has checked it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from onerefresh.answers import read_json
from onerefresh.redaction import LONGEST

__all__ = [
    "claims_of",
    "code_number",
    "description_of",
    "error_code",
    "header",
    "is_cut_short",
    "is_html",
    "parse_retry_after",
    "parsed",
    "pause_of",
    "place_of",
]

LONGEST_PAUSE = 86_400.0
"""Seconds, a day. A longer pause that a server asks for is cut to it."""
LARGEST_CODE = 10**15
_DESCRIPTIONS = (
    "error_description", "message", "msg", "errmsg", "error_message", "errorMessage", "detail", "error", "title"
)  # fmt: skip
LONGEST_DATE = 100
"""A header with more characters is not read as a time."""


def parsed(body: object) -> object:
    """The JSON value in a body; None where there is none."""
    if isinstance(body, Mapping):
        return body
    if not isinstance(body, (bytes, str)):
        return None
    try:
        return read_json(body)
    except (ValueError, RecursionError):
        return None


def error_code(answer: object) -> str:
    """The error code of an answer: OAuth's ``error``, else what plain JSON APIs use; empty where there is none."""
    if not isinstance(answer, Mapping):
        return ""
    for name in ("error", "code", "error_code", "errorCode", "__type"):
        found = answer.get(name)
        inner = [found.get(key) for key in ("code", "message", "status", "type")] if isinstance(found, Mapping) else []
        for text in [found, *inner]:
            if isinstance(text, str) and 0 < len(text) <= 64 and text.isprintable() and " " not in text:
                return text
    return ""


def code_number(answer: object, status: int) -> int | None:
    """The number that an answer has for a code; None where there is none, or where it is the HTTP status again."""
    for place in _errors_in(answer):
        for name in ("code", "errcode", "error_code", "errorCode", "status"):
            found = place.get(name)
            if isinstance(found, int) and not isinstance(found, bool) and found not in (0, status):
                return found if abs(found) < LARGEST_CODE else None
    return None


def description_of(answer: object) -> str | None:
    """What an answer says in words, cut to a limit: OAuth's ``error_description``, else what plain JSON APIs use."""
    for place in _errors_in(answer):
        for name in _DESCRIPTIONS:
            found = place.get(name)
            if isinstance(found, str) and found.strip():
                return found[: 10 * LONGEST]
    return None


def _errors_in(answer: object) -> list[Mapping[str, object]]:
    """The answer, and the objects in it that say what was wrong."""
    if not isinstance(answer, Mapping):
        return []
    several = answer.get("errors")
    places = [answer, answer.get("error"), several[0] if isinstance(several, list) and several else None]
    return [place for place in places if isinstance(place, Mapping)]


def claims_of(answer: object) -> object:
    """The claims that the server demands: ``claims``, which Entra sends with ``interaction_required``."""
    return answer.get("claims") if isinstance(answer, Mapping) else None


def place_of(location: str | None) -> str:
    """Where a redirect leads: origin and path alone, since a query may hold secrets."""
    address = (location or "").partition("?")[0].partition("#")[0]
    if len(address) > 10 * LONGEST:
        return ""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    origin = f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
    place = f"{origin}{parts.path}"
    return place if place.isprintable() else ""


def is_html(body: object, headers: Mapping[str, str] | None) -> bool:
    """Whether a body is HTML, by its content type or its first character."""
    if "html" in (header(headers, "content-type") or "").lower():
        return True
    return _begin(body) == "<"


def _is_empty(body: object, headers: Mapping[str, str] | None) -> bool:
    return body in (b"", "") and header(headers, "content-length") == "0"


def is_cut_short(body: object, headers: Mapping[str, str] | None) -> bool:
    """Whether an unreadable body looks like the beginning of an answer whose rest was lost."""
    if body in (b"", ""):
        return headers is not None and not _is_empty(body, headers)
    return _begin(body) in ("{", "[")


def _begin(body: object) -> str:
    start = body[:200].decode("utf-8", "replace") if isinstance(body, bytes) else body
    return start.lstrip("\ufeff \t\r\n")[:1] if isinstance(start, str) else ""


def header(headers: Mapping[str, str] | None, name: str) -> str | None:
    """The value of the header `name`, in any case; None where there is none."""
    return next((value for key, value in (headers or {}).items() if key.lower() == name), None)


def parse_retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds of a ``Retry-After`` header (RFC 9110 section 10.2.3), a number or a date; None if it is neither.

    `now`: seconds since the epoch, instead of the clock. A time that is past gives 0, and one that is far off a day.
    """
    if value is None or len(value) > LONGEST_DATE:
        return None
    try:
        seconds = float(value)
    except ValueError:
        moment = _moment(value)
        return None if moment is None else pause_of(moment - (time.time() if now is None else now))
    return pause_of(seconds) if math.isfinite(seconds) and seconds >= 0 else None


def pause_of(seconds: float) -> float:
    """A pause that somebody asks for, limited to a day."""
    return min(max(seconds, 0.0), LONGEST_PAUSE)


def _moment(text: str) -> float | None:
    """An HTTP date as seconds since the epoch; None where it is none."""
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
