"""A run of the demo as a Mermaid sequence diagram: a few calls by name, the others counted.

Every line is something that happened, from the server's log or from the reports of the worker processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from onerefresh.cli.demo_run import Finished, Message
from onerefresh.testing import Entry

__all__ = ["diagram"]


@dataclass(frozen=True, slots=True, order=True)
class _Line:
    """One line; `at`: seconds on the monotonic clock, which all processes of a machine share."""

    at: float
    text: str


def diagram(run: Finished) -> str:
    """The diagram's text, with a line break at its end."""
    named = _named(run)
    shown = {call: f"C{number}" for number, call in enumerate(named, 1)}
    span = f"{next(iter(shown.values()), 'R')},A"
    lines = sorted([*_calls(run, shown), *_waits(run, shown), *_token_requests(run), *_revoked(run, span)])
    before, after = _counted(run, set(named))
    participants = [f"participant {short} as call {short[1:]} (process {call.partition('.')[0]})"
                    for call, short in shown.items()]  # fmt: skip
    body = [
        *participants,
        "participant R as onerefresh",
        "participant T as token endpoint",
        "participant A as API",
        f"Note over {span}: {before} calls were answered earlier",
        *(line.text for line in lines),
        f"Note over {span}: {after} more calls were refused, and answered after the same refresh",
    ]
    return "sequenceDiagram\n" + "".join(f"    {line}\n" for line in body)


def _named(run: Finished) -> list[str]:
    """The call that started the refresh, the next one of its process, and the first one of another process."""
    waits = sorted(run.of_kind("waited"), key=lambda wait: float(wait["asked"]))
    claims = [event["process"] for event in run.of_kind("event") if event["event"] == "claimed"]
    if not claims:
        return []
    same = [wait["call"] for wait in waits if wait["process"] == claims[0]]
    others = [wait["call"] for wait in waits if wait["process"] != claims[0]]
    return same[:2] + others[:1]


def _calls(run: Finished, shown: dict[str, str]) -> Iterator[_Line]:
    seen: set[str] = set()
    for entry in sorted(run.log, key=lambda entry: entry.arrived):
        if entry.kind == "api" and entry.call in shown:
            short = shown[entry.call]
            verb = "GET again" if entry.call in seen else "GET"
            seen.add(entry.call)
            yield _Line(entry.arrived, f"{short}->>A: {verb}, generation {entry.generation}")
            yield _Line(entry.answered, f"A-->>{short}: {entry.status} {_outcome(entry)}")


def _outcome(entry: Entry) -> str:
    return "OK" if entry.outcome == "accepted" else entry.outcome


def _waits(run: Finished, shown: dict[str, str]) -> Iterator[_Line]:
    starter = next(iter(shown), None)
    refreshed_at = min((entry.answered for entry in run.log if entry.outcome == "issued"), default=math.inf)
    for wait in run.of_kind("waited"):
        call = wait["call"]
        if call in shown:
            does = "waits for the same refresh" if wait["asked"] < refreshed_at else "it has already been refreshed"
            does = "starts the refresh" if call == starter else does
            yield _Line(wait["asked"], f"{shown[call]}->>R: generation {wait['refused']} was refused ({does})")
            yield _Line(wait["got"], f"R-->>{shown[call]}: generation {wait['generation']}")


def _token_requests(run: Finished) -> Iterator[_Line]:
    for entry in run.log:
        if entry.kind == "token":
            yield _Line(entry.arrived, "R->>T: refresh token")
            found = f"generation {entry.generation}" if entry.outcome == "issued" else entry.outcome
            yield _Line(entry.answered, f"T-->>R: {entry.status} {found}")


def _revoked(run: Finished, span: str) -> Iterator[_Line]:
    yield _Line(run.revoked_at, f"Note over {span}: the access token is revoked")


def _counted(run: Finished, named: set[str]) -> tuple[int, int]:
    """How many calls were answered at once, and how many others were refused first and answered in the end."""
    refused: list[Message] = run.refused
    names = {call["call"] for call in refused}
    at_once = sum(not call["problem"] and call["call"] not in names for call in run.of_kind("call"))
    return at_once, sum(not call["problem"] and call["call"] not in named for call in refused)
