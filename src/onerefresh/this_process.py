"""The name of this process for people: the machine's name and the process ID."""

from __future__ import annotations

import functools
import os

__all__ = ["machine", "named", "this_process"]

LONGEST = 64
"""How many characters of a machine's name are kept."""


@functools.cache
def machine() -> str:
    """This machine's name, as one short word that can be printed."""
    uname = getattr(os, "uname", None)
    name = os.environ.get("COMPUTERNAME", "") if uname is None else str(uname().nodename)
    word = "".join(letter for letter in name if letter.isprintable() and not letter.isspace())
    return word[:LONGEST] or "unnamed"


def named(machine: str, number: int) -> str:
    """The name of a process: ``"web-3:4711"``."""
    return f"{machine}:{number}"


def this_process() -> str:
    """The name of this process. A forked child has another one."""
    return named(machine(), os.getpid())
