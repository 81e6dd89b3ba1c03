"""The name of this process for people: the machine's name and the process ID."""

from __future__ import annotations

import functools
import os
import sys

__all__ = ["machine", "named", "this_process"]

LONGEST = 64
"""How many characters of a machine's name are kept."""


@functools.cache
def machine() -> str:
    """This machine's name, as one short word that can be printed."""
    if sys.platform == "win32":
        name = os.environ.get("COMPUTERNAME", "")
    else:
        name = os.uname().nodename
    word = "".join(letter for letter in name if letter.isprintable() and not letter.isspace())
    return word[:LONGEST] or "unnamed"


def named(machine: str, number: int) -> str:
    """The name of a process: ``"web-3:4711"``."""
    return f"{machine}:{number}"


def this_process() -> str:
    """The name of this process. A forked child has another one."""
    return named(machine(), os.getpid())
