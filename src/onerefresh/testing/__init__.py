"""A strict authorization server and API for tests: rotation and reuse detection are on, and gates replace sleeps.

    with AuthServer() as server:                    # in threads of this process
    with RemoteServer.start() as server:            # in another process
    $ onerefresh testserver                         # by hand

`docs/testing.md` is the guide. The pytest plugin gives the fixture `auth_server`.

There are tests to subclass for a store of your own: `StoreContract`, `SharedStoreContract`, `FailingStoreContract`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onerefresh.testing.api_routes import CHALLENGES as CHALLENGES
    from onerefresh.testing.control import Control as Control
    from onerefresh.testing.control import ReuseDetected as ReuseDetected
    from onerefresh.testing.log import Counters as Counters
    from onerefresh.testing.log import Entry as Entry
    from onerefresh.testing.log import fingerprint as fingerprint
    from onerefresh.testing.process import RemoteServer as RemoteServer
    from onerefresh.testing.server import AuthServer as AuthServer
    from onerefresh.testing.settings import Settings as Settings
    from onerefresh.testing.stores.contract import SharedStoreContract as SharedStoreContract
    from onerefresh.testing.stores.contract import StoreContract as StoreContract
    from onerefresh.testing.stores.failing_contract import FailingStoreContract as FailingStoreContract
    from onerefresh.testing.stores.machine import StoreMachine as StoreMachine

# Imported lazily, because pytest imports this package for its plugin at every start, before coverage measures.
_HOMES = {
    "AuthServer": "server",
    "CHALLENGES": "api_routes",
    "Control": "control",
    "Counters": "log",
    "Entry": "log",
    "FailingStoreContract": "stores.failing_contract",
    "RemoteServer": "process",
    "ReuseDetected": "control",
    "Settings": "settings",
    "SharedStoreContract": "stores.contract",
    "StoreContract": "stores.contract",
    "StoreMachine": "stores.machine",
    "fingerprint": "log",
}

# Without the tests for stores, so that `import *` needs the standard library alone.
__all__ = [
    "CHALLENGES",
    "AuthServer",
    "Control",
    "Counters",
    "Entry",
    "RemoteServer",
    "ReuseDetected",
    "Settings",
    "fingerprint",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
