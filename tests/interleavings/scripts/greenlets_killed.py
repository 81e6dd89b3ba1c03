"""Greenlets that wait for a refresh are killed, or time out, or the process ends; the refresh goes on."""

from gevent import monkey

monkey.patch_all()

import gevent  # noqa: E402 - patching comes first, as gevent wants it
from tests.core.scripts.common import OPTIONS, credential, heard, say  # noqa: E402

acme = credential()
old = acme.token()
first = gevent.spawn(acme.token, refused=old)
others = [gevent.spawn(acme.token, refused=old) for _ in range(5)]
gevent.get_hub().threadpool.apply(heard)
gevent.kill(first)
try:
    with gevent.Timeout(0.01):
        acme.token(refused=old)
except gevent.Timeout:
    say("timed out")
say("killed" if isinstance(first.value, gevent.GreenletExit) else f"got {first.value}")
if OPTIONS["then"] == "wait":
    say(f"generations {[waiting.get().generation for waiting in others]}")
