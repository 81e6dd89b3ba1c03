"""The main thread starts others that need the token, and ends: they are the program now."""

import threading

from tests.core.scripts.common import credential, say

from onerefresh import OnerefreshError

acme = credential()
old = acme.token()


def ask() -> None:
    try:
        say(f"answered {acme.token(refused=old).generation}")
    except OnerefreshError as error:
        say(f"{type(error).__name__}: {error}")


def tell_the_end() -> None:
    threading.main_thread().join()
    say("the main thread is over")


for work in (ask, ask, tell_the_end):
    threading.Thread(target=work).start()
