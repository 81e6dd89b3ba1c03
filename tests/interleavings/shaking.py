"""Thread schedules that hardly ever happen by themselves: a thread may lose its turn between any two lines of ours."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import onerefresh

SOURCE = str(Path(onerefresh.__file__).parent)
OFTEN, LONG = 0.05, 0.0003
"""How often a line loses its thread the turn, and for how many seconds: long enough for others to run many lines."""


@contextmanager
def shaken(seed: int) -> Iterator[None]:
    """The threads that are started within lose their turn at places that depend on `seed`."""
    chance = random.Random(seed)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        if event == "line" and chance.random() < OFTEN:
            time.sleep(chance.choice([0.0, 0.0, LONG]))
        return trace

    before, tracing = sys.getswitchinterval(), threading.gettrace()  # the latter where coverage is measured
    sys.setswitchinterval(1e-6)
    threading.settrace(trace)
    try:
        yield
    finally:
        threading.settrace(tracing)
        sys.setswitchinterval(before)
