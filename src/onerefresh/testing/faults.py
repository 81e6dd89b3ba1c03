"""Failures of the token endpoint that a test orders in advance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from onerefresh.locks import Lock
from onerefresh.real_time import monotonic


@dataclass(frozen=True, slots=True)
class Fault:
    """One failing answer. A status of None closes the connection without an answer."""

    status: int | None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(slots=True)
class _Order:
    fault: Fault
    after_rotating: bool
    remaining: int | None
    until: float | None


class Faults:
    """The failures that are still to come, in the order in which they were ordered. `_lock` guards them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._orders: list[_Order] = []

    def add(
        self,
        status: int | None = 500,
        *,
        headers: Mapping[str, str] | None = None,
        body: str | Mapping[str, object] | None = None,
        count: int | None = 1,
        seconds: float | None = None,
        after_rotating: bool = False,
    ) -> None:
        """Order a failure for `count` token requests (None: no limit), or for `seconds` from now."""
        if status is not None and not 200 <= status <= 599:
            raise ValueError(f"status {status} is not a final HTTP status: use 200 to 599")
        content_type, content = _encoded(body)
        given = dict(headers or {})
        if content and not any(name.lower() == "content-type" for name in given):
            given["Content-Type"] = content_type
        until = None if seconds is None else monotonic() + seconds
        fault = Fault(status, tuple(given.items()), content)
        with self._lock:
            self._orders.append(_Order(fault, after_rotating, count, until))

    def clear(self) -> None:
        """Forget all failures, so that the token endpoint works again."""
        with self._lock:
            self._orders.clear()

    def take(self, *, after_rotating: bool) -> Fault | None:
        """The failure for the present request, if one was ordered for this moment."""
        with self._lock:
            now = monotonic()
            self._orders = [order for order in self._orders if order.until is None or now < order.until]
            for order in self._orders:
                if order.after_rotating == after_rotating:
                    if order.remaining is not None:
                        order.remaining -= 1
                        if order.remaining <= 0:
                            self._orders.remove(order)
                    return order.fault
            return None


def _encoded(body: str | Mapping[str, object] | None) -> tuple[str, bytes]:
    if body is None:
        body = {"error": "temporarily_unavailable"}
    if isinstance(body, str):
        return ("text/html" if body.lstrip().startswith("<") else "text/plain"), body.encode()
    return "application/json", json.dumps(body).encode()
