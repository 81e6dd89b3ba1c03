"""Who did what when: the account of a run, as lines for people and as a sequence diagram."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Account", "Subscription"]

_TASK = re.compile(r" (renewal \d+|command|login|logout)$")


@dataclass(frozen=True, slots=True)
class Subscription:
    """At `at` seconds `who` did something: `what`, where it was done to somebody `to`."""

    at: float
    who: str
    what: str
    to: str | None = None

    def __str__(self) -> str:
        actor = f"{self.who} → {self.to}" if self.to else self.who
        return f"{self.at:9.3f}  {actor:<24} {self.what}"


class Account:
    """What happened in a run, without any token. `kept`: off in runs of which only the verdict matters."""

    def __init__(self, *, kept: bool) -> None:
        self.kept = kept
        self.lines: list[Subscription] = []

    def say(self, at: float, who: str, what: str, to: str | None = None) -> None:
        if self.kept:
            self.lines.append(Subscription(at, who, what, to))

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines))

    def mermaid(self) -> str:
        """The run as a mermaid sequence diagram, one participant a process."""
        names = dict.fromkeys(_actor(name) for line in self.lines for name in (line.who, line.to) if name)
        actors = {name: f"p{number}" for number, name in enumerate(names)}
        diagram = ["sequenceDiagram", *(f"    participant {short} as {name}" for name, short in actors.items())]
        for line in self.lines:
            said = f"{line.at:.1f} s: {line.what}".replace(";", ",").replace("#", "no. ").replace("⚡", "!")
            who = actors[_actor(line.who)]
            to = actors[_actor(line.to)] if line.to else None
            diagram.append(f"    {who}->>{to}: {said}" if to else f"    Note over {who}: {said}")
        return "\n".join(diagram)


def _actor(name: str) -> str:
    """The process that a task belongs to."""
    return _TASK.sub("", name)
