"""Threads use many tenants while the main thread forks; each child uses all of them."""

import os
import threading

from tests.core.scripts.common import say

from onerefresh import Credentials, Token

KEYS = [f"tenant-{number}" for number in range(20)]
over = threading.Event()


class Refresher:
    host = "login.example:443"

    def __call__(self, token: Token) -> dict[str, object]:
        return {"access_token": token.reveal(), "expires_at": 1}


credentials = Credentials(Refresher(), store="memory", limit=2, keep=10)
for key in KEYS:
    credentials[key].login({"access_token": key, "refresh_token": "r", "expires_in": 3600})


def use() -> None:
    while not over.is_set():
        for key in KEYS:
            credentials[key].token(refused=credentials[key].token())


threads = [threading.Thread(target=use) for _ in range(3)]
for thread in threads:
    thread.start()
good = 0
for _ in range(30):
    child = os.fork()
    if child == 0:
        try:
            found = [credentials[key].token(max_wait=20).reveal() for key in KEYS]
            os._exit(0 if found == KEYS else 1)
        except BaseException:  # noqa: BLE001 - whatever it is, the parent is told that it was not good
            os._exit(2)
    good += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
over.set()
for thread in threads:
    thread.join()
say(f"{good} of 30")
