"""Times and sizes as people write them."""

from __future__ import annotations

__all__ = ["amount", "life", "size"]


def amount(seconds: float) -> str:
    """A span of time: ``42 s``, ``5 min``, ``3 h``, ``12 days``."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def life(expires_at: float | None, now: float) -> str:
    """What is left of a token that expires at `expires_at`; both in seconds since the epoch."""
    if expires_at is None:
        return "is used until the API refuses it"
    left = expires_at - now
    return f"expires in {amount(left)}" if left > 0 else f"expired {amount(abs(left))} ago"


def size(count: int) -> str:
    """A number of bytes: ``512 B``, ``4.2 kB``, ``1.3 GB``."""
    if count < 1000:
        return f"{count} B"
    value, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.1f} {units[0]}"
