"""The interpreter ends, and user code asks everywhere it can: in destructors, exit functions, finalizers and a daemon.

Run by any Python, with the standard library alone. Prints ``place: life: method: outcome``, one a line, and is killed
with a traceback of all threads where it takes too long.
"""

from __future__ import annotations

import atexit
import faulthandler
import sys
import threading
import time
import weakref
from collections.abc import Callable

atexit.register(lambda: ask(early, "an exit function from before"))  # it comes after those of the library

from onerefresh import Credential, OnerefreshError, Token  # noqa: E402
from onerefresh.credential.cached_token import NOTHING  # noqa: E402

early: dict[str, Credential] = {}
faulthandler.dump_traceback_later(float(sys.argv[2]), exit=True)
LIVES = ("fresh", "ageing", "expired")


def refresh(token: Token) -> dict[str, object]:
    return {"access_token": "next", "refresh_token": "refresh", "expires_in": 3600}


ASKING: dict[str, Callable[[Credential], object]] = {
    "token": lambda credential: credential.token(max_wait=20).reveal(),
    "current": lambda credential: credential.current(),
    "bearer": lambda credential: credential.bearer(),
    "refused": lambda credential: credential.token(refused=credential._memory.known, max_wait=20).reveal(),
    "login": lambda credential: credential.login({"access_token": "new", "expires_in": 3600}).reveal(),
    "status": lambda credential: credential.status().state,
    "logout": Credential.logout,
    "close": Credential.close,
}


def made(place: str, life: str) -> Credential:
    seed = {"access_token": "first", "refresh_token": "refresh", "expires_in": 3600}
    credential = Credential(f"{place} {life}", refresh, token=seed, store=sys.argv[1])
    credential.token()
    held = credential._memory.held
    if life == "ageing":
        held.refresh_at = time.time() - 1
    elif life == "expired":
        credential._memory.held = NOTHING
    return credential


def ask(credentials: dict[str, Credential], place: str) -> None:
    for life, credential in credentials.items():
        for method, call in ASKING.items():
            began = time.monotonic()
            try:
                found = call(credential)
                outcome = "nothing" if found is None else "answered"
            except OnerefreshError as error:
                outcome = type(error).__name__
            except BaseException as error:  # noqa: BLE001 - it is told
                outcome = f"RAISED {type(error).__name__}: {error}"
            if time.monotonic() - began > 15:
                outcome = f"LATE {outcome}"
            print(f"{place}: {life}: {method}: {outcome}", flush=True)


class Dying:
    itself: Dying

    def __init__(self, place: str) -> None:
        self.place = place
        self.credentials = {life: made(place, life) for life in LIVES}

    def __del__(self) -> None:
        ask(self.credentials, self.place)


def in_a_daemon() -> None:
    main.wait()
    while threading.main_thread().is_alive():
        time.sleep(0.001)
    ask(of_the_daemon, "a daemon thread")


def let_the_daemon_answer() -> None:
    main.set()
    daemon.join(20)  # its frames hold what is to be destroyed


main = threading.Event()
of_the_daemon = {life: made("a daemon thread", life) for life in LIVES}
daemon = threading.Thread(target=in_a_daemon, daemon=True)
daemon.start()
atexit.register(let_the_daemon_answer)
early |= {life: made("early", life) for life in LIVES}
atexit.register(ask, {life: made("atexit", life) for life in LIVES}, "atexit")
dying = Dying("a destructor")
in_a_circle = Dying("a destructor in a circle")
in_a_circle.itself = in_a_circle
kept = {1, 2}  # a set can be referred to weakly
finalizer = weakref.finalize(kept, ask, {life: made("finalize", life) for life in LIVES}, "finalize")
print("ends", flush=True)
