"""Fork while the store has connections, and while a thread waits on another: the child must leave them alone."""

import os
import signal
import threading

from tests.core.scripts.common import OPTIONS, heard, say

from onerefresh.stores.redis import RedisStore

store = RedisStore(OPTIONS["store"])
version = store.cas("acme", None, "before")


def wait() -> None:
    while (found := store.load("acme")) is not None and found.version == version:
        store.wait("acme", version, 60.0)  # it may return early
    say("the parent was woken")


waiter = threading.Thread(target=wait)
waiter.start()
heard()
for _ in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # one that hangs dies, and the test with it
        found = store.load("acme")
        mine = store.cas(f"of {os.getpid()}", None, "body")
        other = threading.Thread(target=store.wait, args=(f"of {os.getpid()}", mine, 60.0))
        other.start()
        store.cas(f"of {os.getpid()}", mine, "after")
        other.join()
        store.close()
        os._exit(0 if found == (version, "before") else 1)
    say(f"a child ended with {os.waitpid(child, 0)[1]}")
    store.load("acme")
heard()
store.cas("acme", version, "after")
waiter.join()
