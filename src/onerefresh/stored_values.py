"""What a stored field may hold, and whether a stored text is whole.

Each of these functions returns its argument, or raises `ValueError`, `TypeError` or `OverflowError`: then the text is
damaged. Nothing is converted, so that no text passes for a number. No error tells what was found, since that may be a
token.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from onerefresh.expiry import LATEST
from onerefresh.policy import FOR_GOOD

__all__ = [
    "CHECKSUM",
    "Damage",
    "check_whole",
    "checksum_of",
    "count",
    "moment",
    "moment_of_token",
    "number",
    "numbers",
    "span",
    "table",
    "text",
    "text_or_none",
    "texts",
    "truth",
]

CHECKSUM = "checksum"
"""The name of the checksum's field.

The checksum speaks of the text in which it stands. So no version keeps it: whatever writes a text makes a new one or
none.
"""
KIND = "sha256:"
"""How a checksum of this version begins. One that begins otherwise is another version's, and is not compared."""
MOST = 2**40
"""The largest generation and count: one a millisecond, for 34 years. A count stays at it."""
LAST_GENERATION = MOST - 1
"""Nothing is sent for this generation, since the next one could not be read; a login begins at 1 again."""
LAST = 253_370_764_800.0
"""The beginning of the year 9999, in seconds since the epoch: later times have no date."""


class Damage(ValueError):
    """A stored text is not as it was written. The message names the place, and nothing of what stands there."""


def text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def text_or_none(value: object) -> str | None:
    return None if value is None else text(value)


def texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(text(each) for each in value)


def truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def count(value: object) -> int:
    if type(value) is not int:
        raise TypeError
    if not 0 <= value <= MOST:
        raise ValueError
    return value


def generation(value: object) -> int:
    if (found := count(value)) > LAST_GENERATION:
        raise ValueError
    return found


def generation_before(value: object) -> int:
    """A generation that another one follows."""
    if (found := count(value)) >= LAST_GENERATION:
        raise ValueError
    return found


def counted(value: int) -> int:
    """A count as it is written."""
    return min(value, MOST)


def table(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def number(value: object) -> float:
    """A finite number. A store's own clock may state any."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not math.isfinite(value):  # an int that is too large for a float raises OverflowError
        raise ValueError
    return value


def number_or_none(value: object) -> float | None:
    return None if value is None else number(value)


def numbers(value: object) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(number(each) for each in value)


def moment(value: object) -> float:
    """Seconds since the epoch."""
    return _between(value, LAST)


def span(value: object) -> float:
    """A number of seconds."""
    return _between(value, FOR_GOOD)


def moment_of_token(value: object) -> float:
    """A time that a server or a refresher has stated: any number, since an odd one must not cost the token."""
    return min(max(number(value), 0.0), LATEST)


def _between(value: object, most: float) -> float:
    found = number(value)
    if not 0.0 <= found <= most:
        raise ValueError
    return found


def checksum_of(fields: Mapping[str, object]) -> str:
    """The checksum of the values, rather than of the text.

    A user's store may keep JSON, and write it otherwise.
    """
    rest = {name: value for name, value in fields.items() if name != CHECKSUM}
    written = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return KIND + hashlib.sha256(written.encode("ascii")).hexdigest()[:16]


def check_whole(fields: dict[str, Any]) -> None:
    """Take the checksum out of `fields`. Raises `Damage` where there is one that does not fit the rest.

    One that fits under another name has lost a letter of its own.
    """
    message = fields.pop(CHECKSUM, None)
    if isinstance(message, str) and message.startswith(KIND):
        if message != checksum_of(fields):
            raise Damage("its checksum does not match")
        return
    for name in [name for name, value in fields.items() if isinstance(value, str) and value.startswith(KIND)]:
        value = fields.pop(name)
        if value == checksum_of(fields):
            return
        fields[name] = value
