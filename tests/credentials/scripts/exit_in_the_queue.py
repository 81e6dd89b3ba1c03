"""The main thread ends while one tenant's renewal is under way and another's waits for its turn; nobody else waits."""

import threading
import time

from tests.core.scripts.common import say

from onerefresh import Credentials, Token

sent = threading.Event()


def queued() -> bool:
    """Whether a renewal waits for its turn."""
    turns = credentials._options.turns
    assert turns is not None
    return any(queue.waiting for queue in list(turns._queues.values()))


class Refresher:
    host = "login.example:443"

    def __call__(self, token: Token) -> dict[str, object]:
        name = token.reveal()
        say(f"{name} is sent")
        sent.set()
        deadline = time.monotonic() + 20
        while threading.main_thread().is_alive() or queued():
            if time.monotonic() > deadline:
                say("b still waits for its turn")
                break
            time.sleep(0.01)
        else:
            say("b has left the queue")
        say(f"{name} is refreshed")
        return {"access_token": name, "expires_in": 3600}


credentials = Credentials(Refresher(), store="memory", limit=1)
now = time.time()
for key in "ab":
    credentials[key].login(Token(key, "refresh", issued_at=now - 3000, expires_at=now + 100))
credentials._tenant("a").renew_ahead(600, None)
sent.wait(20)
credentials._tenant("b").renew_ahead(600, None)
while not queued():
    time.sleep(0.01)
say("the main thread ends")
