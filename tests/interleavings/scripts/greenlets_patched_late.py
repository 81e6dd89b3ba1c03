"""The credential was made before gevent patched the process: gunicorn does so with ``--preload``."""

import os

from tests.core.scripts.common import OPTIONS, say

from onerefresh import Credential, Token

entered = 0


def refresh(token: Token) -> dict[str, object]:
    global entered
    entered += 1
    time.sleep(0.05)  # patched: the other greenlets run meanwhile
    return {"access_token": f"access-{entered}", "refresh_token": f"refresh-{entered}"}


acme = Credential(
    "acme", refresh, token={"access_token": "access-0", "refresh_token": "refresh-0"}, store=OPTIONS["store"]
)
acme.status()

if os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))

from gevent import monkey  # noqa: E402

monkey.patch_all()

import time  # noqa: E402

import gevent  # noqa: E402

old = acme.token()
calls = [gevent.spawn(acme.token, refused=old) for _ in range(100)]
gevent.joinall(calls)
say(f"{entered} refresh, generations {sorted({call.get().generation for call in calls})}")
