"""Uses a fresh token a thousand times, and tells how many locks were taken, and what was opened or connected.

Locks are counted from before the library is loaded, whoever makes them.
"""

from __future__ import annotations

import _thread
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

COUNTED: Counter[str] = Counter()
TIMES = 1_000
_is_counting = False
_caller = _thread.get_ident()
_lock, _rlock = _thread.allocate_lock, threading.RLock


def count(what: str) -> None:
    """What the caller's own thread does: the library may look at its store on another one meanwhile."""
    if _is_counting and _thread.get_ident() == _caller:
        COUNTED[what] += 1


class CountedLock:
    """A lock that counts who takes it."""

    def __init__(self, make: Callable[[], Any] = _lock) -> None:
        self._inner = make()

    def acquire(self, *arguments: Any, **options: Any) -> bool:
        count("locks")
        return bool(self._inner.acquire(*arguments, **options))

    def __enter__(self) -> bool:
        count("locks")
        return bool(self._inner.__enter__())

    def __exit__(self, *error: object) -> None:
        self._inner.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def happened(event: str, _: tuple[object, ...]) -> None:
    if event == "open" or event.startswith(("socket.", "sqlite3.", "subprocess.", "os.")) or "thread" in event:
        count(event)


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What it returns, without ever having waited."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    count("awaits")
    return None


def main() -> None:
    import httpx2
    import requests

    vars(_thread)["allocate_lock"] = vars(threading)["Lock"] = CountedLock
    vars(threading)["RLock"] = lambda: CountedLock(_rlock)
    sys.addaudithook(happened)
    from onerefresh import Credential
    from onerefresh.clients import httpx as for_httpx
    from onerefresh.clients import requests as for_requests
    from onerefresh.oauth2 import TokenEndpoint

    config = json.loads(sys.stdin.readline())
    login = TokenEndpoint(config["token_url"], client_id="client", client_secret="secret")
    acme = Credential("acme", login, token=config["token"], store=config["store"])
    token, origin = acme.token(), config["origin"]
    call = httpx2.Request("GET", f"{origin}/api/items")
    auth = for_httpx.BearerAuth(acme, origin)
    session_auth = for_requests.BearerAuth(acme, origin)
    prepared = requests.Request("GET", f"{origin}/api/items").prepare()

    def with_httpx() -> object:
        return next(auth.sync_auth_flow(call)).headers["Authorization"]

    def with_async_httpx() -> object:
        return finished(anext(auth.async_auth_flow(call))).headers["Authorization"]

    def with_requests() -> object:
        return session_auth(prepared).headers["Authorization"]

    bearer = f"Bearer {token.reveal()}"
    ways: dict[str, tuple[Callable[[], object], object]] = {
        "current": (acme.current, token),
        "token": (acme.token, token),
        "atoken": (lambda: finished(acme.atoken()), token),
        "bearer": (acme.bearer, token.reveal()),
        "abearer": (lambda: finished(acme.abearer()), token.reveal()),
        "httpx": (with_httpx, bearer),
        "httpx, async": (with_async_httpx, bearer),
        "requests": (with_requests, bearer),
    }
    print(json.dumps({name: counted(*way) for name, way in ways.items()}))


def counted(way: Callable[[], object], expected: object) -> dict[str, int]:
    """What it costs a thousand times; the first time is left out, when modules may be loaded."""
    global _is_counting
    assert way() == expected
    COUNTED.clear()
    _is_counting = True
    for _ in range(TIMES):
        way()
    _is_counting = False
    return dict(COUNTED)


if __name__ == "__main__":
    main()
