"""Random numbers of this library's own.

A program that has seeded the module `random` would draw other numbers if this library drew from it, too.
"""

from __future__ import annotations

import random
from typing import Final

__all__ = ["CHANCE"]

CHANCE: Final = random.SystemRandom()
