"""Fork again and again while other threads write: whatever locks they hold, each child can use the store."""

import os
import signal
import threading

from tests.core.scripts.common import OPTIONS, say

from onerefresh.stores.redis import RedisStore

store, ends = RedisStore(OPTIONS["store"]), threading.Event()


def write(key: str) -> None:
    version = store.cas(key, None, "body")
    while not ends.is_set():
        version = store.cas(key, version, "body")


writers = [threading.Thread(target=write, args=(f"of thread {number}",)) for number in range(3)]
for writer in writers:
    writer.start()


def fork(name: str) -> None:
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs dies, and the test with it
        written = store.cas(name, None, "body")
        os._exit(0 if store.load(name) == (written, "body") else 1)
    say(str(os.waitpid(child, 0)[1]))


for number in range(20):
    fork(f"of child {number}")
ends.set()
for writer in writers:
    writer.join()


def hold() -> None:
    with store._link._client().connection_pool._lock:
        held.set()
        done.wait()


held, done = threading.Event(), threading.Event()
holder = threading.Thread(target=hold)
holder.start()
held.wait()
fork("of the last child")
done.set()
holder.join()
