"""A run over many credentials for which a task waits: it works on a thread of its own."""

from __future__ import annotations

from collections.abc import Iterable

from onerefresh import errors
from onerefresh.credentials.due import Run
from onerefresh.credentials.summary import Summary
from onerefresh.flight import Flight
from onerefresh.latches import Latch
from onerefresh.threads import start

__all__ = ["over_on_thread"]


async def over_on_thread(run: Run, keys: Iterable[str] | None, left: Latch) -> Summary:
    """As `Run.over`. `left` is set once the task does not wait any more, also where it was cancelled."""
    flight: Flight[Summary | BaseException] = Flight()

    def work() -> None:
        try:
            flight.settle(run.over(keys))
        except BaseException as error:  # noqa: BLE001 - raised where the task waits
            flight.settle(error)

    try:
        start(work, "onerefresh refresh_due")
    except RuntimeError:
        raise errors.RefreshUnavailable("no thread can be started", retry_after=1.0) from None
    try:
        while True:
            if await flight.wait_async(3600.0):
                break
    finally:
        left.set()
    result = flight.result()
    if isinstance(result, BaseException):
        raise result
    return result
