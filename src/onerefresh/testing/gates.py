"""Points at which requests can be held, released, waited for and delayed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from onerefresh.latches import Changes, Latch
from onerefresh.locks import Lock

Point = Literal["token", "token_sent", "api", "refusal", "revoke"]
POINTS: tuple[str, ...] = get_args(Point)


@dataclass(slots=True)
class _Gate:
    arrived: int = 0
    held: bool = False
    every: int = 1
    until_accepted: bool = False
    permits: int = 0
    epoch: int = 0
    delay: float = 0.0


class GatesClosed(ConnectionError):
    """The server is stopping: a request that is held at a point loses its connection without an answer."""


class Gates:
    """One gate for each point. `_lock` guards all gates."""

    def __init__(self) -> None:
        self._lock = Lock()
        # Two objects, so that an arrival wakes only threads that count arrivals, and not all held requests.
        self._arrival = Changes()
        self._opening = Changes()
        self._closing = Latch()
        self._gates = {point: _Gate() for point in POINTS}

    def hold(self, point: str, every: int = 1, until_accepted: bool = False) -> None:
        """Hold every `every`th request that arrives at the point from now on."""
        if every < 1:
            raise ValueError("every must be a whole number, 1 or more")
        with self._lock:
            gate = self._gate(point)
            gate.arrived = 0
            gate.permits = 0
            gate.held, gate.every, gate.until_accepted = True, every, until_accepted

    def release(self, point: str, count: int | None = None) -> None:
        """Let `count` held requests go on; without a count all of them, and open the gate."""
        with self._lock:
            gate = self._gate(point)
            if count is None:
                self._open(gate)
            else:
                gate.permits += count
        self._opening.notify()

    def wait_for(self, point: str, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until `count` requests have arrived at the point since it was last held (or since the start).

        Raises `TimeoutError` after `timeout` seconds.
        """
        gate = self._gate(point)
        if not self._arrival.wait_for(lambda: gate.arrived >= count or self._closing.is_set, timeout):
            raise TimeoutError(f"{gate.arrived} of {count} requests reached {point!r} in {timeout:g} s")
        if gate.arrived < count:
            raise GatesClosed("the server was stopped")

    def delay(self, point: str, seconds: float) -> None:
        """Make every request take `seconds` longer at the point; 0 ends that."""
        with self._lock:
            self._gate(point).delay = seconds

    def pass_through(self, point: Point) -> None:
        """Called by the server with a request at the point; returns when it may go on.

        Raises `GatesClosed` if it never may.
        """
        with self._lock:
            gate = self._gates[point]
            gate.arrived += 1
            held, epoch = gate.held and gate.arrived % gate.every == 0, gate.epoch
        self._arrival.notify()
        if held:
            # Each opening has an epoch: requests held before it go on, even if the gate is held again at once.
            self._opening.wait_for(lambda: self._may_go(gate, epoch))
        self.pause(gate.delay)

    def pause(self, seconds: float) -> None:
        """Called by the server to wait. Raises `GatesClosed` if the server stops meanwhile."""
        if self._closing.wait(seconds):
            raise GatesClosed

    def accepted(self) -> None:
        """Called by the server when the API has accepted a call, which ends holds that last only until then."""
        with self._lock:
            for gate in self._gates.values():
                if gate.held and gate.until_accepted:
                    self._open(gate)
        self._opening.notify()

    def close(self) -> None:
        """Reject all requests that are at a point, or come to one."""
        self._closing.set()
        self._arrival.notify()
        self._opening.notify()

    def _may_go(self, gate: _Gate, epoch: int) -> bool:
        """Whether a request that was held in this epoch may go on; it has used a permit then."""
        with self._lock:
            if self._closing.is_set or gate.epoch != epoch:
                return True
            if gate.permits > 0:
                gate.permits -= 1
                return True
            return False

    def _open(self, gate: _Gate) -> None:
        gate.held = False
        gate.permits = 0
        gate.epoch += 1

    def _gate(self, point: str) -> _Gate:
        if point not in self._gates:
            raise ValueError(f"unknown point {point!r}: use one of {', '.join(POINTS)}")
        return self._gates[point]
