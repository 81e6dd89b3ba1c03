"""A hundred greenlets call an API through one credential, in a process that gevent has patched."""

from gevent import monkey

monkey.patch_all()

import gevent  # noqa: E402 - patching comes first, as gevent wants it
import requests  # noqa: E402
from tests.core.scripts.common import OPTIONS, heard, say  # noqa: E402

from onerefresh import Credential, Token  # noqa: E402
from onerefresh.clients.requests import BearerAuth  # noqa: E402

COUNT = 100


def refresh(token: Token) -> dict[str, object]:
    answer = requests.post(OPTIONS["url"], json={"refresh_token": token.reveal_refresh_token()}, timeout=60)
    answer.raise_for_status()
    found: dict[str, object] = answer.json()
    return found


first = dict(zip(("access_token", "refresh_token"), heard().split(), strict=True))
acme = Credential("acme", refresh, store=OPTIONS["store"])
acme.login(first)
session = requests.Session()
session.auth = BearerAuth(acme, OPTIONS["api"].removesuffix("/api"))


def call() -> int:
    return session.get(f"{OPTIONS['api']}/thing", timeout=60).status_code


calls = [gevent.spawn(call) for _ in range(COUNT)]
gevent.get_hub().threadpool.apply(heard)
say("the hub is free")  # the refresh is under way, and the other greenlets run
gevent.joinall(calls)
statuses = [call.get() for call in calls]
say(f"{statuses.count(200)} of {COUNT}, generation {acme.token().generation}")
