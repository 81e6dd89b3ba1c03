"""Wait for another process when the main thread is over; the wait begins later than the renewal that it is for."""

import threading
from collections.abc import Callable

from tests.core.scripts.common import OPTIONS, heard, refresh, say

from onerefresh import Credential
from onerefresh.flight import Flight
from onerefresh.pause import Wakeup
from onerefresh.stores import open_store

store = open_store(OPTIONS["store"])
acme = Credential("acme", refresh, store=store)
known = acme.token()
say("ready")
heard()

watching = threading.Event()
subscribe, wait_for_the_flight = store.subscribe, Flight.wait


def watch(key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup | None:
    watching.set()
    return subscribe(key, version, since, wake)


def wait_late(flight: Flight[object], seconds: float, start: Callable[[], object] | None = None) -> bool:
    while not flight.settled and not watching.wait(0.01):
        pass
    say("waits")
    return wait_for_the_flight(flight, seconds, start)


def ask() -> None:
    threading.main_thread().join()
    store.subscribe, Flight.wait = watch, wait_late  # type: ignore[method-assign,assignment]
    say(f"answered {acme.token(refused=known).generation}")


threading.Thread(target=ask).start()
