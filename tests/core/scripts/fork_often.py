"""Fork again and again while threads use the credential as hard as they can; each child must get a token.

With a store in a file they rest in between: else they would keep its lock to themselves.
"""

import os
import sys
import threading

from tests.core.scripts.common import OPTIONS, say

from onerefresh import Credential, OnerefreshError, Token, policy

policy.EARLY_REFRESHES = sys.maxsize  # each token is refused as soon as it is there
CHILDREN = 40
stop = threading.Event()


def refresh(token: Token) -> dict[str, object]:
    return {"access_token": "access", "refresh_token": "refresh", "expires_in": 3600}


acme = Credential("acme", refresh, token={"access_token": "a", "refresh_token": "b"}, store=OPTIONS["store"])


def use() -> None:
    while not stop.wait(0.0 if OPTIONS["store"] == "memory" else 0.01):
        token = acme.current() or acme.token()
        acme.replayed(token, accepted=True)
        acme.token(refused=token)


users = [threading.Thread(target=use) for _ in range(4)]
for user in users:
    user.start()
answered = 0
try:
    for _ in range(CHILDREN):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                token = acme.token(max_wait=20)
                acme.replayed(token, accepted=True)
                following = acme.token(refused=token, max_wait=20)
                code = 0 if following.generation > token.generation else 2
                if code:
                    say(f"the child was given {following!r} for {token!r}")
            except OnerefreshError as error:
                say(f"{type(error).__name__}: {error}")
            finally:
                os._exit(code)
        answered += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
finally:
    stop.set()
say(f"{answered} of {CHILDREN}")
