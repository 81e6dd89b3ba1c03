"""Chance of this library's own.

Drawing from the module `random` would change what a program draws next that has seeded it.
"""

from __future__ import annotations

import random
from typing import Final

__all__ = ["CHANCE"]

CHANCE: Final = random.SystemRandom()
