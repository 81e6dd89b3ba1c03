"""The clock of a Redis server, read along with each answer: asking for it costs no round trip of its own."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence

from onerefresh.store import StoreTime
from onerefresh.stores.flock import shared_seconds

__all__ = ["ServerClock"]

SLOWEST = 0.5
"""Seconds that an answer may take whose reading of the clock is to be used: so uncertain is the reading."""
DRIFT = 0.25
"""Seconds by which two readings may disagree without a reason."""
JUMP = 2.0
"""Seconds by which they disagree when somebody has set the clock."""


class ServerClock:
    """Servers' clocks as this process knows them, each as its distance from the clock of this machine.

    The era is the run id of the server: after a failover there is another server, with another clock. Where somebody
    has set a server's clock, readings from before and after that must not be compared: from then on this process has an
    era of its own, in which it compares with nobody.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str]] = {}
        self._here = threading.local()  # in a cluster, which server this thread's record is on

    def sees(self, server: str | None, reading: Sequence[bytes], began: float, ended: float) -> None:
        """`reading`: the server's `TIME`, asked for when `shared_seconds` was `began` and here when it was `ended`."""
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
        """Whether this thread has heard of a server."""
        return hasattr(self._here, "server")

    def now(self) -> StoreTime | None:
        """Now by the clock of the server that this thread heard last; None where that is not known."""
        found = self._known.get(getattr(self._here, "server", None) or "")
        return StoreTime(found[1], found[0] + shared_seconds()) if found else None
