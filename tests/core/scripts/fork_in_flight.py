"""Fork while another thread's refresh is under way. In the memory store the child refreshes for itself; with a common
store it waits for the parent's refresh."""

import os
import threading

from tests.core.scripts.common import OPTIONS, say

from onerefresh import Credential, Token
from onerefresh.events import Event, Kind, subscribe

PARENT = os.getpid()
SEED = {
    "access_token": "access-0",
    "refresh_token": "refresh-0",
    **({"expires_at": 1} if OPTIONS["refused"] == "no" else {}),
}
entered, leave = threading.Event(), threading.Event()
reads, writes = os.pipe()


def refresh(token: Token) -> dict[str, object]:
    if os.getpid() == PARENT:
        entered.set()
        leave.wait(20)
    say(f"refreshed by the {'parent' if os.getpid() == PARENT else 'child'}")
    return {"access_token": f"access-of-{os.getpid()}", "expires_in": 3600}


def child_waits(event: Event) -> None:
    if event.kind is Kind.WAITING and os.getpid() != PARENT:
        os.write(writes, b"waits")


acme = Credential("acme", refresh, store=OPTIONS["store"])
acme.login(SEED)  # a first token with token= would not be sent at once to a store that may have lost the record
old = acme.token() if OPTIONS["refused"] == "yes" else None
starter = threading.Thread(target=lambda: acme.token(refused=old))
starter.start()
entered.wait(20)
subscribe(child_waits)
child = os.fork()
if child == 0:
    try:
        before = acme.current()
        say(f"the child has {before.reveal() if before else 'nothing'}")
        token = acme.token(refused=old, max_wait=20)
        whose = "its own" if str(os.getpid()) in token.reveal() else "the parent's"
        say(f"the child got {whose} token of generation {token.generation}")
    finally:
        os._exit(0)
if OPTIONS["store"] != "memory":
    os.read(reads, 5)
    leave.set()
os.waitpid(child, 0)
leave.set()
starter.join()
say(f"the parent got generation {acme.token(refused=old).generation}")
