"""How long this machine's disk takes to keep a few kilobytes: what a server that syncs waits for at each write."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from bench.timing import percentile

__all__ = ["said", "syncs"]

PAUSE = 0.05


def syncs(folder: Path, seconds: float) -> list[int]:
    """Nanoseconds that each of some syncs of 8 KiB took; as many as fit, with rests in between."""
    taken: list[int] = []
    end = time.monotonic() + seconds
    with tempfile.TemporaryFile(dir=folder) as file:
        while time.monotonic() < end:
            time.sleep(PAUSE)
            os.pwrite(file.fileno(), os.urandom(8192), 0)
            began = time.perf_counter_ns()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter_ns() - began)
    return taken


def said(taken: list[int]) -> str:
    """A sentence about them."""
    half, most, longest = (percentile(taken, share) / 1e6 for share in (0.5, 0.99, 1.0))
    when = f"{len(taken):,} times between PostgreSQL's storms"
    took = f"{half:.1f} ms (50 of 100),\n{most:.1f} ms (99 of 100), {longest:,.0f} ms at most"
    return f"A plain sync of 8 KiB on the same disk, {when}: {took}."
