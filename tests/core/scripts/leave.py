"""Start a refresh, and end without waiting for it."""

import threading

from tests.core.scripts.common import credential, say

from onerefresh import WaitTimeout


def tell_the_end() -> None:
    threading.main_thread().join()
    say("the main thread is over")


acme = credential()
threading.Thread(target=tell_the_end).start()
try:
    acme.token(refused=acme.token(), max_wait=0.0)
except WaitTimeout:
    say("leaving")
