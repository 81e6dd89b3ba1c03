"""Fork while the parent refreshes `a`, `b` waits for its turn, and another thread holds the lock of what is kept."""

import os
import threading
import time

from tests.core.scripts.common import say

from onerefresh import Credentials, Token

PARENT = os.getpid()
entered, leave = threading.Event(), threading.Event()


class Refresher:
    host = "login.example:443"

    def __call__(self, token: Token) -> dict[str, object]:
        name = token.reveal().removeprefix("access-")
        if os.getpid() == PARENT:
            entered.set()
            leave.wait(20)
        else:
            say(f"the child refreshes {name}")
        return {"access_token": f"access-{name}", "expires_in": 3600}


credentials = Credentials(Refresher(), store="memory", limit=1)
for key in "abcd":
    answer = {"access_token": f"access-{key}", "refresh_token": "r"}
    credentials[key].login(answer if key == "c" else {**answer, "expires_at": 1})
threads = [threading.Thread(target=lambda key=key: credentials[key].token()) for key in "ab"]
threads[0].start()
entered.wait(20)
threads[1].start()
while not any(queue.waiting for queue in credentials._options.turns._queues.values()):  # type: ignore[union-attr]  # there is a limit
    time.sleep(0.01)
locked = threading.Event()


def hold_the_lock() -> None:
    with credentials._recent._lock:
        locked.set()
        leave.wait(20)


holder = threading.Thread(target=hold_the_lock)
holder.start()
locked.wait(20)
child = os.fork()
if child == 0:
    try:
        say(f"the child has fresh of {credentials['c'].bearer()}")
        for key in "abd":
            credentials[key].token(max_wait=10)
    finally:
        os._exit(0)
os.waitpid(child, 0)
leave.set()
for thread in (*threads, holder):
    thread.join()
say(f"the parent has {', '.join(key for key in 'abc' if credentials[key].current())}")
