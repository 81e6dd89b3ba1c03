"""Records that are wrong in one place: every field with every kind of value that does not belong there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.golden.cases import RECORDS

from onerefresh.record_text import encode

DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]
WRONG: dict[str, object] = {
    "nothing": None,
    "true": True,
    "false": False,
    "zero": 0,
    "seven": 7,
    "less than nothing": -1,
    "a fraction": 1.5,
    "a large number": 2**70,
    "a number that is no float": 10**400,
    "a large float": 1e300,
    "a negative float": -1e300,
    "no number": float("nan"),
    "without end": float("inf"),
    "less than all": float("-inf"),
    "no text": "",
    "a text": "text",
    "a number as text": "7",
    "a zero byte": "a\0b",
    "half a pair": "\ud800",
    "an empty list": [],
    "a list": [7],
    "a list of texts": ["text"],
    "an empty object": {},
    "an object": {"a": 1},
    "nested": DEEP,
}
MISSING = object()
OBJECTS = ("attempt", "failure", "probation", "floor", "targets", "token")
FULL = "leased-fully"
"""A record with all objects but a probation, a floor and targets, which are put there."""


def full(name: str = FULL) -> dict[str, Any]:
    """The fields of a record, without a checksum: as older versions wrote it."""
    fields = json.loads(encode(RECORDS[name]))
    fields.pop("checksum", None)
    if fields["attempt"] is not None:
        fields["attempt"] |= {"ttl": 0.0}  # nobody waits for it
    fields["probation"] = fields["probation"] or {"refusals": 0, "at": 1.7e9, "delay": 10.0, "by_refusal": True}
    fields["floor"] = fields["floor"] or {"generation": 3, "at": 1.7e9, "era": "an era", "early": [1.7e9]}
    fields["targets"] = fields["targets"] or {
        "family": fields["families"][-1],
        "era": "an era",
        "refused": [["00112233445566ff", 1.7e9, 10.0]],
        "generation": 3,
        "count": 1,
        "at": 1.7e9,
    }
    return dict(fields)


def places(fields: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Each field, by the names that lead to it."""
    for name, value in fields.items():
        yield (name,)
        if name in OBJECTS and value is not None:
            yield from ((name, inner) for inner in value)
    yield from (("history", number) for number in ("0", "1", "2"))


def put(fields: dict[str, Any], place: tuple[str, ...], value: object) -> dict[str, Any]:
    """The fields with another value in this place."""
    changed = json.loads(json.dumps(fields))
    if place[0] == "history" and len(place) > 1:
        changed["history"][0][int(place[1])] = value
        return dict(changed)
    within = changed if len(place) == 1 else changed[place[0]]
    if value is MISSING:
        del within[place[-1]]
    else:
        within[place[-1]] = value
    return dict(changed)


def wrong_records(name: str = FULL) -> Iterator[tuple[str, str]]:
    """What is wrong, and the text of a record that has it."""
    fields = full(name)
    for place in places(fields):
        for what, value in WRONG.items():
            yield f"{'.'.join(place)}: {what}", json.dumps(put(fields, place, value))
        if "history" not in place:
            yield f"{'.'.join(place)}: missing", json.dumps(put(fields, place, MISSING))
