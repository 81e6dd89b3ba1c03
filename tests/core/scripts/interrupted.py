"""Five threads and the main one wait for the same refresh; the main one is interrupted."""

import asyncio
import threading

from tests.core.scripts.common import OPTIONS, credential, say

acme = credential()
old = acme.token()


def ask() -> None:
    say(f"answered {acme.token(refused=old).generation}")


async def ask_on_a_loop() -> None:
    await acme.atoken(refused=old)


for _ in range(5):
    threading.Thread(target=ask).start()
try:
    say("waiting")
    if OPTIONS["where"] == "a loop":
        asyncio.run(ask_on_a_loop())
    else:
        ask()
except KeyboardInterrupt:
    say("interrupted")
    if OPTIONS["where"] == "nowhere":
        raise
