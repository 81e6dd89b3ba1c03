"""Greenlets wait for the refresh of another process, one of them not for long; they must not stop the others."""

from gevent import monkey

monkey.patch_all()

import gevent  # noqa: E402 - patching comes first, as gevent wants it
from tests.core.scripts.common import credential, heard, say  # noqa: E402

from onerefresh import WaitTimeout  # noqa: E402

acme = credential()
old = acme.token()
patient = [gevent.spawn(acme.token, refused=old) for _ in range(20)]
try:
    acme.token(refused=old, max_wait=0.5)
except WaitTimeout:
    say("did not wait for long")
gevent.get_hub().threadpool.apply(heard)
say("the hub is free")
say(f"generations {sorted({waiting.get().generation for waiting in patient})}")
