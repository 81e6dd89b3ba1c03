"""The clock of a Redis server, which is read along with each answer, so that it costs no round trip of its own."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence

from onerefresh.store import StoreTime
from onerefresh.stores.flock import shared_seconds

__all__ = ["ServerClock"]

SLOWEST = 0.5
"""Seconds that an answer may take for its reading of the clock to be used: the reading is as uncertain as that."""
DRIFT = 0.25
"""Seconds by which two readings may differ without a reason."""
JUMP = 2.0
"""Seconds by which readings differ where somebody has set the clock."""


class ServerClock:
    """Servers' clocks as this process knows them, each by its distance from this machine's clock.

    The epoch is the server's run id: after a failover there is another server, with another clock. Where somebody has
    set a server's clock, readings from before and after must not be compared. From then on this process has an epoch of
    its own, whose readings no other process compares.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str]] = {}
        self._here = threading.local()  # in a cluster, which server this thread's record is on

    def sees(self, server: str | None, reading: Sequence[bytes], began: float, ended: float) -> None:
        """Take in a server's reading.

        `reading`: its `TIME`, asked for when `shared_seconds` was `began`, and received when it was `ended`.
        """
        self._here.server = server
        if server is None or ended - began > SLOWEST:
            return
        distance = int(reading[0]) + int(reading[1]) / 1e6 - (began + ended) / 2.0
        known, clock_epoch = self._known.get(server, (distance, server))
        if abs(distance - known) > JUMP:
            clock_epoch = f"{server} {secrets.token_hex(4)}"
        if abs(distance - known) > DRIFT or server not in self._known:
            self._known[server] = distance, clock_epoch

    @property
    def asked(self) -> bool:
        """Whether this thread knows a server."""
        return hasattr(self._here, "server")

    def now(self) -> StoreTime | None:
        """The time on the clock of the server that this thread asked last; None where it is not known."""
        found = self._known.get(getattr(self._here, "server", None) or "")
        return StoreTime(found[1], found[0] + shared_seconds()) if found else None
