"""The lowest versions that our extras allow, held against `requirements/floors.txt`: ``python -m tests.floors``."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parents[1]
Version: TypeAlias = tuple[int, ...]
_BOUND = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:[>=]=)\s*([0-9][0-9.]*)(?:\s.*)?")


def version(text: str) -> Version:
    numbers = [int(part) for part in text.split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))


def bounds(lines: Iterable[str]) -> dict[str, str]:
    """The version that stands behind each name. Raises `ValueError` for a requirement without one."""
    found: dict[str, str] = {}
    for line in lines:
        requirement = line.partition("#")[0].strip()
        if not requirement:
            continue
        bound = _BOUND.fullmatch(requirement)
        if bound is None:
            raise ValueError(f"{requirement!r} has no lower bound")
        name = bound[1].lower()
        if name in found and found[name] != bound[2]:
            raise ValueError(f"{name} has several lower bounds")
        found[name] = bound[2]
    return found


def problems(lowest: Mapping[str, str], floors: Mapping[str, str]) -> list[str]:
    """What is wrong with the lowest versions that are allowed."""
    unknown = [f"{name} is not in requirements/floors.txt: look for its advisories" for name in lowest.keys() - floors]
    gone = [f"{name} is in requirements/floors.txt, and in no extra" for name in floors.keys() - lowest]
    low = [
        f"{name}>={lowest[name]} allows versions below {floors[name]}"
        for name in lowest.keys() & floors
        if version(lowest[name]) < version(floors[name])
    ]
    return sorted(unknown + gone + low)


def of_the_extras() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras: dict[str, list[str]] = {"": project["dependencies"], **project["optional-dependencies"]}
    return bounds(line for lines in extras.values() for line in lines if not line.startswith("onerefresh["))


def of_the_table() -> dict[str, str]:
    return bounds((ROOT / "requirements" / "floors.txt").read_text("utf-8").splitlines())


def main() -> int:
    lowest = of_the_extras()
    found = problems(lowest, of_the_table())
    print(*(f"{name}=={lowest[name]}" for name in sorted(lowest)), sep="\n")
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
