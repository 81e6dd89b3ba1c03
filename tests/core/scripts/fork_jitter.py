"""Fork, and tell how each process spreads its refreshes."""

import os

from tests.core.scripts.common import say

from onerefresh import Credential, Token


def refresh(token: Token) -> dict[str, object]:
    raise NotImplementedError


acme = Credential("acme", refresh)
for _ in range(4):
    child = os.fork()
    if child == 0:
        say(f"{acme._launcher.request().jitter} {Credential('other', refresh)._launcher.request().jitter}")
        os._exit(0)
    os.waitpid(child, 0)
say(f"{acme._launcher.request().jitter} {Credential('other', refresh)._launcher.request().jitter}")
