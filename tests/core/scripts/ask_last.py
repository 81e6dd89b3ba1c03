"""Give way to another process, and only when the main thread is over: its exit must not cost those who still ask."""

import asyncio
import atexit
import threading

from tests.core.scripts.common import OPTIONS, heard, refresh, say

from onerefresh import Credential
from onerefresh.stores import open_store

store = open_store(OPTIONS["store"])
store.head_start = 0.04
acme = Credential("acme", refresh, store=store)
first = acme.token()
say("ready")
heard()
known = acme.token(refused=first)
acme.replayed(known, accepted=True)


def ask() -> None:
    say(f"{known.generation}, then {acme.token(refused=known).generation}")


def ask_last() -> None:
    threading.main_thread().join()
    if OPTIONS["where"] == "a loop":
        say(f"{known.generation}, then {asyncio.run(acme.atoken(refused=known)).generation}")
    else:
        ask()


if OPTIONS["where"] == "atexit":
    atexit.register(ask)
else:
    threading.Thread(target=ask_last).start()
